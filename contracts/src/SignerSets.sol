// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ISignerRegistry} from "./interfaces/ISignerRegistry.sol";

/// @title  Who may sign: the registry's newest epoch, and the one before it for as long as both count
/// @notice Anyone may carry a new epoch here with `adopt`; nobody can carry anything else. A payload names the epoch it was signed under
///         by the last byte of its number; the whole number is in the signed digest.
abstract contract SignerSets {
    /// @notice The signers of an epoch. One storage slot:
    ///         | 0: signers 8 | 8: groups 8 | 16: total weight 40 | 56: epoch 32 | 88: table 160 | 248: 0 |
    struct SignerSet {
        uint8 signers;
        /// @notice Groups of feeds in the table; only where prices are counted.
        uint8 groups;
        uint40 totalWeight;
        uint32 epoch;
        /// @notice Contract whose code is 0x00 | signers x (key 20 | weight 4) | groups x GROUP_ROW.
        address table;
    }

    /// @notice Where epochs come from.
    ISignerRegistry public immutable registry;
    /// @notice EIP-712 domain separator; its salt is the network id. It names no chain: a signed price is a fact about the world.
    bytes32 public immutable domainSeparator;

    /// @notice Storage slot 0: the newest epoch that was adopted.
    SignerSet public current;
    /// @notice Storage slot 1: the epoch before it.
    SignerSet public previous;
    /// @notice Storage slot 2: until when the epoch before counts, in seconds.
    uint40 public previousUntil;

    /// @notice An epoch was adopted; the one before it counts until `previousUntil`, which is 0 if it is not the very next.
    event Adopted(uint32 indexed epoch, address table, uint256 signers, uint256 totalWeight, uint256 previousUntil);

    /// @notice The registry has no newer epoch.
    error EpochNotIncreasing(uint256 epoch, uint256 current);
    /// @notice The payload names neither the epoch in force nor the one before it.
    error UnknownEpoch(uint256 lastByte, uint256 current);
    /// @notice The epoch before has stopped counting.
    error EpochExpired(uint256 epoch, uint256 until);

    constructor(ISignerRegistry registry_) {
        registry = registry_;
        domainSeparator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,bytes32 salt)"),
                keccak256("Concurrence"),
                keccak256("0"),
                registry_.networkId()
            )
        );
    }

    /// @notice Takes over the registry's newest epoch. Fails if it is in force already.
    function adopt() external {
        (uint32 epoch, uint40 sealedAt, uint8 signers, uint40 totalWeight, address rows) = registry.newestEpoch();
        SignerSet memory old = current;
        if (old.table != address(0) && epoch <= old.epoch) revert EpochNotIncreasing(epoch, old.epoch);
        // An epoch that was passed over here has long ended: only the very next one overlaps.
        uint40 until = epoch == old.epoch + 1 ? sealedAt + registry.overlap() : 0;
        (previous, previousUntil) = (old, until);
        address table = _tableFor(rows, signers, old);
        current = SignerSet(signers, old.groups, totalWeight, epoch, table);
        emit Adopted(epoch, table, signers, totalWeight, until);
    }

    /// @dev The table of a new epoch, from the registry's rows and the set in force before.
    function _tableFor(address rows, uint256 signers, SignerSet memory old) internal virtual returns (address table) {
        (signers, old);
        return rows;
    }

    /// @dev The set, as it lies in storage, of the epoch whose number ends in this byte.
    function _select(uint256 lastByte) internal view returns (uint256 set) {
        assembly ("memory-safe") {
            set := sload(current.slot)
        }
        if (uint8(set >> 56) != lastByte || set == 0) return _selectPrevious(lastByte);
    }

    function _selectPrevious(uint256 lastByte) private view returns (uint256 set) {
        assembly ("memory-safe") {
            set := sload(previous.slot)
        }
        if (uint8(set >> 56) != lastByte || set == 0) revert UnknownEpoch(lastByte, current.epoch);
        if (block.timestamp > previousUntil) revert EpochExpired(uint32(set >> 56), previousUntil);
    }
}
