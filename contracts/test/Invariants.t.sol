// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {vm} from "./Base.sol";
import {Fixture} from "./Fixture.sol";
import {FileRegistry} from "../src/FileRegistry.sol";
import {OracleRegistry} from "../src/OracleRegistry.sol";
import {Price} from "../src/Price.sol";
import {PriceFeeds} from "../src/PriceFeeds.sol";
import {PriceGroup} from "../src/PriceGroup.sol";

/// @notice Seven oracles of equal weight, two of which say what they like; a transmitter that picks whom to count and repeats old payloads.
contract FeedsHandler is Fixture {
    uint256 private constant ORACLES = 7;
    uint256 private constant LIARS = 2;
    uint256 private constant QUORUM = 5;

    /// @dev What the contract must remember: the rounds as they were accepted.
    Price[] public accepted;
    /// @dev Every payload that was ever accepted or refused for its time.
    bytes[] private s_sent;
    uint256 public replays;
    uint256 public honestLow;
    uint256 public honestHigh;
    bool public leftTheHull;

    constructor() {
        uint32[] memory list = new uint32[](ORACLES);
        for (uint256 i; i < ORACLES; ++i) {
            list[i] = 100;
        }
        uint256[] memory one = new uint256[](1);
        one[0] = 1;
        deployWithRing(list, one, 8);
    }

    function feeds() external view returns (PriceFeeds) {
        return verifier;
    }

    function feed() public pure returns (bytes21) {
        return feedOf(1, 0);
    }

    /// @dev Some quorum, with the liars in it or not, at a time that is admissible but not always new.
    function push(uint256 seed, uint64 lieLow, uint64 lieHigh) external {
        uint256 time = vm.getBlockTimestamp() - seed % 8;
        uint256 skip = (seed >> 8) % ORACLES;
        uint256 skip2 = (skip + 1 + (seed >> 16) % (ORACLES - 1)) % ORACLES;
        Payload memory p = Payload(0, time, new uint256[](1), new Entry[](QUORUM));
        (uint256 k, uint256 low, uint256 high) = (0, type(uint256).max, 0);
        for (uint256 i; i < ORACLES; ++i) {
            if (i == skip || i == skip2) continue;
            uint256 price = 1_000_000 + uint256(keccak256(abi.encode(seed, i))) % 1_000;
            if (i < LIARS) price = (i == 0 ? lieLow : lieHigh) >> 1;
            else (low, high) = (price < low ? price : low, price > high ? price : high);
            p.entries[k] = Entry(i, 0, word(price, 10, 7), "");
            sign(p, k++);
        }
        nameMedians(p);
        Price before = verifier.latest(feed());
        (bool ok,) = push(p);
        vm.assertTrue(ok == (time > before.time()), "accepted exactly if it is newer");
        s_sent.push(bytes.concat(PriceFeeds.push.selector, encode(p)));
        if (!ok) return;
        Price price_ = verifier.latest(feed());
        accepted.push(price_);
        if (price_.mantissa() < low || price_.mantissa() > high) leftTheHull = true;
    }

    /// @dev Something that was sent before, again.
    function replay(uint256 which) external {
        if (s_sent.length == 0) return;
        Price before = verifier.latest(feed());
        (bool ok,) = address(verifier).call(s_sent[which % s_sent.length]);
        ++replays;
        if (ok) accepted.push(verifier.latest(feed()));
        vm.assertTrue(!ok || verifier.latest(feed()).time() > before.time(), "only a newer time is taken");
    }

    function wait(uint256 seconds_) external {
        vm.warp(vm.getBlockTimestamp() + seconds_ % 20);
    }

    function count() external view returns (uint256) {
        return accepted.length;
    }
}

