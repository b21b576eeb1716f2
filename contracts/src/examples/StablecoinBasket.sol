// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SafeReader} from "../consumer/SafeReader.sol";
import {IPriceReader} from "../interfaces/IPriceReader.sol";

/// @title  Example: a stablecoin worth 60 % of a dollar, 30 % of a euro and 10 % of a pound
contract StablecoinBasket {
    using SafeReader for IPriceReader;

    /// @notice Greatest age of any leg, in seconds.
    uint256 public constant AGE_MAX = 10 minutes;
    /// @notice No leg may be further from the next than a coin is worth: a dollar's, euro's or pound's price outside of this is a fault.
    uint256 public constant LEG_MIN = 0.5e18;
    uint256 public constant LEG_MAX = 2e18;

    IPriceReader public immutable reader;
    bytes21 private immutable DOLLAR;
    bytes21 private immutable EURO;
    bytes21 private immutable POUND;

    /// @notice A currency's price that it cannot have.
    error LegOutOfRange(bytes21 feed, uint256 price);

    /// @param dollar such as "USDC/USD"; the others in dollars too.
    constructor(IPriceReader reader_, string memory dollar, string memory euro, string memory pound) {
        reader = reader_;
        (DOLLAR, EURO, POUND) = (reader_.feedOf(dollar), reader_.feedOf(euro), reader_.feedOf(pound));
    }

    /// @notice What a coin costs to mint, with 18 decimals of a dollar.
    function getMintPrice() external view returns (uint256) {
        return (_leg(DOLLAR) * 60 + _leg(EURO) * 30 + _leg(POUND) * 10) / 100;
    }

    function _leg(bytes21 feed) private view returns (uint256 price) {
        price = reader.read(feed, AGE_MAX, 18);
        if (price < LEG_MIN || price > LEG_MAX) revert LegOutOfRange(feed, price);
    }
}
