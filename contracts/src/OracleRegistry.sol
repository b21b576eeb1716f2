// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ISignerRegistry} from "./interfaces/ISignerRegistry.sol";
import {Owned} from "./Owned.sol";
import {PriceGroup} from "./PriceGroup.sol";
import {TableCode} from "./TableCode.sol";

/// @title  Who is an oracle of the network, epoch by epoch
/// @notice An operator registers its keys with a bond; the owner admits it with a weight; the next sealed epoch counts it. Keys are rotated
///         and oracles leave the same way: a sealed epoch never changes, and its signatures count on for `overlap` after the next is sealed.
///         Two different prices that one oracle signed for one feed and slot take its bond: nothing but the two signed groups is needed.
///
///         Weights are capped below a third of their sum, as the network's nodes cap them: min(w, c) with the greatest c for which
///         3 c < sum of min(w, c). Whoever seals names c, and the contract verifies it by adding up.
contract OracleRegistry is ISignerRegistry, Owned {
    /// @notice What an operator is.
    enum State {
        None,
        /// @notice Bonded; counts from the first epoch sealed after it was admitted.
        Registered,
        /// @notice Wants to leave: no epoch sealed from now on has it.
        Leaving,
        /// @notice Caught: its bond is gone, its address and keys are spent.
        Slashed
    }

    /// @notice An operator and its keys.
    struct Oracle {
        /// @notice Signs price groups from the next sealed epoch on.
        address signer;
        /// @notice Before capping; 0: not admitted.
        uint32 weight;
        /// @notice Epochs it was a member of.
        uint32 epochsServed;
        State state;
        /// @notice Bond in wei.
        uint128 stake;
        /// @notice The last epoch it was a member of; meaningless if it served none.
        uint32 lastEpoch;
        /// @notice Key of its logs (Ed25519); from the next sealed epoch on.
        bytes32 author;
        /// @notice Its libp2p peer id, as text.
        string peerId;
    }

    /// @notice A sealed epoch.
    struct Epoch {
        address table;
        uint8 signers;
        uint40 totalWeight;
        uint40 sealedAt;
    }

    /// @notice One signed price group, as evidence.
    struct SignedGroup {
        uint32 epoch;
        /// @notice N x (feed 21 | exponent 1).
        bytes feeds;
        /// @notice N x 12.
        bytes words;
        bytes32 r;
        bytes32 vs;
    }

    /// @notice Members an epoch may have: an entry names its signer in one byte.
    uint256 public constant MEMBERS_MAX = 255;
    /// @notice Epochs there may be: nodes hold no more.
    uint256 public constant EPOCHS_MAX = 1024;
    /// @notice Fewest members whose weights are capped: fewer tolerate no fault, whatever the cap.
    uint256 public constant MEMBERS_CAPPED_MIN = 4;
    /// @notice Bytes of a peer id's text, as nodes bound it.
    uint256 public constant PEER_LEN_MAX = 128;
    /// @notice What a reporter gets of a bond, in percent: enough to pay for the evidence, little enough that slashing oneself does not pay.
    uint256 public constant REPORTER_PERCENT = 10;
    /// @notice Reputation of who has served no epoch: see getOracleReputation.
    uint256 public constant REPUTATION_INITIAL = 50;
    /// @notice EIP-712 type hash of a signer's consent to be an operator's.
    bytes32 public constant CONSENT_TYPEHASH = keccak256("SignerConsent(uint256 chainId,address registry,address operator)");

    /// @inheritdoc ISignerRegistry
    bytes32 public immutable networkId;
    /// @inheritdoc ISignerRegistry
    uint32 public immutable overlap;
    /// @notice Least time between two epochs, in seconds; at least `overlap`, so that never more than two count.
    uint32 public immutable epochLengthMin;
    /// @notice How long a bond stays after the first epoch without its oracle was sealed, in seconds: time to bring evidence.
    uint32 public immutable exitDelay;
    /// @notice Least bond, in wei.
    uint128 public immutable stakeMin;

    /// @notice Sealed epochs.
    Epoch[] public epochs;
    /// @notice Operators that were admitted and neither left nor were slashed.
    uint256 public admitted;
    /// @notice Whether anything changed since the last epoch was sealed.
    bool public isChanged;

    mapping(address operator => Oracle) private s_oracles;
    /// @notice Whose a signer is, for ever: old keys can be slashed too, and no key has two owners.
    mapping(address signer => address) public operatorOf;
    mapping(bytes32 author => address) private s_authors;
    mapping(bytes32 peer => address) private s_peers;
    /// @notice Who may withdraw what slashed bonds left: nobody but the owner.
    uint256 public forfeited;

    event Registered(address indexed operator, bytes32 indexed author, address indexed signer, string peerId, uint256 stake);
    event StakeAdded(address indexed operator, uint256 stake);
    event Admitted(address indexed operator, uint32 weight);
    event KeysRotated(address indexed operator, bytes32 indexed author, address indexed signer);
    event Leaving(address indexed operator);
    event Withdrawn(address indexed operator, uint256 stake);
    event EpochSealed(uint32 indexed epoch, address table, uint256 signers, uint256 totalWeight);
    /// @notice A member of an epoch, in the table's order; `weight` before capping. What a node needs to follow the registry.
    event EpochMember(uint32 indexed epoch, address indexed operator, bytes32 indexed author, address signer, uint32 weight, string peerId);
    event Slashed(address indexed operator, address indexed reporter, uint64 slot, bytes21 feed, uint256 stake, uint256 reward);
    event ForfeitedWithdrawn(address indexed to, uint256 amount);

    error EpochLengthBelowOverlap(uint256 length, uint256 overlap);
    error StakeTooLow(uint256 stake, uint256 least);
    error WrongState(address operator, State state);
    error KeyTaken(bytes32 key, address operator);
    error BadPeerId(uint256 length, uint256 greatest);
    error ZeroKey();
    error ZeroWeight(address operator);
    /// @notice The signer has not agreed to be this operator's.
    error NoConsent(address recovered, address signer);
    error TooManyMembers(uint256 members, uint256 greatest);
    error NothingChanged();
    error TooSoon(uint256 now_, uint256 earliest);
    error TooManyEpochs(uint256 epochs, uint256 greatest);
    /// @notice Whoever seals names all admitted operators.
    error WrongMembers(uint256 named, uint256 admitted);
    error AuthorsNotAscending(uint256 index);
    /// @notice The cap is not the greatest c with 3 c < sum of min(w, c). `above` is the sum for c + 1.
    error WrongCap(uint256 cap, uint256 sum, uint256 above);
    error NotTheOraclesSignature(address first, address second);
    error NoConflict(uint256 first, uint256 second);
    error NoEpoch();
    error TransferFailed(address to, uint256 amount);

    /// @param networkId_ salt of all signatures.
    /// @param owner_     admits operators, decides which feeds contracts carry. It can sign no price and seize no bond.
    constructor(bytes32 networkId_, address owner_, uint32 overlap_, uint32 epochLengthMin_, uint32 exitDelay_, uint128 stakeMin_)
        Owned(owner_)
    {
        if (epochLengthMin_ < overlap_) revert EpochLengthBelowOverlap(epochLengthMin_, overlap_);
        (networkId, overlap, epochLengthMin, exitDelay, stakeMin) = (networkId_, overlap_, epochLengthMin_, exitDelay_, stakeMin_);
    }

    /// @inheritdoc ISignerRegistry
    function owner() public view override(ISignerRegistry, Owned) returns (address) {
        return Owned.owner();
    }

    // ------------------------------------------------------------------------------------------------------- operators

    /// @notice Registers the caller with its keys and a bond.
    /// @param consent the signer's EIP-2098 signature over SignerConsent(chain, this registry, caller): nobody registers another's key.
    function register(bytes32 author, address signer, string calldata peerId, bytes32[2] calldata consent) external payable {
        Oracle storage oracle = s_oracles[msg.sender];
        if (oracle.state != State.None) revert WrongState(msg.sender, oracle.state);
        if (msg.value < stakeMin) revert StakeTooLow(msg.value, stakeMin);
        if (bytes(peerId).length == 0 || bytes(peerId).length > PEER_LEN_MAX) revert BadPeerId(bytes(peerId).length, PEER_LEN_MAX);
        address taken = s_peers[keccak256(bytes(peerId))];
        if (taken != address(0)) revert KeyTaken(keccak256(bytes(peerId)), taken);
        s_peers[keccak256(bytes(peerId))] = msg.sender;
        (oracle.state, oracle.stake, oracle.peerId) = (State.Registered, uint128(msg.value), peerId);
        _takeAuthor(oracle, author);
        _takeSigner(oracle, signer, consent);
        emit Registered(msg.sender, author, signer, peerId, msg.value);
    }

    /// @notice Adds to the caller's bond.
    function addStake() external payable {
        Oracle storage oracle = _registered(msg.sender);
        oracle.stake += uint128(msg.value);
        emit StakeAdded(msg.sender, oracle.stake);
    }

    /// @notice Gives an operator weight from the next epoch on, or changes it. For the owner.
    function admit(address operator, uint32 weight) external onlyOwner {
        Oracle storage oracle = _registered(operator);
        if (weight == 0) revert ZeroWeight(operator);
        if (oracle.weight == 0) {
            if (admitted == MEMBERS_MAX) revert TooManyMembers(admitted + 1, MEMBERS_MAX);
            ++admitted;
        }
        oracle.weight = weight;
        isChanged = true;
        emit Admitted(operator, weight);
    }

    /// @notice Replaces the caller's keys from the next epoch on; a key that stays is given again. Until then, and for the overlap after it,
    ///         the old ones count: no price is missed.
    function rotate(bytes32 author, address signer, bytes32[2] calldata consent) external {
        Oracle storage oracle = _registered(msg.sender);
        if (author != oracle.author) _takeAuthor(oracle, author);
        if (signer != oracle.signer) _takeSigner(oracle, signer, consent);
        if (oracle.weight != 0) isChanged = true;
        emit KeysRotated(msg.sender, author, signer);
    }

    /// @notice Leaves with the next epoch. For good: who wants to come back registers another address.
    function exit() external {
        Oracle storage oracle = _registered(msg.sender);
        _remove(oracle, State.Leaving);
        emit Leaving(msg.sender);
    }

    /// @notice Takes the bond back, `exitDelay` after the first epoch without the caller was sealed.
    function withdraw() external {
        Oracle storage oracle = s_oracles[msg.sender];
        if (oracle.state != State.Leaving) revert WrongState(msg.sender, oracle.state);
        if (oracle.epochsServed != 0) {
            uint256 next = oracle.lastEpoch + 1;
            if (next >= epochs.length) revert TooSoon(block.timestamp, type(uint256).max);
            uint256 earliest = uint256(epochs[next].sealedAt) + exitDelay;
            if (block.timestamp < earliest) revert TooSoon(block.timestamp, earliest);
        }
        uint256 stake = oracle.stake;
        oracle.stake = 0;
        emit Withdrawn(msg.sender, stake);
        _pay(msg.sender, stake);
    }

    // ---------------------------------------------------------------------------------------------------------- epochs

    /// @notice Seals the next epoch. Anyone may, `epochLengthMin` after the one before, if anything changed. Once all have left it is empty:
    ///         nothing counts any more, and the last bonds can be taken back.
    /// @param operators all admitted operators, ascending by author key.
    /// @param cap       the greatest c with 3 c < sum of min(w, c); the greatest weight if that is below a third of the sum already, or
    ///                  if there are fewer than four operators.
    function sealEpoch(address[] calldata operators, uint32 cap) external {
        uint256 number = epochs.length;
        if (!isChanged) revert NothingChanged();
        if (number == EPOCHS_MAX) revert TooManyEpochs(number + 1, EPOCHS_MAX);
        if (number != 0) {
            uint256 earliest = uint256(epochs[number - 1].sealedAt) + epochLengthMin;
            if (block.timestamp < earliest) revert TooSoon(block.timestamp, earliest);
        }
        if (operators.length != admitted) revert WrongMembers(operators.length, admitted);
        (bytes memory rows, uint40 total) = _seat(operators, uint32(number), cap);
        address table = TableCode.write(rows);
        epochs.push(Epoch(table, uint8(operators.length), total, uint40(block.timestamp)));
        isChanged = false;
        emit EpochSealed(uint32(number), table, operators.length, total);
    }

    /// @dev What is added up to verify a cap c.
    struct Sums {
        uint256 greatest;
        uint256 plain;
        /// @dev Sum of min(w, c).
        uint256 sum;
        /// @dev Sum of min(w, c + 1).
        uint256 above;
    }

    /// @dev Makes the operators members of an epoch; returns their rows with capped weights.
    function _seat(address[] calldata operators, uint32 number, uint256 cap) private returns (bytes memory rows, uint40) {
        bytes32 before;
        Sums memory sums;
        rows = new bytes(operators.length * TableCode.SIGNER_ROW);
        for (uint256 i; i < operators.length; ++i) {
            (bytes32 author, address signer, uint32 weight) = _join(operators[i], number);
            if (i != 0 && author <= before) revert AuthorsNotAscending(i);
            before = author;
            _putRow(rows, i, signer, _add(sums, weight, cap));
        }
        bool isPlain = operators.length < MEMBERS_CAPPED_MIN || 3 * sums.greatest < sums.plain;
        bool isRight = isPlain ? cap == sums.greatest : 3 * cap < sums.sum && 3 * (cap + 1) >= sums.above;
        if (!isRight) revert WrongCap(cap, sums.sum, sums.above);
        return (rows, uint40(sums.sum));
    }

    /// @dev Makes one operator a member of an epoch.
    function _join(address operator, uint32 number) private returns (bytes32 author, address signer, uint32 weight) {
        Oracle storage oracle = s_oracles[operator];
        (author, signer, weight) = (oracle.author, oracle.signer, oracle.weight);
        if (oracle.state != State.Registered || weight == 0) revert WrongState(operator, oracle.state);
        (oracle.epochsServed, oracle.lastEpoch) = (oracle.epochsServed + 1, number);
        emit EpochMember(number, operator, author, signer, weight, oracle.peerId);
    }

    function _add(Sums memory sums, uint256 weight, uint256 cap) private pure returns (uint256 capped) {
        if (weight > sums.greatest) sums.greatest = weight;
        capped = weight < cap ? weight : cap;
        sums.plain += weight;
        sums.sum += capped;
        sums.above += weight <= cap ? weight : cap + 1;
    }

    function _putRow(bytes memory rows, uint256 index, address signer, uint256 weight) private pure {
        uint256 row = (uint256(uint160(signer)) << 96) | (weight << 64);
        assembly ("memory-safe") {
            // The eight bytes behind the row stay what they are: behind the last one they may be another array's.
            let place := add(add(rows, 0x20), mul(index, 24))
            mstore(place, or(row, and(mload(place), 0xffffffffffffffff)))
        }
    }

    /// @inheritdoc ISignerRegistry
    function newestEpoch() external view returns (uint32 epoch, uint40 sealedAt, uint8 signers, uint40 totalWeight, address table) {
        if (epochs.length == 0) revert NoEpoch();
        Epoch storage e = epochs[epochs.length - 1];
        return (uint32(epochs.length - 1), e.sealedAt, e.signers, e.totalWeight, e.table);
    }

    // -------------------------------------------------------------------------------------------------------- slashing

    /// @notice Takes the bond of an oracle that signed two different prices for one feed and slot. Anyone may bring the two groups; keys that
    ///         were rotated away and epochs long past count too, as long as the bond is here.
    /// @dev    An honest node marks a slot durably before it signs anything for it, whatever the epoch and the key.
    /// @param slot   of both groups.
    /// @param first  which feed of the first group.
    /// @param second which feed of the second group: the same feed, with another exponent or word.
    function slash(uint64 slot, SignedGroup calldata a, SignedGroup calldata b, uint256 first, uint256 second) external {
        (address signerA, address signerB) = (_signerOf(slot, a), _signerOf(slot, b));
        address operator = operatorOf[signerA];
        if (operator == address(0) || operator != operatorOf[signerB]) revert NotTheOraclesSignature(signerA, signerB);
        bytes21 feed = _conflict(a, b, first, second);
        Oracle storage oracle = s_oracles[operator];
        if (oracle.state == State.Slashed || oracle.stake < stakeMin) revert WrongState(operator, oracle.state);
        uint256 stake = oracle.stake;
        uint256 reward = stake * REPORTER_PERCENT / 100;
        oracle.stake = 0;
        _remove(oracle, State.Slashed);
        forfeited += stake - reward;
        emit Slashed(operator, msg.sender, slot, feed, stake, reward);
        _pay(msg.sender, reward);
    }

    /// @notice Moves what slashed bonds left. For the owner: where it goes is the network's to decide.
    function withdrawForfeited(address to) external onlyOwner {
        uint256 amount = forfeited;
        forfeited = 0;
        emit ForfeitedWithdrawn(to, amount);
        _pay(to, amount);
    }

    function _signerOf(uint64 slot, SignedGroup calldata group) private view returns (address) {
        bytes32 digest = PriceGroup.digest(PriceGroup.domainOf(networkId), group.epoch, slot, group.feeds, group.words);
        return PriceGroup.recover(digest, group.r, group.vs);
    }

    /// @dev The feed about which the groups say different things.
    function _conflict(SignedGroup calldata a, SignedGroup calldata b, uint256 first, uint256 second) private pure returns (bytes21 feed) {
        feed = bytes21(a.feeds[22 * first:22 * first + 21]);
        bytes21 other = bytes21(b.feeds[22 * second:22 * second + 21]);
        bool isSame = a.feeds[22 * first + 21] == b.feeds[22 * second + 21]
            && bytes12(a.words[12 * first:12 * first + 12]) == bytes12(b.words[12 * second:12 * second + 12]);
        if (feed != other || isSame) revert NoConflict(first, second);
    }

    // --------------------------------------------------------------------------------------------------------- reading

    /// @notice An operator's record.
    function oracleOf(address operator) external view returns (Oracle memory) {
        return s_oracles[operator];
    }

    /// @notice How many epochs were sealed.
    function epochCount() external view returns (uint256) {
        return epochs.length;
    }

    /// @notice 0 to 100, from what this contract knows for certain: 0 for who is unknown or was slashed; else 50 and one for each epoch
    ///         served, 100 at most. How close an oracle's prices come to the network's is not known here: nodes say that.
    function getOracleReputation(address operator) external view returns (uint256) {
        Oracle storage oracle = s_oracles[operator];
        if (oracle.state == State.None || oracle.state == State.Slashed) return 0;
        uint256 reputation = REPUTATION_INITIAL + oracle.epochsServed;
        return reputation < 100 ? reputation : 100;
    }

    /// @notice What a signer signs to become an operator's.
    function consentDigest(address operator) public view returns (bytes32) {
        bytes32 consent = keccak256(abi.encode(CONSENT_TYPEHASH, block.chainid, address(this), operator));
        return keccak256(abi.encodePacked(hex"1901", PriceGroup.domainOf(networkId), consent));
    }

    // --------------------------------------------------------------------------------------------------------- private

    function _registered(address operator) private view returns (Oracle storage oracle) {
        oracle = s_oracles[operator];
        if (oracle.state != State.Registered) revert WrongState(operator, oracle.state);
    }

    function _takeAuthor(Oracle storage oracle, bytes32 author) private {
        if (author == 0) revert ZeroKey();
        if (s_authors[author] != address(0)) revert KeyTaken(author, s_authors[author]);
        s_authors[author] = msg.sender;
        oracle.author = author;
    }

    function _takeSigner(Oracle storage oracle, address signer, bytes32[2] calldata consent) private {
        if (operatorOf[signer] != address(0)) revert KeyTaken(bytes32(uint256(uint160(signer))), operatorOf[signer]);
        address recovered = PriceGroup.recover(consentDigest(msg.sender), consent[0], consent[1]);
        if (recovered != signer || signer == address(0)) revert NoConsent(recovered, signer);
        operatorOf[signer] = msg.sender;
        oracle.signer = signer;
    }

    function _remove(Oracle storage oracle, State state) private {
        if (oracle.weight != 0) {
            (oracle.weight, admitted, isChanged) = (0, admitted - 1, true);
        }
        oracle.state = state;
    }

    function _pay(address to, uint256 amount) private {
        (bool ok,) = to.call{value: amount}("");
        if (!ok) revert TransferFailed(to, amount);
    }
}
