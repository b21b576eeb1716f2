// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Price} from "../Price.sol";

/// @notice A past price as consumers of the network's examples know it.
struct PriceData {
    /// @notice In units of 1e-18 of the quote currency.
    uint128 price;
    /// @notice Percent of the registry's weight that signed, rounded down.
    uint8 confidence;
    /// @notice The contract that verified the signatures: a median speaks for no single oracle.
    address oracle;
    /// @notice Seconds; no counted statement is older.
    uint256 timestamp;
}

/// @notice What every contract that stores prices answers. Nothing here is checked for age: see SafeReader.
interface IPriceReader {
    /// @notice The time is not above the stored one: the price is a repetition, or older.
    error TimeNotIncreasing(bytes21 feed, uint256 time, uint256 stored);
    /// @notice The round never was, or is kept no more.
    error NoSuchRound(bytes21 feed, uint256 round);
    /// @notice A pair's name has 1 to 20 bytes.
    error BadPair(string pair);

    /// @notice The newest price of a feed; zero if there never was one. Unchecked for age.
    function latest(bytes21 feed) external view returns (Price);

    /// @notice The price of a round. Fails if it is not kept.
    function priceAt(bytes21 feed, uint256 round) external view returns (Price);

    /// @notice How many rounds of each feed are kept.
    function ring() external view returns (uint256);

    /// @notice The feed of a pair such as "ETH/USD": 01 | ASCII | zeros.
    function feedOf(string memory pair) external pure returns (bytes21);

    /// @notice Kept prices of a pair with from < time <= to, ascending. Empty if there are none: it is the caller's to demand enough.
    function getPrices(string calldata pair, uint256 from, uint256 to) external view returns (PriceData[] memory);
}
