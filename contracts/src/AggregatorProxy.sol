// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAccessController} from "./AccessController.sol";
import {Deviation} from "./Deviation.sol";
import {Owned} from "./Owned.sol";
import {IAggregatorV2V3} from "./interfaces/IAggregatorV2V3.sol";

/// @title  An address that stays while aggregators change
/// @notice As Chainlink's EACAggregatorProxy: the owner proposes an aggregator, looks at it through the proxy, and confirms it. Each
///         confirmed aggregator is a phase; round ids are phase << 64 | the aggregator's round, so that they ascend and old rounds stay readable.
///
///         Stricter in one thing: confirming fails when the decimals differ, or when the new answer is further than a fifth from one that is
///         less than a day old. Both have cost users of other oracles millions.
contract AggregatorProxy is Owned, IAggregatorV2V3 {
    /// @notice How far a new aggregator's answer may be from a fresh one, in parts per billion. A guess: no market we know of moves a fifth
    ///         between two looks without being halted.
    uint64 public constant CONFIRM_DEVIATION_PPB = 200_000_000;
    /// @notice From what age on the old answer is no measure any more, in seconds.
    uint256 public constant CONFIRM_AGE_MAX = 1 days;

    // Storage slot 2, all that a read needs: | 0: aggregator 160 | 160: phase 16 | 176: whether readers are checked 8 |
    struct Phase {
        IAggregatorV2V3 aggregator;
        uint16 id;
        bool isChecked;
    }

    Phase private s_current;
    IAggregatorV2V3 private s_proposed;
    IAccessController private s_controller;
    mapping(uint16 => IAggregatorV2V3) private s_phases;

    event AggregatorProposed(address indexed current, address indexed proposed);
    event AggregatorConfirmed(address indexed previous, address indexed latest);
    event ControllerSet(address indexed controller);

    /// @notice The new aggregator counts in other units.
    error DecimalsDiffer(uint8 current, uint8 proposed);
    /// @notice The new aggregator's answer is too far from the one it replaces.
    error AnswersDiffer(int256 current, int256 proposed);

    modifier checkAccess() {
        if (s_current.isChecked) _demandAccess();
        _;
    }

    /// @param controller who may read; zero: everyone.
    constructor(address owner_, IAggregatorV2V3 aggregator_, IAccessController controller) Owned(owner_) {
        _setAggregator(aggregator_);
        _setController(controller);
    }

    // ---------------------------------------------------------------------------------------------------------- changing

    /// @notice Proposes an aggregator; readers see nothing of it yet.
    function proposeAggregator(address proposed) external onlyOwner {
        s_proposed = IAggregatorV2V3(proposed);
        emit AggregatorProposed(address(s_current.aggregator), proposed);
    }

    /// @notice Makes the proposed aggregator the next phase.
    function confirmAggregator(address proposed) external onlyOwner {
        require(proposed == address(s_proposed), "Invalid proposed aggregator");
        IAggregatorV2V3 old = s_current.aggregator;
        _compare(old, IAggregatorV2V3(proposed));
        delete s_proposed;
        _setAggregator(IAggregatorV2V3(proposed));
        emit AggregatorConfirmed(address(old), proposed);
    }

    /// @notice Changes who may read; zero: everyone.
    function setController(address controller) external onlyOwner {
        _setController(IAccessController(controller));
    }

    function _compare(IAggregatorV2V3 old, IAggregatorV2V3 proposed) private view {
        if (old.decimals() != proposed.decimals()) revert DecimalsDiffer(old.decimals(), proposed.decimals());
        if (old.latestTimestamp() + CONFIRM_AGE_MAX < block.timestamp) return;
        (int256 before, int256 fresh) = (old.latestAnswer(), proposed.latestAnswer());
        if (Deviation.deviates(before, fresh, CONFIRM_DEVIATION_PPB)) revert AnswersDiffer(before, fresh);
    }

    function _setAggregator(IAggregatorV2V3 aggregator_) private {
        uint16 id = s_current.id + 1;
        (s_current.aggregator, s_current.id) = (aggregator_, id);
        s_phases[id] = aggregator_;
    }

    function _setController(IAccessController controller) private {
        (s_controller, s_current.isChecked) = (controller, address(controller) != address(0));
        emit ControllerSet(address(controller));
    }

    // ----------------------------------------------------------------------------------------------------------- reading

    /// @dev By hand: this is what every consumer pays for. One storage slot, one call.
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        uint256 current;
        assembly ("memory-safe") {
            current := sload(s_current.slot)
        }
        if (current >> 176 != 0) _demandAccess();
        bytes4 selector = this.latestRoundData.selector;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, selector)
            if iszero(staticcall(gas(), current, data, 4, data, 0xa0)) {
                returndatacopy(data, 0, returndatasize())
                revert(data, returndatasize())
            }
            if lt(returndatasize(), 0xa0) { revert(0, 0) }
            let phase := shl(64, and(shr(160, current), 0xffff))
            mstore(data, or(phase, and(mload(data), 0xffffffffffffffff)))
            mstore(add(data, 0x80), or(phase, and(mload(add(data, 0x80)), 0xffffffffffffffff)))
            return(data, 0xa0)
        }
    }

    function getRoundData(uint80 roundId) external view checkAccess returns (uint80, int256, uint256, uint256, uint80) {
        (uint16 phase, IAggregatorV2V3 source) = _phaseOf(roundId);
        require(address(source) != address(0), "No data present");
        (uint80 round, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) = source.getRoundData(uint64(roundId));
        return (_pack(phase, round), answer, startedAt, updatedAt, _pack(phase, answeredIn));
    }

    /// @notice The proposed aggregator's newest round, before it is confirmed.
    function proposedLatestRoundData() external view checkAccess returns (uint80, int256, uint256, uint256, uint80) {
        return _proposed().latestRoundData();
    }

    /// @notice A round of the proposed aggregator.
    function proposedGetRoundData(uint80 roundId) external view checkAccess returns (uint80, int256, uint256, uint256, uint80) {
        return _proposed().getRoundData(roundId);
    }

    function latestAnswer() external view checkAccess returns (int256) {
        return s_current.aggregator.latestAnswer();
    }

    function latestTimestamp() external view checkAccess returns (uint256) {
        return s_current.aggregator.latestTimestamp();
    }

    function latestRound() external view checkAccess returns (uint256) {
        return _pack(s_current.id, uint80(s_current.aggregator.latestRound()));
    }

    function getAnswer(uint256 roundId) external view checkAccess returns (int256) {
        (, IAggregatorV2V3 source) = _phaseOf(roundId);
        return address(source) == address(0) ? int256(0) : source.getAnswer(uint64(roundId));
    }

    function getTimestamp(uint256 roundId) external view checkAccess returns (uint256) {
        (, IAggregatorV2V3 source) = _phaseOf(roundId);
        return address(source) == address(0) ? 0 : source.getTimestamp(uint64(roundId));
    }

    function decimals() external view returns (uint8) {
        return s_current.aggregator.decimals();
    }

    function description() external view returns (string memory) {
        return s_current.aggregator.description();
    }

    function version() external view returns (uint256) {
        return s_current.aggregator.version();
    }

    /// @notice The aggregator in force.
    function aggregator() external view returns (address) {
        return address(s_current.aggregator);
    }

    /// @notice The aggregator that is proposed.
    function proposedAggregator() external view returns (address) {
        return address(s_proposed);
    }

    /// @notice The phase in force; counts from 1.
    function phaseId() external view returns (uint16) {
        return s_current.id;
    }

    /// @notice The aggregator of a phase.
    function phaseAggregators(uint16 phase) external view returns (address) {
        return address(s_phases[phase]);
    }

    /// @notice Who may read; zero: everyone.
    function accessController() external view returns (address) {
        return address(s_controller);
    }

    function _demandAccess() private view {
        require(s_controller.hasAccess(msg.sender, msg.data), "No access");
    }

    /// @dev The phase that a packed round id names, if there was one.
    function _phaseOf(uint256 roundId) private view returns (uint16 phase, IAggregatorV2V3 source) {
        phase = uint16(roundId >> 64);
        if (roundId >> 80 == 0) source = s_phases[phase];
    }

    function _proposed() private view returns (IAggregatorV2V3) {
        require(address(s_proposed) != address(0), "No proposed aggregator present");
        return s_proposed;
    }

    function _pack(uint16 phase, uint80 round) private pure returns (uint80) {
        return (uint80(phase) << 64) | uint64(round);
    }
}
