// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Where the contracts that verify prices learn who may sign them. OracleRegistry is one; so is anything else that keeps this.
interface ISignerRegistry {
    /// @notice Salt of the EIP-712 domain of all that the network signs.
    function networkId() external view returns (bytes32);

    /// @notice Who decides which feeds a contract carries. Never who signs them.
    function owner() external view returns (address);

    /// @notice How long signatures of an epoch go on counting after the next one was sealed, in seconds.
    function overlap() external view returns (uint32);

    /// @notice The newest registry epoch.
    /// @return epoch       its number.
    /// @return sealedAt    seconds.
    /// @return signers     how many rows its table has, 255 at most; 0 once all have left.
    /// @return totalWeight sum of the weights, which are capped below a third of it where there are four signers or more.
    /// @return table       contract whose code is 0x00 | signers x (key 20 | weight 4), ascending by author key.
    function newestEpoch() external view returns (uint32 epoch, uint40 sealedAt, uint8 signers, uint40 totalWeight, address table);
}
