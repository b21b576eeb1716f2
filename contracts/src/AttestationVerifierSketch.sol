// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title  Prices checked by counting, not by sorting (a sketch)
/// @notice Takes one signed price group per oracle and accepts, for each feed, the lower weighted median m of the counted mantissas:
///         2 W(<m) < W_S  and  2 W(<=m) >= W_S, where W_S is the counted weight. The transmitter names the position of m; the
///         contract only adds up weights on either side, so it never sorts. As the transmitter also chooses whom to count, W_S must
///         exceed two thirds of the registered weight.
///
///         Two lanes over the same payload: `push` stores the prices, `pull` returns them to the caller and stores nothing.
///
///         Payload: everything after the selector, packed, big-endian.
///           group 1 | time 5 | N median positions, 1 each | k entries
///           entry: signer index 1 | slot - time 1 | EIP-2098 signature 64 | words 12 N
///         A word: doubtful flag 1 bit | mantissa 63 bits | half-width 16 bits | source bitmap 16 bits.
///         Entries ascend strictly by signer index. `time` is the oldest counted slot: no counted price is older than the time that
///         is reported, and a faulty minority can only drag it back within the window, never ahead of the honest slots.
///
///         Signed unit (EIP-712), domain `EIP712Domain(string name,string version,bytes32 salt)` = ("Concurrence", "0", network id):
///           PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)
///         with feeds = keccak256 of the group's (feed 21 | exponent 1), in ascending order of feed.
contract AttestationVerifierSketch {
    /// @notice A registered oracle.
    struct Signer {
        /// @notice Address of its secp256k1 key.
        address key;
        /// @notice Its weight; more than zero.
        uint32 weight;
    }

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

    /// @notice The tables in force. Storage slot 0:
    ///         | 0: signers | 8: groups | 16: total weight (40) | 56: epoch (32) | 88: tables (160) | 248: unused |
    struct Configuration {
        uint8 signers;
        uint8 groups;
        uint40 totalWeight;
        uint32 epoch;
        /// @notice Contract whose code is 0x00 | groups x (feeds 32, count 1) | signers x (key 20, weight 4).
        address tables;
    }

    /// @notice Feeds a group may hold: the signed unit's own bound.
    uint256 public constant MAX_FEEDS = 16;
    /// @notice EIP-712 type hash of the signed unit.
    bytes32 public constant PRICE_GROUP_TYPEHASH = keccak256("PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)");

    /// @notice EIP-712 domain separator; its salt is the network id.
    bytes32 public immutable domainSeparator;
    /// @notice Who may replace the configuration.
    address public immutable owner;
    uint256 private immutable MAX_AGE;
    uint256 private immutable MAX_AHEAD;
    uint256 private immutable WINDOW;
    uint256 private immutable MIN_SOURCES;

    /// @notice The tables in force; the first word of storage.
    Configuration public configuration;

    // Prices: feed i of the group with hash `feeds` is at slot uint256(feeds) + i, as a dynamic array's elements would be:
    // | 0: time (40) | 40: round (32) | 72: mantissa (64) | 136: unused |

    /// @notice The signers and groups in force changed.
    event Configured(uint32 indexed epoch, address tables, uint256 signers, uint256 groups, uint256 totalWeight);
    /// @notice New prices of a group: mantissas in the order of its feeds, `time` the oldest counted slot in seconds.
    event Pushed(bytes32 indexed feeds, uint256 time, uint64[] mantissas);

    /// @notice Only the owner configures.
    error NotOwner(address caller, address owner);
    /// @notice A bound given to the constructor is outside its range.
    error BoundOutOfRange(uint256 bound, uint256 least, uint256 greatest);
    /// @notice An epoch that is not newer than the one in force.
    error EpochNotIncreasing(uint256 epoch, uint256 current);
    /// @notice None, or more than one byte can count.
    error TableSize(uint256 size, uint256 greatest);
    /// @notice A signer without key or weight, or with the key of an earlier one.
    error BadSigner(uint256 index, address key, uint256 weight);
    /// @notice A group of no or too many feeds, or whose bytes are no multiple of 22, or whose feeds do not ascend strictly.
    error BadGroup(uint256 group, uint256 length);
    /// @notice The tables could not be written as code.
    error TablesNotWritten(uint256 length);

    /// @notice The payload is shorter than its header, or its entries are not a whole number.
    error MalformedPayload(uint256 length, uint256 header, uint256 entrySize);
    /// @notice No such group.
    error UnknownGroup(uint256 group, uint256 groups);
    /// @notice `time` is too long ago.
    error Stale(uint256 time, uint256 oldestAllowed);
    /// @notice A counted slot is too far ahead of the block.
    error TooFarAhead(uint256 slot, uint256 latestAllowed);
    /// @notice A counted slot is too far from the oldest one.
    error OutsideWindow(uint256 slot, uint256 end);
    /// @notice `time` is not the oldest counted slot.
    error TimeNotOldest(uint256 time, uint256 oldest);
    /// @notice The stored price is as new or newer.
    error TimeNotIncreasing(uint256 time, uint256 stored);
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
    /// @notice The named median is zero. (A lesser price of zero counts as what it is: the least.)
    error ZeroPrice(uint256 feed, uint256 position);
    /// @notice The named median is no entry.
    error UnknownPosition(uint256 feed, uint256 position);
    /// @notice The named price is not the lower weighted median.
    error NotTheMedian(uint256 feed, uint256 below, uint256 atMost, uint256 counted);
    /// @notice Too few distinct sources stand behind a feed.
    error TooFewSources(uint256 feed, uint256 sources, uint256 required);

    /// @param networkId the 32 bytes every oracle of the network signs under.
    /// @param owner_    who may configure.
    /// @param bounds    see Bounds.
    constructor(bytes32 networkId, address owner_, Bounds memory bounds) {
        if (bounds.window == 0) revert BoundOutOfRange(0, 1, type(uint8).max);
        if (bounds.minSources > 16) revert BoundOutOfRange(bounds.minSources, 0, 16);
        domainSeparator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,bytes32 salt)"), keccak256("Concurrence"), keccak256("0"), networkId
            )
        );
        owner = owner_;
        MAX_AGE = bounds.maxAge;
        MAX_AHEAD = bounds.maxAhead;
        WINDOW = bounds.window;
        MIN_SOURCES = bounds.minSources;
    }

    /// @notice Puts other signers and groups in force, at once. Prices stored under the old ones stay.
    /// @param epoch   registry epoch the signers sign under; greater than the one in force (the first may be 0).
    /// @param signers in registry order: an entry names a signer by its place here.
    /// @param groups  each the concatenation of its (feed 21 | exponent 1), ascending by feed.
    function configure(uint32 epoch, Signer[] calldata signers, bytes[] calldata groups) external {
        if (msg.sender != owner) revert NotOwner(msg.sender, owner);
        Configuration memory current = configuration;
        if (current.tables != address(0) && epoch <= current.epoch) revert EpochNotIncreasing(epoch, current.epoch);
        (bytes memory rows, uint40 totalWeight) = _signerRows(signers);
        address tables = _writeCode(bytes.concat(_groupRows(groups), rows));
        configuration = Configuration(uint8(signers.length), uint8(groups.length), totalWeight, epoch, tables);
        emit Configured(epoch, tables, signers.length, groups.length, totalWeight);
    }

    /// @notice Push lane: stores the medians of a payload that follows the selector (see the contract's description).
    ///         Fails unless `time` is greater than the stored one, so that no older price ever replaces a newer.
    function push() external {
        (bytes32 feeds, uint256 time, uint64[] memory medians) = _verify();
        uint256 slot = uint256(feeds);
        uint256 stored = _load(slot); // a group's feeds are always stored together: one time speaks for all
        uint256 storedTime = uint40(stored);
        if (time <= storedTime) revert TimeNotIncreasing(time, storedTime);
        unchecked {
            uint256 round = uint32((stored >> 40) + 1); // one a second at most: wraps after 136 years
            uint256 stamp = (round << 40) | time;
            for (uint256 i; i < medians.length; ++i) {
                _store(slot + i, (_at(MEDIANS_AT + (i << 5)) << 72) | stamp);
            }
            bytes32 topic = Pushed.selector;
            assembly ("memory-safe") {
                log2(TIME_AT, add(0x60, shl(5, mload(LENGTH_AT))), topic, feeds) // emit Pushed(feeds, time, medians), as it lies in the frame
            }
            _pushed(round, time, medians);
        }
    }

    /// @notice Pull lane: verifies the payload that follows the selector and returns its medians; stores nothing. Monotone time is the
    ///         caller's to keep.
    /// @return feeds     hash of the group.
    /// @return time      oldest counted slot, seconds.
    /// @return mantissas in the order of the group's feeds; price = mantissa * 10^exponent.
    function pull() external view returns (bytes32 feeds, uint256 time, uint64[] memory mantissas) {
        return _verify();
    }

    /// @notice The stored price of the i-th feed of a group; all zero if none was ever stored. Unchecked for age.
    function latest(bytes32 feeds, uint256 i) external view returns (uint64 mantissa, uint40 time, uint32 round) {
        uint256 stored = _load(uint256(feeds) + i);
        return (uint64(stored >> 72), uint40(stored), uint32(stored >> 40));
    }

    /// @dev For a child that also speaks Chainlink's events; costs nothing here.
    function _pushed(uint256 round, uint256 time, uint64[] memory medians) internal virtual {}

    // ---------------------------------------------------------------------------------------------------- verification

    uint256 private constant POSITIONS = 10; // calldata offset: selector 4, group 1, time 5
    uint256 private constant ENTRY_HEAD = 66; // signer index 1, slot - time 1, signature 64
    uint256 private constant WORD = 12;
    uint256 private constant GROUP_ROW = 33;
    uint256 private constant SIGNER_ROW = 24;
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0; // secp256k1 n / 2

    // The frame: memory at fixed addresses, claimed from the allocator in `_open`. An address that is a constant costs a third of one that
    // is computed, and there are a dozen a signer.
    uint256 private constant FRAME = 0xa0;
    uint256 private constant UNREAD_AT = 0xa0; // these three: see _name
    uint256 private constant AT_MOST_AT = 0xc0;
    uint256 private constant BELOW_AT = 0xe0;
    uint256 private constant REGISTERED_AT = 0x100; // how many signers the table holds
    uint256 private constant SIGNERS_AT = 0x120; // address of the signer table
    uint256 private constant TIME_AT = 0x140; // from here on the data of Pushed: time, 0x40, N, medians
    uint256 private constant LENGTH_AT = 0x180; // from here on a uint64[] memory
    uint256 private constant MEDIANS_AT = 0x1a0;
    uint256 private constant TYPE_HASH_AT = 0x3a0; // struct: type hash, epoch, slot, feeds, hash of words
    uint256 private constant EPOCH_AT = 0x3c0;
    uint256 private constant SLOT_AT = 0x3e0;
    uint256 private constant FEEDS_AT = 0x400;
    uint256 private constant WORDS_HASH_AT = 0x420;
    uint256 private constant PREFIX_AT = 0x440; // digest: from the last two bytes here, 0x1901, with domain separator and struct hash
    uint256 private constant DOMAIN_AT = 0x460;
    uint256 private constant STRUCT_HASH_AT = 0x480;
    uint256 private constant DIGEST_AT = 0x4a0; // ecrecover: digest, v, r, s; and the digest's place takes the answer
    uint256 private constant V_AT = 0x4c0;
    uint256 private constant R_AT = 0x4e0;
    uint256 private constant S_AT = 0x500;
    uint256 private constant WORDS_AT = 0x520; // right behind the signature, as in an entry; at most 192 bytes
    uint256 private constant WEIGHTS_AT = 0x5e0; // 32 bytes an entry; behind them the tables

    /// @dev Verifies the payload; the medians are those of the frame.
    function _verify() private view returns (bytes32 feeds, uint256 time, uint64[] memory medians) {
        uint256 feedCount;
        uint256 total;
        (feeds, feedCount, time, total) = _open();
        bool lone = feedCount == 1;
        _name(feedCount, 0, lone);
        (uint256 tally, uint256 union) = _countSigners(feedCount, time);
        uint256 counted = uint40(tally);
        // More than two thirds of the weight: then a faulty third is never half of what is counted.
        unchecked {
            if (3 * counted <= 2 * total) revert QuorumNotReached(counted, total);
            if (!_agrees(tally, union, counted, lone)) _refuseFeeds(feedCount, 0, lone ? 1 : 2, counted);
            for (uint256 feed = 2; feed < feedCount; feed += 2) {
                lone = feed + 1 == feedCount;
                _name(feedCount, feed, lone);
                (tally, union) = _tally(feedCount, feed);
                if (!_agrees(tally, union, counted, lone)) _refuseFeeds(feedCount, feed, feed + (lone ? 1 : 2), counted);
            }
        }
        assembly ("memory-safe") {
            medians := LENGTH_AT
        }
    }

    /// @dev Reads header and tables, lays out the frame, checks length and age.
    function _open() private view returns (bytes32 feeds, uint256 feedCount, uint256 time, uint256 total) {
        Configuration storage c = configuration;
        (uint256 registered, uint256 groups, address code) = (c.signers, c.groups, c.tables);
        uint256 header = _word(4);
        uint256 group = header >> 248;
        if (group >= groups) revert UnknownGroup(group, groups);
        (total, time) = (c.totalWeight, uint40(header >> 208));
        // Nothing here overflows: every factor is a byte or a small constant, every time far below 2^64.
        unchecked {
            if (time + MAX_AGE < block.timestamp) revert Stale(time, block.timestamp - MAX_AGE);
            uint256 length = groups * GROUP_ROW + registered * SIGNER_ROW;
            (bytes32 typeHash, bytes32 domain, uint256 epoch) = (PRICE_GROUP_TYPEHASH, domainSeparator, c.epoch);
            assembly ("memory-safe") {
                if gt(mload(0x40), FRAME) { invalid() } // the compiler came to need more memory of its own: move the frame
                // An entry is 78 bytes or more and its weight 32: half the calldata's length holds all weights.
                let tables := add(WEIGHTS_AT, shr(1, calldatasize()))
                mstore(0x40, and(add(add(tables, length), 0x3f), not(0x1f))) // the last row is read 32 bytes wide
                extcodecopy(code, tables, 1, length)
                let row := add(tables, mul(group, GROUP_ROW))
                feeds := mload(row)
                feedCount := byte(0, mload(add(row, 32)))
                mstore(REGISTERED_AT, registered)
                mstore(SIGNERS_AT, add(tables, mul(groups, GROUP_ROW)))
                mstore(TIME_AT, time)
                mstore(add(TIME_AT, 0x20), 0x40)
                mstore(LENGTH_AT, feedCount)
                mstore(TYPE_HASH_AT, typeHash)
                mstore(EPOCH_AT, epoch)
                mstore(FEEDS_AT, feeds)
                mstore(PREFIX_AT, 0x1901)
                mstore(DOMAIN_AT, domain)
            }
            (uint256 entries, uint256 entrySize) = (POSITIONS + feedCount, ENTRY_HEAD + WORD * feedCount);
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

    /// @dev Checks every entry's order, signature and slot, and tallies the first two feeds on the way; leaves the weights in the frame.
    function _countSigners(uint256 feedCount, uint256 time) private view returns (uint256 tally, uint256 union) {
        uint256 next; // 256 times the least admissible signer index
        uint256 lags; // bit i: some entry's slot is time + i
        uint256 offset;
        assembly ("memory-safe") {
            let size := add(mul(feedCount, WORD), ENTRY_HEAD)
            let weightAt := WEIGHTS_AT
            for { offset := add(POSITIONS, feedCount) } lt(offset, calldatasize()) { offset := add(offset, size) } {
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
                let words := shr(mload(UNREAD_AT), mload(WORDS_AT))
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
    function _tally(uint256 feedCount, uint256 feed) private pure returns (uint256 tally, uint256 union) {
        assembly ("memory-safe") {
            let size := add(mul(feedCount, WORD), ENTRY_HEAD)
            let offset := add(add(POSITIONS, feedCount), add(ENTRY_HEAD, mul(feed, WORD)))
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
            if (time + WINDOW <= end) return WINDOW;
            return time < end ? end - time : 0;
        }
    }

    /// @dev Prepares the counting of the feeds from `feed` on, two or one: leaves in the frame the medians that the transmitter names and
    ///      what prices are subtracted from, and how many of 256 loaded bits, from the right, are no words of these feeds.
    function _name(uint256 feedCount, uint256 feed, bool lone) private pure {
        uint256 named = _named(feedCount, feed) << 32;
        uint256 unread = 160;
        unchecked {
            if (!lone) (named, unread) = ((named << 96) | (_named(feedCount, feed + 1) << 32), 64);
        }
        assembly ("memory-safe") {
            mstore(UNREAD_AT, unread)
            mstore(AT_MOST_AT, or(named, FLAGS_AND_ONE))
            mstore(BELOW_AT, sub(or(named, FLAGS), LEAST))
        }
    }

    /// @dev The mantissa that the transmitter names as the feed's median; left in the frame.
    function _named(uint256 feedCount, uint256 feed) private pure returns (uint256 mantissa) {
        unchecked {
            uint256 position = _word(POSITIONS + feed) >> 248;
            uint256 offset = POSITIONS + feedCount + position * (ENTRY_HEAD + WORD * feedCount) + ENTRY_HEAD + WORD * feed;
            if (offset >= msg.data.length) revert UnknownPosition(feed, position);
            mantissa = (_word(offset) >> 192) & (type(uint64).max >> 1);
            if (mantissa == 0) revert ZeroPrice(feed, position);
            assembly ("memory-safe") {
                mstore(add(MEDIANS_AT, shl(5, feed)), mantissa)
            }
        }
    }

    // -------------------------------------------------------------------------------- refusals, spelt out once one is certain

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
    function _refuseFeeds(uint256 feedCount, uint256 feed, uint256 end, uint256 counted) private view {
        for (; feed < end; ++feed) {
            uint256 median = _at(MEDIANS_AT + 32 * feed);
            (uint256 below, uint256 atMost, uint256 union) = (0, 0, 0);
            uint256 weightAt = WEIGHTS_AT;
            for (uint256 offset = POSITIONS + feedCount; offset < msg.data.length; offset += ENTRY_HEAD + WORD * feedCount) {
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

    function _at(uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(place)
        }
    }

    function _load(uint256 slot) private view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(slot)
        }
    }

    function _store(uint256 slot, uint256 word) private {
        assembly ("memory-safe") {
            sstore(slot, word)
        }
    }

    // -------------------------------------------------------------------------------------------------- configuration

    /// @dev Deploys a contract whose code is 0x00 (so that it cannot be run) and the rows.
    function _writeCode(bytes memory rows) private returns (address tables) {
        uint256 length = rows.length + 1;
        // PUSH2 length DUP1 PUSH1 10 RETURNDATASIZE CODECOPY RETURNDATASIZE RETURN: returns all that follows these ten bytes.
        bytes memory code = abi.encodePacked(hex"61", uint16(length), hex"80600a3d393df3", hex"00", rows);
        assembly ("memory-safe") {
            tables := create(0, add(code, 0x20), mload(code))
        }
        if (tables == address(0)) revert TablesNotWritten(length);
    }

    function _signerRows(Signer[] calldata signers) private pure returns (bytes memory rows, uint40 totalWeight) {
        if (signers.length == 0 || signers.length > type(uint8).max) revert TableSize(signers.length, type(uint8).max);
        for (uint256 i; i < signers.length; ++i) {
            Signer calldata s = signers[i];
            bool repeated;
            for (uint256 j; j < i; ++j) {
                if (signers[j].key == s.key) repeated = true;
            }
            if (repeated || s.key == address(0) || s.weight == 0) revert BadSigner(i, s.key, s.weight);
            totalWeight += s.weight;
            rows = abi.encodePacked(rows, s.key, s.weight);
        }
    }

    function _groupRows(bytes[] calldata groups) private pure returns (bytes memory rows) {
        if (groups.length == 0 || groups.length > type(uint8).max) revert TableSize(groups.length, type(uint8).max);
        for (uint256 g; g < groups.length; ++g) {
            bytes calldata feeds = groups[g];
            uint256 count = feeds.length / 22;
            if (feeds.length % 22 != 0 || count == 0 || count > MAX_FEEDS) revert BadGroup(g, feeds.length);
            for (uint256 i = 22; i < feeds.length; i += 22) {
                if (bytes21(feeds[i - 22:i - 1]) >= bytes21(feeds[i:i + 21])) revert BadGroup(g, feeds.length);
            }
            rows = abi.encodePacked(rows, keccak256(feeds), uint8(count));
        }
    }
}
