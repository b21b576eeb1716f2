// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {vm} from "./Base.sol";
import {AttestationVerifier} from "../src/AttestationVerifier.sol";
import {FileRegistry} from "../src/FileRegistry.sol";
import {PriceFeeds} from "../src/PriceFeeds.sol";

/// @notice A registry from a file, signed payloads and an independent model: EIP-712 by plain abi.encode, the median by sorting.
abstract contract Fixture {
    /// @dev One oracle's entry before encoding. `words` are the 12-byte words, concatenated.
    struct Entry {
        uint256 index;
        uint256 lag;
        bytes words;
        bytes signature;
    }

    /// @dev A payload before encoding.
    struct Payload {
        uint256 group;
        uint256 time;
        uint256[] positions;
        Entry[] entries;
    }

    bytes32 internal constant NETWORK = keccak256("devnet");
    uint32 internal constant EPOCH = 7;
    uint256 internal constant NOW = 1_800_000_000;
    uint32 internal constant MAX_AGE = 60;
    uint32 internal constant MAX_AHEAD = 5;
    uint8 internal constant WINDOW = 30;
    uint8 internal constant MIN_SOURCES = 3;

    uint32 internal constant OVERLAP = 3_600;

    FileRegistry internal registry;
    PriceFeeds internal verifier;
    uint32[] internal weights;
    /// @dev Feeds of each group.
    uint256[] internal sizes;

    // ------------------------------------------------------------------------------------------------------ registry

    function limits() internal pure virtual returns (AttestationVerifier.Bounds memory) {
        return AttestationVerifier.Bounds(MAX_AGE, MAX_AHEAD, WINDOW, MIN_SOURCES);
    }

    /// @dev Deploys a verifier for these weights and group sizes, at time NOW.
    function deploy(uint32[] memory weights_, uint256[] memory sizes_) internal {
        deployWithRing(weights_, sizes_, 0);
    }

    function deployWithRing(uint32[] memory weights_, uint256[] memory sizes_, uint16 ring) internal {
        found(weights_);
        verifier = new PriceFeeds(registry, limits(), ring);
        begin(sizes_);
    }

    /// @dev A registry with these weights, at time NOW.
    function found(uint32[] memory weights_) internal {
        vm.warp(NOW);
        weights = weights_;
        registry = new FileRegistry(NETWORK, address(this), OVERLAP);
        registry.publish(EPOCH, signers(weights_));
    }

    /// @dev The verifier's first epoch and groups.
    function begin(uint256[] memory sizes_) internal {
        sizes = sizes_;
        verifier.adopt();
        verifier.setGroups(groups(sizes_));
    }

    function signers(uint32[] memory weights_) internal pure returns (FileRegistry.Signer[] memory list) {
        list = new FileRegistry.Signer[](weights_.length);
        for (uint256 i; i < weights_.length; ++i) {
            list[i] = FileRegistry.Signer(vm.addr(key(i)), weights_[i]);
        }
    }

    function groups(uint256[] memory sizes_) internal pure returns (bytes[] memory list) {
        list = new bytes[](sizes_.length);
        for (uint256 g; g < sizes_.length; ++g) {
            list[g] = feedsOf(sizes_[g]);
        }
    }

    function key(uint256 i) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("signer", i)));
    }

    /// @dev Feeds of a group of that size, with exponents; groups differ by their first feed's name.
    function feedOf(uint256 size, uint256 i) internal pure returns (bytes21) {
        return bytes21(abi.encodePacked(hex"01", bytes1(uint8(64 + size)), bytes1(uint8(65 + i)), "/USD"));
    }

    function feedsOf(uint256 size) internal pure returns (bytes memory feeds) {
        for (uint256 i; i < size; ++i) {
            feeds = abi.encodePacked(feeds, feedOf(size, i), int8(-8));
        }
    }

    // ------------------------------------------------------------------------------------------------------- signing

    function digestOf(bytes32 network, uint256 epoch, uint256 slot, bytes32 feedsHash, bytes memory words) internal pure returns (bytes32) {
        return typedDigest(network, structHashOf(epoch, slot, feedsHash, words));
    }

    /// @dev EIP-712, in the domain that a network's id salts.
    function typedDigest(bytes32 network, bytes32 structHash) internal pure returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,bytes32 salt)"),
                keccak256(bytes("Concurrence")),
                keccak256(bytes("0")),
                network
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function structHashOf(uint256 epoch, uint256 slot, bytes32 feedsHash, bytes memory words) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)"), epoch, slot, feedsHash, keccak256(words)
            )
        );
    }

    function signCompact(uint256 privateKey, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(privateKey, digest);
        return abi.encodePacked(r, uint256(s) | uint256(v - 27) << 255);
    }

    /// @dev Signs, or signs again, one entry.
    function sign(Payload memory p, uint256 i) internal view {
        Entry memory e = p.entries[i];
        e.signature = signCompact(key(e.index), digestOf(NETWORK, EPOCH, p.time + e.lag, keccak256(feedsOf(sizes[p.group])), e.words));
    }

    function word(uint256 mantissa, uint256 halfWidth, uint256 sources) internal pure returns (bytes memory) {
        return abi.encodePacked(uint64(mantissa), uint16(halfWidth), uint16(sources));
    }

    // ------------------------------------------------------------------------------------------------------ payloads

    function encode(Payload memory p) internal pure returns (bytes memory data) {
        data = abi.encodePacked(uint8(EPOCH), uint8(p.group), uint40(p.time));
        for (uint256 i; i < p.positions.length; ++i) {
            data = abi.encodePacked(data, uint8(p.positions[i]));
        }
        for (uint256 i; i < p.entries.length; ++i) {
            Entry memory e = p.entries[i];
            data = abi.encodePacked(data, uint8(e.index), uint8(e.lag), e.signature, e.words);
        }
    }

    function push(Payload memory p) internal returns (bool ok, bytes memory result) {
        return address(verifier).call(bytes.concat(PriceFeeds.push.selector, encode(p)));
    }

    function pull(Payload memory p) internal returns (bool ok, bytes memory result) {
        return address(verifier).call(bytes.concat(PriceFeeds.pull.selector, encode(p)));
    }

    function pushes(Payload memory p) internal {
        (bool ok, bytes memory result) = push(p);
        vm.assertEq(result, "", "push returns nothing");
        vm.assertTrue(ok, "push is accepted");
    }

    /// @dev Both lanes refuse the payload with exactly this error.
    function refuses(Payload memory p, bytes memory refusal) internal {
        (bool ok, bytes memory result) = pull(p);
        vm.assertTrue(!ok, "pull refuses");
        vm.assertEq(result, refusal, "pull's error");
        (ok, result) = push(p);
        vm.assertTrue(!ok, "push refuses");
        vm.assertEq(result, refusal, "push's error");
    }

    // --------------------------------------------------------------------------------------------------------- model

    function mantissaAt(Payload memory p, uint256 i, uint256 feed) internal pure returns (uint256 mantissa) {
        bytes memory words = p.entries[i].words;
        for (uint256 j; j < 8; ++j) {
            mantissa = mantissa << 8 | uint8(words[12 * feed + j]);
        }
    }

    /// @dev The lower weighted median by sorting: the first price at which the running weight reaches half.
    function sortedMedian(Payload memory p, uint256 feed) internal view returns (uint256) {
        uint256 k = p.entries.length;
        uint256[] memory prices = new uint256[](k);
        uint256[] memory loads = new uint256[](k);
        uint256 total;
        for (uint256 i; i < k; ++i) {
            uint256 price = mantissaAt(p, i, feed);
            uint256 load = weights[p.entries[i].index];
            total += load;
            uint256 j = i;
            for (; j > 0 && prices[j - 1] > price; --j) {
                (prices[j], loads[j]) = (prices[j - 1], loads[j - 1]);
            }
            (prices[j], loads[j]) = (price, load);
        }
        uint256 running;
        for (uint256 i; i < k; ++i) {
            running += loads[i];
            if (2 * running >= total) return prices[i];
        }
        revert("no median of nothing");
    }

    /// @dev Names for every feed an entry that holds the sorted median.
    function nameMedians(Payload memory p) internal view {
        for (uint256 feed; feed < p.positions.length; ++feed) {
            uint256 median = sortedMedian(p, feed);
            uint256 i;
            while (mantissaAt(p, i, feed) != median) ++i;
            p.positions[feed] = i;
        }
    }
}
