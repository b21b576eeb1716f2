// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title  Leaves of a report's tree
/// @notice contracts/docs/report.md is the definition. Leaf: keccak256(feed 21 | exponent 1 | word 12). Inner node: keccak256 of its two children,
///         the lesser first. A leaf's 34 bytes are never an inner node's 64, so neither can be passed off as the other.
library MerkleProof {
    /// @notice Steps of the longest proof that is looked at: 2^20 feeds are more than anyone reports.
    uint256 internal constant DEPTH_MAX = 20;

    /// @notice A proof longer than any tree is high.
    error ProofTooLong(uint256 length, uint256 greatest);

    /// @notice Hash of a leaf.
    function leaf(bytes21 feed, int8 exponent, uint96 word) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(feed, exponent, word));
    }

    /// @notice The root that a leaf and its siblings, from the leaf upwards, lead to.
    function rootOf(bytes32 leaf_, bytes32[] calldata proof) internal pure returns (bytes32 root) {
        if (proof.length > DEPTH_MAX) revert ProofTooLong(proof.length, DEPTH_MAX);
        root = leaf_;
        assembly ("memory-safe") {
            let end := add(proof.offset, shl(5, proof.length))
            for { let at := proof.offset } lt(at, end) { at := add(at, 0x20) } {
                let sibling := calldataload(at)
                let greater := shl(5, gt(root, sibling)) // where the node goes: behind its sibling if it is greater
                mstore(greater, root)
                mstore(xor(greater, 0x20), sibling)
                root := keccak256(0, 0x40)
            }
        }
    }
}
