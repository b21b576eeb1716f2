// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AttestationVerifier} from "./AttestationVerifier.sol";
import {Deviation} from "./Deviation.sol";
import {Owned} from "./Owned.sol";
import {IAggregatorV2V3} from "./interfaces/IAggregatorV2V3.sol";
import {ISignerRegistry} from "./interfaces/ISignerRegistry.sol";

/// @title  One feed, read and followed as Chainlink's are
/// @notice Every accepted transmission is a round that is kept for ever: AggregatorV2V3Interface with NewRound and AnswerUpdated. Rounds count
///         from 1. `startedAt` and `updatedAt` are both the oldest counted slot: an age that is measured against them is never understated.
///
///         Anyone may transmit what the policy asks for: the first round, an answer that deviates by `deviationPpb` from the last, any answer
///         once `heartbeat` has passed. Transmitters may do so at any time. Nobody can transmit what was not signed.
///
///         Answers outside `minAnswer` to `maxAnswer` are refused, never clamped: the last round stays with its old time, and ages.
contract Aggregator is AttestationVerifier, Owned, IAggregatorV2V3 {
    /// @notice When a transmission is due.
    struct Policy {
        /// @notice Seconds after which any answer is due; and how old an answer may be before `isStale` says so.
        uint32 heartbeat;
        /// @notice Parts per billion of the last answer.
        uint64 deviationPpb;
    }

    // Storage slot 4, the newest round and the policy:
    // | 0: time 40 | 40: round 32 | 72: answer 64 | 136: heartbeat 32 | 168: deviation 64 | 232: 0 |
    // Round r is at slot ROUNDS + r, without the policy.
    uint256 private s_latest;
    /// @notice Whether an address may transmit at any time.
    mapping(address => bool) public isTransmitter;

    uint256 private constant ROUNDS = 1 << 160;
    uint256 private constant ROUND_BITS = (1 << 136) - 1;

    /// @notice What is priced.
    bytes21 public immutable feed;
    /// @notice Digits behind the point; the feed's exponent with the other sign.
    uint8 public immutable decimals;
    /// @notice Least answer that is accepted.
    int192 public immutable minAnswer;
    /// @notice Greatest answer that is accepted.
    int192 public immutable maxAnswer;
    // As long as most pairs' names.
    bytes32 private immutable NAME;

    event PolicySet(uint32 heartbeat, uint64 deviationPpb);
    event TransmitterSet(address indexed transmitter, bool allowed);

    /// @notice The payload's feed or its exponent is another.
    error WrongFeed(bytes21 given, int8 exponent, bytes21 expected, uint8 decimals);
    /// @notice The time is not above the last round's.
    error TimeNotIncreasing(uint256 time, uint256 stored);
    /// @notice Neither deviation nor heartbeat asks for this answer, and the caller is no transmitter.
    error NotDue(int256 answer, int256 last, uint256 time, uint256 dueAt);
    /// @notice An answer that the feed cannot have.
    error AnswerOutOfRange(int256 answer, int256 least, int256 greatest);
    /// @notice A pair has 1 to 20 bytes, and a heartbeat is not zero.
    error BadConfiguration();

    /// @param pair  such as "ETH/USD"; its description is "ETH / USD", as Chainlink's feeds show theirs.
    /// @param range least and greatest answer.
    constructor(
        ISignerRegistry registry_,
        address owner_,
        Bounds memory limits,
        string memory pair,
        uint8 decimals_,
        int192[2] memory range,
        Policy memory policy_
    ) AttestationVerifier(registry_, limits) Owned(owner_) {
        if (bytes(pair).length == 0 || bytes(pair).length > 20) revert BadConfiguration();
        (minAnswer, maxAnswer, decimals, NAME) = (range[0], range[1], decimals_, bytes32(bytes(pair)));
        feed = bytes21(abi.encodePacked(bytes1(0x01), bytes20(bytes(pair))));
        _setPolicy(policy_);
    }

    /// @notice Replaces the group that brings the feed: its (feed 21 | exponent 1), ascending by feed. For the registry's owner.
    function setGroup(bytes calldata feeds) external {
        bytes[] memory groups = new bytes[](1);
        groups[0] = feeds;
        _setGroups(groups);
    }

    /// @notice Changes when a transmission is due. For the owner.
    function setPolicy(Policy calldata policy_) external onlyOwner {
        _setPolicy(policy_);
    }

    /// @notice Lets an address transmit at any time, or no more. For the owner.
    function setTransmitter(address transmitter, bool allowed) external onlyOwner {
        isTransmitter[transmitter] = allowed;
        emit TransmitterSet(transmitter, allowed);
    }

    // ----------------------------------------------------------------------------------------------------- transmitting

    /// @notice Stores the median of the payload behind the selector as the next round. See AttestationVerifier; instead of N positions the
    ///         payload names the feed's place in its group 1 | median position 1.
    function transmit() external {
        (uint256 index, uint256 stamp) = _verifyOne();
        uint256 row = _row(index);
        if (bytes21(bytes32(row)) != feed || uint8(-int8(uint8(row >> 80))) != decimals) {
            revert WrongFeed(bytes21(bytes32(row)), int8(uint8(row >> 80)), feed, decimals);
        }
        uint256 time = uint40(stamp);
        int256 answer = int256((_at(MEDIANS_AT + 32 * index) >> 32) & type(uint64).max);
        uint256 last = s_latest;
        if (time <= uint40(last)) revert TimeNotIncreasing(time, uint40(last));
        if (answer < minAnswer || answer > maxAnswer) revert AnswerOutOfRange(answer, minAnswer, maxAnswer);
        if (!_isDue(last, answer, time) && !isTransmitter[msg.sender]) {
            revert NotDue(answer, _answer(last), time, uint40(last) + uint32(last >> 136));
        }
        unchecked {
            uint256 round = uint32((last >> 40) + 1); // one a second at most: wraps after 136 years
            uint256 word = (uint256(answer) << 72) | (round << 40) | time;
            s_latest = (last & ~ROUND_BITS) | word;
            assembly ("memory-safe") {
                sstore(add(ROUNDS, round), word)
            }
            emit NewRound(round, msg.sender, time);
            emit AnswerUpdated(answer, round, time);
        }
    }

    /// @notice Whether the policy asks for this answer, signed at this time.
    function isDue(int256 answer, uint256 time) external view returns (bool) {
        return _isDue(s_latest, answer, time);
    }

    /// @notice Whether there is no answer, or one that is older than the heartbeat allows.
    function isStale() external view returns (bool) {
        uint256 last = s_latest;
        return block.timestamp > uint40(last) + uint32(last >> 136);
    }

    /// @notice When a transmission is due.
    function policy() external view returns (Policy memory) {
        return Policy(uint32(s_latest >> 136), uint64(s_latest >> 168));
    }

    function _isDue(uint256 last, int256 answer, uint256 time) private pure returns (bool) {
        if (time >= uint40(last) + uint32(last >> 136)) return true;
        return Deviation.deviates(_answer(last), answer, uint64(last >> 168));
    }

    function _setPolicy(Policy memory policy_) private {
        if (policy_.heartbeat == 0) revert BadConfiguration();
        s_latest = (s_latest & ROUND_BITS) | (uint256(policy_.heartbeat) << 136) | (uint256(policy_.deviationPpb) << 168);
        emit PolicySet(policy_.heartbeat, policy_.deviationPpb);
    }

    // ---------------------------------------------------------------------------------------------------------- reading

    /// @notice 6, to be told from Chainlink's own aggregators, which say 4.
    function version() external pure returns (uint256) {
        return 6;
    }

    /// @notice "BASE / QUOTE", with Chainlink's spaces.
    function description() external view returns (string memory) {
        bytes memory shown;
        for (uint256 i; i < 32 && NAME[i] != 0; ++i) {
            shown = NAME[i] == "/" ? bytes.concat(shown, " / ") : bytes.concat(shown, NAME[i]);
        }
        return string(shown);
    }

    /// @dev By hand: this is what every consumer pays for.
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        uint256 word = s_latest;
        uint256 round = uint32(word >> 40);
        require(round != 0, "No data present");
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, round)
            mstore(add(data, 0x20), and(shr(72, word), 0xffffffffffffffff))
            word := and(word, 0xffffffffff)
            mstore(add(data, 0x40), word)
            mstore(add(data, 0x60), word)
            mstore(add(data, 0x80), round)
            return(data, 0xa0)
        }
    }

    function getRoundData(uint80 roundId) external view returns (uint80, int256, uint256, uint256, uint80) {
        return _present(_round(roundId));
    }

    function latestAnswer() external view returns (int256) {
        return _answer(s_latest);
    }

    function latestTimestamp() external view returns (uint256) {
        return uint40(s_latest);
    }

    function latestRound() external view returns (uint256) {
        return uint32(s_latest >> 40);
    }

    /// @notice The answer of a round, 0 if there is none: as Chainlink's older reader does.
    function getAnswer(uint256 roundId) external view returns (int256) {
        return _answer(_round(roundId));
    }

    /// @notice The time of a round, 0 if there is none.
    function getTimestamp(uint256 roundId) external view returns (uint256) {
        return uint40(_round(roundId));
    }

    function _present(uint256 word) private pure returns (uint80, int256, uint256, uint256, uint80) {
        uint80 round = uint32(word >> 40);
        require(round != 0, "No data present");
        uint256 time = uint40(word);
        return (round, _answer(word), time, time, round);
    }

    function _answer(uint256 word) private pure returns (int256) {
        return int256(uint256(uint64(word >> 72)));
    }

    function _round(uint256 roundId) private view returns (uint256 word) {
        if (roundId > type(uint32).max) return 0;
        assembly ("memory-safe") {
            word := sload(add(ROUNDS, roundId))
        }
    }
}
