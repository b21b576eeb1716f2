// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Refusals, Vm, vm} from "./Base.sol";
import {Fixture} from "./Fixture.sol";
import {MerkleProof} from "../src/MerkleProof.sol";
import {Price} from "../src/Price.sol";
import {ReportFeeds} from "../src/ReportFeeds.sol";
import {SignerSets} from "../src/SignerSets.sol";
import {IPriceReader} from "../src/interfaces/IPriceReader.sol";

/// @notice Trees, as docs/report.md defines them: built level by level, apart from the contract that checks proofs.
abstract contract Trees {
    /// @dev The levels of a tree, from the leaves up.
    function levels(bytes32[] memory leaves) internal pure returns (bytes32[][] memory all) {
        uint256 height = 1;
        for (uint256 n = leaves.length; n > 1; n = (n + 1) / 2) {
            ++height;
        }
        all = new bytes32[][](height);
        all[0] = leaves;
        for (uint256 level = 1; level < height; ++level) {
            bytes32[] memory below = all[level - 1];
            all[level] = new bytes32[]((below.length + 1) / 2);
            for (uint256 i; i < all[level].length; ++i) {
                bool isPaired = 2 * i + 1 < below.length;
                all[level][i] = isPaired ? node(below[2 * i], below[2 * i + 1]) : below[2 * i];
            }
        }
    }

    function proofOf(bytes32[][] memory all, uint256 index) internal pure returns (bytes32[] memory proof) {
        proof = new bytes32[](all.length - 1);
        uint256 length;
        for (uint256 level; level + 1 < all.length; ++level) {
            uint256 sibling = (index >> level) ^ 1;
            if (sibling < all[level].length) proof[length++] = all[level][sibling];
        }
        assembly ("memory-safe") {
            mstore(proof, length)
        }
    }

    function node(bytes32 a, bytes32 b) private pure returns (bytes32) {
        return a < b ? keccak256(abi.encodePacked(a, b)) : keccak256(abi.encodePacked(b, a));
    }
}

