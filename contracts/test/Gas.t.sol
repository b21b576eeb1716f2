// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {vm} from "./Base.sol";
import {Fixture} from "./Fixture.sol";
import {Trees} from "./ReportFeeds.t.sol";
import {AccessController} from "../src/AccessController.sol";
import {Aggregator} from "../src/Aggregator.sol";
import {AggregatorProxy} from "../src/AggregatorProxy.sol";
import {GroupedFeeds} from "../src/GroupedFeeds.sol";
import {MerkleProof} from "../src/MerkleProof.sol";
import {PriceFeeds} from "../src/PriceFeeds.sol";
import {ReportFeeds} from "../src/ReportFeeds.sol";
import {IAggregatorV3} from "../src/interfaces/IAggregatorV2V3.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

/// @notice Whole-transaction gas of the third consecutive update (slots already written), 31 signers registered, every check on.
///         Written to snapshots/Gas.json, which `cargo xtask gas` holds against the aims. Names: lane, k, N, history, layout.
///         Every byte of a word is non-zero unless the name says "typical": the dearest calldata there is.
contract Gas is Fixture, Trees {
    uint256 private constant REGISTERED = 31;
    uint256 private constant ONE_FEED = 0;
    uint256 private constant TEN_FEEDS = 1;
    string private constant SNAPSHOT = "Gas";
    uint256[2] private KS = [uint256(5), 11];

    // ---------------------------------------------------------------------------------------------- attestation lane

    function test_push() public {
        for (uint256 i; i < 2; ++i) {
            deploySkewed(KS[i], 0);
            for (uint256 group; group < 2; ++group) {
                thirdPush(KS[i], group, false, row("push", KS[i], sizes[group], "none slot"));
                later();
                thirdPush(KS[i], group, true, row("push", KS[i], sizes[group], "none slot typical"));
                later();
            }
        }
    }

    function test_push_with_a_ring() public {
        for (uint256 i; i < 2; ++i) {
            deploySkewed(KS[i], 2);
            thirdPush(KS[i], ONE_FEED, false, row("push", KS[i], 1, "ring slot"));
            later();
            thirdPush(KS[i], ONE_FEED, true, row("push", KS[i], 1, "ring slot typical"));
        }
    }

    function test_push_grouped() public {
        for (uint256 i; i < 2; ++i) {
            found(skewed(KS[i]));
            GroupedFeeds grouped = new GroupedFeeds(registry, limits());
            verifier = PriceFeeds(address(grouped)); // the same selectors
            begin(sizesOneAndTen());
            for (uint256 group; group < 2; ++group) {
                thirdPush(KS[i], group, false, row("push", KS[i], sizes[group], "none grouped"));
                later();
                thirdPush(KS[i], group, true, row("push", KS[i], sizes[group], "none grouped typical"));
                later();
            }
        }
    }

    function test_pull() public {
        for (uint256 i; i < 2; ++i) {
            deploySkewed(KS[i], 0);
            for (uint256 typical; typical < 2; ++typical) {
                (bool ok,) = pull(payload(KS[i], ONE_FEED, NOW, typical == 1));
                vm.assertTrue(ok, "pull is accepted");
                vm.snapshotGasLastCall(SNAPSHOT, row("pull", KS[i], 1, typical == 1 ? "none slot typical" : "none slot"));
            }
        }
    }

    /// @dev Behind OpenZeppelin's ERC-1967 proxy.
    function test_push_behind_a_proxy() public {
        for (uint256 i; i < 2; ++i) {
            found(skewed(KS[i]));
            PriceFeeds implementation = new PriceFeeds(registry, limits(), 0);
            verifier = PriceFeeds(address(new ERC1967Proxy(address(implementation), abi.encodeCall(implementation.adopt, ()))));
            sizes = sizesOneAndTen();
            verifier.setGroups(groups(sizes));
            thirdPush(KS[i], ONE_FEED, false, row("push", KS[i], 1, "none slot proxied"));
        }
    }

    /// @dev With equal weights 31 signers need 21.
    function test_push_k21_equal_weights() public {
        uint32[] memory equal = new uint32[](REGISTERED);
        for (uint256 i; i < REGISTERED; ++i) {
            equal[i] = 100;
        }
        deploy(equal, sizesOneAndTen());
        thirdPush(21, ONE_FEED, false, row("push", 21, 1, "none slot"));
    }

    /// @dev A fresh slot a round, with Chainlink's two events.
    function test_transmit() public {
        for (uint256 i; i < 2; ++i) {
            aggregate(KS[i]);
            vm.snapshotGasLastCall(SNAPSHOT, row("push", KS[i], 1, "fresh slot"));
        }
    }

    // --------------------------------------------------------------------------------------------------- report lane

    function test_report() public {
        for (uint256 i; i < 2; ++i) {
            uint256 k = KS[i];
            found(skewed(k));
            ReportFeeds reports = new ReportFeeds(registry, MAX_AGE, 0);
            reports.adopt();
            (ReportFeeds.Leaf[] memory leaves, bytes32 root) = hundred();
            for (uint256 round; round < 3; ++round) {
                vm.warp(NOW + 5 * round);
                reportsOf(reports, ReportFeeds.report.selector, k, root);
            }
            vm.snapshotGasLastCall(SNAPSHOT, row("report", k, 100, "none root"));
            reportsOf(reports, ReportFeeds.check.selector, k, root);
            vm.snapshotGasLastCall(SNAPSHOT, row("report", k, 100, "none verify"));
            if (k != 11) continue;
            for (uint256 n = 1; n <= 10; n += 9) {
                ReportFeeds.Leaf[] memory some = new ReportFeeds.Leaf[](n);
                for (uint256 j; j < n; ++j) {
                    some[j] = leaves[9 * j + 1];
                }
                uint256 start = vm.getBlockTimestamp();
                for (uint256 round = 1; round <= 3; ++round) {
                    vm.warp(start + 5 * round);
                    reportsOf(reports, ReportFeeds.report.selector, k, root);
                    reports.pushProven(some);
                }
                vm.snapshotGasLastCall(SNAPSHOT, row("push proven", 0, n, "none slot"));
            }
            GasMeter meter = new GasMeter();
            recordRead(meter.proof(reports, leaves[50]), "prove in a call, 1 of 100");
        }
    }

    // --------------------------------------------------------------------------------------------------------- reads

    function test_reads() public {
        Aggregator aggregator = aggregate(5);
        AggregatorProxy proxy = new AggregatorProxy(address(this), aggregator, AccessController(address(0)));
        GasMeter meter = new GasMeter();
        recordRead(meter.latestRoundData(aggregator), "latestRoundData direct");
        recordRead(meter.latestRoundData(proxy), "latestRoundData proxy");
    }

    function recordRead(uint256 used, string memory name) private {
        vm.snapshotValue(SNAPSHOT, string.concat("read ", name), used);
    }

    // ------------------------------------------------------------------------------------------------------- updates

    function aggregate(uint256 k) private returns (Aggregator aggregator) {
        found(skewed(k));
        int192[2] memory range = [int192(1), type(int64).max];
        aggregator = new Aggregator(registry, address(this), limits(), "AA/USD", 8, range, Aggregator.Policy(5, 1));
        aggregator.adopt();
        aggregator.setGroup(feedsOf(1));
        sizes = sizesOneAndTen();
        for (uint256 round; round < 3; ++round) {
            vm.warp(NOW + 5 * round);
            bytes memory data = encode(payload(k, ONE_FEED, NOW + 5 * round - 4, false));
            // The feed's place in its group stands before the position.
            bytes memory framed = abi.encodePacked(Aggregator.transmit.selector, head(data), uint8(0), rest(data));
            (bool ok,) = address(aggregator).call(framed);
            vm.assertTrue(ok, "the transmission is accepted");
        }
    }

    function head(bytes memory data) private pure returns (bytes7 first) {
        assembly ("memory-safe") {
            first := mload(add(data, 0x20))
        }
    }

    function rest(bytes memory data) private pure returns (bytes memory behind) {
        behind = new bytes(data.length - 7);
        for (uint256 i; i < behind.length; ++i) {
            behind[i] = data[i + 7];
        }
    }

    function reportsOf(ReportFeeds reports, bytes4 selector, uint256 k, bytes32 root) private {
        uint256 slot = vm.getBlockTimestamp();
        bytes32 inner = keccak256(abi.encode(reports.PRICE_REPORT_TYPEHASH(), EPOCH, slot, root));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", reports.domainSeparator(), inner));
        bytes memory data = abi.encodePacked(selector, uint8(EPOCH), uint40(slot), root);
        for (uint256 i; i < k; ++i) {
            data = abi.encodePacked(data, uint8(counted(k, i)), signCompact(key(counted(k, i)), digest));
        }
        (bool ok,) = address(reports).call(data);
        vm.assertTrue(ok, "the report is accepted");
    }

    function hundred() private pure returns (ReportFeeds.Leaf[] memory leaves, bytes32) {
        leaves = new ReportFeeds.Leaf[](100);
        bytes32[] memory hashes = new bytes32[](100);
        for (uint256 i; i < 100; ++i) {
            leaves[i].feed = bytes21(abi.encodePacked(hex"01", "F", bytes1(uint8(i)), "/USD"));
            (leaves[i].exponent, leaves[i].word) = (-8, uint96(bytes12(denseWord(uint256(keccak256(abi.encode(i)))))));
            hashes[i] = MerkleProof.leaf(leaves[i].feed, leaves[i].exponent, leaves[i].word);
        }
        bytes32[][] memory all = levels(hashes);
        for (uint256 i; i < 100; ++i) {
            leaves[i].proof = proofOf(all, i);
        }
        return (leaves, all[all.length - 1][0]);
    }

    function thirdPush(uint256 k, uint256 group, bool typical, string memory name) private {
        uint256 start = vm.getBlockTimestamp();
        for (uint256 round; round < 3; ++round) {
            vm.warp(start + 5 * round);
            pushes(payload(k, group, start + 5 * round - 4, typical));
        }
        vm.snapshotGasLastCall(SNAPSHOT, name);
    }

    function later() private {
        vm.warp(vm.getBlockTimestamp() + 30);
    }

    function row(string memory lane, uint256 k, uint256 n, string memory rest_) private pure returns (string memory) {
        return string.concat(lane, " k", vm.toString(k), " N", vm.toString(n), " ", rest_);
    }

    function deploySkewed(uint256 k, uint16 ring) private {
        deployWithRing(skewed(k), sizesOneAndTen(), ring);
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

/// @notice What a read costs a contract that does it: everything it touches is cold.
contract GasMeter {
    /// @dev The call alone; what the caller makes of the answer is its own.
    function latestRoundData(IAggregatorV3 feed) external view returns (uint256 used) {
        bytes4 selector = feed.latestRoundData.selector;
        bool ok;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, selector)
            used := gas()
            ok := staticcall(gas(), feed, data, 4, data, 0xa0)
            used := sub(used, gas())
        }
        require(ok, "no answer");
    }

    function proof(ReportFeeds reports, ReportFeeds.Leaf calldata leaf) external view returns (uint256 used) {
        used = gasleft();
        reports.prove(leaf);
        used -= gasleft();
    }
}
