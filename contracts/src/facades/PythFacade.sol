// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Price as Stored} from "../Price.sol";
import {PriceFeeds} from "../PriceFeeds.sol";

/// @notice The structures of Pyth's IPyth, under its names.
library PythStructs {
    struct Price {
        int64 price;
        uint64 conf;
        int32 expo;
        uint256 publishTime;
    }

    struct PriceFeed {
        bytes32 id;
        Price price;
        Price emaPrice;
    }
}

/// @title  The network's prices in the shape of Pyth's IPyth
/// @notice For contracts written against Pyth: change the address and the ids. An id is a feed, padded with zeros to 32 bytes; each element of
///         `updateData` is the payload of PriceFeeds without a selector. Updating is free.
///
///         What it does not have: exponential averages (the functions fail, and `emaPrice` is zero) and time-weighted updates. `conf` is what the
///         one oracle whose price is the median claims; at its greatest it is 2^64 - 1.
contract PythFacade {
    /// @notice Where prices are stored.
    PriceFeeds public immutable feeds;
    uint256 private immutable VALID_PERIOD;

    // Pyth's own errors, so that callers that know them go on knowing them.
    error PriceFeedNotFound();
    error StalePrice();
    error NoFreshUpdate();
    error InvalidArgument();
    error PriceFeedNotFoundWithinRange();
    /// @notice Updates are free: what is sent with one would be lost.
    error FeeNotTaken(uint256 value);
    /// @notice Exponential averages are not kept.
    error EmaNotKept();

    /// @param validPeriod what `getPrice` takes for a fresh price, in seconds.
    constructor(PriceFeeds feeds_, uint256 validPeriod) {
        (feeds, VALID_PERIOD) = (feeds_, validPeriod);
    }

    // --------------------------------------------------------------------------------------------------------- updating

    /// @notice Verifies and stores each payload. One that fails fails all.
    function updatePriceFeeds(bytes[] calldata updateData) public payable {
        if (msg.value != 0) revert FeeNotTaken(msg.value);
        for (uint256 i; i < updateData.length; ++i) {
            (bool ok, bytes memory result) = address(feeds).call(bytes.concat(PriceFeeds.push.selector, updateData[i]));
            _demand(ok, result);
        }
    }

    /// @notice Updates only if one of the feeds is older than its time in `publishTimes`.
    function updatePriceFeedsIfNecessary(bytes[] calldata updateData, bytes32[] calldata ids, uint64[] calldata publishTimes)
        external
        payable
    {
        if (ids.length != publishTimes.length) revert InvalidArgument();
        for (uint256 i; i < ids.length; ++i) {
            if (feeds.latest(bytes21(ids[i])).time() < publishTimes[i]) return updatePriceFeeds(updateData);
        }
        revert NoFreshUpdate();
    }

    /// @notice Nothing.
    function getUpdateFee(bytes[] calldata) external pure returns (uint256) {
        return 0;
    }

    /// @notice Verifies the payloads and returns the named feeds; stores nothing.
    function parsePriceFeedUpdates(bytes[] calldata updateData, bytes32[] calldata ids, uint64 minPublishTime, uint64 maxPublishTime)
        external
        payable
        returns (PythStructs.PriceFeed[] memory found)
    {
        if (msg.value != 0) revert FeeNotTaken(msg.value);
        found = new PythStructs.PriceFeed[](ids.length);
        for (uint256 i; i < updateData.length; ++i) {
            Stored[] memory prices = _pulled(updateData[i]);
            uint256 time = prices[0].time();
            if (time < minPublishTime || time > maxPublishTime) continue;
            bytes memory group = feeds.group(uint8(updateData[i][1]));
            for (uint256 j; j < ids.length; ++j) {
                uint256 place = _placeOf(group, bytes21(ids[j]));
                if (place < prices.length) (found[j].id, found[j].price) = (ids[j], _shaped(prices[place]));
            }
        }
        for (uint256 j; j < ids.length; ++j) {
            if (found[j].price.publishTime == 0) revert PriceFeedNotFoundWithinRange();
        }
    }

    // ---------------------------------------------------------------------------------------------------------- reading

    /// @notice The newest price, however old.
    function getPriceUnsafe(bytes32 id) public view returns (PythStructs.Price memory) {
        Stored price = feeds.latest(bytes21(id));
        if (!price.isSet() || bytes32(bytes21(id)) != id) revert PriceFeedNotFound();
        return _shaped(price);
    }

    /// @notice The newest price if it is no older than `age` seconds.
    function getPriceNoOlderThan(bytes32 id, uint256 age) public view returns (PythStructs.Price memory price) {
        price = getPriceUnsafe(id);
        if (block.timestamp - price.publishTime > age) revert StalePrice();
    }

    /// @notice The newest price if it is no older than the valid period.
    function getPrice(bytes32 id) external view returns (PythStructs.Price memory) {
        return getPriceNoOlderThan(id, VALID_PERIOD);
    }

    /// @notice What `getPrice` takes for fresh, in seconds.
    function getValidTimePeriod() external view returns (uint256) {
        return VALID_PERIOD;
    }

    /// @notice Whether there is a price of this feed.
    function priceFeedExists(bytes32 id) external view returns (bool) {
        return bytes32(bytes21(id)) == id && feeds.latest(bytes21(id)).isSet();
    }

    function getEmaPrice(bytes32) external pure returns (PythStructs.Price memory) {
        revert EmaNotKept();
    }

    function getEmaPriceUnsafe(bytes32) external pure returns (PythStructs.Price memory) {
        revert EmaNotKept();
    }

    function getEmaPriceNoOlderThan(bytes32, uint256) external pure returns (PythStructs.Price memory) {
        revert EmaNotKept();
    }

    function _shaped(Stored price) private pure returns (PythStructs.Price memory) {
        uint256 mantissa = price.mantissa();
        uint256 width = price.halfWidth();
        uint256 conf = width == type(uint16).max ? type(uint64).max : mantissa * width / 100_000;
        return PythStructs.Price(int64(uint64(mantissa)), uint64(conf), int32(price.exponent()), price.time());
    }

    /// @dev The place of a feed in a group; beyond the group if it is not in it.
    function _placeOf(bytes memory group, bytes21 feed) private pure returns (uint256 place) {
        for (; place < group.length / 22; ++place) {
            bytes21 name;
            assembly ("memory-safe") {
                name := mload(add(add(group, 0x20), mul(22, place)))
            }
            if (bytes21(bytes32(name)) == feed) return place;
        }
    }

    function _pulled(bytes calldata payload) private view returns (Stored[] memory prices) {
        (bool ok, bytes memory result) = address(feeds).staticcall(bytes.concat(PriceFeeds.pull.selector, payload));
        _demand(ok, result);
        (, prices) = abi.decode(result, (bytes32, Stored[]));
    }

    /// @dev A failed call's error becomes ours.
    function _demand(bool ok, bytes memory result) private pure {
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(result, 0x20), mload(result))
        }
    }
}
