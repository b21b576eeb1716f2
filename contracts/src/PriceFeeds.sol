// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AttestationVerifier} from "./AttestationVerifier.sol";
import {FeedStore} from "./FeedStore.sol";
import {Price} from "./Price.sol";
import {ISignerRegistry} from "./interfaces/ISignerRegistry.sol";

/// @title  The network's prices, one slot a feed
/// @notice Attestation lane: individual signed prices, more than two thirds of the registered weight, the median verified by counting.
///         `push` stores the prices, `pull` returns them to the caller and stores nothing; both take the same payload behind the selector
///         (see AttestationVerifier). Anyone may call either: what counts is what was signed.
contract PriceFeeds is AttestationVerifier, FeedStore {
    /// @notice A group of one feed was pushed.
    event PricePushed(bytes32 indexed feeds, Price price);
    /// @notice A group of several feeds was pushed: 8 bytes of mantissa for each, in the group's order. `time` is the oldest counted slot.
    event PricesPushed(bytes32 indexed feeds, uint256 time, bytes mantissas);

    /// @param registry_ who may sign.
    /// @param limits    what a price must satisfy.
    /// @param ring_     rounds of each feed that are kept besides the newest.
    constructor(ISignerRegistry registry_, Bounds memory limits, uint16 ring_) AttestationVerifier(registry_, limits) FeedStore(ring_) {}

    /// @notice Replaces the groups of feeds that are carried, at once; stored prices stay. For the registry's owner.
    /// @param groups each the concatenation of its (feed 21 | exponent 1), ascending by feed.
    function setGroups(bytes[] calldata groups) external {
        _setGroups(groups);
    }

    /// @notice Push lane: stores the medians of the payload behind the selector. Fails unless its time is above every stored one.
    function push() external {
        (bytes32 feeds, uint256 feedCount, uint256 stamp) = _verify();
        _set(ROW_FEEDS_AT, MEDIANS_AT, feedCount, stamp);
        if (feedCount == 1) emit PricePushed(feeds, Price.wrap(_at(MEDIANS_AT)));
        else _emitMantissas(feeds, feedCount);
    }

    /// @notice Pull lane: verifies the payload behind the selector and returns its medians; stores nothing. That time goes on is the
    ///         caller's to demand.
    /// @return feeds  hash of the group.
    /// @return prices in the order of the group's feeds; their round is 0.
    function pull() external view returns (bytes32 feeds, Price[] memory prices) {
        uint256 feedCount;
        uint256 stamp;
        (feeds, feedCount, stamp) = _verify();
        unchecked {
            for (uint256 feed; feed < feedCount; ++feed) {
                uint256 price = stamp | (_at(MEDIANS_AT + 32 * feed) << 72) | (uint256(uint8(_row(feed) >> 80)) << 176);
                assembly ("memory-safe") {
                    mstore(add(MEDIANS_AT, shl(5, feed)), price)
                }
            }
        }
        assembly ("memory-safe") {
            prices := LENGTH_AT
        }
    }

    /// @dev Emits PricesPushed as it lies in the frame, after packing the mantissas of the stored prices there: each write ends where the next
    ///      one begins.
    function _emitMantissas(bytes32 feeds, uint256 feedCount) private {
        bytes32 topic = PricesPushed.selector;
        assembly ("memory-safe") {
            mstore(add(TIME_AT, 0x20), 0x40)
            let length := shl(3, feedCount)
            mstore(LENGTH_AT, length)
            let from := MEDIANS_AT
            let end := add(MEDIANS_AT, length)
            for { let to := MEDIANS_AT } lt(to, end) { to := add(to, 8) } {
                mstore(to, shl(192, shr(104, mload(from))))
                from := add(from, 0x20)
            }
            log2(TIME_AT, add(0x60, and(add(length, 31), not(31))), topic, feeds)
        }
    }
}
