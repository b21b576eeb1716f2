// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {vm} from "./Base.sol";
import {Fixture} from "./Fixture.sol";
import {AttestationVerifier} from "../src/AttestationVerifier.sol";
import {FileRegistry} from "../src/FileRegistry.sol";
import {Price} from "../src/Price.sol";
import {PriceFeeds} from "../src/PriceFeeds.sol";

/// @notice The Solidity half of crates/core/oracle/tests/differential.rs: the same cases, drawn alike, answered by the contracts. Every case is
///         a payload with real signatures; the medians are what `pull` returns for it. Both sides fold all answers into one hash.
contract Differential is Fixture {
    uint256 private constant CASES_OF_AN_EPOCH = 100;
    uint256 private constant SLOT_FIRST = 1_800_000_000;
    uint256 private constant CASES_DEFAULT = 10_000;

    bytes32 private s_hash;

    function test_rust_and_solidity_answer_alike() public {
        uint256 cases = vm.envOr("CONCURRENCE_CASES", CASES_DEFAULT);
        vm.warp(SLOT_FIRST);
        registry = new FileRegistry(keccak256("devnet"), address(this), 1);
        verifier = new PriceFeeds(registry, AttestationVerifier.Bounds(0, 0, 1, 0), 0);
        string memory json = vm.readFile("../vectors/differential.json");
        uint256 checked;
        for (uint256 i; i < cases; ++i) {
            // A call of its own, so that its memory is given back.
            this.answer(i);
            if ((i + 1) % 100 != 0) continue;
            bytes32 expected = this.expectedAfter(json, i + 1);
            if (expected == 0) continue;
            vm.assertEq(s_hash, expected, "the same as Rust");
            ++checked;
        }
        vm.assertTrue(checked > 0, "some entry was compared");
    }

    /// @dev The digest after so many cases; zero if no entry says it.
    function expectedAfter(string calldata json, uint256 cases) external view returns (bytes32) {
        for (uint256 i; vm.keyExistsJson(json, string.concat("$[", vm.toString(i), "].cases")); ++i) {
            string memory entry = string.concat("$[", vm.toString(i), "]");
            if (vm.parseJsonUint(json, string.concat(entry, ".cases")) != cases) continue;
            return vm.parseJsonBytes32(json, string.concat(entry, ".digest"));
        }
        return 0;
    }

    function answer(uint256 i) external {
        vm.warp(SLOT_FIRST + i);
        uint32 epoch = uint32(i / CASES_OF_AN_EPOCH);
        if (i % CASES_OF_AN_EPOCH == 0) beginEpoch(epoch);
        uint256 n = 1 + draw(i, 2_000) % 3;
        Payload memory p = Payload(n - 1, SLOT_FIRST + i, new uint256[](n), new Entry[](weights.length));
        bytes memory record = abi.encodePacked(s_hash);
        for (uint256 member; member < weights.length; ++member) {
            bytes memory words;
            for (uint256 feed; feed < n; ++feed) {
                words = bytes.concat(words, wordOf(i, member, feed));
            }
            bytes32 digest = digestOf(keccak256("devnet"), epoch, p.time, keccak256(feedsNamed(n)), words);
            p.entries[member] = Entry(member, 0, words, signCompact(key(member), digest));
            record = bytes.concat(record, digest);
        }
        nameMedians(p);
        bytes memory data = encode(p);
        data[0] = bytes1(uint8(epoch));
        (bool ok, bytes memory result) = address(verifier).call(bytes.concat(PriceFeeds.pull.selector, data));
        vm.assertTrue(ok, "the contract accepts the case");
        (, Price[] memory prices) = abi.decode(result, (bytes32, Price[]));
        for (uint256 feed; feed < n; ++feed) {
            record = abi.encodePacked(record, uint64(prices[feed].mantissa()));
        }
        s_hash = keccak256(record);
    }

    /// @dev Members of an epoch, capped by the rule as it is written.
    function beginEpoch(uint32 epoch) private {
        uint256 members = 1 + draw(epoch, 1_000) % 8;
        uint256 modulus = draw(epoch, 1_001) % 2 == 0 ? 5 : type(uint32).max;
        uint256[] memory drawn = new uint256[](members);
        uint256 cap;
        for (uint256 m; m < members; ++m) {
            drawn[m] = 1 + draw(epoch, 1_100 + m) % modulus;
            if (drawn[m] > cap) cap = drawn[m];
        }
        if (members >= 4 && 3 * cap >= sum(drawn, cap)) cap = greatestCap(drawn, cap);
        delete weights;
        bytes memory joined;
        for (uint256 m; m < members; ++m) {
            weights.push(uint32(drawn[m] < cap ? drawn[m] : cap));
            joined = abi.encodePacked(joined, uint64(weights[m]));
        }
        s_hash = keccak256(bytes.concat(s_hash, joined));
        registry.publish(epoch, signers(weights));
        verifier.adopt();
        if (epoch == 0) {
            bytes[] memory list = new bytes[](3);
            (list[0], list[1], list[2]) = (feedsNamed(1), feedsNamed(2), feedsNamed(3));
            verifier.setGroups(list);
        }
    }

    /// @dev By halving: sum of min(w, c) - 3 c is concave and positive at 1.
    function greatestCap(uint256[] memory drawn, uint256 above) private pure returns (uint256 cap) {
        cap = 1;
        while (above - cap > 1) {
            uint256 middle = (cap + above) / 2;
            if (3 * middle < sum(drawn, middle)) cap = middle;
            else above = middle;
        }
    }

    function sum(uint256[] memory drawn, uint256 cap) private pure returns (uint256 total) {
        for (uint256 m; m < drawn.length; ++m) {
            total += drawn[m] < cap ? drawn[m] : cap;
        }
    }

    function wordOf(uint256 i, uint256 member, uint256 feed) private pure returns (bytes memory) {
        uint256 seed = draw(i, 16 * member + feed);
        uint256 mantissa = seed % 4 == 0 ? 1 + (seed >> 8) % 4 : seed >> 1;
        if (mantissa == 0) mantissa = 1;
        if (mantissa > (1 << 63) - 2) mantissa = (1 << 63) - 2;
        uint256 tail = draw(i, 512 + 16 * member + feed);
        return word(mantissa, tail >> 48, tail >> 32);
    }

    function feedsNamed(uint256 n) private pure returns (bytes memory feeds) {
        bytes8[3] memory names = [bytes8(hex"014141412f555344"), hex"014242422f555344", hex"014343432f555344"];
        for (uint256 i; i < n; ++i) {
            feeds = abi.encodePacked(feeds, bytes21(names[i]), int8(-8));
        }
    }

    /// @dev The first eight bytes of keccak256(case u64 | what u64).
    function draw(uint256 i, uint256 what) private pure returns (uint256) {
        return uint64(bytes8(keccak256(abi.encodePacked(uint64(i), uint64(what)))));
    }
}
