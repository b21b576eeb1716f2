// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Price} from "../Price.sol";
import {IPriceReader} from "../interfaces/IPriceReader.sol";

/// @title  One feed in the shape of API3's IApi3ReaderProxy
contract Api3Reader {
    /// @notice Where prices are stored.
    IPriceReader public immutable reader;
    /// @notice What is read.
    bytes21 public immutable feed;

    /// @notice There is no price of this feed.
    error NoPrice(bytes21 feed);

    constructor(IPriceReader reader_, bytes21 feed_) {
        (reader, feed) = (reader_, feed_);
    }

    /// @notice The price with 18 decimals and its time in seconds. As there, nothing is checked for age.
    function read() external view returns (int224 value, uint32 timestamp) {
        Price price = reader.latest(feed);
        if (!price.isSet()) revert NoPrice(feed);
        return (int224(int256(price.value(18))), uint32(price.time()));
    }
}
