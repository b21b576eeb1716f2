// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title  The signed unit, hashed plainly
/// @notice The same digest as AttestationVerifier counts with, for who has the fields and not the payload: evidence, and tests.
library PriceGroup {
    bytes32 internal constant TYPEHASH = keccak256("PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)");
    bytes32 internal constant DOMAIN_TYPEHASH = keccak256("EIP712Domain(string name,string version,bytes32 salt)");
    /// @dev Half of the order of secp256k1: a greater s is the second form of a signature (EIP-2).
    uint256 internal constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice The EIP-712 domain separator of a network.
    function domainOf(bytes32 networkId) internal pure returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("Concurrence"), keccak256("0"), networkId));
    }

    /// @notice What is signed.
    function digest(bytes32 domain, uint32 epoch, uint64 slot, bytes memory feeds, bytes memory words) internal pure returns (bytes32) {
        return
            keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(TYPEHASH, epoch, slot, keccak256(feeds), keccak256(words)))));
    }

    /// @notice Who made an EIP-2098 signature; zero if nobody did, or if s is high.
    function recover(bytes32 digest_, bytes32 r, bytes32 vs) internal pure returns (address) {
        uint256 s = uint256(vs) & (type(uint256).max >> 1);
        if (s > HALF_ORDER) return address(0);
        return ecrecover(digest_, uint8(27 + (uint256(vs) >> 255)), r, bytes32(s));
    }
}
