// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Tables kept as the code of a contract: reading one costs a single cold account, whatever its length.
library TableCode {
    /// @notice Bytes of a signer's row: key 20 | weight 4.
    uint256 internal constant SIGNER_ROW = 24;

    /// @notice The table could not be written: it is longer than code may be (24,576 bytes), or gas ran out.
    error TableNotWritten(uint256 length);

    /// @notice Deploys a contract whose code is 0x00 (so that it cannot be run) and the rows.
    function write(bytes memory rows) internal returns (address table) {
        uint256 length = rows.length + 1;
        if (length > type(uint16).max) revert TableNotWritten(length);
        // PUSH2 length DUP1 PUSH1 10 RETURNDATASIZE CODECOPY RETURNDATASIZE RETURN: returns all that follows these ten bytes.
        bytes memory code = abi.encodePacked(hex"61", uint16(length), hex"80600a3d393df3", hex"00", rows);
        assembly ("memory-safe") {
            table := create(0, add(code, 0x20), mload(code))
        }
        if (table == address(0)) revert TableNotWritten(length);
    }

    /// @notice Bytes `start` to `start + length` of the rows.
    function read(address table, uint256 start, uint256 length) internal view returns (bytes memory rows) {
        rows = new bytes(length);
        assembly ("memory-safe") {
            extcodecopy(table, add(rows, 0x20), add(start, 1), length)
        }
    }
}
