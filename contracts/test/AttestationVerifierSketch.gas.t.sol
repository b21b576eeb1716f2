// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {vm} from "./Base.sol";
import {Fixture} from "./Fixture.sol";
import {AttestationVerifierSketch} from "../src/AttestationVerifierSketch.sol";

/// @notice Whole-transaction gas of the third consecutive update (slots already written), 31 signers registered.
///         Written to snapshots/AttestationVerifierSketch.json and held against the aims of the design.
///         Every byte of a word is non-zero unless the name says "typical": the dearest calldata there is.
contract AttestationVerifierSketchGas is Fixture {
    uint256 private constant REGISTERED = 31;
    uint256 private constant ONE_FEED = 0;
    uint256 private constant TEN_FEEDS = 1;
    string private constant SNAPSHOT = "AttestationVerifierSketch";

    function test_push_k5_N1() public {
        vm.assertLe(pushGas(5, ONE_FEED, false, "push k5 N1"), 62_000, "aim");
    }

    function test_push_k11_N1() public {
        vm.assertLe(pushGas(11, ONE_FEED, false, "push k11 N1"), 95_000, "aim");
    }

    function test_push_k5_N10() public {
        vm.assertLe(pushGas(5, TEN_FEEDS, false, "push k5 N10"), 10 * 12_500, "aim");
    }

    function test_push_k11_N10() public {
        vm.assertLe(pushGas(11, TEN_FEEDS, false, "push k11 N10"), 10 * 17_000, "aim");
    }

    function test_push_typical() public {
        pushGas(5, ONE_FEED, true, "push k5 N1 typical words");
        pushGas(11, ONE_FEED, true, "push k11 N1 typical words");
        pushGas(5, TEN_FEEDS, true, "push k5 N10 typical words");
        pushGas(11, TEN_FEEDS, true, "push k11 N10 typical words");
    }

    /// @dev The aim of 80,000 is missed by 2.9 % (typical) and 3.5 %: see README. These ceilings only stop it from growing.
    function test_pull_k11_N1() public {
        vm.assertLe(pullGas(11, ONE_FEED, true, "pull k11 N1 typical words"), 82_400, "ceiling");
        vm.assertLe(pullGas(11, ONE_FEED, false, "pull k11 N1"), 82_900, "ceiling");
    }

    /// @dev Chainlink's two events instead of none, and the round id that is stored anyway.
    function test_push_k11_N1_with_rounds() public {
        AttestationVerifierSketch speaker = new RoundSpeaker(NETWORK, address(this), bounds());
        deployAs(speaker, skewed(11), sizesOneAndTen());
        vm.assertLe(thirdPush(11, ONE_FEED, false, "push k11 N1 with AnswerUpdated and NewRound"), 95_000, "aim");
    }

    /// @dev With equal weights 31 signers need 21; and the slope from 5 on is what one signer more costs.
    function test_push_k21_N1_equal_weights() public {
        uint32[] memory equal = new uint32[](REGISTERED);
        for (uint256 i; i < REGISTERED; ++i) {
            equal[i] = 100;
        }
        deploy(equal, sizesOneAndTen());
        uint256 gas21 = thirdPush(21, ONE_FEED, false, "push k21 N1 equal weights");
        uint256 gas5 = pushGas(5, ONE_FEED, false, "push k5 N1");
        vm.assertLe((gas21 - gas5) / 16, 5_100, "aim: marginal signer");
    }

    function pushGas(uint256 k, uint256 group, bool typical, string memory name) private returns (uint256) {
        deployFor(k);
        return thirdPush(k, group, typical, name);
    }

    function pullGas(uint256 k, uint256 group, bool typical, string memory name) private returns (uint256) {
        deployFor(k);
        (bool ok,) = pull(payload(k, group, NOW, typical));
        vm.assertTrue(ok, "pull is accepted");
        return vm.snapshotGasLastCall(SNAPSHOT, name);
    }

    function thirdPush(uint256 k, uint256 group, bool typical, string memory name) private returns (uint256) {
        for (uint256 round; round < 3; ++round) {
            vm.warp(NOW + 5 * round);
            pushes(payload(k, group, NOW + 5 * round - 4, typical));
        }
        return vm.snapshotGasLastCall(SNAPSHOT, name);
    }

    function deployFor(uint256 k) private {
        deploy(skewed(k), sizesOneAndTen());
    }

    function sizesOneAndTen() private pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[ONE_FEED], list[TEN_FEEDS]) = (1, 10);
    }

    /// @dev 31 weights such that the k counted signers, spread over the registry, hold about three quarters.
    function skewed(uint256 k) private pure returns (uint32[] memory list) {
        list = new uint32[](REGISTERED);
        for (uint256 i; i < REGISTERED; ++i) {
            list[i] = 100;
        }
        for (uint256 i; i < k; ++i) {
            list[counted(k, i)] = uint32(8_000 / k + 13 * i);
        }
    }

    function counted(uint256 k, uint256 i) private pure returns (uint256) {
        return i * REGISTERED / k;
    }

    function payload(uint256 k, uint256 group, uint256 time, bool typical) private view returns (Payload memory p) {
        uint256 n = sizes[group];
        p = Payload(group, time, new uint256[](n), new Entry[](k));
        for (uint256 i; i < k; ++i) {
            bytes memory words;
            for (uint256 feed; feed < n; ++feed) {
                uint256 noise = uint256(keccak256(abi.encode(i, feed, time)));
                words = bytes.concat(words, typical ? typicalWord(feed, noise) : denseWord(noise));
            }
            p.entries[i] = Entry(counted(k, i), i % 5, words, "");
            sign(p, i);
        }
        nameMedians(p);
    }

    /// @dev About 65,000 for the first feed and a third of the one before for each other, with exponent -8; three of eight sources.
    function typicalWord(uint256 feed, uint256 noise) private pure returns (bytes memory) {
        uint256 price = 6_500_000_000_000 / 3 ** feed;
        return word(price + price * (noise % 1_000) / 1_000_000, 10 + noise % 50, 7 << (noise % 6));
    }

    function denseWord(uint256 noise) private pure returns (bytes memory) {
        uint256 ones = 0x010101010101010101010101; // every byte becomes odd
        uint256 all = (noise | ones) & ((1 << 95) - 1);
        return abi.encodePacked(uint96(all | 7));
    }
}

/// @dev The sketch with Chainlink's events.
contract RoundSpeaker is AttestationVerifierSketch {
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);
    event NewRound(uint256 indexed roundId, address indexed startedBy, uint256 startedAt);

    constructor(bytes32 networkId, address owner_, Bounds memory bounds) AttestationVerifierSketch(networkId, owner_, bounds) {}

    function _pushed(uint256 round, uint256 time, uint64[] memory medians) internal override {
        emit NewRound(round, msg.sender, time);
        emit AnswerUpdated(int256(uint256(medians[0])), round, time);
    }
}
