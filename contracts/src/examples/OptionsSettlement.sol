// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PriceViews} from "../consumer/PriceViews.sol";
import {IPriceReader} from "../interfaces/IPriceReader.sol";

/// @title  Example: settling an option by the average price around its expiry
contract OptionsSettlement {
    /// @notice The average runs from so long before expiry to so long after it, in seconds.
    uint256 public constant HALF_WINDOW = 30 minutes;
    /// @notice No single price may stand for longer, in seconds.
    uint256 public constant GAP_MAX = 10 minutes;

    IPriceReader public immutable reader;

    constructor(IPriceReader reader_) {
        reader = reader_;
    }

    /// @notice The settlement price with 18 decimals. Fails until the window is over, if it is not covered, and if it is kept no more.
    function getSettlementPrice(string calldata pair, uint256 expiry) public view returns (uint256) {
        return PriceViews.twap(reader, reader.feedOf(pair), expiry - HALF_WINDOW, expiry + HALF_WINDOW, GAP_MAX);
    }

    /// @notice What a call of one unit pays.
    function payout(string calldata pair, uint256 expiry, uint256 strike) external view returns (uint256) {
        uint256 price = getSettlementPrice(pair, expiry);
        return price > strike ? price - strike : 0;
    }
}
