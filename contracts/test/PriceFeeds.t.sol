// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm, vm} from "./Base.sol";
import {Fixture} from "./Fixture.sol";
import {AttestationVerifier} from "../src/AttestationVerifier.sol";
import {FileRegistry} from "../src/FileRegistry.sol";
import {Price} from "../src/Price.sol";
import {PriceFeeds} from "../src/PriceFeeds.sol";
import {SignerSets} from "../src/SignerSets.sol";
import {IPriceReader} from "../src/interfaces/IPriceReader.sol";

/// @notice What the two lanes accept, and one test for every reason to refuse: each spoils a single thing of a payload that passes.
contract PriceFeedsTest is Fixture {
    uint256 private constant ONE = 0; // group of one feed
    uint256 private constant TEN = 1; // group of ten feeds
    uint256 private constant THREE = 2; // group of three feeds: an odd number above one

    function setUp() public {
        uint32[] memory list = new uint32[](31);
        for (uint256 i; i < 31; ++i) {
            // Every third signer is heavy: these eleven hold 2,200 + 55 of 2,655.
            list[i] = i % 3 == 0 ? uint32(200 + i / 3) : 20;
        }
        deploy(list, sizesOf(1, 10, 3));
    }

    // ------------------------------------------------------------------------------------------------------- accepted

    function test_push_stores_the_sorted_median_k11_N1() public {
        storesTheSortedMedians(heavy(11, ONE));
    }

    function test_push_stores_the_sorted_median_k11_N10() public {
        storesTheSortedMedians(heavy(11, TEN));
    }

    function test_push_stores_the_sorted_median_k11_N3() public {
        storesTheSortedMedians(heavy(11, THREE));
    }

    /// @dev Five of 31 that hold more than two thirds.
    function test_push_stores_the_sorted_median_k5() public {
        uint32[] memory list = weights;
        for (uint256 i; i < 5; ++i) {
            list[3 * i] = uint32(2_000 + i);
        }
        for (uint256 size = 1; size <= 10; size += 9) {
            deploy(list, sizesOf(size));
            storesTheSortedMedians(heavy(5, 0));
        }
    }

    function storesTheSortedMedians(Payload memory p) private {
        pushes(p);
        uint256 counted;
        uint256 total;
        for (uint256 i; i < weights.length; ++i) {
            total += weights[i];
        }
        for (uint256 i; i < p.entries.length; ++i) {
            counted += weights[p.entries[i].index];
        }
        for (uint256 feed; feed < sizes[p.group]; ++feed) {
            Price price = verifier.latest(feedOf(sizes[p.group], feed));
            vm.assertEq(price.mantissa(), sortedMedian(p, feed), "the median is the sorted one");
            vm.assertEq(price.time(), p.time, "the time is the oldest slot");
            vm.assertEq(price.round(), 1, "the first round");
            vm.assertEq(price.share(), 100 * counted / total, "the share that counted");
            vm.assertTrue(price.exponent() == -8, "the exponent of the feed");
            bytes memory named = p.entries[p.positions[feed]].words;
            bytes memory word_ = new bytes(12);
            for (uint256 j; j < 12; ++j) {
                word_[j] = named[12 * feed + j];
            }
            vm.assertEq(uint96(Price.unwrap(price) >> 72), uint96(bytes12(word_)), "the word of the named entry");
            vm.assertEq(price.halfWidth(), uint16(uint96(bytes12(word_)) >> 16), "its half-width");
            vm.assertEq(price.sources(), uint16(uint96(bytes12(word_))), "its sources");
        }
    }

    /// @dev Random weights, many equal prices: exactly the entries that hold the sorted median may be named, by either lane of a pair.
    function testFuzz_only_the_lower_weighted_median_passes(uint256 seed) public {
        uint256 k = 1 + seed % 9;
        uint256 n = 1 + (seed >> 8) % 4;
        uint32[] memory list = new uint32[](k);
        for (uint256 i; i < k; ++i) {
            list[i] = uint32(1 + uint256(keccak256(abi.encode(seed, "weight", i))) % ((seed >> 16) % 2 == 0 ? 3 : type(uint32).max));
        }
        deploy(list, sizesOf(n));
        Payload memory p = empty(k, 0);
        for (uint256 i; i < k; ++i) {
            bytes memory words;
            for (uint256 j; j < n; ++j) {
                uint256 noise = uint256(keccak256(abi.encode(seed, i, j)));
                uint256 mantissa = noise % 4 == 0 ? (1 << 63) - 2 - noise % 2 : 1 + (noise >> 8) % 4;
                words = bytes.concat(words, word(mantissa, noise >> 16, 0xff));
            }
            p.entries[i] = Entry(i, i == 0 ? 0 : i % 3, words, "");
            sign(p, i);
        }
        nameMedians(p);
        uint256 feed = (seed >> 24) % n;
        uint256 median = sortedMedian(p, feed);
        for (uint256 i; i < k; ++i) {
            p.positions[feed] = i;
            (bool ok, bytes memory result) = pull(p);
            bool is_median = mantissaAt(p, i, feed) == median;
            vm.assertTrue(ok == is_median, "named median");
            if (ok) {
                (, Price[] memory prices) = abi.decode(result, (bytes32, Price[]));
                vm.assertEq(prices[feed].mantissa(), median, "returned median");
            } else {
                vm.assertTrue(bytes4(result) == AttestationVerifier.NotTheMedian.selector, "the reason is the median");
            }
        }
    }

    function test_pull_returns_what_push_would_store() public {
        Payload memory p = heavy(11, TEN);
        (bool ok, bytes memory result) = pull(p);
        vm.assertTrue(ok, "pull is accepted");
        (bytes32 feeds, Price[] memory prices) = abi.decode(result, (bytes32, Price[]));
        vm.assertEq(feeds, keccak256(feedsOf(10)), "feeds");
        vm.assertEq(prices.length, 10, "as many as feeds");
        vm.assertTrue(!verifier.latest(feedOf(10, 0)).isSet(), "pull stores nothing");
        pushes(p);
        for (uint256 feed; feed < 10; ++feed) {
            uint256 stored = Price.unwrap(verifier.latest(feedOf(10, feed)));
            vm.assertEq(Price.unwrap(prices[feed]) | 1 << 40, stored, "the same price but for the round");
        }
    }

    function test_push_emits_the_medians_of_a_group() public {
        Payload memory p = heavy(11, THREE);
        vm.recordLogs();
        pushes(p);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1, "one event");
        vm.assertEq(logs[0].topics[0], PriceFeeds.PricesPushed.selector, "PricesPushed");
        vm.assertEq(logs[0].topics[1], keccak256(feedsOf(3)), "feeds");
        bytes memory packed;
        for (uint256 feed; feed < 3; ++feed) {
            packed = abi.encodePacked(packed, uint64(sortedMedian(p, feed)));
        }
        vm.assertEq(logs[0].data, abi.encode(p.time, packed), "time and mantissas, with clean padding");
    }

    function test_push_emits_the_price_of_a_single_feed() public {
        vm.recordLogs();
        pushes(heavy(11, ONE));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1, "one event");
        vm.assertEq(logs[0].topics[0], PriceFeeds.PricePushed.selector, "PricePushed");
        vm.assertEq(logs[0].topics[1], keccak256(feedsOf(1)), "feeds");
        vm.assertEq(logs[0].data, abi.encode(verifier.latest(feedOf(1, 0))), "the price as it is stored");
    }

    function test_rounds_count_and_groups_do_not_mix() public {
        pushes(heavyAt(11, ONE, NOW - 2));
        pushes(heavyAt(11, ONE, NOW - 1));
        pushes(heavyAt(11, TEN, NOW - 2));
        Price price = verifier.latest(feedOf(1, 0));
        vm.assertEq(price.time(), NOW - 1, "time of the second");
        vm.assertEq(price.round(), 2, "two rounds");
        price = verifier.latest(feedOf(10, 9));
        vm.assertEq(price.time(), NOW - 2, "its own time");
        vm.assertEq(price.round(), 1, "its own rounds");
    }

    function test_bounds_are_inclusive() public {
        (bool ok,) = pull(heavyAt(11, ONE, NOW - MAX_AGE));
        vm.assertTrue(ok, "as old as allowed");
        Payload memory p = heavyAt(11, ONE, NOW);
        relag(p, 3, MAX_AHEAD);
        (ok,) = pull(p);
        vm.assertTrue(ok, "as far ahead as allowed");
        p = heavyAt(11, ONE, NOW - 40);
        relag(p, 3, WINDOW - 1);
        (ok,) = pull(p);
        vm.assertTrue(ok, "as wide as allowed");
    }

    // -------------------------------------------------------------------------------------------------- refused: who

    function test_refuses_a_signature_over_another_word() public {
        Payload memory p = heavy(11, TEN);
        p.entries[4].words[60] ^= 0x01;
        refusesSignature(p, 4);
    }

    function test_refuses_another_network() public {
        refusesDigest(digestOf(keccak256("another"), EPOCH, NOW - 4 + 3, keccak256(feedsOf(1)), heavy(11, ONE).entries[3].words));
    }

    function test_refuses_another_epoch() public {
        refusesDigest(digestOf(NETWORK, EPOCH + 1, NOW - 4 + 3, keccak256(feedsOf(1)), heavy(11, ONE).entries[3].words));
    }

    function test_refuses_another_slot() public {
        refusesDigest(digestOf(NETWORK, EPOCH, NOW - 4 + 2, keccak256(feedsOf(1)), heavy(11, ONE).entries[3].words));
    }

    function test_refuses_another_group() public {
        refusesDigest(digestOf(NETWORK, EPOCH, NOW - 4 + 3, keccak256(feedsOf(3)), heavy(11, ONE).entries[3].words));
    }

    /// @dev Entry 3 of the usual payload (its lag is 3) signs this digest instead of its own.
    function refusesDigest(bytes32 digest) private {
        Payload memory p = heavy(11, ONE);
        (bool ok,) = pull(p);
        vm.assertTrue(ok, "the unspoilt payload is accepted");
        p.entries[3].signature = signCompact(key(p.entries[3].index), digest);
        refusesSignature(p, 3);
    }

    function test_refuses_another_signers_signature() public {
        Payload memory p = heavy(11, ONE);
        p.entries[5].index = 16; // registered, but not who signed
        refusesSignature(p, 5);
    }

    function test_refuses_a_signature_that_recovers_to_nobody() public {
        Payload memory p = heavy(11, ONE);
        p.entries[0].signature = abi.encodePacked(bytes32(0), bytes32(uint256(1)));
        refuses(p, abi.encodeWithSelector(AttestationVerifier.BadSignature.selector, 0, address(0), vm.addr(key(0))));
    }

    /// @dev s' = n - s with the other parity signs the same digest. In the compact form it loses its top bit to the parity.
    function test_refuses_the_mirrored_signature() public {
        Payload memory p = heavy(11, ONE);
        (bytes32 r, bytes32 vs) = abi.decode(p.entries[2].signature, (bytes32, bytes32));
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        uint256 mirrored = order - (uint256(vs) & (type(uint256).max >> 1));
        p.entries[2].signature = abi.encodePacked(r, mirrored ^ (uint256(vs) & (1 << 255)));
        (bool ok, bytes memory result) = pull(p);
        vm.assertTrue(!ok && bytes4(result) == AttestationVerifier.BadSignature.selector, "mirrored");
    }

    /// @dev Nobody can make a valid signature whose s is high and has 255 bits, so recovery is mocked: s alone decides.
    function test_refuses_a_high_s() public {
        uint32[] memory list = new uint32[](1);
        list[0] = 1;
        deploy(list, sizesOf(1));
        Payload memory p = plain(1, 0, 500);
        vm.mockCall(address(1), "", abi.encode(vm.addr(key(0))));
        uint256 half = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
        p.entries[0].signature = abi.encodePacked(bytes32(uint256(1)), half + 1);
        refuses(p, abi.encodeWithSelector(AttestationVerifier.HighS.selector, 0, half + 1));
        p.entries[0].signature = abi.encodePacked(bytes32(uint256(1)), half);
        (bool ok,) = pull(p);
        vm.assertTrue(ok, "half the order is low");
    }

    function test_refuses_a_signer_twice() public {
        Payload memory p = heavy(11, ONE);
        p.entries[7] = p.entries[6];
        refuses(p, abi.encodeWithSelector(AttestationVerifier.SignerNotAscending.selector, 18, 19));
    }

    /// @dev Two attestations of one signer in different slots are still one signer.
    function test_refuses_a_signer_twice_in_other_slots() public {
        Payload memory p = heavy(11, ONE);
        p.entries[7].index = p.entries[6].index;
        relag(p, 7, p.entries[6].lag + 1);
        refuses(p, abi.encodeWithSelector(AttestationVerifier.SignerNotAscending.selector, 18, 19));
    }

    function test_refuses_unsorted_signers() public {
        Payload memory p = heavy(11, ONE);
        (p.entries[6], p.entries[7]) = (p.entries[7], p.entries[6]);
        refuses(p, abi.encodeWithSelector(AttestationVerifier.SignerNotAscending.selector, 18, 22));
    }

    function test_refuses_an_unknown_signer() public {
        Payload memory p = heavy(11, ONE);
        p.entries[10].index = 31;
        sign(p, 10);
        refuses(p, abi.encodeWithSelector(AttestationVerifier.UnknownSigner.selector, 31, 31));
    }

    function test_refuses_exactly_two_thirds() public {
        uint32[] memory list = new uint32[](3);
        (list[0], list[1], list[2]) = (100, 100, 100);
        deploy(list, sizesOf(1));
        Payload memory p = plain(2, 0, 500);
        refuses(p, abi.encodeWithSelector(AttestationVerifier.QuorumNotReached.selector, 200, 300));
        list[2] = 99;
        deploy(list, sizesOf(1));
        pushes(plain(2, 0, 500));
    }

    function test_refuses_nobody() public {
        Payload memory p = empty(0, ONE); // no entry can be named as median
        refuses(p, abi.encodeWithSelector(AttestationVerifier.UnknownPosition.selector, 0, 0));
    }

    // ------------------------------------------------------------------------------------------------- refused: when

    function test_refuses_a_stale_time() public {
        refuses(
            heavyAt(11, ONE, NOW - MAX_AGE - 1),
            abi.encodeWithSelector(AttestationVerifier.Stale.selector, NOW - MAX_AGE - 1, NOW - MAX_AGE)
        );
    }

    function test_refuses_a_slot_too_far_ahead() public {
        Payload memory p = heavyAt(11, ONE, NOW);
        relag(p, 3, MAX_AHEAD + 1);
        refuses(p, abi.encodeWithSelector(AttestationVerifier.TooFarAhead.selector, NOW + MAX_AHEAD + 1, NOW + MAX_AHEAD));
    }

    /// @dev Else an age would be negative, and a reader that subtracts would fail.
    function test_refuses_a_time_ahead_of_the_block() public {
        refuses(heavyAt(11, ONE, NOW + 1), abi.encodeWithSelector(AttestationVerifier.TooFarAhead.selector, NOW + 1, NOW));
    }

    function test_refuses_a_slot_outside_the_window() public {
        Payload memory p = heavyAt(11, ONE, NOW - 50);
        relag(p, 3, WINDOW);
        refuses(p, abi.encodeWithSelector(AttestationVerifier.OutsideWindow.selector, NOW - 50 + WINDOW, NOW - 50 + WINDOW));
    }

    /// @dev A time older than every counted slot would let older attestations follow newer ones.
    function test_refuses_a_time_that_is_not_the_oldest_slot() public {
        Payload memory p = heavy(11, ONE);
        p.time -= 2;
        for (uint256 i; i < 11; ++i) {
            p.entries[i].lag += 2; // the same slots: the signatures stand
        }
        refuses(p, abi.encodeWithSelector(AttestationVerifier.TimeNotOldest.selector, NOW - 6, NOW - 4));
    }

    /// @dev A12: an older price that is still admissible never replaces a newer one.
    function test_a12_refuses_a_time_that_does_not_increase() public {
        pushes(heavy(11, ONE));
        Payload memory p = heavy(11, ONE);
        (bool ok, bytes memory result) = push(p);
        vm.assertTrue(!ok, "the same time again");
        vm.assertEq(result, notIncreasing(p.time, p.time), "its error");
        (ok, result) = push(heavyAt(11, ONE, p.time - 1));
        vm.assertTrue(!ok, "an older time");
        vm.assertEq(result, notIncreasing(p.time - 1, p.time), "its error");
        pushes(heavyAt(11, ONE, p.time + 1));
    }

    function notIncreasing(uint256 time, uint256 stored) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IPriceReader.TimeNotIncreasing.selector, feedOf(1, 0), time, stored);
    }

    /// @dev A12 holds for the feed, whatever group its price comes in.
    function test_a12_holds_across_groups() public {
        bytes[] memory list = new bytes[](2);
        (list[0], list[1]) = (feedsOf(3), bytes.concat(feedsOf(1), feedsOf(3)));
        verifier.setGroups(list);
        Payload memory p = heavyAt(11, THREE, NOW - 3);
        p.group = 0;
        pushes(p);
        // The second group has the three feeds too: signed at an older time, all of it is refused.
        p = heavyOf(11, list[1], NOW - 4);
        p.group = 1;
        (bool ok, bytes memory result) = push(p);
        vm.assertTrue(!ok, "older in another group");
        vm.assertEq(result, abi.encodeWithSelector(IPriceReader.TimeNotIncreasing.selector, feedOf(3, 0), NOW - 4, NOW - 3), "its error");
        vm.assertTrue(!verifier.latest(feedOf(1, 0)).isSet(), "nothing of it is stored");
        p = heavyOf(11, list[1], NOW - 2);
        p.group = 1;
        pushes(p);
        vm.assertEq(verifier.latest(feedOf(3, 2)).round(), 2, "the feed's rounds go on");
        vm.assertEq(verifier.latest(feedOf(1, 0)).round(), 1, "its first");
    }

    // ------------------------------------------------------------------------------------------------- refused: what

    function test_refuses_a_price_above_the_median() public {
        for (uint256 feed; feed < 3; ++feed) {
            Payload memory p = heavy(11, THREE);
            p.positions[feed] = neighbour(p, feed, true);
            (uint256 below, uint256 atMost, uint256 counted) = shares(p, feed);
            vm.assertTrue(2 * below >= counted, "too much weight is below");
            refuses(p, abi.encodeWithSelector(AttestationVerifier.NotTheMedian.selector, feed, below, atMost, counted));
        }
    }

    function test_refuses_a_price_below_the_median() public {
        for (uint256 feed; feed < 3; ++feed) {
            Payload memory p = heavy(11, THREE);
            p.positions[feed] = neighbour(p, feed, false);
            (uint256 below, uint256 atMost, uint256 counted) = shares(p, feed);
            vm.assertTrue(2 * atMost < counted, "too little weight is at most it");
            refuses(p, abi.encodeWithSelector(AttestationVerifier.NotTheMedian.selector, feed, below, atMost, counted));
        }
    }

    /// @dev At exactly half the weight the lower of the two middle prices is the one.
    function test_an_even_split_takes_the_lower() public {
        uint32[] memory list = new uint32[](2);
        (list[0], list[1]) = (100, 100);
        deploy(list, sizesOf(1));
        Payload memory p = plain(2, 0, 500); // 500 and 501
        p.positions[0] = 1;
        refuses(p, abi.encodeWithSelector(AttestationVerifier.NotTheMedian.selector, 0, 100, 200, 200));
        p.positions[0] = 0;
        pushes(p);
        vm.assertEq(verifier.latest(feedOf(1, 0)).mantissa(), 500, "the lower");
    }

    function test_refuses_a_position_that_is_no_entry() public {
        Payload memory p = heavy(11, TEN);
        p.positions[9] = 11;
        refuses(p, abi.encodeWithSelector(AttestationVerifier.UnknownPosition.selector, 9, 11));
    }

    /// @dev In both lanes of a pair and in the lone last word, and wherever the price stands among the others.
    function test_refuses_a_doubtful_price() public {
        for (uint256 feed; feed < 3; ++feed) {
            Payload memory p = heavy(11, THREE);
            rewrite(p, 8, feed, abi.encodePacked(uint64(mantissaAt(p, 8, feed) | (1 << 63)), uint16(10), uint16(0x1f)));
            p.positions = heavy(11, THREE).positions;
            refuses(p, abi.encodeWithSelector(AttestationVerifier.DoubtfulPrice.selector, feed, p.entries[8].index));
        }
    }

    /// @dev A13: a bound that was hit is no price, at either end.
    function test_a13_refuses_a_median_at_a_boundary() public {
        for (uint256 end; end < 2; ++end) {
            uint256 mantissa = end == 0 ? 0 : (1 << 63) - 1;
            Payload memory p = heavy(11, THREE);
            for (uint256 i; i < 11; ++i) {
                rewrite(p, i, 1, word(mantissa, 10, 0x1f));
            }
            refuses(p, abi.encodeWithSelector(AttestationVerifier.BoundaryPrice.selector, 1, p.positions[1], mantissa));
        }
    }

    function test_refuses_too_few_sources() public {
        for (uint256 feed; feed < 3; ++feed) {
            Payload memory p = heavy(11, THREE);
            for (uint256 i; i < 11; ++i) {
                rewrite(p, i, feed, word(mantissaAt(p, i, feed), 10, i % 2 == 0 ? 0x8000 : 0x0001));
            }
            refuses(p, abi.encodeWithSelector(AttestationVerifier.TooFewSources.selector, feed, 2, 3));
            rewrite(p, 10, feed, word(mantissaAt(p, 10, feed), 10, 0x0400));
            (bool ok,) = pull(p);
            vm.assertTrue(ok, "a third source is enough");
        }
    }

    // ---------------------------------------------------------------------------------------- refused: the form of it

    function test_refuses_an_unknown_group() public {
        Payload memory p = heavy(11, ONE);
        p.group = 3;
        refuses(p, abi.encodeWithSelector(AttestationVerifier.UnknownGroup.selector, 3, 3));
    }

    /// @dev No prefix of a payload passes, and none has another reason than its form or its quorum.
    function test_refuses_every_truncation() public {
        bytes memory whole = bytes.concat(PriceFeeds.pull.selector, encode(heavy(11, ONE)));
        for (uint256 length = whole.length - 1; length >= 4; --length) {
            assembly ("memory-safe") {
                mstore(whole, length)
            }
            (bool ok, bytes memory result) = address(verifier).call(whole);
            vm.assertTrue(!ok, "a truncated payload");
            if (length >= 12 && (length - 12) % 78 != 0) {
                vm.assertEq(result, abi.encodeWithSelector(AttestationVerifier.MalformedPayload.selector, length, 12, 78), "its form");
            }
        }
    }

    function test_refuses_a_trailing_byte() public {
        bytes memory data = bytes.concat(PriceFeeds.pull.selector, encode(heavy(11, ONE)), hex"00");
        (bool ok, bytes memory result) = address(verifier).call(data);
        vm.assertTrue(!ok, "a byte too many");
        vm.assertEq(result, abi.encodeWithSelector(AttestationVerifier.MalformedPayload.selector, data.length, 12, 78), "its form");
    }

    // -------------------------------------------------------------------------------------------------- configuration

    /// @dev Old and new signatures both count during the overlap: no price is missed.
    function test_rotation_overlaps() public {
        Payload memory old = heavy(11, ONE);
        pushes(old);
        vm.warp(NOW + OVERLAP); // the registry allows no epoch sooner
        rotateToOne();
        uint256 until = NOW + 2 * OVERLAP;
        old = heavyAt(11, ONE, NOW + OVERLAP - 10);
        pushes(old);
        vm.warp(until - 1);
        pushes(heavyAt(11, ONE, until - 2));
        vm.warp(until + 1);
        refuses(heavyAt(11, ONE, until), abi.encodeWithSelector(SignerSets.EpochExpired.selector, EPOCH, until));
        Payload memory p = newEpoch(until);
        (bool ok,) = address(verifier).call(bytes.concat(PriceFeeds.push.selector, bytes1(uint8(EPOCH + 1)), tail(p)));
        vm.assertTrue(ok, "the new epoch's signer");
        Price price = verifier.latest(feedOf(1, 0));
        vm.assertEq(price.mantissa(), 700, "its price");
        vm.assertEq(price.round(), 4, "the feed's rounds go on");
    }

    /// @dev A signature under one epoch never counts under the other, though both are in force.
    function test_epochs_do_not_mix() public {
        vm.warp(NOW + OVERLAP);
        rotateToOne();
        Payload memory p = newEpoch(NOW + OVERLAP);
        (bool ok, bytes memory result) = push(p); // named as the old epoch's
        vm.assertTrue(!ok && bytes4(result) == AttestationVerifier.BadSignature.selector, "new as old");
        p = heavyAt(11, ONE, NOW + OVERLAP - 10);
        (ok, result) = address(verifier).call(bytes.concat(PriceFeeds.push.selector, bytes1(uint8(EPOCH + 1)), tail(p)));
        vm.assertTrue(!ok && bytes4(result) == AttestationVerifier.BadSignature.selector, "old as new");
        (ok, result) = address(verifier).call(bytes.concat(PriceFeeds.push.selector, bytes1(uint8(EPOCH + 2)), tail(p)));
        vm.assertEq(result, abi.encodeWithSelector(SignerSets.UnknownEpoch.selector, EPOCH + 2, EPOCH + 1), "an epoch that is not");
    }

    function test_nothing_counts_before_the_first_epoch() public {
        verifier = new PriceFeeds(registry, limits(), 0);
        Payload memory p = heavy(11, ONE);
        refuses(p, abi.encodeWithSelector(SignerSets.UnknownEpoch.selector, EPOCH, 0));
        (bool ok, bytes memory result) = address(verifier).call(abi.encodeCall(PriceFeeds.setGroups, (groups(sizes))));
        vm.assertTrue(!ok, "no groups without a table");
        vm.assertEq(result, abi.encodeWithSelector(AttestationVerifier.NothingAdopted.selector), "its error");
        verifier.adopt();
        refuses(p, abi.encodeWithSelector(AttestationVerifier.UnknownGroup.selector, 0, 0));
    }

    function rotateToOne() private {
        FileRegistry.Signer[] memory one = new FileRegistry.Signer[](1);
        one[0] = FileRegistry.Signer(vm.addr(key(77)), 5);
        registry.publish(EPOCH + 1, one);
        verifier.adopt();
    }

    /// @dev The lone signer of the new epoch, at that time.
    function newEpoch(uint256 time) private pure returns (Payload memory p) {
        p = Payload(ONE, time, new uint256[](1), new Entry[](1));
        bytes memory words = word(700, 10, 7);
        p.entries[0] = Entry(0, 0, words, signCompact(key(77), digestOf(NETWORK, EPOCH + 1, time, keccak256(feedsOf(1)), words)));
    }

    /// @dev The payload without its first byte, the epoch's.
    function tail(Payload memory p) private pure returns (bytes memory rest) {
        bytes memory whole = encode(p);
        rest = new bytes(whole.length - 1);
        for (uint256 i; i < rest.length; ++i) {
            rest[i] = whole[i + 1];
        }
    }

    /// @dev Whoever passed over an epoch gives the one it had no second overlap.
    function test_an_epoch_that_was_passed_over_does_not_overlap() public {
        vm.warp(NOW + OVERLAP);
        registry.publish(EPOCH + 1, signers(weights));
        vm.warp(NOW + 2 * OVERLAP);
        registry.publish(EPOCH + 2, signers(weights));
        verifier.adopt();
        Payload memory p = heavyAt(11, ONE, NOW + 2 * OVERLAP - 4);
        refuses(p, abi.encodeWithSelector(SignerSets.EpochExpired.selector, EPOCH, 0));
    }

    function test_adopt_refuses_what_it_has() public {
        (bool ok, bytes memory result) = address(verifier).call(abi.encodeCall(SignerSets.adopt, ()));
        vm.assertTrue(!ok, "nothing new");
        vm.assertEq(result, abi.encodeWithSelector(SignerSets.EpochNotIncreasing.selector, EPOCH, EPOCH), "its error");
    }

    function test_groups_refusals() public {
        bytes[] memory g = groups(sizes);
        vm.prank(address(1));
        groupsFail(g, abi.encodeWithSelector(AttestationVerifier.NotGovernor.selector, address(1), address(this)));
        groupsFail(new bytes[](0), abi.encodeWithSelector(AttestationVerifier.TableSize.selector, 0, 255));
        bytes memory good = g[1];
        g[1] = "";
        groupsFail(g, abi.encodeWithSelector(AttestationVerifier.BadGroup.selector, 1, 0));
        g[1] = bytes.concat(good, hex"00");
        groupsFail(g, abi.encodeWithSelector(AttestationVerifier.BadGroup.selector, 1, 221));
        g[1] = bytes.concat(feedsOf(1), feedsOf(1));
        groupsFail(g, abi.encodeWithSelector(AttestationVerifier.BadGroup.selector, 1, 44));
        g[1] = feedsOf(17);
        groupsFail(g, abi.encodeWithSelector(AttestationVerifier.BadGroup.selector, 1, 374));
        g[1] = abi.encodePacked(feedOf(1, 0), int8(-19));
        groupsFail(g, abi.encodeWithSelector(AttestationVerifier.BadGroup.selector, 1, 22));
        g[1] = abi.encodePacked(feedOf(1, 0), int8(1));
        groupsFail(g, abi.encodeWithSelector(AttestationVerifier.BadGroup.selector, 1, 22));
        g[1] = feedsOf(16);
        verifier.setGroups(g);
        vm.assertEq(verifier.group(1), feedsOf(16), "the group in force");
    }

    function groupsFail(bytes[] memory g, bytes memory refusal) private {
        (bool ok, bytes memory result) = address(verifier).call(abi.encodeCall(PriceFeeds.setGroups, (g)));
        vm.assertTrue(!ok, "setGroups refuses");
        vm.assertEq(result, refusal, "its error");
    }

    // --------------------------------------------------------------------------------------------------------- history

    function test_the_ring_keeps_the_last_rounds() public {
        deployWithRing(weights, sizesOf(1), 4);
        bytes21 feed = feedOf(1, 0);
        for (uint256 i; i < 6; ++i) {
            vm.warp(NOW + 10 * i);
            pushes(heavyAt(11, 0, NOW + 10 * i));
        }
        for (uint256 round = 3; round <= 6; ++round) {
            vm.assertEq(verifier.priceAt(feed, round).time(), NOW + 10 * (round - 1), "a kept round");
        }
        for (uint256 i; i < 3; ++i) {
            uint256 round = i < 2 ? i : 7;
            (bool ok, bytes memory result) = address(verifier).call(abi.encodeCall(IPriceReader.priceAt, (feed, round)));
            vm.assertTrue(!ok, "no such round");
            vm.assertEq(result, abi.encodeWithSelector(IPriceReader.NoSuchRound.selector, feed, round), "its error");
        }
    }

    // --------------------------------------------------------------------------------------------------------- vectors

    /// @dev vectors/eip712_price_group.json, which the Rust side reads too.
    function test_golden_vectors() public {
        string memory json = vm.readFile("../vectors/eip712_price_group.json");
        uint256 count;
        uint256 through;
        for (; vm.keyExistsJson(json, path(count, ".digest")); ++count) {
            (bytes memory feeds, bytes memory words, bool doubtful) = feedsAndWords(json, count);
            bytes32 network = vm.parseJsonBytes32(json, path(count, ".network_id"));
            uint256 epoch = vm.parseJsonUint(json, path(count, ".epoch"));
            uint256 slot = vm.parseJsonUint(json, path(count, ".slot"));
            address signer = vm.parseJsonAddress(json, path(count, ".address"));
            uint256 privateKey = vm.parseJsonUint(json, path(count, ".private_key"));
            bytes memory signature = vm.parseJsonBytes(json, path(count, ".signature"));
            bytes32 digest = digestOf(network, epoch, slot, keccak256(feeds), words);
            vm.assertEq(keccak256(feeds), vm.parseJsonBytes32(json, path(count, ".feeds_hash")), "feeds_hash");
            vm.assertEq(words, vm.parseJsonBytes(json, path(count, ".words")), "words");
            vm.assertEq(
                structHashOf(epoch, slot, keccak256(feeds), words), vm.parseJsonBytes32(json, path(count, ".struct_hash")), "struct_hash"
            );
            vm.assertEq(digest, vm.parseJsonBytes32(json, path(count, ".digest")), "digest");
            vm.assertEq(vm.addr(privateKey), signer, "address");
            vm.assertEq(signCompact(privateKey, digest), signature, "signature");
            vm.assertEq(recoverCompact(digest, signature), signer, "recovery");
            // The payload's time has 40 bits; a doubtful price is not for contracts.
            if (slot >> 40 == 0 && !doubtful) {
                passesThrough(network, uint32(epoch), slot, signer, feeds, words, signature);
                ++through;
            }
        }
        vm.assertEq(count, 6, "six vectors");
        vm.assertEq(through, 4, "four of them for contracts");
    }

    function path(uint256 i, string memory field) private pure returns (string memory) {
        return string.concat("$[", vm.toString(i), "]", field);
    }

    function feedsAndWords(string memory json, uint256 i) private view returns (bytes memory feeds, bytes memory words, bool doubtful) {
        for (uint256 j; vm.keyExistsJson(json, path(i, string.concat(".feeds[", vm.toString(j), "].feed"))); ++j) {
            string memory feed = path(i, string.concat(".feeds[", vm.toString(j), "]"));
            bytes memory id = vm.parseJsonBytes(json, string.concat(feed, ".feed"));
            vm.assertEq(id.length, 21, "a feed has 21 bytes");
            feeds = abi.encodePacked(feeds, id, int8(vm.parseJsonInt(json, string.concat(feed, ".expo"))));
            uint256 mantissa = vm.parseJsonUint(json, string.concat(feed, ".mantissa"));
            vm.assertTrue(mantissa > 0 && mantissa >> 63 == 0, "a mantissa has 63 bits");
            bool flag = vm.parseJsonBool(json, string.concat(feed, ".doubtful"));
            words = bytes.concat(
                words,
                word(
                    mantissa | (flag ? 1 << 63 : 0),
                    vm.parseJsonUint(json, string.concat(feed, ".half_width")),
                    vm.parseJsonUint(json, string.concat(feed, ".sources"))
                )
            );
            doubtful = doubtful || flag;
        }
    }

    function recoverCompact(bytes32 digest, bytes memory signature) private pure returns (address) {
        (bytes32 r, bytes32 vs) = abi.decode(signature, (bytes32, bytes32));
        return ecrecover(digest, uint8(27 + (uint256(vs) >> 255)), r, vs & bytes32(type(uint256).max >> 1));
    }

    /// @dev A registry of the vector's signer alone accepts its signature.
    function passesThrough(
        bytes32 network,
        uint32 epoch,
        uint256 slot,
        address signer,
        bytes memory feeds,
        bytes memory words,
        bytes memory signature
    ) private {
        vm.warp(slot);
        FileRegistry.Signer[] memory s = new FileRegistry.Signer[](1);
        s[0] = FileRegistry.Signer(signer, 1);
        FileRegistry alone = new FileRegistry(network, address(this), OVERLAP);
        alone.publish(epoch, s);
        verifier = new PriceFeeds(alone, AttestationVerifier.Bounds(0, 0, 1, 0), 0);
        verifier.adopt();
        bytes[] memory g = new bytes[](1);
        g[0] = feeds;
        verifier.setGroups(g);
        Payload memory p = Payload(0, slot, new uint256[](feeds.length / 22), new Entry[](1));
        p.entries[0] = Entry(0, 0, words, signature);
        (bool ok, bytes memory result) = address(verifier).call(bytes.concat(PriceFeeds.pull.selector, bytes1(uint8(epoch)), tail(p)));
        vm.assertTrue(ok, "the contract accepts the vector");
        (bytes32 hash, Price[] memory prices) = abi.decode(result, (bytes32, Price[]));
        vm.assertEq(hash, keccak256(feeds), "its feeds");
        for (uint256 feed; feed < prices.length; ++feed) {
            vm.assertEq(prices[feed].mantissa(), mantissaAt(p, 0, feed), "its price");
        }
    }

    // -------------------------------------------------------------------------------------------------------- payloads

    function sizesOf(uint256 a) private pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = a;
    }

    function sizesOf(uint256 a, uint256 b, uint256 c) private pure returns (uint256[] memory list) {
        list = new uint256[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function empty(uint256 k, uint256 group) private view returns (Payload memory) {
        return Payload(group, NOW - 4, new uint256[](sizes[group]), new Entry[](k));
    }

    /// @dev k of the heavy signers, every third one; lags 0 to 4; all prices different.
    function heavy(uint256 k, uint256 group) private view returns (Payload memory) {
        return heavyAt(k, group, NOW - 4);
    }

    function heavyAt(uint256 k, uint256 group, uint256 time) private view returns (Payload memory p) {
        p = empty(k, group);
        p.time = time;
        for (uint256 i; i < k; ++i) {
            bytes memory words;
            for (uint256 feed; feed < sizes[group]; ++feed) {
                uint256 noise = uint256(keccak256(abi.encode(i, feed, "price")));
                words = bytes.concat(words, word(1 + (noise >> (193 + 5 * feed)), noise, i % 2 == 0 ? 0x3 : 0x6));
            }
            p.entries[i] = Entry(3 * i, i % 5, words, "");
            sign(p, i);
        }
        nameMedians(p);
    }

    /// @dev The same over any feeds.
    function heavyOf(uint256 k, bytes memory feeds, uint256 time) private view returns (Payload memory p) {
        p = Payload(0, time, new uint256[](feeds.length / 22), new Entry[](k));
        for (uint256 i; i < k; ++i) {
            bytes memory words;
            for (uint256 feed; feed < feeds.length / 22; ++feed) {
                words = bytes.concat(words, word(1_000 + 10 * i + feed, 10, 7));
            }
            p.entries[i] = Entry(3 * i, 0, words, signCompact(key(3 * i), digestOf(NETWORK, EPOCH, time, keccak256(feeds), words)));
        }
        nameMedians(p);
    }

    /// @dev The first k signers, one after the other, with prices `first`, `first` + 1, ... for every feed.
    function plain(uint256 k, uint256 group, uint256 first) private view returns (Payload memory) {
        return plainAt(k, group, first, NOW - 4);
    }

    function plainAt(uint256 k, uint256 group, uint256 first, uint256 time) private view returns (Payload memory p) {
        p = empty(k, group);
        p.time = time;
        for (uint256 i; i < k; ++i) {
            bytes memory words;
            for (uint256 feed; feed < sizes[group]; ++feed) {
                words = bytes.concat(words, word(first + i, 10, 7));
            }
            p.entries[i] = Entry(i, 0, words, "");
            sign(p, i);
        }
        nameMedians(p);
    }

    function relag(Payload memory p, uint256 i, uint256 lag) private view {
        p.entries[i].lag = lag;
        sign(p, i);
    }

    /// @dev Another word for one feed, signed anew.
    function rewrite(Payload memory p, uint256 i, uint256 feed, bytes memory word_) private view {
        bytes memory words = bytes.concat(p.entries[i].words);
        for (uint256 j; j < 12; ++j) {
            words[12 * feed + j] = word_[j];
        }
        p.entries[i].words = words;
        sign(p, i);
    }

    function refusesSignature(Payload memory p, uint256 i) private {
        (bool ok, bytes memory result) = pull(p);
        vm.assertTrue(!ok, "pull refuses");
        vm.assertTrue(bytes4(result) == AttestationVerifier.BadSignature.selector, "for the signature");
        uint256 index;
        address expected;
        assembly ("memory-safe") {
            index := mload(add(result, 0x24))
            expected := mload(add(result, 0x64))
        }
        vm.assertEq(index, p.entries[i].index, "whose");
        vm.assertEq(expected, vm.addr(key(p.entries[i].index)), "the key expected");
        (ok,) = push(p);
        vm.assertTrue(!ok, "push refuses");
    }

    /// @dev The entry whose price is next above or below the median's.
    function neighbour(Payload memory p, uint256 feed, bool above) private view returns (uint256 best) {
        uint256 median = sortedMedian(p, feed);
        uint256 distance = type(uint256).max;
        for (uint256 i; i < p.entries.length; ++i) {
            uint256 price = mantissaAt(p, i, feed);
            if (above ? price <= median : price >= median) continue;
            uint256 d = above ? price - median : median - price;
            if (d < distance) (best, distance) = (i, d);
        }
        vm.assertTrue(distance != type(uint256).max, "a neighbour exists");
    }

    /// @dev W(<m), W(<=m) and W_S for the named price.
    function shares(Payload memory p, uint256 feed) private view returns (uint256 below, uint256 atMost, uint256 counted) {
        uint256 named = mantissaAt(p, p.positions[feed], feed);
        for (uint256 i; i < p.entries.length; ++i) {
            uint256 weight = weights[p.entries[i].index];
            uint256 price = mantissaAt(p, i, feed);
            counted += weight;
            if (price < named) below += weight;
            if (price <= named) atMost += weight;
        }
    }
}
