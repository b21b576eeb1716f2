// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Price} from "../Price.sol";
import {IPriceReader, PriceData} from "../interfaces/IPriceReader.sol";

/// @title  Averages over kept rounds
/// @notice All prices here are in units of 1e-18 of the quote currency.
library PriceViews {
    /// @notice Fewest prices that a volatility is worth anything of.
    uint256 internal constant VOLATILITY_PRICES_MIN = 5;

    /// @notice A window that is empty, or that is not over yet.
    error BadWindow(uint256 from, uint256 to, uint256 now_);
    /// @notice Nothing is known of the window before `knownFrom`: the ring is too short, or the feed too young.
    error WindowNotCovered(uint256 from, uint256 knownFrom);
    /// @notice A price would have to stand for longer than allowed.
    error Gap(uint256 from, uint256 to, uint256 gapMax);
    /// @notice Too few prices in the window.
    error TooFewPrices(uint256 prices, uint256 least);

    /// @notice Time-weighted average over [from, to): each price stands from its time until the next one's. Moving the price by x for d of the
    ///         T seconds moves the average by x d / T at most, rounded down.
    /// @dev    It covers the whole window or fails: an average over less than was asked for is how spot prices were passed off as averages.
    /// @param gapMax greatest time a single price may stand for, in seconds.
    function twap(IPriceReader reader, bytes21 feed, uint256 from, uint256 to, uint256 gapMax) internal view returns (uint256) {
        if (from >= to || to > block.timestamp) revert BadWindow(from, to, block.timestamp);
        Price price = reader.latest(feed);
        (uint256 kept, uint256 sum, uint256 end, uint256 next) = (reader.ring(), 0, to, to);
        while (true) {
            uint256 time = price.time();
            if (!price.isSet() || time >= to && price.round() == 1) revert WindowNotCovered(from, end);
            if (time < end) {
                uint256 start = time > from ? time : from;
                if (next - time > gapMax) revert Gap(time, next, gapMax);
                sum += price.value(18) * (end - start);
                end = start;
                if (end == from) return sum / (to - from);
            }
            next = time < to ? time : to;
            if (price.round() == 1 || kept <= 1) revert WindowNotCovered(from, end);
            --kept;
            price = reader.priceAt(feed, price.round() - 1);
        }
        return 0; // never: the loop returns or fails
    }

    /// @notice The lower median of the window's prices; if they spread by more than a fiftieth of it (standard deviation), the mean without
    ///         the lowest and the highest tenth instead. Confidence is 99 if they spread by less than a hundredth, else 50.
    function volatilityAdjusted(IPriceReader reader, string memory pair, uint256 from, uint256 to)
        internal
        view
        returns (uint128 price, uint128 confidence)
    {
        PriceData[] memory prices = reader.getPrices(pair, from, to);
        if (prices.length < VOLATILITY_PRICES_MIN) revert TooFewPrices(prices.length, VOLATILITY_PRICES_MIN);
        uint256[] memory sorted = _sorted(prices);
        uint256 median = sorted[(sorted.length - 1) / 2];
        uint256 deviation = _deviation(sorted);
        confidence = deviation < median / 100 ? 99 : 50;
        price = uint128(deviation > median / 50 ? _trimmedMean(sorted, sorted.length / 10) : median);
    }

    function _sorted(PriceData[] memory prices) private pure returns (uint256[] memory sorted) {
        sorted = new uint256[](prices.length);
        for (uint256 i; i < prices.length; ++i) {
            uint256 j = i;
            for (; j > 0 && sorted[j - 1] > prices[i].price; --j) {
                sorted[j] = sorted[j - 1];
            }
            sorted[j] = prices[i].price;
        }
    }

    function _trimmedMean(uint256[] memory sorted, uint256 cut) private pure returns (uint256) {
        uint256 sum;
        for (uint256 i = cut; i < sorted.length - cut; ++i) {
            sum += sorted[i];
        }
        return sum / (sorted.length - 2 * cut);
    }

    /// @dev Standard deviation of the population, rounded down. Prices are below 2^128, so that a square fits.
    function _deviation(uint256[] memory values) private pure returns (uint256) {
        uint256 mean = _trimmedMean(values, 0);
        uint256 squares;
        for (uint256 i; i < values.length; ++i) {
            uint256 distance = values[i] > mean ? values[i] - mean : mean - values[i];
            squares += distance * distance / values.length;
        }
        return _root(squares);
    }

    /// @dev Integer square root by Newton's method.
    function _root(uint256 x) private pure returns (uint256 root) {
        if (x == 0) return 0;
        uint256 next = x / 2 + 1;
        root = x;
        while (next < root) (root, next) = (next, (next + x / next) / 2);
    }
}
