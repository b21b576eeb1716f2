// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Refusals, Vm, vm} from "./Base.sol";
import {Fixture} from "./Fixture.sol";
import {AccessController} from "../src/AccessController.sol";
import {Aggregator} from "../src/Aggregator.sol";
import {AggregatorProxy} from "../src/AggregatorProxy.sol";
import {AttestationVerifier} from "../src/AttestationVerifier.sol";
import {Deviation} from "../src/Deviation.sol";
import {IAggregator, IAggregatorV2V3, IAggregatorV3} from "../src/interfaces/IAggregatorV2V3.sol";

/// @notice The aggregator and its proxy, as somebody who knows Chainlink's would use them.
contract AggregatorTest is Fixture, Refusals {
    uint32 private constant HEARTBEAT = 3_600;
    uint64 private constant HALF_PERCENT = 5_000_000;
    address private constant STRANGER = address(0xbad);

    Aggregator private aggregator;

    function setUp() public {
        uint32[] memory list = new uint32[](4);
        (list[0], list[1], list[2], list[3]) = (100, 100, 100, 100);
        found(list);
        aggregator = build("CC/USD", 8);
    }

    // -------------------------------------------------------------------------------------------------------- rounds

    /// @dev CHAIN-9. The feed is the last of a group of three: its neighbours' prices are signed, and not looked at.
    function test_rounds_are_kept_for_ever() public {
        for (uint256 i = 1; i <= 3; ++i) {
            vm.warp(NOW + i * HEARTBEAT);
            vm.recordLogs();
            transmits(1_000 * i);
            Vm.Log[] memory logs = vm.getRecordedLogs();
            vm.assertEq(logs.length, 2, "Chainlink's two events");
            vm.assertEq(logs[0].topics[0], IAggregator.NewRound.selector, "NewRound");
            vm.assertEq(uint256(logs[0].topics[1]), i, "its round");
            vm.assertEq(address(uint160(uint256(logs[0].topics[2]))), address(this), "started by");
            vm.assertEq(logs[0].data, abi.encode(vm.getBlockTimestamp()), "started at");
            vm.assertEq(logs[1].topics[0], IAggregator.AnswerUpdated.selector, "AnswerUpdated");
            vm.assertEq(uint256(logs[1].topics[1]), 1_000 * i + 1, "the lower median of four");
            vm.assertEq(uint256(logs[1].topics[2]), i, "its round");
        }
        for (uint80 i = 1; i <= 3; ++i) {
            isRound(aggregator, i, int256(1_000 * uint256(i) + 1), NOW + i * HEARTBEAT);
            vm.assertEq(uint256(aggregator.getAnswer(i)), 1_000 * uint256(i) + 1, "getAnswer");
            vm.assertEq(aggregator.getTimestamp(i), NOW + i * HEARTBEAT, "getTimestamp");
        }
        vm.assertEq(uint256(aggregator.latestAnswer()), 3_001, "latestAnswer");
        vm.assertEq(aggregator.latestRound(), 3, "latestRound");
        vm.assertEq(aggregator.latestTimestamp(), NOW + 3 * HEARTBEAT, "latestTimestamp");
        vm.assertEq(bytes(aggregator.description()), bytes("CC / USD"), "description");
        vm.assertEq(aggregator.decimals(), 8, "decimals");
    }

    function test_no_data_present() public {
        bytes memory latest = abi.encodeCall(IAggregatorV3.latestRoundData, ());
        failsSaying(STRANGER, address(aggregator), latest, "No data present");
        vm.warp(NOW + HEARTBEAT);
        transmits(1_000);
        failsSaying(STRANGER, address(aggregator), abi.encodeCall(IAggregatorV3.getRoundData, (0)), "No data present");
        failsSaying(STRANGER, address(aggregator), abi.encodeCall(IAggregatorV3.getRoundData, (2)), "No data present");
        failsSaying(STRANGER, address(aggregator), abi.encodeCall(IAggregatorV3.getRoundData, (uint80(1) << 40 | 1)), "No data present");
        vm.assertEq(uint256(aggregator.getAnswer(2)), 0, "the older readers give zero");
        vm.assertEq(aggregator.getTimestamp(2), 0, "and zero");
    }

    // -------------------------------------------------------------------------------------------------------- policy

    /// @dev Strangers may transmit what is due, transmitters what they like; and nobody an older price.
    function test_anyone_may_transmit_what_is_due() public {
        transmitsAs(STRANGER, 1_000_000); // the first
        vm.warp(NOW + 10);
        // 1,000,001 to 1,005,001 is 4,999.995 parts per million: not yet half a percent.
        refusesAs(STRANGER, 1_005_000, notDue(1_005_001, 1_000_001));
        transmitsAs(STRANGER, 1_005_001); // one more, and it is
        vm.warp(NOW + 20);
        refusesAs(STRANGER, 1_005_001, notDue(1_005_002, 1_005_002));
        aggregator.setTransmitter(STRANGER, true);
        transmitsAs(STRANGER, 1_005_001);
        aggregator.setTransmitter(STRANGER, false);
        vm.warp(NOW + 19 + HEARTBEAT);
        refusesAs(STRANGER, 1_005_001, notDue(1_005_002, 1_005_002));
        vm.assertTrue(!aggregator.isDue(1_005_002, vm.getBlockTimestamp()), "not due");
        vm.warp(NOW + 20 + HEARTBEAT);
        vm.assertTrue(aggregator.isDue(1_005_002, vm.getBlockTimestamp()), "due");
        vm.assertTrue(!aggregator.isStale(), "as old as the heartbeat allows");
        vm.warp(NOW + 21 + HEARTBEAT);
        vm.assertTrue(aggregator.isStale(), "older");
        transmitsAs(STRANGER, 1_005_001);
        vm.assertTrue(!aggregator.isStale(), "fresh again");
        Aggregator.Policy memory policy = aggregator.policy();
        vm.assertEq(policy.heartbeat, HEARTBEAT, "heartbeat");
        vm.assertEq(policy.deviationPpb, HALF_PERCENT, "deviation");
    }

    /// @dev A12, for transmitters too.
    function test_a12_time_only_rises() public {
        aggregator.setTransmitter(address(this), true);
        bytes memory older = payload(1_000, NOW - 5, 2);
        transmits(2_000);
        (bool ok, bytes memory result) = address(aggregator).call(older);
        vm.assertTrue(!ok, "an older price that is still admissible");
        vm.assertEq(result, abi.encodeWithSelector(Aggregator.TimeNotIncreasing.selector, NOW - 5, NOW), "its error");
        (ok, result) = address(aggregator).call(payload(2_000, NOW, 2));
        vm.assertEq(result, abi.encodeWithSelector(Aggregator.TimeNotIncreasing.selector, NOW, NOW), "the same again");
    }

    /// @dev A13, LUNA: at the bounds the answer is refused, not clamped; the last round stays as it is, and ages.
    function test_a13_an_answer_out_of_range_is_refused_never_clamped() public {
        transmits(1_000);
        vm.warp(NOW + HEARTBEAT);
        refusesAs(address(this), 98, abi.encodeWithSelector(Aggregator.AnswerOutOfRange.selector, 99, 100, 1e12));
        refusesAs(address(this), 1e12, abi.encodeWithSelector(Aggregator.AnswerOutOfRange.selector, 1e12 + 1, 100, 1e12));
        isRound(aggregator, 1, 1_001, NOW);
        (, int256 answer,, uint256 updatedAt,) = aggregator.latestRoundData();
        vm.assertEq(uint256(answer), 1_001, "the last good answer");
        vm.assertEq(updatedAt, NOW, "with its old time");
        transmitsAs(STRANGER, 99); // 100, the bound itself
    }

    /// @dev Bonq: a single signer, whatever it says, moves nothing.
    function test_one_signer_is_refused() public {
        bytes memory data = header(NOW, 2, 0);
        data = bytes.concat(data, entry(0, 500, NOW));
        (bool ok, bytes memory result) = address(aggregator).call(data);
        vm.assertTrue(!ok, "one of four");
        vm.assertEq(result, abi.encodeWithSelector(AttestationVerifier.QuorumNotReached.selector, 100, 400), "its error");
    }

    /// @dev Ribbon: another exponent than the feed's decimals is refused, and so is another feed.
    function test_another_feed_or_exponent_is_refused() public {
        (bool ok, bytes memory result) = address(aggregator).call(payload(1_000, NOW, 1));
        vm.assertTrue(!ok, "the group's second feed");
        vm.assertEq(result, abi.encodeWithSelector(Aggregator.WrongFeed.selector, feedOf(3, 1), int8(-8), feedOf(3, 2), 8), "its error");
        (ok, result) = address(aggregator).call(payload(1_000, NOW, 3));
        vm.assertEq(result, abi.encodeWithSelector(AttestationVerifier.UnknownFeed.selector, 3, 3), "beyond the group");
        aggregator = build("CC/USD", 18);
        (ok, result) = address(aggregator).call(payload(1_000, NOW, 2));
        vm.assertEq(result, abi.encodeWithSelector(Aggregator.WrongFeed.selector, feedOf(3, 2), int8(-8), feedOf(3, 2), 18), "decimals");
    }

    /// @dev CHAIN-10.
    function test_who_may_configure() public {
        address target = address(aggregator);
        failsSaying(STRANGER, target, abi.encodeCall(Aggregator.setTransmitter, (STRANGER, true)), "Only callable by owner");
        failsSaying(STRANGER, target, abi.encodeCall(Aggregator.setPolicy, (Aggregator.Policy(1, 1))), "Only callable by owner");
        bytes memory refusal = abi.encodeWithSelector(AttestationVerifier.NotGovernor.selector, STRANGER, address(this));
        fails(STRANGER, target, abi.encodeCall(Aggregator.setGroup, (feedsOf(1))), refusal);
        bytes memory never = abi.encodeCall(Aggregator.setPolicy, (Aggregator.Policy(0, 1)));
        fails(address(this), target, never, abi.encodeWithSelector(Aggregator.BadConfiguration.selector));
        transmits(1_000);
        aggregator.setPolicy(Aggregator.Policy(7, 8));
        vm.assertEq(aggregator.policy().heartbeat, 7, "the new heartbeat");
        isRound(aggregator, 1, 1_001, NOW); // and the round is what it was
    }

    // ----------------------------------------------------------------------------------------------------- deviation

    /// @dev A14: the cases that libocr's rule is known by, then its definition on any numbers.
    function test_a14_deviation_vectors() public pure {
        deviates(0, 0, 0, false);
        deviates(0, 0, 1e9, false);
        deviates(0, 1, type(uint64).max, true);
        deviates(0, -1, type(uint64).max, true);
        deviates(100, 100, 0, true); // nothing is at least nothing
        deviates(100, 100, 1, false);
        deviates(100, 101, 10_000_000, true); // exactly one percent
        deviates(100, 101, 10_000_001, false);
        deviates(100, 99, 10_000_000, true);
        deviates(-100, -99, 10_000_000, true);
        deviates(-100, 100, 2_000_000_000, true); // twice its size
        deviates(-100, 100, 2_000_000_001, false);
        deviates(100, 0, 1_000_000_000, true);
        deviates(100, 0, 1_000_000_001, false);
        deviates(1_000_000_000, 1_000_000_001, 1, true);
        deviates(1_000_000_001, 1_000_000_002, 1, false);
        deviates(type(int192).max, type(int192).min, 2_000_000_000, true);
        deviates(type(int192).max, type(int192).min, 2_000_000_001, false);
    }

    /// @dev |fresh - old| / |old| >= ppb / 10^9 by long division: whole parts first, then remainders.
    function testFuzz_a14_deviation_is_an_exact_fraction(int192 old, int192 fresh, uint64 ppb, uint256 near) public pure {
        if (near % 3 != 0) fresh = old / 1_000_000 + int192(int256(near % 1_000)) + old / 2; // of one size, mostly
        if (near % 5 == 0) ppb = ppb % 2_000_000_000;
        if (old == 0) return deviates(old, fresh, ppb, fresh != 0);
        uint256 change = Deviation.magnitude(int256(fresh) - old);
        uint256 base = Deviation.magnitude(old);
        (uint256 whole, uint256 rest) = (change / base, change % base);
        (uint256 wholeMin, uint256 restMin) = (ppb / 1e9, ppb % 1e9);
        bool expected = whole > wholeMin || (whole == wholeMin && rest * 1e9 >= restMin * base);
        deviates(old, fresh, ppb, expected);
    }

    function deviates(int256 old, int256 fresh, uint64 ppb, bool expected) private pure {
        vm.assertTrue(Deviation.deviates(old, fresh, ppb) == expected, "the rule");
    }

    // --------------------------------------------------------------------------------------------------------- proxy

    function test_proxy_packs_phases_into_round_ids() public {
        transmits(1_000);
        AggregatorProxy proxy = new AggregatorProxy(address(this), aggregator, AccessController(address(0)));
        uint80 one = (uint80(1) << 64) | 1;
        isRound(proxy, one, 1_001, NOW);
        Aggregator old = aggregator;
        aggregator = build("CC/USD", 8);
        vm.warp(NOW + 10);
        proxy.proposeAggregator(address(aggregator));
        transmits(1_100);
        (uint80 roundId, int256 answer,,,) = proxy.proposedLatestRoundData();
        vm.assertEq(uint256(answer), 1_101, "the proposed one can be looked at");
        vm.assertEq(roundId, 1, "under its own ids");
        vm.assertEq(uint256(proxy.latestAnswer()), 1_001, "readers still see the old one");
        address other = address(old);
        bytes memory confirmation = abi.encodeCall(AggregatorProxy.confirmAggregator, (other));
        failsSaying(address(this), address(proxy), confirmation, "Invalid proposed aggregator");
        proxy.confirmAggregator(address(aggregator));
        uint80 two = (uint80(2) << 64) | 1;
        isRound(proxy, two, 1_101, NOW + 10);
        (roundId, answer,,,) = proxy.latestRoundData();
        vm.assertEq(roundId, two, "ids ascend");
        isRound(proxy, one, 1_001, NOW); // and old rounds stay readable
        vm.assertEq(proxy.latestRound(), two, "latestRound");
        vm.assertEq(uint256(proxy.getAnswer(one)), 1_001, "getAnswer of the first phase");
        vm.assertEq(proxy.getTimestamp(two), NOW + 10, "getTimestamp of the second");
        vm.assertEq(proxy.phaseId(), 2, "phase");
        vm.assertEq(proxy.phaseAggregators(1), address(old), "first");
        vm.assertEq(proxy.phaseAggregators(2), address(aggregator), "second");
        vm.assertEq(proxy.aggregator(), address(aggregator), "in force");
        uint80 never = (uint80(3) << 64) | 1;
        failsSaying(STRANGER, address(proxy), abi.encodeCall(IAggregatorV3.getRoundData, (never)), "No data present");
        vm.assertEq(uint256(proxy.getAnswer(never)), 0, "the older reader gives zero");
        vm.assertEq(uint256(proxy.getAnswer(uint256(1) << 80 | one)), 0, "no id has so many bits");
        vm.assertEq(proxy.version(), 6, "version");
        vm.assertEq(proxy.decimals(), 8, "decimals");
        vm.assertEq(bytes(proxy.description()), bytes("CC / USD"), "description");
    }

    /// @dev Moonwell, Ribbon: an aggregator in other units, or a fifth away, does not come into force.
    function test_proxy_refuses_another_unit_or_level() public {
        transmits(1_000);
        AggregatorProxy proxy = new AggregatorProxy(address(this), aggregator, AccessController(address(0)));
        Aggregator old = aggregator;
        aggregator = build("CC/USD", 18);
        confirmFails(proxy, abi.encodeWithSelector(AggregatorProxy.DecimalsDiffer.selector, 8, 18));
        aggregator = build("CC/USD", 8);
        confirmFails(proxy, abi.encodeWithSelector(AggregatorProxy.AnswersDiffer.selector, 1_001, 0)); // no answer at all
        transmits(1_201);
        confirmFails(proxy, abi.encodeWithSelector(AggregatorProxy.AnswersDiffer.selector, 1_001, 1_202));
        // An answer that is a day old is no measure.
        vm.warp(NOW + 1 days + 1);
        proxy.confirmAggregator(address(aggregator));
        vm.assertEq(proxy.phaseAggregators(1), address(old), "the old one is the first phase");
    }

    function test_proxy_access() public {
        transmits(1_000);
        AccessController controller = new AccessController(address(this));
        AggregatorProxy proxy = new AggregatorProxy(address(this), aggregator, controller);
        bytes memory read = abi.encodeCall(IAggregatorV3.latestRoundData, ());
        bytes memory readRound = abi.encodeCall(IAggregatorV3.getRoundData, (uint80(1) << 64 | 1));
        vm.assertTrue(reads(proxy, read, STRANGER, STRANGER), "an account that reads for itself");
        vm.assertTrue(!reads(proxy, read, STRANGER, address(this)), "a contract that is not listed");
        vm.assertTrue(!reads(proxy, readRound, STRANGER, address(this)), "nor any other read");
        failsSaying(STRANGER, address(controller), abi.encodeCall(AccessController.addAccess, (STRANGER)), "Only callable by owner");
        controller.addAccess(STRANGER);
        vm.assertTrue(reads(proxy, read, STRANGER, address(this)), "listed");
        controller.removeAccess(STRANGER);
        vm.assertTrue(!reads(proxy, read, STRANGER, address(this)), "no more");
        controller.disableAccessCheck();
        vm.assertTrue(reads(proxy, read, STRANGER, address(this)), "all may");
        controller.enableAccessCheck();
        proxy.setController(address(0));
        vm.assertTrue(reads(proxy, read, STRANGER, address(this)), "nobody is asked");
        vm.assertEq(proxy.accessController(), address(0), "no controller");
        failsSaying(STRANGER, address(proxy), abi.encodeCall(AggregatorProxy.proposeAggregator, (STRANGER)), "Only callable by owner");
        failsSaying(STRANGER, address(proxy), abi.encodeCall(AggregatorProxy.setController, (STRANGER)), "Only callable by owner");
        bytes memory proposed = abi.encodeCall(AggregatorProxy.proposedLatestRoundData, ());
        failsSaying(STRANGER, address(proxy), proposed, "No proposed aggregator present");
    }

    function test_ownership_is_handed_over_in_two_steps() public {
        AggregatorProxy proxy = new AggregatorProxy(address(this), aggregator, AccessController(address(0)));
        proxy.transferOwnership(STRANGER);
        vm.assertEq(proxy.owner(), address(this), "not yet");
        failsSaying(address(1), address(proxy), abi.encodeWithSignature("acceptOwnership()"), "Must be proposed owner");
        vm.prank(STRANGER);
        proxy.acceptOwnership();
        vm.assertEq(proxy.owner(), STRANGER, "now");
    }

    function reads(AggregatorProxy proxy, bytes memory read, address reader, address origin) private returns (bool ok) {
        bytes memory result;
        vm.prank(reader, origin);
        (ok, result) = address(proxy).call(read);
        if (!ok) vm.assertEq(result, abi.encodeWithSignature("Error(string)", "No access"), "the reason");
    }

    function confirmFails(AggregatorProxy proxy, bytes memory refusal) private {
        proxy.proposeAggregator(address(aggregator));
        fails(address(this), address(proxy), abi.encodeCall(AggregatorProxy.confirmAggregator, (address(aggregator))), refusal);
    }

    // ------------------------------------------------------------------------------------------------------ payloads

    function build(string memory pair, uint8 decimals) private returns (Aggregator built) {
        int192[2] memory range = [int192(100), int192(1e12)];
        Aggregator.Policy memory policy = Aggregator.Policy(HEARTBEAT, HALF_PERCENT);
        built = new Aggregator(registry, address(this), limits(), pair, decimals, range, policy);
        built.adopt();
        built.setGroup(feedsOf(3));
    }

    /// @dev All four sign the third feed at `price` to `price` + 3; the lower median is `price` + 1.
    function payload(uint256 price, uint256 time, uint256 index) private pure returns (bytes memory data) {
        data = header(time, index, 1);
        for (uint256 i; i < 4; ++i) {
            data = bytes.concat(data, entry(i, price + i, time));
        }
    }

    function header(uint256 time, uint256 index, uint256 position) private pure returns (bytes memory) {
        return abi.encodePacked(Aggregator.transmit.selector, uint8(EPOCH), uint8(0), uint40(time), uint8(index), uint8(position));
    }

    function entry(uint256 signer, uint256 price, uint256 time) private pure returns (bytes memory) {
        bytes memory words = bytes.concat(word(1, 1, 7), word(7e9 + signer, 1, 7), word(price, 1, 7));
        bytes memory signature = signCompact(key(signer), digestOf(NETWORK, EPOCH, time, keccak256(feedsOf(3)), words));
        return abi.encodePacked(uint8(signer), uint8(0), signature, words);
    }

    function transmits(uint256 price) private {
        transmitsAs(address(this), price);
    }

    function transmitsAs(address who, uint256 price) private {
        bytes memory data = payload(price, vm.getBlockTimestamp(), 2);
        vm.prank(who);
        (bool ok, bytes memory result) = address(aggregator).call(data);
        vm.assertEq(result, "", "transmit returns nothing");
        vm.assertTrue(ok, "the transmission is accepted");
    }

    function refusesAs(address who, uint256 price, bytes memory refusal) private {
        fails(who, address(aggregator), payload(price, vm.getBlockTimestamp(), 2), refusal);
    }

    function notDue(int256 answer, int256 last) private view returns (bytes memory) {
        uint256 dueAt = aggregator.latestTimestamp() + HEARTBEAT;
        return abi.encodeWithSelector(Aggregator.NotDue.selector, answer, last, vm.getBlockTimestamp(), dueAt);
    }

    function isRound(IAggregatorV2V3 source, uint80 roundId, int256 answer, uint256 time) private view {
        (uint80 id, int256 value, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) = source.getRoundData(roundId);
        vm.assertEq(id, roundId, "round id");
        vm.assertTrue(value == answer, "answer");
        vm.assertEq(startedAt, time, "started at");
        vm.assertEq(updatedAt, time, "updated at");
        vm.assertEq(answeredIn, roundId, "answered in");
    }
}