/// @notice The report lane: what it accepts, and one test for every reason to refuse.
contract ReportFeedsTest is Fixture, Trees, Refusals {
    ReportFeeds private reports;

    function setUp() public {
        uint32[] memory list = new uint32[](31);
        for (uint256 i; i < 31; ++i) {
            list[i] = 100;
        }
        found(list);
        reports = new ReportFeeds(registry, MAX_AGE, 0);
        reports.adopt();
    }

    // ----------------------------------------------------------------------------------------------------- accepted

    function test_a_report_proves_its_feeds() public {
        ReportFeeds.Leaf[] memory leaves = leavesOf(100);
        bytes32 root = rootOf(leaves);
        vm.recordLogs();
        accepts(NOW - 3, root, 11);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1, "one event");
        vm.assertEq(logs[0].topics[0], ReportFeeds.Reported.selector, "Reported");
        vm.assertEq(reports.root(), root, "the root");
        vm.assertEq(reports.reportedAt(), NOW - 3, "its slot");
        for (uint256 i; i < 100; i += 9) {
            Price price = reports.prove(leaves[i]);
            vm.assertEq(price.mantissa(), 1_000 + i, "mantissa");
            vm.assertEq(price.time(), NOW - 3, "time");
            vm.assertEq(price.share(), 35, "eleven of 31");
            vm.assertTrue(price.exponent() == -8, "exponent");
            vm.assertEq(price.halfWidth(), 12, "half-width");
            vm.assertEq(price.sources(), 7, "sources");
        }
    }

    function test_proven_feeds_are_stored() public {
        ReportFeeds.Leaf[] memory leaves = leavesOf(5);
        accepts(NOW - 3, rootOf(leaves), 11);
        reports.pushProven(leaves);
        for (uint256 i; i < 5; ++i) {
            uint256 proven = Price.unwrap(reports.prove(leaves[i]));
            vm.assertEq(Price.unwrap(reports.latest(leaves[i].feed)), proven | 1 << 40, "as proven, in the first round");
        }
        bytes memory again = abi.encodeCall(ReportFeeds.pushProven, (leaves));
        bytes memory refusal = abi.encodeWithSelector(IPriceReader.TimeNotIncreasing.selector, leaves[0].feed, NOW - 3, NOW - 3);
        fails(address(this), address(reports), again, refusal);
    }

    /// @dev Trees of every small size: all their leaves are in them, and their neighbours' proofs are none.
    function test_every_leaf_of_every_small_tree() public {
        for (uint256 n = 1; n <= 9; ++n) {
            ReportFeeds.Leaf[] memory leaves = leavesOf(n);
            vm.warp(NOW + n);
            accepts(NOW + n, rootOf(leaves), 11);
            for (uint256 i; i < n; ++i) {
                vm.assertEq(reports.prove(leaves[i]).mantissa(), 1_000 + i, "its price");
                if (n == 1) continue;
                ReportFeeds.Leaf memory wrong = leaves[i];
                bytes32[] memory right = wrong.proof;
                wrong.proof = leaves[(i + 1) % n].proof;
                if (keccak256(abi.encode(right)) == keccak256(abi.encode(wrong.proof))) continue;
                (bool ok,) = address(reports).call(abi.encodeCall(ReportFeeds.prove, (wrong)));
                vm.assertTrue(!ok, "another leaf's proof");
                wrong.proof = right;
            }
        }
    }

    // ------------------------------------------------------------------------------------------------------ refused

    function test_refuses_a_bad_proof() public {
        ReportFeeds.Leaf[] memory leaves = leavesOf(7);
        bytes32 root = rootOf(leaves);
        accepts(NOW - 3, root, 11);
        ReportFeeds.Leaf memory leaf = leaves[2];
        leaf.word += 1 << 32;
        provesNot(leaf, badProof(leaf, root));
        leaf.word -= 1 << 32;
        leaf.exponent = -7;
        provesNot(leaf, badProof(leaf, root));
        leaf.exponent = -8;
        leaf.feed = leaves[3].feed;
        provesNot(leaf, badProof(leaf, root));
        leaf.feed = bytes21(abi.encodePacked(hex"01", "F", bytes1(uint8(2)), "/USD"));
        vm.assertEq(reports.prove(leaf).mantissa(), 1_002, "unspoilt, it is proven");
        leaf.proof = new bytes32[](21);
        provesNot(leaf, abi.encodeWithSelector(MerkleProof.ProofTooLong.selector, 21, 20));
    }

    /// @dev An inner node has 64 bytes, a leaf 34: no node passes for a leaf.
    function test_refuses_a_node_as_a_leaf() public {
        ReportFeeds.Leaf[] memory leaves = leavesOf(2);
        bytes32 root = rootOf(leaves);
        accepts(NOW - 3, root, 11);
        ReportFeeds.Leaf memory leaf = ReportFeeds.Leaf(bytes21(root), int8(uint8(root[21])), uint96(uint256(root)), new bytes32[](0));
        provesNot(leaf, badProof(leaf, root));
    }

    /// @dev A13: neither doubtful nor at a boundary, though members signed it.
    function test_a13_refuses_a_leaf_that_is_no_price() public {
        for (uint256 i; i < 3; ++i) {
            ReportFeeds.Leaf[] memory leaves = leavesOf(1);
            uint256 mantissa = i == 0 ? 0 : i == 1 ? (1 << 63) - 1 : (1 << 63) | 1_000;
            leaves[0].word = uint96(mantissa << 32 | 7);
            vm.warp(NOW + i);
            accepts(NOW + i, MerkleProof.leaf(leaves[0].feed, leaves[0].exponent, leaves[0].word), 11);
            provesNot(leaves[0], abi.encodeWithSelector(ReportFeeds.NoPrice.selector, leaves[0].feed, leaves[0].word));
        }
    }

    /// @dev More than a third: of 31 equal signers eleven are, ten are not; of 30, ten are exactly a third.
    function test_refuses_a_third() public {
        refusesReport(NOW, "r", 10, abi.encodeWithSelector(ReportFeeds.QuorumNotReached.selector, 1_000, 3_100));
        uint32[] memory list = new uint32[](30);
        for (uint256 i; i < 30; ++i) {
            list[i] = 100;
        }
        found(list);
        reports = new ReportFeeds(registry, MAX_AGE, 0);
        reports.adopt();
        refusesReport(NOW, "r", 10, abi.encodeWithSelector(ReportFeeds.QuorumNotReached.selector, 1_000, 3_000));
        accepts(NOW, "r", 11);
    }

    function test_refuses_a_time_out_of_bounds() public {
        refusesReport(NOW + 1, "r", 11, abi.encodeWithSelector(ReportFeeds.TooFarAhead.selector, NOW + 1, NOW));
        uint256 old = NOW - MAX_AGE - 1;
        refusesReport(old, "r", 11, abi.encodeWithSelector(ReportFeeds.Stale.selector, old, NOW - MAX_AGE));
        accepts(old + 1, "r", 11);
    }

    /// @dev A12, for reports.
    function test_a12_refuses_a_slot_that_does_not_increase() public {
        accepts(NOW, "r", 11);
        for (uint256 i; i < 2; ++i) {
            (bool ok, bytes memory result) = address(reports).call(payload(ReportFeeds.report.selector, NOW - i, "s", 11));
            vm.assertTrue(!ok, "as new or older");
            vm.assertEq(result, abi.encodeWithSelector(ReportFeeds.ReportNotIncreasing.selector, NOW - i, NOW), "its error");
        }
    }

    function test_refuses_proofs_against_an_old_report() public {
        ReportFeeds.Leaf[] memory leaves = leavesOf(2);
        accepts(NOW, rootOf(leaves), 11);
        vm.warp(NOW + MAX_AGE);
        vm.assertTrue(reports.prove(leaves[0]).isSet(), "as old as allowed");
        vm.warp(NOW + MAX_AGE + 1);
        provesNot(leaves[0], abi.encodeWithSelector(ReportFeeds.Stale.selector, NOW, NOW + 1));
    }

    function test_refuses_wrong_signers() public {
        bytes memory whole = payload(ReportFeeds.check.selector, NOW, "r", 11);
        bytes memory data = bytes.concat(whole);
        data[42 + 65 * 4] = 0x03; // the signer before, again
        refusesData(data, abi.encodeWithSelector(ReportFeeds.SignerNotAscending.selector, 3, 4));
        data[42 + 65 * 4] = 0x05; // registered, but not who signed
        refusesData(data, abi.encodeWithSelector(ReportFeeds.BadSignature.selector, 5, vm.addr(key(4)), vm.addr(key(5))));
        data[42 + 65 * 4] = 0x1f; // 31: nobody
        refusesData(data, abi.encodeWithSelector(ReportFeeds.UnknownSigner.selector, 31, 31));
        data[42 + 65 * 4] = 0x04;
        refusesData(bytes.concat(data, hex"00"), abi.encodeWithSelector(ReportFeeds.MalformedPayload.selector, data.length + 1, 42, 65));
        (bool ok,) = address(reports).call(data);
        vm.assertTrue(ok, "unspoilt, it is accepted");
    }

    /// @dev With signatures that are good: nobody counts twice, and the order is one.
    function test_refuses_a_signer_twice_or_out_of_order() public {
        bytes memory whole = payload(ReportFeeds.check.selector, NOW, "r", 11);
        bytes memory twice = bytes.concat(whole);
        copyEntry(whole, 4, twice, 5);
        refusesData(twice, abi.encodeWithSelector(ReportFeeds.SignerNotAscending.selector, 4, 5));
        bytes memory swapped = bytes.concat(whole);
        copyEntry(whole, 4, swapped, 5);
        copyEntry(whole, 5, swapped, 4);
        refusesData(swapped, abi.encodeWithSelector(ReportFeeds.SignerNotAscending.selector, 4, 6));
    }

    function copyEntry(bytes memory from, uint256 i, bytes memory to, uint256 j) private pure {
        for (uint256 b; b < 65; ++b) {
            to[42 + 65 * j + b] = from[42 + 65 * i + b];
        }
    }

    /// @dev Nobody can make a valid signature whose s is high and has 255 bits, so recovery is mocked: s alone decides.
    function test_refuses_a_high_s() public {
        uint32[] memory list = new uint32[](1);
        list[0] = 1;
        found(list);
        reports = new ReportFeeds(registry, MAX_AGE, 0);
        reports.adopt();
        vm.mockCall(address(1), "", abi.encode(vm.addr(key(0))));
        uint256 half = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
        bytes memory head = abi.encodePacked(ReportFeeds.check.selector, uint8(EPOCH), uint40(NOW), bytes32("r"), uint8(0), uint256(1));
        refusesData(abi.encodePacked(head, half + 1), abi.encodeWithSelector(ReportFeeds.HighS.selector, 0, half + 1));
        (bool ok,) = address(reports).call(abi.encodePacked(head, half));
        vm.assertTrue(ok, "half the order is low");
    }

    /// @dev s' = n - s with the other parity signs the same; and an s beyond half the order is refused as what it is.
    function test_refuses_a_malleated_signature() public {
        bytes memory data = payload(ReportFeeds.check.selector, NOW, "r", 11);
        uint256 place = 42 + 65 * 2 + 33;
        uint256 vs;
        assembly ("memory-safe") {
            vs := mload(add(add(data, 0x20), place))
        }
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        uint256 s = order - (vs & (type(uint256).max >> 1));
        uint256 mirrored = s ^ (vs & (1 << 255)) ^ (1 << 255); // both above 2^255: the top bit is lost to the parity
        assembly ("memory-safe") {
            mstore(add(add(data, 0x20), place), mirrored)
        }
        (bool ok, bytes memory result) = address(reports).call(data);
        vm.assertTrue(!ok, "mirrored");
        bool isHigh = mirrored & (type(uint256).max >> 1) > order / 2;
        vm.assertTrue(bytes4(result) == (isHigh ? ReportFeeds.HighS.selector : ReportFeeds.BadSignature.selector), "its error");
        uint256 high = order / 2 + 1;
        assembly ("memory-safe") {
            mstore(add(add(data, 0x20), place), high)
        }
        refusesData(data, abi.encodeWithSelector(ReportFeeds.HighS.selector, 2, high));
    }

    function test_refuses_another_network_epoch_slot_or_root() public {
        otherDigest(reportDigest(keccak256("another"), EPOCH, NOW, "r"));
        otherDigest(reportDigest(NETWORK, EPOCH + 1, NOW, "r"));
        otherDigest(reportDigest(NETWORK, EPOCH, NOW - 1, "r"));
        otherDigest(reportDigest(NETWORK, EPOCH, NOW, "s"));
        bytes memory data = payload(ReportFeeds.check.selector, NOW, "r", 11);
        data[4] = bytes1(uint8(EPOCH + 1));
        refusesData(data, abi.encodeWithSelector(SignerSets.UnknownEpoch.selector, EPOCH + 1, EPOCH));
    }

    /// @dev A price group's signature is no report's: the types differ.
    function test_refuses_a_price_group_as_a_report() public {
        otherDigest(digestOf(NETWORK, EPOCH, NOW, "r", ""));
    }

    function otherDigest(bytes32 digest) private {
        bytes memory data = abi.encodePacked(ReportFeeds.check.selector, uint8(EPOCH), uint40(NOW), bytes32("r"));
        data = abi.encodePacked(data, uint8(0), signCompact(key(0), digest));
        (bool ok, bytes memory result) = address(reports).call(data);
        vm.assertTrue(!ok && bytes4(result) == ReportFeeds.BadSignature.selector, "another digest");
    }

    // ------------------------------------------------------------------------------------------------------ vectors

    /// @dev vectors/eip712_price_report.json, hashed, signed and proven by ethers.
    function test_golden_vectors() public view {
        string memory json = vm.readFile("../vectors/eip712_price_report.json");
        uint256 count;
        for (; vm.keyExistsJson(json, path(count, ".digest")); ++count) {
            uint256 n;
            for (; vm.keyExistsJson(json, path(count, leafPath(n, ".feed"))); ++n) {}
            bytes32[] memory hashes = new bytes32[](n);
            for (uint256 i; i < n; ++i) {
                ReportFeeds.Leaf memory leaf = leafAt(json, count, i);
                hashes[i] = MerkleProof.leaf(leaf.feed, leaf.exponent, leaf.word);
                vm.assertEq(hashes[i], vm.parseJsonBytes32(json, path(count, leafPath(i, ".hash"))), "leaf hash");
            }
            bytes32[][] memory all = levels(hashes);
            bytes32 root = vm.parseJsonBytes32(json, path(count, ".root"));
            vm.assertEq(all[all.length - 1][0], root, "root");
            bytes32 network = vm.parseJsonBytes32(json, path(count, ".network_id"));
            uint256 epoch = vm.parseJsonUint(json, path(count, ".epoch"));
            uint256 slot = vm.parseJsonUint(json, path(count, ".slot"));
            bytes32 digest = reportDigest(network, epoch, slot, root);
            vm.assertEq(digest, vm.parseJsonBytes32(json, path(count, ".digest")), "digest");
            uint256 privateKey = vm.parseJsonUint(json, path(count, ".private_key"));
            vm.assertEq(signCompact(privateKey, digest), vm.parseJsonBytes(json, path(count, ".signature")), "signature");
            vm.assertEq(vm.addr(privateKey), vm.parseJsonAddress(json, path(count, ".address")), "address");
            for (uint256 i; i < n; ++i) {
                bytes32[] memory proof = proofOf(all, i);
                for (uint256 j; j < proof.length; ++j) {
                    string memory step = string.concat(leafPath(i, ".proof["), vm.toString(j), "]");
                    vm.assertEq(proof[j], vm.parseJsonBytes32(json, path(count, step)), "proof");
                }
            }
        }
        vm.assertEq(count, 3, "three vectors");
    }

    function leafAt(string memory json, uint256 i, uint256 j) private pure returns (ReportFeeds.Leaf memory leaf) {
        leaf.feed = bytes21(vm.parseJsonBytes(json, path(i, leafPath(j, ".feed"))));
        leaf.exponent = int8(vm.parseJsonInt(json, path(i, leafPath(j, ".expo"))));
        leaf.word = uint96(bytes12(vm.parseJsonBytes(json, path(i, leafPath(j, ".word")))));
    }

    function path(uint256 i, string memory field) private pure returns (string memory) {
        return string.concat("$[", vm.toString(i), "]", field);
    }

    function leafPath(uint256 i, string memory field) private pure returns (string memory) {
        return string.concat(".leaves[", vm.toString(i), "]", field);
    }

    // ----------------------------------------------------------------------------------------------------- payloads

    function leavesOf(uint256 n) private pure returns (ReportFeeds.Leaf[] memory leaves) {
        leaves = new ReportFeeds.Leaf[](n);
        bytes32[] memory hashes = new bytes32[](n);
        for (uint256 i; i < n; ++i) {
            leaves[i].feed = bytes21(abi.encodePacked(hex"01", "F", bytes1(uint8(i)), "/USD"));
            (leaves[i].exponent, leaves[i].word) = (-8, uint96((1_000 + i) << 32 | 12 << 16 | 7));
            hashes[i] = MerkleProof.leaf(leaves[i].feed, leaves[i].exponent, leaves[i].word);
        }
        bytes32[][] memory all = levels(hashes);
        for (uint256 i; i < n; ++i) {
            leaves[i].proof = proofOf(all, i);
        }
    }

    function rootOf(ReportFeeds.Leaf[] memory leaves) private pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](leaves.length);
        for (uint256 i; i < leaves.length; ++i) {
            hashes[i] = MerkleProof.leaf(leaves[i].feed, leaves[i].exponent, leaves[i].word);
        }
        bytes32[][] memory all = levels(hashes);
        return all[all.length - 1][0];
    }

    function reportDigest(bytes32 network, uint256 epoch, uint256 slot, bytes32 root) private pure returns (bytes32) {
        bytes32 inner = keccak256(abi.encode(keccak256("PriceReport(uint32 epoch,uint64 slot,bytes32 root)"), epoch, slot, root));
        return typedDigest(network, inner);
    }

    function payload(bytes4 selector, uint256 slot, bytes32 root, uint256 k) private pure returns (bytes memory data) {
        data = abi.encodePacked(selector, uint8(EPOCH), uint40(slot), root);
        for (uint256 i; i < k; ++i) {
            data = abi.encodePacked(data, uint8(i), signCompact(key(i), reportDigest(NETWORK, EPOCH, slot, root)));
        }
    }

    function accepts(uint256 slot, bytes32 root, uint256 k) private {
        (bool ok, bytes memory result) = address(reports).call(payload(ReportFeeds.check.selector, slot, root, k));
        vm.assertTrue(ok, "check accepts");
        vm.assertEq(result, abi.encode(slot, root), "and says what");
        (ok, result) = address(reports).call(payload(ReportFeeds.report.selector, slot, root, k));
        vm.assertTrue(ok, "report accepts");
    }

    function refusesReport(uint256 slot, bytes32 root, uint256 k, bytes memory refusal) private {
        refusesData(payload(ReportFeeds.check.selector, slot, root, k), refusal);
        refusesData(payload(ReportFeeds.report.selector, slot, root, k), refusal);
    }

    function refusesData(bytes memory data, bytes memory refusal) private {
        (bool ok, bytes memory result) = address(reports).call(data);
        vm.assertTrue(!ok, "the report is refused");
        vm.assertEq(result, refusal, "its error");
    }

    function provesNot(ReportFeeds.Leaf memory leaf, bytes memory refusal) private {
        fails(address(this), address(reports), abi.encodeCall(ReportFeeds.prove, (leaf)), refusal);
    }

    function badProof(ReportFeeds.Leaf memory leaf, bytes32 root) private pure returns (bytes memory) {
        bytes32 computed = MerkleProof.leaf(leaf.feed, leaf.exponent, leaf.word);
        for (uint256 i; i < leaf.proof.length; ++i) {
            (bytes32 a, bytes32 b) = computed < leaf.proof[i] ? (computed, leaf.proof[i]) : (leaf.proof[i], computed);
            computed = keccak256(abi.encodePacked(a, b));
        }
        return abi.encodeWithSelector(ReportFeeds.BadProof.selector, computed, root);
    }
}
