// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Refusals, vm} from "./Base.sol";
import {AttestationVerifier} from "../src/AttestationVerifier.sol";
import {OracleRegistry} from "../src/OracleRegistry.sol";
import {PriceFeeds} from "../src/PriceFeeds.sol";
import {PriceGroup} from "../src/PriceGroup.sol";
import {TableCode} from "../src/TableCode.sol";

/// @notice Operators, epochs and slashing; and that what is sealed is what prices are verified with.
contract OracleRegistryTest is Refusals {
    bytes32 private constant NETWORK = keccak256("devnet");
    uint256 private constant NOW = 1_800_000_000;
    uint32 private constant OVERLAP = 600;
    uint32 private constant EPOCH_LENGTH = 3_600;
    uint32 private constant EXIT_DELAY = 14 days;
    uint128 private constant STAKE = 10 ether;

    OracleRegistry private registry;
    address[] private operators;

    function setUp() public {
        vm.warp(NOW);
        registry = new OracleRegistry(NETWORK, address(this), OVERLAP, EPOCH_LENGTH, EXIT_DELAY, STAKE);
    }

    // -------------------------------------------------------------------------------------------------------- epochs

    function test_a_sealed_epoch_verifies_prices() public {
        found(7, 100);
        (uint32 epoch, uint40 sealedAt, uint8 signers, uint40 total, address table) = registry.newestEpoch();
        vm.assertEq(epoch, 0, "the first epoch");
        vm.assertEq(sealedAt, NOW, "sealed now");
        vm.assertEq(signers, 7, "seven signers");
        vm.assertEq(total, 700, "of equal weight");
        bytes memory rows;
        for (uint256 i; i < 7; ++i) {
            rows = abi.encodePacked(rows, vm.addr(signerKey(i)), uint32(100));
        }
        vm.assertEq(TableCode.read(table, 0, 7 * 24), rows, "the rows");
        vm.assertEq(table.code.length, 7 * 24 + 1, "and nothing else");
        PriceFeeds feeds = feedsOn();
        pushes(feeds, 0, NOW, 5, 0);
        vm.assertEq(feeds.latest(feedId()).share(), 71, "five of seven");
    }

    /// @dev Old and new keys both count while the epochs overlap, and no price is missed.
    function test_rotation_overlaps() public {
        found(4, 100);
        PriceFeeds feeds = feedsOn();
        bytes32 kept = registry.oracleOf(operators[0]).author;
        vm.warp(NOW + EPOCH_LENGTH - 1);
        pushes(feeds, 0, vm.getBlockTimestamp(), 3, 0);
        rotates(kept);
        pushes(feeds, 0, vm.getBlockTimestamp() + 1, 3, 0);
        seal(100);
        feeds.adopt();
        pushes(feeds, 0, vm.getBlockTimestamp() + 1, 3, 0);
        pushes(feeds, 1, vm.getBlockTimestamp() + 1, 3, 90);
        pushes(feeds, 0, vm.getBlockTimestamp() + 1, 3, 0);
        vm.assertEq(registry.operatorOf(vm.addr(signerKey(0))), operators[0], "the old key stays its owner's");
        vm.assertEq(registry.operatorOf(vm.addr(signerKey(90))), operators[0], "the new key too");
    }

    function test_seal_refusals() public {
        join(5);
        seals(new address[](0), 0, abi.encodeWithSelector(OracleRegistry.NothingChanged.selector));
        admitAll(100);
        seals(first(4), 100, abi.encodeWithSelector(OracleRegistry.WrongMembers.selector, 4, 5));
        address[] memory swapped = first(5);
        (swapped[1], swapped[2]) = (swapped[2], swapped[1]);
        seals(swapped, 100, abi.encodeWithSelector(OracleRegistry.AuthorsNotAscending.selector, 2));
        swapped[2] = swapped[1];
        seals(swapped, 100, abi.encodeWithSelector(OracleRegistry.AuthorsNotAscending.selector, 2));
        swapped[0] = address(1);
        seals(swapped, 100, abi.encodeWithSelector(OracleRegistry.WrongState.selector, address(1), OracleRegistry.State.None));
        seals(first(5), 99, abi.encodeWithSelector(OracleRegistry.WrongCap.selector, 99, 495, 500));
        registry.sealEpoch(first(5), 100);
        registry.admit(operators[0], 101);
        uint256 earliest = NOW + EPOCH_LENGTH;
        seals(first(5), 101, abi.encodeWithSelector(OracleRegistry.TooSoon.selector, NOW, earliest));
        vm.warp(earliest);
        registry.sealEpoch(first(5), 101);
        vm.assertEq(registry.epochCount(), 2, "two epochs");
    }

    /// @dev The rule that nodes cap by, in Rust: the greatest c with 3 c < sum of min(w, c), found by trying. No other is accepted.
    function testFuzz_only_the_right_cap_is_accepted(uint256 seed) public {
        uint256 n = 1 + seed % 7;
        join(n);
        uint256[] memory weights = new uint256[](n);
        uint256 greatest;
        for (uint256 i; i < n; ++i) {
            weights[i] = 1 + uint256(keccak256(abi.encode(seed, i))) % ((seed >> 8) % 2 == 0 ? 6 : 200);
            if (i == 0 && (seed >> 9) % 2 == 0) weights[i] = 400;
            if (weights[i] > greatest) greatest = weights[i];
            registry.admit(operators[i], uint32(weights[i]));
        }
        uint256 right = greatest;
        if (n >= 4) while (3 * right >= capped(weights, right)) --right;
        for (uint256 cap = right < 2 ? 0 : right - 2; cap <= right + 2; ++cap) {
            if (cap == right) continue;
            vm.prank(address(this));
            (bool ok, bytes memory result) = address(registry).call(abi.encodeCall(OracleRegistry.sealEpoch, (first(n), uint32(cap))));
            vm.assertTrue(!ok && bytes4(result) == OracleRegistry.WrongCap.selector, "another cap");
        }
        registry.sealEpoch(first(n), uint32(right));
        (,,, uint40 total,) = registry.newestEpoch();
        vm.assertEq(total, capped(weights, right), "the capped weights");
        // A19: nobody holds a third.
        if (n >= 4) vm.assertTrue(3 * right < total, "each below a third");
    }

    function capped(uint256[] memory weights, uint256 cap) private pure returns (uint256 sum) {
        for (uint256 i; i < weights.length; ++i) {
            sum += weights[i] < cap ? weights[i] : cap;
        }
    }

    // ----------------------------------------------------------------------------------------------------- operators

    function test_register_refusals() public {
        join(2);
        address fresh = address(0xbeef);
        vm.deal(fresh, 100 ether);
        bytes32[2] memory consent = consentOf(5, fresh);
        address signer = vm.addr(signerKey(5));
        registers(
            fresh, STAKE - 1, "a", signer, "p", consent, abi.encodeWithSelector(OracleRegistry.StakeTooLow.selector, STAKE - 1, STAKE)
        );
        registers(fresh, STAKE, "a", signer, "", consent, abi.encodeWithSelector(OracleRegistry.BadPeerId.selector, 0, 128));
        registers(fresh, STAKE, "a", signer, "peer0", consent, taken(keccak256("peer0"), 0));
        registers(fresh, STAKE, author(1), signer, "p", consent, taken(author(1), 1));
        registers(fresh, STAKE, 0, signer, "p", consent, abi.encodeWithSelector(OracleRegistry.ZeroKey.selector));
        address other = vm.addr(signerKey(1));
        registers(fresh, STAKE, "a", other, "p", consentOf(1, fresh), taken(bytes32(uint256(uint160(other))), 1));
        // Somebody else's key: only its holder can say whose it is.
        registers(fresh, STAKE, "a", vm.addr(signerKey(6)), "p", consent, noConsent(signer, 6));
        consent = consentOf(6, operators[0]);
        address recovered = PriceGroup.recover(registry.consentDigest(fresh), consent[0], consent[1]);
        registers(fresh, STAKE, "a", vm.addr(signerKey(6)), "p", consent, noConsent(recovered, 6));
        consent = consentOf(5, fresh);
        vm.prank(fresh);
        registry.register{value: STAKE}("a", signer, "p", consent);
        registers(fresh, STAKE, "b", signer, "q", consent, wrongState(fresh, OracleRegistry.State.Registered));
    }

    function test_who_may_do_what() public {
        join(1);
        failsSaying(address(1), address(registry), abi.encodeCall(OracleRegistry.admit, (operators[0], 1)), "Only callable by owner");
        failsSaying(address(1), address(registry), abi.encodeCall(OracleRegistry.withdrawForfeited, (address(1))), "Only callable by owner");
        fails(address(1), address(registry), abi.encodeCall(OracleRegistry.exit, ()), wrongState(address(1), OracleRegistry.State.None));
        fails(
            address(this),
            address(registry),
            abi.encodeCall(OracleRegistry.admit, (address(1), 5)),
            wrongState(address(1), OracleRegistry.State.None)
        );
        bytes memory weightless = abi.encodeCall(OracleRegistry.admit, (operators[0], 0));
        fails(address(this), address(registry), weightless, abi.encodeWithSelector(OracleRegistry.ZeroWeight.selector, operators[0]));
        bytes32[2] memory none;
        bytes memory rotation = abi.encodeCall(OracleRegistry.rotate, (author(9), vm.addr(signerKey(0)), none));
        fails(address(1), address(registry), rotation, wrongState(address(1), OracleRegistry.State.None));
    }

    function test_a_bond_stays_until_the_exit_delay_has_passed() public {
        found(5, 100);
        bytes memory withdrawal = abi.encodeCall(OracleRegistry.withdraw, ());
        fails(operators[4], address(registry), withdrawal, wrongState(operators[4], OracleRegistry.State.Registered));
        vm.prank(operators[4]);
        registry.exit();
        fails(operators[4], address(registry), withdrawal, abi.encodeWithSelector(OracleRegistry.TooSoon.selector, NOW, type(uint256).max));
        operators.pop();
        seal(100); // an epoch's length later
        address leaver = vm.addr(operatorKey(4));
        uint256 earliest = NOW + EPOCH_LENGTH + EXIT_DELAY;
        vm.warp(earliest - 1);
        fails(leaver, address(registry), withdrawal, abi.encodeWithSelector(OracleRegistry.TooSoon.selector, earliest - 1, earliest));
        vm.warp(earliest);
        uint256 before = leaver.balance;
        vm.prank(leaver);
        registry.withdraw();
        vm.assertEq(leaver.balance - before, STAKE, "the bond is back");
        vm.prank(leaver);
        registry.withdraw(); // nothing is left
        vm.assertEq(leaver.balance - before, STAKE, "once");
    }

    /// @dev When all leave, an empty epoch is sealed: nothing counts any more, and the last bond is not stuck.
    function test_the_last_can_leave() public {
        found(1, 100);
        PriceFeeds feeds = feedsOn();
        vm.prank(operators[0]);
        registry.exit();
        operators.pop();
        seal(0);
        feeds.adopt();
        uint256 time = vm.getBlockTimestamp();
        bytes memory data = abi.encodePacked(PriceFeeds.push.selector, uint8(1), uint8(0), uint40(time), uint8(0));
        OracleRegistry.SignedGroup memory g = signWith(0, 1, time, feedRow(), abi.encodePacked(uint96(1 << 32 | 1)));
        bytes memory refusal = abi.encodeWithSelector(AttestationVerifier.UnknownSigner.selector, 0, 0);
        fails(address(this), address(feeds), abi.encodePacked(data, uint16(0), g.r, g.vs, g.words), refusal);
        vm.warp(time + EXIT_DELAY);
        vm.prank(vm.addr(operatorKey(0)));
        registry.withdraw();
        vm.assertEq(address(registry).balance, 0, "nothing is left");
    }

    function test_reputation_is_what_is_known_here() public {
        found(4, 100);
        vm.assertEq(registry.getOracleReputation(operators[0]), 51, "one epoch served");
        vm.assertEq(registry.getOracleReputation(address(1)), 0, "unknown");
        slashes(0, sign(0, 0, 500), sign(0, 0, 501));
        vm.assertEq(registry.getOracleReputation(operators[0]), 0, "slashed");
    }

    // ------------------------------------------------------------------------------------------------------ slashing

    /// @dev A18: any two different words of one oracle for one feed and slot are evidence, and take its bond.
    function testFuzz_a18_two_different_words_take_the_bond(uint96 one, uint96 other) public {
        found(4, 100);
        OracleRegistry.SignedGroup memory a = signWord(2, 0, one);
        OracleRegistry.SignedGroup memory b = signWord(2, 0, other);
        if (one == other) {
            fails(address(this), address(registry), evidence(a, b), abi.encodeWithSelector(OracleRegistry.NoConflict.selector, 0, 0));
            return;
        }
        address reporter = address(0xcafe);
        vm.prank(reporter);
        registry.slash(uint64(NOW), a, b, 0, 0);
        vm.assertEq(reporter.balance, STAKE / 10, "the reporter's share");
        vm.assertEq(registry.forfeited(), STAKE - STAKE / 10, "the rest");
        vm.assertTrue(registry.oracleOf(operators[2]).state == OracleRegistry.State.Slashed, "slashed");
        vm.assertEq(registry.admitted(), 3, "no epoch from now on has it");
        fails(address(this), address(registry), evidence(a, b), wrongState(operators[2], OracleRegistry.State.Slashed));
    }

    function test_the_next_epoch_is_without_a_slashed_oracle() public {
        found(5, 100);
        slashes(1, sign(1, 0, 500), sign(1, 0, 501));
        vm.warp(NOW + EPOCH_LENGTH);
        seals(first(5), 100, abi.encodeWithSelector(OracleRegistry.WrongMembers.selector, 5, 4));
        address[] memory rest = new address[](4);
        (rest[0], rest[1], rest[2], rest[3]) = (operators[0], operators[2], operators[3], operators[4]);
        registry.sealEpoch(rest, 100);
        (,, uint8 signers,,) = registry.newestEpoch();
        vm.assertEq(signers, 4, "four are left");
        registry.withdrawForfeited(address(0xfee));
        vm.assertEq(address(0xfee).balance, STAKE - STAKE / 10, "forfeited");
        vm.assertEq(address(registry).balance, 4 * STAKE, "the others' bonds are untouched");
    }

    function test_a_conflict_across_epochs_groups_and_keys_counts() public {
        found(4, 100);
        rotates(registry.oracleOf(operators[0]).author);
        // The old key, in a group of one; the new key, another epoch, as the second feed of a group of two.
        OracleRegistry.SignedGroup memory a = signWord(0, 0, 7);
        bytes memory pair = bytes.concat(abi.encodePacked(bytes21(hex"014141"), int8(-8)), feedRow());
        OracleRegistry.SignedGroup memory b = signWith(90, 1, NOW, pair, abi.encodePacked(uint96(9), uint96(8)));
        registry.slash(uint64(NOW), a, b, 0, 1);
        vm.assertTrue(registry.oracleOf(operators[0]).state == OracleRegistry.State.Slashed, "slashed");
    }

    function test_what_is_no_evidence() public {
        found(4, 100);
        OracleRegistry.SignedGroup memory a = signWord(0, 0, 7);
        OracleRegistry.SignedGroup memory b = signWord(0, 0, 7);
        fails(address(this), address(registry), evidence(a, b), abi.encodeWithSelector(OracleRegistry.NoConflict.selector, 0, 0));
        // Two different feeds.
        b = signWith(0, 0, NOW, abi.encodePacked(bytes21(hex"014141"), int8(-8)), abi.encodePacked(uint96(8)));
        fails(address(this), address(registry), evidence(a, b), abi.encodeWithSelector(OracleRegistry.NoConflict.selector, 0, 0));
        // Two oracles.
        b = signWord(1, 0, 8);
        fails(address(this), address(registry), evidence(a, b), notTheOracles(vm.addr(signerKey(0)), vm.addr(signerKey(1))));
        // Two slots: over the slot that is claimed, the signature is nobody's.
        b = signWith(0, 0, NOW + 1, feedRow(), abi.encodePacked(uint96(8)));
        (bool ok, bytes memory result) = address(registry).call(evidence(a, b));
        vm.assertTrue(!ok && bytes4(result) == OracleRegistry.NotTheOraclesSignature.selector, "another slot");
        // The same price with another exponent is another price.
        b = signWith(0, 0, NOW, abi.encodePacked(feedId(), int8(-7)), abi.encodePacked(uint96(7)));
        registry.slash(uint64(NOW), a, b, 0, 0);
    }

    function test_a_leaving_oracle_can_be_slashed_until_its_bond_is_gone() public {
        found(5, 100);
        vm.prank(operators[4]);
        registry.exit();
        OracleRegistry.SignedGroup memory a = signWord(4, 0, 7);
        OracleRegistry.SignedGroup memory b = signWord(4, 0, 8);
        registry.slash(uint64(NOW), a, b, 0, 0);
        vm.assertTrue(registry.oracleOf(operators[4]).state == OracleRegistry.State.Slashed, "slashed");
        vm.assertEq(registry.admitted(), 4, "counted out once");
        fails(
            operators[4],
            address(registry),
            abi.encodeCall(OracleRegistry.withdraw, ()),
            wrongState(operators[4], OracleRegistry.State.Slashed)
        );
    }

    receive() external payable {}

    // ------------------------------------------------------------------------------------------------------- network

    function found(uint256 n, uint32 weight) private {
        join(n);
        admitAll(weight);
        seal(weight);
    }

    /// @dev n operators, ascending by author key.
    function join(uint256 n) private {
        for (uint256 i; i < n; ++i) {
            address operator = vm.addr(operatorKey(i));
            operators.push(operator);
            vm.deal(operator, STAKE);
            bytes32[2] memory consent = consentOf(i, operator);
            vm.prank(operator);
            registry.register{value: STAKE}(author(i), vm.addr(signerKey(i)), string.concat("peer", vm.toString(i)), consent);
        }
    }

    /// @dev The first operator takes signer 90.
    function rotates(bytes32 author_) private {
        bytes32[2] memory consent = consentOf(90, operators[0]);
        vm.prank(operators[0]);
        registry.rotate(author_, vm.addr(signerKey(90)), consent);
    }

    function admitAll(uint32 weight) private {
        for (uint256 i; i < operators.length; ++i) {
            registry.admit(operators[i], weight);
        }
    }

    function seal(uint32 cap) private {
        if (registry.epochCount() != 0) vm.warp(vm.getBlockTimestamp() + EPOCH_LENGTH);
        registry.sealEpoch(operators, cap);
    }

    function first(uint256 n) private view returns (address[] memory list) {
        list = new address[](n);
        for (uint256 i; i < n; ++i) {
            list[i] = operators[i];
        }
    }

    function author(uint256 i) private pure returns (bytes32) {
        return bytes32(1000 + i);
    }

    function operatorKey(uint256 i) private pure returns (uint256) {
        return uint256(keccak256(abi.encode("operator", i)));
    }

    function signerKey(uint256 i) private pure returns (uint256) {
        return uint256(keccak256(abi.encode("signer", i)));
    }

    function consentOf(uint256 signer, address operator) private view returns (bytes32[2] memory consent) {
        (consent[0], consent[1]) = compact(signerKey(signer), registry.consentDigest(operator));
    }

    function compact(uint256 key, bytes32 digest) private pure returns (bytes32, bytes32) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return (r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }

    // -------------------------------------------------------------------------------------------------------- prices

    function feedId() private pure returns (bytes21) {
        return bytes21(hex"014554482f555344");
    }

    function feedRow() private pure returns (bytes memory) {
        return abi.encodePacked(feedId(), int8(-8));
    }

    function feedsOn() private returns (PriceFeeds feeds) {
        feeds = new PriceFeeds(registry, AttestationVerifier.Bounds(60, 5, 30, 1), 0);
        feeds.adopt();
        bytes[] memory groups = new bytes[](1);
        groups[0] = feedRow();
        feeds.setGroups(groups);
    }

    /// @dev The first k signers push one price at that time; the first of them may sign with another key.
    function pushes(PriceFeeds feeds, uint32 epoch, uint256 time, uint256 k, uint256 firstKey) private {
        vm.warp(time);
        bytes memory data = abi.encodePacked(PriceFeeds.push.selector, uint8(epoch), uint8(0), uint40(time), uint8(0));
        bytes memory words = abi.encodePacked(uint64(500), uint16(1), uint16(1));
        for (uint256 i; i < k; ++i) {
            OracleRegistry.SignedGroup memory g = signWith(i == 0 ? firstKey : i, epoch, time, feedRow(), words);
            data = abi.encodePacked(data, uint8(i), uint8(0), g.r, g.vs, words);
        }
        (bool ok,) = address(feeds).call(data);
        vm.assertTrue(ok, "the push is accepted");
    }

    function sign(uint256 signer, uint32 epoch, uint64 mantissa) private pure returns (OracleRegistry.SignedGroup memory) {
        return signWith(signer, epoch, NOW, feedRow(), abi.encodePacked(mantissa, uint16(1), uint16(1)));
    }

    function signWord(uint256 signer, uint32 epoch, uint96 word) private pure returns (OracleRegistry.SignedGroup memory) {
        return signWith(signer, epoch, NOW, feedRow(), abi.encodePacked(word));
    }

    function signWith(uint256 signer, uint32 epoch, uint256 slot, bytes memory feeds, bytes memory words)
        private
        pure
        returns (OracleRegistry.SignedGroup memory g)
    {
        g = OracleRegistry.SignedGroup(epoch, feeds, words, 0, 0);
        (g.r, g.vs) = compact(signerKey(signer), PriceGroup.digest(PriceGroup.domainOf(NETWORK), epoch, uint64(slot), feeds, words));
    }

    function slashes(uint256 i, OracleRegistry.SignedGroup memory a, OracleRegistry.SignedGroup memory b) private {
        registry.slash(uint64(NOW), a, b, 0, 0);
        vm.assertTrue(registry.oracleOf(operators[i]).state == OracleRegistry.State.Slashed, "slashed");
    }

    function evidence(OracleRegistry.SignedGroup memory a, OracleRegistry.SignedGroup memory b) private pure returns (bytes memory) {
        return abi.encodeCall(OracleRegistry.slash, (uint64(NOW), a, b, 0, 0));
    }

    // ------------------------------------------------------------------------------------------------------ refusals

    function seals(address[] memory members, uint32 cap, bytes memory refusal) private {
        fails(address(this), address(registry), abi.encodeCall(OracleRegistry.sealEpoch, (members, cap)), refusal);
    }

    function registers(
        address operator,
        uint256 stake,
        bytes32 author_,
        address signer,
        string memory peer,
        bytes32[2] memory consent,
        bytes memory refusal
    ) private {
        vm.prank(operator);
        (bool ok, bytes memory result) =
            address(registry).call{value: stake}(abi.encodeCall(OracleRegistry.register, (author_, signer, peer, consent)));
        vm.assertTrue(!ok, "register refuses");
        vm.assertEq(result, refusal, "its error");
    }

    function taken(bytes32 key, uint256 by) private view returns (bytes memory) {
        return abi.encodeWithSelector(OracleRegistry.KeyTaken.selector, key, operators[by]);
    }

    function noConsent(address recovered, uint256 signer) private pure returns (bytes memory) {
        return abi.encodeWithSelector(OracleRegistry.NoConsent.selector, recovered, vm.addr(signerKey(signer)));
    }

    function wrongState(address operator, OracleRegistry.State state) private pure returns (bytes memory) {
        return abi.encodeWithSelector(OracleRegistry.WrongState.selector, operator, state);
    }

    function notTheOracles(address a, address b) private pure returns (bytes memory) {
        return abi.encodeWithSelector(OracleRegistry.NotTheOraclesSignature.selector, a, b);
    }
}