/// @notice Operators that join, are admitted, rotate, leave, take their bond, and sometimes sign twice.
contract RegistryHandler {
    uint256 private constant OPERATORS = 6;
    uint128 private constant STAKE = 1 ether;

    OracleRegistry public registry;
    uint256 public sealedEpochs;
    uint256 private s_keys;
    mapping(uint256 => uint256) private s_signerKey;
    mapping(address => bool) public signedTwice;

    constructor() {
        vm.warp(1_800_000_000);
        registry = new OracleRegistry(keccak256("devnet"), address(this), 10, 20, 30, STAKE);
    }

    function operator(uint256 i) public pure returns (address) {
        return vm.addr(1_000 + i % OPERATORS);
    }

    function state(uint256 i) private view returns (OracleRegistry.State) {
        return registry.oracleOf(operator(i)).state;
    }

    function register(uint256 i) external {
        i = i % OPERATORS;
        if (state(i) != OracleRegistry.State.None) return;
        vm.deal(operator(i), STAKE);
        bytes32[2] memory consent = newSigner(i);
        vm.prank(operator(i));
        registry.register{value: STAKE}(bytes32(1 + i), vm.addr(s_signerKey[i]), vm.toString(i), consent);
    }

    function admit(uint256 i, uint32 weight) external {
        if (state(i) != OracleRegistry.State.Registered) return;
        registry.admit(operator(i), 1 + weight % 1_000);
    }

    function rotate(uint256 i) external {
        i = i % OPERATORS;
        if (state(i) != OracleRegistry.State.Registered) return;
        bytes32[2] memory consent = newSigner(i);
        vm.prank(operator(i));
        registry.rotate(bytes32(1 + i), vm.addr(s_signerKey[i]), consent);
    }

    function exit(uint256 i) external {
        if (state(i) != OracleRegistry.State.Registered) return;
        vm.prank(operator(i));
        registry.exit();
    }

    function withdraw(uint256 i) external {
        vm.prank(operator(i));
        (bool ok,) = address(registry).call(abi.encodeCall(OracleRegistry.withdraw, ()));
        vm.assertTrue(!ok || state(i) == OracleRegistry.State.Leaving, "only who leaves");
    }

    function seal() external {
        vm.warp(vm.getBlockTimestamp() + 21);
        if (!registry.isChanged() || registry.admitted() == 0) return;
        address[] memory members = new address[](registry.admitted());
        uint256[] memory weights = new uint256[](members.length);
        uint256 n;
        uint256 cap;
        for (uint256 i; i < OPERATORS; ++i) {
            OracleRegistry.Oracle memory oracle = registry.oracleOf(operator(i));
            if (oracle.weight == 0) continue;
            (members[n], weights[n]) = (operator(i), oracle.weight);
            if (oracle.weight > cap) cap = oracle.weight;
            ++n;
        }
        while (n >= 4 && 3 * cap >= capped(weights, cap)) --cap;
        registry.sealEpoch(members, uint32(cap));
        ++sealedEpochs;
    }

    /// @dev Signs two prices for one slot, or the same one twice; the second is no evidence.
    function slash(uint256 i, uint96 word, bool isHonest) external {
        i = i % OPERATORS;
        OracleRegistry.Oracle memory oracle = registry.oracleOf(operator(i));
        if (oracle.signer == address(0)) return;
        OracleRegistry.SignedGroup memory a = signed(i, word);
        OracleRegistry.SignedGroup memory b = signed(i, isHonest ? word : word ^ 1);
        if (!isHonest) signedTwice[operator(i)] = true;
        (bool ok,) = address(registry).call(abi.encodeCall(OracleRegistry.slash, (5, a, b, 0, 0)));
        bool isDue = !isHonest && oracle.state != OracleRegistry.State.Slashed && oracle.stake >= STAKE;
        vm.assertTrue(ok == isDue, "slashed exactly on evidence");
    }

    function takeForfeited() external {
        registry.withdrawForfeited(address(0xfee));
    }

    receive() external payable {}

    function signed(uint256 i, uint96 word) private view returns (OracleRegistry.SignedGroup memory g) {
        g = OracleRegistry.SignedGroup(0, abi.encodePacked(bytes21("f"), int8(0)), abi.encodePacked(word), 0, 0);
        bytes32 digest = PriceGroup.digest(PriceGroup.domainOf(keccak256("devnet")), 0, 5, g.feeds, g.words);
        (g.r, g.vs) = compact(s_signerKey[i], digest);
    }

    function newSigner(uint256 i) private returns (bytes32[2] memory consent) {
        s_signerKey[i] = 5_000 + ++s_keys;
        (consent[0], consent[1]) = compact(s_signerKey[i], registry.consentDigest(operator(i)));
    }

    function compact(uint256 key, bytes32 digest) private pure returns (bytes32, bytes32) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return (r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }

    function capped(uint256[] memory weights, uint256 cap) private pure returns (uint256 sum) {
        for (uint256 i; i < weights.length; ++i) {
            sum += weights[i] < cap ? weights[i] : cap;
        }
    }

    /// @dev Bonds that are still here, by adding them up.
    function bonds() external view returns (uint256 sum) {
        for (uint256 i; i < OPERATORS; ++i) {
            sum += registry.oracleOf(operator(i)).stake;
        }
    }

    function admittedByHand() external view returns (uint256 n) {
        for (uint256 i; i < OPERATORS; ++i) {
            if (registry.oracleOf(operator(i)).weight != 0) ++n;
        }
    }

    function honestAreUnharmed() external view returns (bool) {
        for (uint256 i; i < OPERATORS; ++i) {
            if (state(i) == OracleRegistry.State.Slashed && !signedTwice[operator(i)]) return false;
        }
        return true;
    }
}

