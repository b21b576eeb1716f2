// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Price} from "../Price.sol";
import {IPriceReader} from "../interfaces/IPriceReader.sol";

/// @title  The network's prices in the shape of Flare's FtsoV2Interface
/// @notice Feed ids are the same 21 bytes; reading is free. As there, nothing is checked for age: the time is returned.
contract FtsoReader {
    /// @notice Where prices are stored.
    IPriceReader public immutable reader;

    /// @notice Reading is free: what is sent with it would be lost.
    error FeeNotTaken(uint256 value);
    /// @notice There is no price of this feed.
    error NoPrice(bytes21 feed);

    constructor(IPriceReader reader_) {
        reader = reader_;
    }

    /// @notice value / 10^decimals is the price; `timestamp` in seconds.
    function getFeedById(bytes21 feed) public payable returns (uint256 value, int8 decimals, uint64 timestamp) {
        Price price = _price(feed);
        return (price.mantissa(), int8(-price.exponent()), uint64(price.time()));
    }

    /// @notice Several feeds. `timestamp` is the oldest of theirs.
    function getFeedsById(bytes21[] calldata ids)
        external
        payable
        returns (uint256[] memory values, int8[] memory decimals, uint64 timestamp)
    {
        (values, decimals, timestamp) = (new uint256[](ids.length), new int8[](ids.length), type(uint64).max);
        for (uint256 i; i < ids.length; ++i) {
            uint64 time;
            (values[i], decimals[i], time) = getFeedById(ids[i]);
            if (time < timestamp) timestamp = time;
        }
    }

    /// @notice The price with 18 decimals.
    function getFeedByIdInWei(bytes21 feed) external payable returns (uint256 value, uint64 timestamp) {
        Price price = _price(feed);
        return (price.value(18), uint64(price.time()));
    }

    function _price(bytes21 feed) private view returns (Price price) {
        if (msg.value != 0) revert FeeNotTaken(msg.value);
        price = reader.latest(feed);
        if (!price.isSet()) revert NoPrice(feed);
    }
}
