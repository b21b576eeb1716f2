// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice A price as it is stored and returned, one word:
///         | 0: time 40 | 40: round 32 | 72: sources 16 | 88: half-width 16 | 104: mantissa 63 | 167: 0 | 168: share 8 | 176: exponent 8 | 184: 0 |
///         All zero is no price. Sources and half-width are claims of the one oracle whose price is the median: see contracts/README.md.
type Price is uint256;

using {time, round, sources, halfWidth, mantissa, share, exponent, isSet, value} for Price global;

/// @notice The price has more digits than fit at that many decimals.
error PriceOutOfRange(uint256 mantissa, int256 shift);

/// @notice Seconds; no counted statement is older.
function time(Price price) pure returns (uint256) {
    return uint40(Price.unwrap(price));
}

/// @notice Counts the stored prices of the feed from 1; 0 in a price that was only verified.
function round(Price price) pure returns (uint256) {
    return uint32(Price.unwrap(price) >> 40);
}

/// @notice Bitmap of the sources that the median's oracle claims.
function sources(Price price) pure returns (uint256) {
    return uint16(Price.unwrap(price) >> 72);
}

/// @notice Distance to both sides that the median's oracle claims, in 1e-5 of the price; 0xffff is that or more.
function halfWidth(Price price) pure returns (uint256) {
    return uint16(Price.unwrap(price) >> 88);
}

/// @notice price = mantissa * 10^exponent; 1 to 2^63 - 2.
function mantissa(Price price) pure returns (uint256) {
    return (Price.unwrap(price) >> 104) & 0x7fffffffffffffff;
}

/// @notice Percent of the registry's weight, rounded down, that signed: 66 or more for prices that were counted, 33 or more for reports.
function share(Price price) pure returns (uint256) {
    return uint8(Price.unwrap(price) >> 168);
}

/// @notice price = mantissa * 10^exponent.
function exponent(Price price) pure returns (int256) {
    return int8(uint8(Price.unwrap(price) >> 176));
}

/// @notice Whether there is a price at all.
function isSet(Price price) pure returns (bool) {
    return Price.unwrap(price) != 0;
}

/// @notice floor(mantissa * 10^(exponent + decimals)): the price with that many decimals. Fails when it does not fit 256 bits.
function value(Price price, uint256 decimals) pure returns (uint256) {
    int256 shift = price.exponent() + int256(decimals);
    // 2^63 * 10^57 < 2^256.
    if (shift > 57 || decimals > 255) revert PriceOutOfRange(price.mantissa(), shift);
    if (shift >= 0) return price.mantissa() * 10 ** uint256(shift);
    return shift < -18 ? 0 : price.mantissa() / 10 ** uint256(-shift);
}
