// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SafeReader} from "../consumer/SafeReader.sol";
import {IAggregatorV3} from "../interfaces/IAggregatorV2V3.sol";

/// @title  Example: what collateral is worth to a lender
/// @notice Reads any Chainlink-shaped feed; refuses to value anything by a price that is old, or while an L2's sequencer is not reliably up.
contract Lending {
    using SafeReader for IAggregatorV3;

    /// @notice Collateral counts for so much of its value, in percent.
    uint256 public constant LOAN_TO_VALUE = 80;
    /// @notice Seconds after a sequencer came back.
    uint256 public constant SEQUENCER_GRACE = 1 hours;

    IAggregatorV3 public immutable feed;
    /// @notice The chain's sequencer uptime feed; zero on a chain that has none.
    IAggregatorV3 public immutable uptime;
    /// @notice Greatest age of a price, in seconds.
    uint256 public immutable ageMax;

    constructor(IAggregatorV3 feed_, IAggregatorV3 uptime_, uint256 ageMax_) {
        (feed, uptime, ageMax) = (feed_, uptime_, ageMax_);
    }

    /// @notice What can be borrowed against `amount` (18 decimals) of the asset, with 18 decimals of the quote currency.
    function getCollateralValue(uint256 amount) public view returns (uint256) {
        if (address(uptime) != address(0)) SafeReader.demandSequencer(uptime, SEQUENCER_GRACE);
        return amount * feed.read(ageMax, 18) / 1e18 * LOAN_TO_VALUE / 100;
    }

    /// @notice Whether a loan is no longer covered. It fails rather than liquidate anyone by a price that is not fit for use.
    function isLiquidatable(uint256 amount, uint256 debt) external view returns (bool) {
        return getCollateralValue(amount) < debt;
    }
}