/// @notice docs/invariants.md, after every step of a handler.
contract FeedsInvariants {
    FeedsHandler private handler;

    function setUp() public {
        handler = new FeedsHandler();
    }

    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(handler);
    }

    /// @dev CHAIN-1, CHAIN-2, CHAIN-3, CHAIN-4.
    function invariant_prices() external view {
        PriceFeeds feeds = handler.feeds();
        bytes21 feed = handler.feed();
        uint256 n = handler.count();
        Price latest = feeds.latest(feed);
        vm.assertEq(latest.round(), n, "CHAIN-4: as many rounds as were accepted");
        vm.assertTrue(latest.time() <= vm.getBlockTimestamp(), "CHAIN-1: never ahead of the block");
        vm.assertTrue(!handler.leftTheHull(), "CHAIN-2: within the honest prices");
        uint256 above = type(uint256).max;
        for (uint256 i; i < 8 && i < n; ++i) {
            Price kept = feeds.priceAt(feed, n - i);
            vm.assertEq(Price.unwrap(kept), Price.unwrap(handler.accepted(n - 1 - i)), "CHAIN-4: as it was accepted");
            vm.assertTrue(kept.time() < above, "CHAIN-1: time strictly rises");
            vm.assertTrue(kept.share() >= 66, "CHAIN-3: more than two thirds signed");
            above = kept.time();
        }
    }
}

/// @notice The same for the registry.
contract RegistryInvariants {
    RegistryHandler private handler;

    function setUp() public {
        handler = new RegistryHandler();
    }

    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(handler);
    }

    /// @dev CHAIN-5, CHAIN-6, CHAIN-7, CHAIN-8.
    function invariant_registry() external view {
        OracleRegistry registry = handler.registry();
        vm.assertEq(address(registry).balance, handler.bonds() + registry.forfeited(), "CHAIN-5: every wei has an owner");
        vm.assertEq(registry.admitted(), handler.admittedByHand(), "CHAIN-6: counted as they are");
        vm.assertTrue(handler.honestAreUnharmed(), "CHAIN-7: nobody is slashed without evidence");
        vm.assertEq(registry.epochCount(), handler.sealedEpochs(), "CHAIN-8: one epoch a seal");
        if (registry.epochCount() == 0) return;
        (,, uint8 signers, uint40 total, address table) = registry.newestEpoch();
        uint256 sum;
        for (uint256 i; i < signers; ++i) {
            uint256 weight = weightAt(table, i);
            vm.assertTrue(signers < 4 || 3 * weight < total, "CHAIN-8: each below a third");
            sum += weight;
        }
        vm.assertEq(sum, total, "CHAIN-8: the total is the sum");
    }

    function weightAt(address table, uint256 i) private view returns (uint32 weight) {
        bytes memory code = table.code;
        assembly ("memory-safe") {
            // 0x20 for the length, 1 for the zero in front: the row's last four bytes.
            weight := and(mload(add(code, add(25, mul(i, 24)))), 0xffffffff)
        }
    }
}
