// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AttestationVerifier} from "./AttestationVerifier.sol";
import {ISignerRegistry} from "./interfaces/ISignerRegistry.sol";

/// @title  The network's prices, three feeds a slot
/// @notice The push lane of PriceFeeds at two thirds of its price for groups of many feeds: what is stored is a group, with one time and round
///         for all its feeds, and without history, half-widths and sources. A feed is found by its group and place; when the network changes
///         a group's feeds, its prices begin anew under another hash.
contract GroupedFeeds is AttestationVerifier {
    // Feeds 3 j to 3 j + 2 of the group with hash `feeds` are at slot uint256(feeds) + j:
    // | 0: time 40 | 40: round 24 | 64: third mantissa 64 | 128: second 64 | 192: first 64 |

    /// @notice A group was pushed: 8 bytes of mantissa for each feed, in the group's order. `time` is the oldest counted slot.
    event PricesPushed(bytes32 indexed feeds, uint256 time, bytes mantissas);
    /// @notice A group of one feed was pushed: its slot.
    event PricePushed(bytes32 indexed feeds, uint256 stored);

    /// @notice The time is not above the stored one.
    error TimeNotIncreasing(bytes32 feeds, uint256 time, uint256 stored);

    /// @param registry_ who may sign.
    /// @param limits    what a price must satisfy.
    constructor(ISignerRegistry registry_, Bounds memory limits) AttestationVerifier(registry_, limits) {}

    /// @notice Replaces the groups of feeds that are carried, at once. For the registry's owner.
    function setGroups(bytes[] calldata groups) external {
        _setGroups(groups);
    }

    /// @notice Stores the medians of the payload behind the selector. Fails unless its time is above the group's.
    function push() external {
        (bytes32 feeds, uint256 feedCount, uint256 stamp) = _verify();
        uint256 time = uint40(stamp);
        uint256 stored;
        assembly ("memory-safe") {
            stored := sload(feeds)
        }
        if (time <= uint40(stored)) revert TimeNotIncreasing(feeds, time, uint40(stored));
        bytes32 topic = feedCount == 1 ? PricePushed.selector : PricesPushed.selector;
        assembly ("memory-safe") {
            // Wraps after 16 million rounds, and says nothing but that something is new.
            stamp := or(time, shl(40, and(add(shr(40, stored), 1), 0xffffff)))
            // Three medians at once, 8 bytes each, each write ending where the next begins; those beyond N are zero.
            mstore(add(TIME_AT, 0x20), 0x40)
            let length := shl(3, feedCount)
            mstore(LENGTH_AT, length)
            for { let place := 0 } lt(place, length) { place := add(place, 8) } {
                mstore(add(MEDIANS_AT, place), shl(192, shr(32, mload(add(MEDIANS_AT, shl(2, place))))))
            }
            let first := or(stamp, shl(64, shr(64, mload(MEDIANS_AT))))
            sstore(feeds, first)
            let slot := feeds
            for { let place := 24 } lt(place, length) { place := add(place, 24) } {
                slot := add(slot, 1)
                sstore(slot, or(stamp, shl(64, shr(64, mload(add(MEDIANS_AT, place))))))
            }
            switch feedCount
            case 1 {
                mstore(0, first)
                log2(0, 0x20, topic, feeds)
            }
            default { log2(TIME_AT, add(0x60, and(add(length, 31), not(31))), topic, feeds) }
        }
    }

    /// @notice The stored price of the i-th feed of a group; all zero if none was ever stored. Unchecked for age.
    /// @return mantissa price = mantissa * 10^exponent, with the exponent under which the feed is in the group.
    function latest(bytes32 feeds, uint256 i) external view returns (uint64 mantissa, uint40 time, uint24 round) {
        uint256 stored;
        assembly ("memory-safe") {
            stored := sload(add(feeds, div(i, 3)))
        }
        return (uint64(stored >> (192 - 64 * (i % 3))), uint40(stored), uint24(stored >> 40));
    }
}
