// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ISignerRegistry} from "./interfaces/ISignerRegistry.sol";
import {Owned} from "./Owned.sol";
import {TableCode} from "./TableCode.sol";

/// @title  Epochs of a network whose registry is a file
/// @notice The owner carries each epoch of the file here, with weights as nodes cap them. No bond, no slashing: trust is the file's.
contract FileRegistry is ISignerRegistry, Owned {
    /// @notice A registered oracle.
    struct Signer {
        /// @notice Address of its secp256k1 key.
        address key;
        /// @notice Its capped weight; more than zero.
        uint32 weight;
    }

    /// @inheritdoc ISignerRegistry
    bytes32 public immutable networkId;
    /// @inheritdoc ISignerRegistry
    uint32 public immutable overlap;

    // | 0: epoch 32 | 32: sealed at 40 | 72: signers 8 | 80: total weight 40 |
    uint32 private s_epoch;
    uint40 private s_sealedAt;
    uint8 private s_signers;
    uint40 private s_totalWeight;
    address private s_table;

    /// @notice An epoch came into force.
    event EpochPublished(uint32 indexed epoch, address table, uint256 signers, uint256 totalWeight);

    /// @notice An epoch that is not newer than the one in force.
    error EpochNotIncreasing(uint256 epoch, uint256 current);
    /// @notice Within the overlap of the last two epochs a third would cut off signatures that count.
    error TooSoon(uint256 now_, uint256 earliest);
    /// @notice None, or more than one byte can count.
    error TableSize(uint256 size, uint256 greatest);
    /// @notice A signer without key or weight, or with the key of an earlier one.
    error BadSigner(uint256 index, address key, uint256 weight);
    /// @notice Nothing was published yet.
    error NoEpoch();

    constructor(bytes32 networkId_, address owner_, uint32 overlap_) Owned(owner_) {
        (networkId, overlap) = (networkId_, overlap_);
    }

    /// @inheritdoc ISignerRegistry
    function owner() public view override(ISignerRegistry, Owned) returns (address) {
        return Owned.owner();
    }

    /// @notice Puts an epoch in force. For the owner.
    /// @param epoch   its number in the file; above the one in force (the first may be 0).
    /// @param signers in registry order, ascending by author key: a payload names a signer by its place here.
    function publish(uint32 epoch, Signer[] calldata signers) external onlyOwner {
        if (s_table != address(0)) {
            if (epoch <= s_epoch) revert EpochNotIncreasing(epoch, s_epoch);
            uint256 earliest = uint256(s_sealedAt) + overlap;
            if (block.timestamp < earliest) revert TooSoon(block.timestamp, earliest);
        }
        (bytes memory rows, uint40 total) = _rows(signers);
        (s_epoch, s_sealedAt, s_signers, s_totalWeight) = (epoch, uint40(block.timestamp), uint8(signers.length), total);
        s_table = TableCode.write(rows);
        emit EpochPublished(epoch, s_table, signers.length, total);
    }

    /// @inheritdoc ISignerRegistry
    function newestEpoch() external view returns (uint32 epoch, uint40 sealedAt, uint8 signers, uint40 totalWeight, address table) {
        if (s_table == address(0)) revert NoEpoch();
        return (s_epoch, s_sealedAt, s_signers, s_totalWeight, s_table);
    }

    function _rows(Signer[] calldata signers) private pure returns (bytes memory rows, uint40 total) {
        if (signers.length == 0 || signers.length > type(uint8).max) revert TableSize(signers.length, type(uint8).max);
        for (uint256 i; i < signers.length; ++i) {
            Signer calldata s = signers[i];
            bool isRepeated;
            for (uint256 j; j < i; ++j) {
                if (signers[j].key == s.key) isRepeated = true;
            }
            if (isRepeated || s.key == address(0) || s.weight == 0) revert BadSigner(i, s.key, s.weight);
            total += s.weight;
            rows = abi.encodePacked(rows, s.key, s.weight);
        }
    }
}
