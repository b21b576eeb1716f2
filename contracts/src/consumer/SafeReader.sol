// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Price} from "../Price.sol";
import {IAggregatorV3} from "../interfaces/IAggregatorV2V3.sol";
import {IPriceReader} from "../interfaces/IPriceReader.sol";

/// @title  Prices that are fit for use, or a reason why not
/// @notice Staleness, incomplete rounds, answers that are no price, decimals, and L2 sequencers that were down: what audits of other protocols
///         find missing, in one call.
library SafeReader {
    /// @notice The answer is older than the caller allows.
    error StaleAnswer(uint256 updatedAt, uint256 oldestAllowed);
    /// @notice The answer is zero or negative.
    error NoPositiveAnswer(int256 answer);
    /// @notice The answer claims to be from later than now.
    error AnswerFromTheFuture(uint256 updatedAt, uint256 now_);
    /// @notice The round was not finished.
    error IncompleteRound(uint80 roundId, uint80 answeredInRound);
    /// @notice The feed has no price at all.
    error NoPrice(bytes21 feed);
    /// @notice The sequencer has been down since.
    error SequencerDown(uint256 since);
    /// @notice The sequencer is back, but users had no time yet to act on what happened meanwhile.
    error SequencerJustBack(uint256 since, uint256 until);

    /// @notice A feed's answer with this many decimals, rounded down.
    /// @param ageMax greatest age in seconds: the feed's heartbeat and a block or two.
    function read(IAggregatorV3 feed, uint256 ageMax, uint8 decimals) internal view returns (uint256) {
        (uint80 roundId, int256 answer,, uint256 updatedAt, uint80 answeredInRound) = feed.latestRoundData();
        if (answer <= 0) revert NoPositiveAnswer(answer);
        if (updatedAt == 0 || answeredInRound < roundId) revert IncompleteRound(roundId, answeredInRound);
        _demandFresh(updatedAt, ageMax);
        return _scaled(uint256(answer), feed.decimals(), decimals);
    }

    /// @notice A stored price with this many decimals, rounded down.
    function read(IPriceReader reader, bytes21 feed, uint256 ageMax, uint8 decimals) internal view returns (uint256) {
        Price price = reader.latest(feed);
        if (!price.isSet()) revert NoPrice(feed);
        _demandFresh(price.time(), ageMax);
        return price.value(decimals);
    }

    /// @notice Fails while an L2's sequencer is down, and for `grace` seconds after it came back.
    /// @param uptime Chainlink's sequencer uptime feed of the chain: answer 0 is up, startedAt says since when.
    function demandSequencer(IAggregatorV3 uptime, uint256 grace) internal view {
        (, int256 answer, uint256 since,,) = uptime.latestRoundData();
        if (answer != 0) revert SequencerDown(since);
        // A round that never started is no sign that anything is up.
        if (since == 0 || block.timestamp < since + grace) revert SequencerJustBack(since, since + grace);
    }

    function _demandFresh(uint256 updatedAt, uint256 ageMax) private view {
        if (updatedAt > block.timestamp) revert AnswerFromTheFuture(updatedAt, block.timestamp);
        if (block.timestamp - updatedAt > ageMax) revert StaleAnswer(updatedAt, block.timestamp - ageMax);
    }

    function _scaled(uint256 answer, uint8 from, uint8 to) private pure returns (uint256) {
        return from <= to ? answer * 10 ** (to - from) : answer / 10 ** (from - to);
    }
}
