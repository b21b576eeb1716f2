// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SignerSets} from "./SignerSets.sol";
import {TableCode} from "./TableCode.sol";
import {ISignerRegistry} from "./interfaces/ISignerRegistry.sol";

/// @title  Prices checked by counting, not by sorting
/// @notice Takes one signed price group per oracle and accepts, for each feed, the lower weighted median m of the counted mantissas:
///         2 W(<m) < W_S  and  2 W(<=m) >= W_S, where W_S is the counted weight. The transmitter names the position of m; the
///         contract only adds up weights on either side, so it never sorts. As the transmitter also chooses whom to count, W_S must
///         exceed two thirds of the registered weight.
///
///         Payload: everything after the selector, packed, big-endian.
///           last byte of the epoch 1 | group 1 | time 5 | N median positions, 1 each | k entries
///           entry: signer index 1 | slot - time 1 | EIP-2098 signature 64 | words 12 N
///         A word: doubtful flag 1 bit | mantissa 63 bits | half-width 16 bits | sources 16 bits.
///         Entries ascend strictly by signer index. `time` is the oldest counted slot: no counted price is older than the time that
///         is reported, and a faulty minority can only drag it back within the window, never ahead of the honest slots. It is never
///         ahead of the block either, so that an age is never negative.
///
///         Signed unit (EIP-712), domain `EIP712Domain(string name,string version,bytes32 salt)` = ("Concurrence", "0", network id):
///           PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)
///         with feeds = keccak256 of the group's (feed 21 | exponent 1), in ascending order of feed.
abstract contract AttestationVerifier is SignerSets {
    /// @notice What a price must satisfy besides its signatures.
    struct Bounds {
        /// @notice Greatest age of `time`, in seconds, against the block's time.
        uint32 maxAge;
        /// @notice How far a counted slot may lie ahead of the block's time, in seconds.
        uint32 maxAhead;
        /// @notice Counted slots lie in [time, time + window); 1 to 255 seconds.
        uint8 window;
        /// @notice Fewest distinct sources among the counted words of a feed; at most 16. The union of what signers claim: see README.
        uint8 minSources;
    }

    /// @notice Feeds a group may hold: the signed unit's own bound.
    uint256 internal constant MAX_FEEDS = 16;
    /// @notice Least exponent of a feed, the signed unit's own bound; the greatest is 0.
    int8 internal constant EXPONENT_MIN = -18;
    /// @notice Bytes of a group's row: feeds hash 32 | N 1 | N x (feed 21 | exponent 1) | zeros.
    uint256 internal constant GROUP_ROW = 385;
    /// @notice EIP-712 type hash of the signed unit.
    bytes32 internal constant PRICE_GROUP_TYPEHASH = keccak256("PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)");

    uint256 private immutable MAX_AGE;
    uint256 private immutable MAX_AHEAD;
    uint256 private immutable WINDOW;
    uint256 private immutable MIN_SOURCES;

    /// @notice The groups of feeds that are carried changed.
    event GroupsSet(uint256 groups, address table);

    /// @notice Only the registry's owner says which feeds are carried.
    error NotGovernor(address caller, address governor);
    /// @notice A bound given to the constructor is outside its range.
    error BoundOutOfRange(uint256 bound, uint256 least, uint256 greatest);
    /// @notice Before the first epoch there is no table to put groups in.
    error NothingAdopted();
    /// @notice None, or more than one byte can count.
    error TableSize(uint256 size, uint256 greatest);
    /// @notice A group of no or too many feeds, or whose bytes are no multiple of 22, or whose feeds do not ascend strictly, or with an exponent
    ///         outside of -18 to 0.
    error BadGroup(uint256 group, uint256 length);

    /// @notice The payload is shorter than its header, or its entries are not a whole number.
    error MalformedPayload(uint256 length, uint256 header, uint256 entrySize);
    /// @notice No such group.
    error UnknownGroup(uint256 group, uint256 groups);
    /// @notice The group has no such feed.
    error UnknownFeed(uint256 feed, uint256 feeds);
    /// @notice `time` is too long ago.
    error Stale(uint256 time, uint256 oldestAllowed);
    /// @notice `time` is ahead of the block, or a counted slot too far ahead of it.
    error TooFarAhead(uint256 slot, uint256 latestAllowed);
    /// @notice A counted slot is too far from the oldest one.
    error OutsideWindow(uint256 slot, uint256 end);
    /// @notice `time` is not the oldest counted slot.
    error TimeNotOldest(uint256 time, uint256 oldest);
    /// @notice Entries must ascend strictly by signer: nobody counts twice.
    error SignerNotAscending(uint256 index, uint256 leastAdmissible);
    /// @notice No such signer.
    error UnknownSigner(uint256 index, uint256 signers);
    /// @notice s lies in the upper half of the order.
    error HighS(uint256 index, uint256 s);
    /// @notice The signature is not the registered signer's, over this network, epoch, slot, group and words.
    error BadSignature(uint256 index, address recovered, address key);
    /// @notice The counted weight is not more than two thirds of the total.
    error QuorumNotReached(uint256 counted, uint256 total);
    /// @notice A counted price that its own signer doubts.
    error DoubtfulPrice(uint256 feed, uint256 index);
    /// @notice The named median is the least or the greatest number there is: a bound that was hit, no price. (A counted price that is no
    ///         median counts as what it is.)
    error BoundaryPrice(uint256 feed, uint256 position, uint256 mantissa);
    /// @notice The named median is no entry.
    error UnknownPosition(uint256 feed, uint256 position);
    /// @notice The named price is not the lower weighted median.
    error NotTheMedian(uint256 feed, uint256 below, uint256 atMost, uint256 counted);
    /// @notice Too few distinct sources stand behind a feed.
    error TooFewSources(uint256 feed, uint256 sources, uint256 required);

    /// @param registry_ who may sign.
    /// @param limits    see Bounds.
    constructor(ISignerRegistry registry_, Bounds memory limits) SignerSets(registry_) {
        if (limits.window == 0) revert BoundOutOfRange(0, 1, type(uint8).max);
        if (limits.minSources > 16) revert BoundOutOfRange(limits.minSources, 0, 16);
        MAX_AGE = limits.maxAge;
        MAX_AHEAD = limits.maxAhead;
        WINDOW = limits.window;
        MIN_SOURCES = limits.minSources;
    }

    /// @notice The bounds in force.
    function bounds() external view returns (Bounds memory) {
        return Bounds(uint32(MAX_AGE), uint32(MAX_AHEAD), uint8(WINDOW), uint8(MIN_SOURCES));
    }

    /// @notice The feeds of a group in force, each feed 21 | exponent 1.
    function group(uint256 index) public view returns (bytes memory feeds) {
        SignerSet memory set = current;
        if (index >= set.groups) revert UnknownGroup(index, set.groups);
        uint256 start = uint256(set.signers) * TableCode.SIGNER_ROW + index * GROUP_ROW;
        uint256 count = uint8(TableCode.read(set.table, start + 32, 1)[0]);
        return TableCode.read(set.table, start + 33, 22 * count);
    }

    // ---------------------------------------------------------------------------------------------------- verification

    uint256 private constant POSITIONS = 11; // calldata offset: selector 4, epoch 1, group 1, time 5
    uint256 private constant ENTRY_HEAD = 66; // signer index 1, slot - time 1, signature 64
    uint256 private constant WORD = 12;
    uint256 private constant SIGNER_ROW = 24;
    uint256 private constant MAX_MANTISSA = type(uint64).max >> 1;
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0; // secp256k1 n / 2

    // The frame: memory at fixed addresses, claimed from the allocator in `_open`. An address that is a constant costs a third of one that
    // is computed, and there are a dozen a signer.
    uint256 private constant FRAME = 0xa0;
    uint256 private constant UNREAD_AT = 0xa0; // these three: see _name
    uint256 private constant AT_MOST_AT = 0xc0;
    uint256 private constant BELOW_AT = 0xe0;
    uint256 private constant REGISTERED_AT = 0x100; // how many signers the table holds
    uint256 private constant SIGNERS_AT = 0x120; // address of the signer table
    uint256 private constant FIRST_AT = 0x140; // address, right behind the signature, of the words that are tallied with the signatures
    uint256 internal constant TIME_AT = 0x160; // from here on the data of an event: time, 0x40, N
    uint256 internal constant LENGTH_AT = 0x1a0; // from here on a uint256[] memory
    uint256 internal constant MEDIANS_AT = 0x1c0; // the words that the transmitter names as medians
    uint256 private constant TYPE_HASH_AT = 0x3c0; // struct: type hash, epoch, slot, feeds, hash of words
    uint256 private constant EPOCH_AT = 0x3e0;
    uint256 private constant SLOT_AT = 0x400;
    uint256 private constant FEEDS_AT = 0x420;
    uint256 private constant WORDS_HASH_AT = 0x440;
    uint256 private constant PREFIX_AT = 0x460; // digest: from the last two bytes here, 0x1901, with domain separator and struct hash
    uint256 private constant DOMAIN_AT = 0x480;
    uint256 private constant STRUCT_HASH_AT = 0x4a0;
    uint256 private constant DIGEST_AT = 0x4c0; // ecrecover: digest, v, r, s; and the digest's place takes the answer
    uint256 private constant V_AT = 0x4e0;
    uint256 private constant R_AT = 0x500;
    uint256 private constant S_AT = 0x520;
    uint256 private constant WORDS_AT = 0x540; // right behind the signature, as in an entry; at most 192 bytes
    uint256 private constant ROW_AT = 0x600; // the group's row, 385 bytes
    uint256 internal constant ROW_FEEDS_AT = 0x621; // behind hash and N
    uint256 private constant WEIGHTS_AT = 0x7a0; // 32 bytes an entry; behind them the signer table

    /// @dev Verifies all feeds of the payload's group. Their medians' words are those of the frame.
    /// @return feeds     hash of the group's feeds.
    /// @return feedCount N.
    /// @return stamp     the share that counted and the time, as in a Price.
    function _verify() internal view returns (bytes32 feeds, uint256 feedCount, uint256 stamp) {
        (uint256 time, uint256 total) = (0, 0);
        (feeds, feedCount, time, total) = _open();
        uint256 entries = POSITIONS + feedCount;
        _demandWhole(feedCount, entries);
        bool lone = feedCount == 1;
        _name(feedCount, entries, 0, POSITIONS, lone);
        (uint256 tally, uint256 union) = _countSigners(feedCount, entries, time);
        uint256 counted = uint40(tally);
        // More than two thirds of the weight: then a faulty third is never half of what is counted.
        unchecked {
            if (3 * counted <= 2 * total) revert QuorumNotReached(counted, total);
            if (!_agrees(tally, union, counted, lone)) _refuseFeeds(feedCount, entries, 0, lone ? 1 : 2, counted);
            for (uint256 feed = 2; feed < feedCount; feed += 2) {
                lone = feed + 1 == feedCount;
                _name(feedCount, entries, feed, POSITIONS + feed, lone);
                (tally, union) = _tally(feedCount, entries, feed);
                if (!_agrees(tally, union, counted, lone)) _refuseFeeds(feedCount, entries, feed, feed + (lone ? 1 : 2), counted);
            }
            stamp = ((100 * counted / total) << 168) | time;
        }
    }

    /// @dev Verifies one feed of the payload's group. Instead of N positions the payload has the feed's place in its group 1 | position 1.
    function _verifyOne() internal view returns (uint256 feed, uint256 stamp) {
        (, uint256 feedCount, uint256 time, uint256 total) = _open();
        uint256 entries = POSITIONS + 2;
        _demandWhole(feedCount, entries);
        feed = _word(POSITIONS) >> 248;
        if (feed >= feedCount) revert UnknownFeed(feed, feedCount);
        _name(feedCount, entries, feed, POSITIONS + 1, true);
        assembly ("memory-safe") {
            mstore(FIRST_AT, add(WORDS_AT, mul(WORD, feed)))
        }
        (uint256 tally, uint256 union) = _countSigners(feedCount, entries, time);
        uint256 counted = uint40(tally);
        unchecked {
            if (3 * counted <= 2 * total) revert QuorumNotReached(counted, total);
            if (!_agrees(tally, union, counted, true)) _refuseFeeds(feedCount, entries, feed, feed + 1, counted);
            stamp = ((100 * counted / total) << 168) | time;
        }
    }

    /// @dev Of the group that was verified last: feed 21 | exponent 1 | anything.
    function _row(uint256 feed) internal pure returns (uint256 row) {
        assembly ("memory-safe") {
            row := mload(add(ROW_FEEDS_AT, mul(22, feed)))
        }
    }

    /// @dev Reads header and tables, lays out the frame, checks the age.
    function _open() private view returns (bytes32 feeds, uint256 feedCount, uint256 time, uint256 total) {
        uint256 header = _word(4);
        uint256 set = _select(header >> 248);
        time = (header >> 200) & type(uint40).max;
        // Nothing here overflows: every factor is a byte or a small constant, every time far below 2^64.
        unchecked {
            if (block.timestamp - time > MAX_AGE) _refuseTime(time);
            (bytes32 typeHash, bytes32 domain) = (PRICE_GROUP_TYPEHASH, domainSeparator);
            assembly ("memory-safe") {
                if gt(mload(0x40), FRAME) { invalid() } // the compiler came to need more memory of its own: move the frame
                total := and(shr(16, set), 0xffffffffff)
                let registered := and(set, 0xff)
                let length := mul(registered, SIGNER_ROW)
                let code := shr(88, set)
                // An entry is 78 bytes or more and its weight 32: half the calldata's length holds all weights.
                let signers := add(WEIGHTS_AT, shr(1, calldatasize()))
                mstore(0x40, and(add(add(signers, length), 0x3f), not(0x1f))) // the last row is read 32 bytes wide
                extcodecopy(code, signers, 1, length)
                let index := byte(1, header)
                if lt(index, byte(30, set)) { extcodecopy(code, ROW_AT, add(add(length, 1), mul(index, GROUP_ROW)), GROUP_ROW) }
                feeds := mload(ROW_AT)
                feedCount := byte(0, mload(add(ROW_AT, 32)))
                mstore(REGISTERED_AT, registered)
                mstore(SIGNERS_AT, signers)
                mstore(FIRST_AT, WORDS_AT)
                mstore(TIME_AT, time)
                mstore(LENGTH_AT, feedCount)
                mstore(TYPE_HASH_AT, typeHash)
                mstore(EPOCH_AT, and(shr(56, set), 0xffffffff))
                mstore(FEEDS_AT, feeds)
                mstore(PREFIX_AT, 0x1901)
                mstore(DOMAIN_AT, domain)
            }
        }
        if (feedCount == 0) revert UnknownGroup(uint8(header >> 240), uint8(set >> 8));
    }

    /// @dev The entries are a whole number.
    function _demandWhole(uint256 feedCount, uint256 entries) private pure {
        unchecked {
            uint256 entrySize = ENTRY_HEAD + WORD * feedCount;
            if (msg.data.length < entries || (msg.data.length - entries) % entrySize != 0) {
                revert MalformedPayload(msg.data.length, entries, entrySize);
            }
        }
    }

    // Prices are counted two feeds at a time: two consecutive words of an entry are two lanes of 96 bits, the first feed's the upper.
    // With the flag bit (the doubtful one) set in the minuend only, a lane's subtraction never borrows from its neighbour, and the
    // flag survives exactly where the minuend is at least the subtrahend. The flags, times the weight, are summed, 48 bits a field:
    //   | 191: W(<=m) of the upper lane | 143: its W(<m) | 95: W(<=m) of the lower lane | 47: its W(<m) | 0: W_S |
    // The last of an odd number of feeds is in the lower lane. Then the upper one is all zeros, and passes for agreeing.
    uint256 private constant FLAGS = 0x800000000000000000000000800000000000000000000000;
    uint256 private constant FLAGS_AND_ONE = 0x800000000000000000000000800000000000000000000001; // and the bit that counts W_S
    uint256 private constant LEAST = 0x000000000000000100000000000000000000000100000000; // the least mantissas
    uint256 private constant MANTISSAS = 0x7fffffffffffffff000000007fffffffffffffff00000000;
    uint256 private constant FIELDS = (1 << 191) | (1 << 143) | (1 << 95) | (1 << 47);
    uint256 private constant BELOW_GUARDS = (1 << 190) | (1 << 94); // the top bits of the W(<m) fields
    uint256 private constant LANES = (1 << 96) | 1;

    /// @dev Checks every entry's order, signature and slot, and tallies the named feeds on the way; leaves the weights in the frame.
    function _countSigners(uint256 feedCount, uint256 entries, uint256 time) private view returns (uint256 tally, uint256 union) {
        uint256 next; // 256 times the least admissible signer index
        uint256 lags; // bit i: some entry's slot is time + i
        uint256 offset = entries;
        assembly ("memory-safe") {
            let size := add(mul(feedCount, WORD), ENTRY_HEAD)
            let weightAt := WEIGHTS_AT
            for {} lt(offset, calldatasize()) { offset := add(offset, size) } {
                let head := shr(240, calldataload(offset)) // signer index, slot - time
                let lag := and(head, 0xff)
                lags := or(lags, shl(lag, 1))
                mstore(SLOT_AT, add(time, lag))
                calldatacopy(R_AT, add(offset, 2), sub(size, 2)) // r, s under the parity, words
                mstore(WORDS_HASH_AT, keccak256(WORDS_AT, sub(size, ENTRY_HEAD)))
                mstore(STRUCT_HASH_AT, keccak256(TYPE_HASH_AT, 0xa0))
                mstore(DIGEST_AT, keccak256(add(PREFIX_AT, 30), 66))
                let s := mload(S_AT)
                mstore(V_AT, add(27, shr(255, s)))
                s := shr(1, shl(1, s))
                mstore(S_AT, s)
                // Where nobody can have signed, ecrecover returns nothing and the digest stays, which is no address.
                pop(staticcall(gas(), 1, DIGEST_AT, 0x80, DIGEST_AT, 0x20))
                let row := mload(add(mload(SIGNERS_AT), mul(shr(8, head), SIGNER_ROW)))
                if or(lt(head, next), or(gt(s, HALF_ORDER), xor(mload(DIGEST_AT), shr(96, row)))) { break }
                next := add(or(head, 0xff), 1)
                let weight := and(shr(64, row), 0xffffffff)
                mstore(weightAt, weight)
                weightAt := add(weightAt, 0x20)
                let words := shr(mload(UNREAD_AT), mload(mload(FIRST_AT)))
                union := or(union, words)
                words := and(words, MANTISSAS)
                tally := add(
                    tally,
                    mul(or(and(sub(mload(AT_MOST_AT), words), FLAGS_AND_ONE), shr(48, and(sub(mload(BELOW_AT), words), FLAGS))), weight)
                )
            }
        }
        if (offset < msg.data.length) _refuseEntry(offset, next >> 8);
        if (next >> 8 > _at(REGISTERED_AT)) revert UnknownSigner((next >> 8) - 1, _at(REGISTERED_AT));
        uint256 span = _span(time);
        if (lags >> span != 0 || lags & 1 == 0) _refuseSlots(time, lags);
    }

    /// @dev Tallies two more feeds, or the last one.
    function _tally(uint256 feedCount, uint256 entries, uint256 feed) private pure returns (uint256 tally, uint256 union) {
        assembly ("memory-safe") {
            let size := add(mul(feedCount, WORD), ENTRY_HEAD)
            let offset := add(entries, add(ENTRY_HEAD, mul(feed, WORD)))
            let unread := mload(UNREAD_AT)
            let atMost := mload(AT_MOST_AT)
            let below := mload(BELOW_AT)
            for { let weightAt := WEIGHTS_AT } lt(offset, calldatasize()) { weightAt := add(weightAt, 0x20) } {
                let words := shr(unread, calldataload(offset))
                union := or(union, words)
                words := and(words, MANTISSAS)
                tally := add(tally, mul(or(and(sub(atMost, words), FLAGS), shr(48, and(sub(below, words), FLAGS))), mload(weightAt)))
                offset := add(offset, size)
            }
        }
    }

    /// @dev Whether the named medians are right, no price is doubtful, and the sources are enough.
    function _agrees(uint256 tally, uint256 union, uint256 counted, bool lone) private view returns (bool agrees) {
        uint256 required = MIN_SOURCES;
        if (!lone) required = required * LANES;
        assembly ("memory-safe") {
            // 2 W(<m) <= W_S - 1 and not 2 W(<=m) <= W_S - 1: four comparisons at once, by the top bit of each field.
            let guards := shl(47, FIELDS)
            agrees := eq(and(sub(add(guards, mul(FIELDS, sub(counted, 1))), shl(48, shr(47, tally))), guards), BELOW_GUARDS)
            agrees := and(agrees, iszero(and(union, FLAGS)))
            // Ones among each lane's 16 source bits; with 32 on top a lane never borrows, and keeps bit 5 if there are enough.
            union := and(union, mul(LANES, 0xffff))
            union := sub(union, and(shr(1, union), mul(LANES, 0x5555)))
            union := add(and(union, mul(LANES, 0x3333)), and(shr(2, union), mul(LANES, 0x3333)))
            union := and(add(union, shr(4, union)), mul(LANES, 0x0f0f))
            union := and(add(union, shr(8, union)), mul(LANES, 0x1f))
            union := and(sub(add(union, shl(5, LANES)), required), shl(5, LANES))
            agrees := and(agrees, eq(union, shl(5, LANES)))
        }
    }

    /// @dev How many slots from `time` on are inside the window and not too far ahead of the block.
    function _span(uint256 time) private view returns (uint256) {
        unchecked {
            uint256 end = block.timestamp + MAX_AHEAD + 1;
            return time + WINDOW <= end ? WINDOW : end - time;
        }
    }

    /// @dev Prepares the counting of the feeds from `feed` on, two or one: leaves in the frame the words that the transmitter names, at
    ///      `namesAt` in the payload, what prices are subtracted from, and how many of 256 loaded bits, from the right, are no words of theirs.
    function _name(uint256 feedCount, uint256 entries, uint256 feed, uint256 namesAt, bool lone) private pure {
        uint256 named = _named(feedCount, entries, feed, namesAt);
        uint256 unread = 160;
        unchecked {
            if (!lone) (named, unread) = ((named << 96) | _named(feedCount, entries, feed + 1, namesAt + 1), 64);
        }
        assembly ("memory-safe") {
            named := and(named, MANTISSAS)
            mstore(UNREAD_AT, unread)
            mstore(AT_MOST_AT, or(named, FLAGS_AND_ONE))
            mstore(BELOW_AT, sub(or(named, FLAGS), LEAST))
        }
    }

    /// @dev The word that the transmitter names as the feed's median; left in the frame.
    function _named(uint256 feedCount, uint256 entries, uint256 feed, uint256 namesAt) private pure returns (uint256 word) {
        unchecked {
            uint256 position = _word(namesAt) >> 248;
            uint256 offset = entries + position * (ENTRY_HEAD + WORD * feedCount) + ENTRY_HEAD + WORD * feed;
            if (offset >= msg.data.length) revert UnknownPosition(feed, position);
            word = _word(offset) >> 160;
            uint256 mantissa = (word >> 32) & MAX_MANTISSA;
            if (mantissa - 1 >= MAX_MANTISSA - 1) revert BoundaryPrice(feed, position, mantissa);
            assembly ("memory-safe") {
                mstore(add(MEDIANS_AT, shl(5, feed)), word)
            }
        }
    }

    // -------------------------------------------------------------------------------- refusals, spelt out once one is certain

    /// @dev Says why a time is out of bounds.
    function _refuseTime(uint256 time) private view {
        if (time > block.timestamp) revert TooFarAhead(time, block.timestamp);
        revert Stale(time, block.timestamp - MAX_AGE);
    }

    /// @dev Says what is wrong with the entry at which counting stopped.
    function _refuseEntry(uint256 offset, uint256 leastAdmissible) private pure {
        uint256 index = _word(offset) >> 248;
        uint256 registered = _at(REGISTERED_AT);
        if (index < leastAdmissible) revert SignerNotAscending(index, leastAdmissible);
        if (index >= registered) revert UnknownSigner(index, registered);
        if (_at(S_AT) > HALF_ORDER) revert HighS(index, _at(S_AT));
        uint256 recovered = _at(DIGEST_AT);
        if (recovered > type(uint160).max) recovered = 0; // still the digest
        revert BadSignature(index, address(uint160(recovered)), address(uint160(_at(_at(SIGNERS_AT) + index * SIGNER_ROW) >> 96)));
    }

    /// @dev Says which slots are out of bounds, given the set of all slots - time.
    function _refuseSlots(uint256 time, uint256 lags) private view {
        (uint256 oldest, uint256 newest) = (time, time + 255);
        while ((lags >> (oldest - time)) & 1 == 0) ++oldest;
        while ((lags >> (newest - time)) & 1 == 0) --newest;
        if (oldest > time) revert TimeNotOldest(time, oldest);
        if (newest > block.timestamp + MAX_AHEAD) revert TooFarAhead(newest, block.timestamp + MAX_AHEAD);
        revert OutsideWindow(newest, time + WINDOW);
    }

    /// @dev Says what is wrong with the first of these feeds that does not agree, counting them one by one.
    function _refuseFeeds(uint256 feedCount, uint256 entries, uint256 feed, uint256 end, uint256 counted) private view {
        for (; feed < end; ++feed) {
            uint256 median = (_at(MEDIANS_AT + 32 * feed) >> 32) & MAX_MANTISSA;
            (uint256 below, uint256 atMost, uint256 union) = (0, 0, 0);
            uint256 weightAt = WEIGHTS_AT;
            for (uint256 offset = entries; offset < msg.data.length; offset += ENTRY_HEAD + WORD * feedCount) {
                uint256 word = _word(offset + ENTRY_HEAD + WORD * feed) >> 160;
                if (word >> 95 != 0) revert DoubtfulPrice(feed, _word(offset) >> 248);
                if (word >> 32 < median) below += _at(weightAt);
                if (word >> 32 <= median) atMost += _at(weightAt);
                union |= word & 0xffff;
                weightAt += 32;
            }
            if (2 * below >= counted || 2 * atMost < counted) revert NotTheMedian(feed, below, atMost, counted);
            uint256 sources;
            for (; union != 0; union &= union - 1) {
                ++sources;
            }
            if (sources < MIN_SOURCES) revert TooFewSources(feed, sources, MIN_SOURCES);
        }
        assert(false); // the two ways of counting differ
    }

    // ---------------------------------------------------------------------------------------------- single instructions

    function _word(uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(offset)
        }
    }

    function _at(uint256 place) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(place)
        }
    }

    // ----------------------------------------------------------------------------------------------------------- groups

    /// @dev The registry's signers, with the groups in force behind them.
    function _tableFor(address rows, uint256 signers, SignerSet memory old) internal override returns (address table) {
        if (old.groups == 0) return rows;
        bytes memory groups = TableCode.read(old.table, uint256(old.signers) * TableCode.SIGNER_ROW, uint256(old.groups) * GROUP_ROW);
        return TableCode.write(bytes.concat(TableCode.read(rows, 0, signers * TableCode.SIGNER_ROW), groups));
    }

    /// @dev Replaces the groups that are carried, each given as the concatenation of its (feed 21 | exponent 1), ascending by feed.
    function _setGroups(bytes[] memory groups) internal {
        if (msg.sender != registry.owner()) revert NotGovernor(msg.sender, registry.owner());
        SignerSet memory set = current;
        if (set.table == address(0)) revert NothingAdopted();
        if (groups.length == 0 || groups.length > type(uint8).max) revert TableSize(groups.length, type(uint8).max);
        bytes memory rows = TableCode.read(set.table, 0, uint256(set.signers) * TableCode.SIGNER_ROW);
        for (uint256 g; g < groups.length; ++g) {
            rows = bytes.concat(rows, _groupRow(g, groups[g]));
        }
        (current.table, current.groups) = (TableCode.write(rows), uint8(groups.length));
        emit GroupsSet(groups.length, current.table);
    }

    function _groupRow(uint256 index, bytes memory feeds) private pure returns (bytes memory) {
        uint256 count = feeds.length / 22;
        if (feeds.length % 22 != 0 || count == 0 || count > MAX_FEEDS) revert BadGroup(index, feeds.length);
        for (uint256 feed; feed < count; ++feed) {
            if (feed != 0 && _feedAt(feeds, feed - 1) >= _feedAt(feeds, feed)) revert BadGroup(index, feeds.length);
            int8 exponent = int8(uint8(feeds[22 * feed + 21]));
            if (exponent < EXPONENT_MIN || exponent > 0) revert BadGroup(index, feeds.length);
        }
        return bytes.concat(keccak256(feeds), bytes1(uint8(count)), feeds, new bytes(22 * (MAX_FEEDS - count)));
    }

    function _feedAt(bytes memory feeds, uint256 feed) private pure returns (bytes21 name) {
        assembly ("memory-safe") {
            name := and(mload(add(add(feeds, 0x20), mul(22, feed))), 0xffffffffffffffffffffffffffffffffffffffffff0000000000000000000000)
        }
    }
}
