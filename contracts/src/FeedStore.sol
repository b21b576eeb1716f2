// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Price, PriceOutOfRange} from "./Price.sol";
import {PriceData, IPriceReader} from "./interfaces/IPriceReader.sol";

/// @title  Stored prices: the newest of each feed, and a ring of the rounds before it
/// @notice A feed's time strictly increases, whatever lane or group its prices come by: no older price ever replaces a newer one.
///
///         Storage: the newest price of a feed is at slot (feed 21 | 01 | zeros 10), as a Price; with a ring, round r is at that slot plus
///         1 + r % ring as well. The 01 keeps every feed, also one that is all zero, away from the first slots, where other variables lie.
abstract contract FeedStore is IPriceReader {
    uint256 internal constant FEED_MASK = 0xffffffffffffffffffffffffffffffffffffffffff0000000000000000000000;
    uint256 internal constant SLOT_TAG = 1 << 80;

    /// @notice Rounds of each feed that are kept; 0: none but the newest.
    uint256 public immutable ring;

    /// @param ring_ see `ring`; 65,535 at most, so that rings of two feeds never meet.
    constructor(uint16 ring_) {
        ring = ring_;
    }

    /// @inheritdoc IPriceReader
    function latest(bytes21 feed) public view returns (Price price) {
        assembly ("memory-safe") {
            price := sload(or(and(feed, FEED_MASK), SLOT_TAG))
        }
    }

    /// @inheritdoc IPriceReader
    function priceAt(bytes21 feed, uint256 round) public view returns (Price price) {
        price = latest(feed);
        if (price.round() == round && round != 0) return price;
        uint256 size = ring;
        if (size != 0) {
            assembly ("memory-safe") {
                price := sload(add(or(and(feed, FEED_MASK), add(SLOT_TAG, 1)), mod(round, size)))
            }
        }
        if (price.round() != round || round == 0) revert NoSuchRound(feed, round);
    }

    /// @inheritdoc IPriceReader
    function feedOf(string memory pair) public pure returns (bytes21) {
        bytes memory name = bytes(pair);
        if (name.length == 0 || name.length > 20) revert BadPair(pair);
        return bytes21(abi.encodePacked(bytes1(0x01), bytes20(bytes(pair))));
    }

    /// @inheritdoc IPriceReader
    function getPrices(string calldata pair, uint256 from, uint256 to) external view returns (PriceData[] memory prices) {
        bytes21 feed = feedOf(pair);
        uint256 newest = latest(feed).round();
        uint256 kept = newest < ring ? newest : ring;
        if (ring == 0 && newest != 0) kept = 1;
        prices = new PriceData[](kept);
        uint256 count;
        for (uint256 i; i < kept; ++i) {
            Price price = priceAt(feed, newest - i);
            if (price.time() <= from) break;
            if (price.time() > to) continue;
            uint256 value = price.value(18);
            if (value > type(uint128).max) revert PriceOutOfRange(price.mantissa(), price.exponent());
            prices[count++] = PriceData(uint128(value), uint8(price.share()), address(this), price.time());
        }
        assembly ("memory-safe") {
            mstore(prices, count)
        }
        for (uint256 i; i < count / 2; ++i) {
            (prices[i], prices[count - 1 - i]) = (prices[count - 1 - i], prices[i]);
        }
    }

    /// @dev Stores the next rounds of feeds.
    /// @param rowAt  memory: feed 21 | exponent 1 of each feed, one behind the other.
    /// @param wordAt memory: the word of each, as in a price group, 32 bytes apart; what was stored takes their places.
    /// @param stamp  time and share of a Price.
    function _set(uint256 rowAt, uint256 wordAt, uint256 count, uint256 stamp) internal {
        uint256 size = ring;
        uint256 time = uint40(stamp);
        uint256 stored; // the time of a price that is as new, plus one
        assembly ("memory-safe") {
            for { let end := add(wordAt, shl(5, count)) } lt(wordAt, end) { wordAt := add(wordAt, 0x20) } {
                let row := mload(rowAt)
                let slot := or(and(row, FEED_MASK), SLOT_TAG)
                let price := sload(slot)
                if iszero(gt(time, and(price, 0xffffffffff))) {
                    stored := add(and(price, 0xffffffffff), 1)
                    break
                }
                // One round a second at most: wraps after 136 years.
                let round := and(add(shr(40, price), 1), 0xffffffff)
                price := or(or(stamp, shl(72, mload(wordAt))), or(shl(40, round), shl(176, byte(21, row))))
                sstore(slot, price)
                if size { sstore(add(add(slot, 1), mod(round, size)), price) }
                mstore(wordAt, price)
                rowAt := add(rowAt, 22)
            }
        }
        if (stored != 0) _refuseTime(rowAt, time, stored - 1);
    }

    function _refuseTime(uint256 rowAt, uint256 time, uint256 stored) private pure {
        bytes32 row;
        assembly ("memory-safe") {
            row := mload(rowAt)
        }
        revert TimeNotIncreasing(bytes21(row), time, stored);
    }
}
