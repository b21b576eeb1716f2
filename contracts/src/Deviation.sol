// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title  How far an answer has moved
library Deviation {
    /// @notice Parts per billion of one.
    uint256 internal constant ONE = 1e9;

    /// @notice Whether |fresh - old| / |old| >= ppb / 1e9, as an exact fraction. From zero, any other answer deviates and zero does not,
    ///         whatever the threshold: the rule of OCR's median plugin (libocr, offchainreporting2/reportingplugin/median, deviates).
    /// @dev    Exact for answers that fit 192 bits, as Chainlink's do: (2^193 - 1) * 10^9 < 2^256, and so is 2^191 * (2^64 - 1).
    function deviates(int256 old, int256 fresh, uint64 ppb) internal pure returns (bool) {
        if (old == 0) return fresh != 0;
        return magnitude(fresh - old) * ONE >= magnitude(old) * ppb;
    }

    /// @notice |x|.
    function magnitude(int256 x) internal pure returns (uint256) {
        return x < 0 ? uint256(-x) : uint256(x);
    }
}
