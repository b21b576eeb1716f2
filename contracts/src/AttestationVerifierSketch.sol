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
    bytes32 public constant PRICE_GROUP_TYPEHASH = keccak256("PriceGroup(uint32 epoch,uint64 slot,bytes32 feeds,bytes words)");

    /// @notice EIP-712 domain separator; its salt is the network id.
    bytes32 public immutable domainSeparator;
    /// @notice Who may replace the configuration.
    address public immutable owner;
    uint256 private immutable MAX_AGE;
    uint256 private immutable MAX_AHEAD;
    uint256 private immutable WINDOW;
    uint256 private immutable MIN_SOURCES;

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
    /// @notice A counted price of zero.
    error ZeroPrice(uint256 feed, uint256 index);
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
            uint256 round = uint32(stored >> 40) + 1; // one a second at most: 136 years
            uint256 stamp = (uint256(uint32(round)) << 40) | time;
            for (uint256 i; i < medians.length; ++i) {
                _store(slot + i, (uint256(medians[i]) << 72) | stamp);
            }
            emit Pushed(feeds, time, medians);
            _pushed(round, time, medians);
        }
    }

    /// @notice Pull lane: verifies the payload that follows the selector and returns its medians; stores nothing. Monotone time is the caller's to keep.
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

    /// @dev A payload being verified.
    struct Batch {
        bytes32 feeds;
        uint256 feedCount; // N
        uint256 time;
        uint256 totalWeight;
        uint256 registered; // signers in the table
        uint256 signers; // memory address of the signer table
    }

    uint256 private constant SELECTOR = 4;
    uint256 private constant HEADER = 6; // group 1, time 5
    uint256 private constant ENTRY_HEAD = 66; // signer index 1, slot - time 1, signature 64
    uint256 private constant WORD = 12;
    uint256 private constant GROUP_ROW = 33;
    uint256 private constant SIGNER_ROW = 24;
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0; // secp256k1 n / 2

    // What is hashed lies at fixed addresses: 70 gas a signer less than at an offset. `_frame` claims them from the allocator.
    uint256 private constant TYPE_HASH_AT = 0x200; // struct: type hash, epoch, slot, feeds, hash of words
    uint256 private constant EPOCH_AT = 0x220;
    uint256 private constant SLOT_AT = 0x240;
    uint256 private constant FEEDS_AT = 0x260;
    uint256 private constant WORDS_HASH_AT = 0x280;
    uint256 private constant PREFIX_AT = 0x2be; // 0x1901, domain separator, struct hash
    uint256 private constant DOMAIN_AT = 0x2c0;
    uint256 private constant STRUCT_HASH_AT = 0x2e0;
    uint256 private constant DIGEST_AT = 0x300; // ecrecover's input, and its output: digest, v, r, s
    uint256 private constant V_AT = 0x320;
    uint256 private constant R_AT = 0x340;
    uint256 private constant S_AT = 0x360;
    uint256 private constant WORDS_AT = 0x380; // at most 192 bytes
    uint256 private constant WEIGHTS_AT = 0x440; // 32 bytes an entry, then the tables

    function _verify() private view returns (bytes32, uint256, uint64[] memory) {
        Batch memory b = _open();
        uint256 counted = _countSigners(b);
        // More than two thirds of the weight: then a faulty third is never half of what is counted.
        unchecked {
            if (3 * counted <= 2 * b.totalWeight) revert QuorumNotReached(counted, b.totalWeight);
        }
        return (b.feeds, b.time, _countPrices(b, counted));
    }

    /// @dev Reads the header and the tables, and checks length and age.
    function _open() private view returns (Batch memory) {
        Configuration storage c = configuration;
        (uint256 registered, uint256 groups) = (c.signers, c.groups);
        uint256 header = _word(SELECTOR);
        uint256 group = header >> 248;
        if (group >= groups) revert UnknownGroup(group, groups);
        // Nothing here overflows: every factor is a byte or a small constant, every time far below 2^64.
        unchecked {
            uint256 tables = _frame(c.tables, c.epoch, groups * GROUP_ROW + registered * SIGNER_ROW);
            (bytes32 feeds, uint256 feedCount) = _groupRow(tables + group * GROUP_ROW);
            uint256 time = uint40(header >> 208);
            uint256 entries = SELECTOR + HEADER + feedCount;
            uint256 entrySize = ENTRY_HEAD + WORD * feedCount;
            if (msg.data.length < entries || (msg.data.length - entries) % entrySize != 0) {
                revert MalformedPayload(msg.data.length, entries, entrySize);
            }
            if (time + MAX_AGE < block.timestamp) revert Stale(time, block.timestamp - MAX_AGE);
            return Batch(feeds, feedCount, time, c.totalWeight, registered, tables + groups * GROUP_ROW);
        }
    }

    /// @dev Lays out the frame and the tables behind the weights (one byte of payload is room enough for a weight).
    function _frame(address code, uint256 epoch, uint256 length) private view returns (uint256 tables) {
        bytes32 typeHash = PRICE_GROUP_TYPEHASH;
        bytes32 domain = domainSeparator;
        assembly ("memory-safe") {
            if gt(mload(0x40), TYPE_HASH_AT) { invalid() } // the compiler would have to need 384 bytes for itself
            // An entry is 78 bytes or more and its weight 32, so half the calldata holds all weights.
            tables := and(add(add(WEIGHTS_AT, shr(1, calldatasize())), 0x1f), not(0x1f))
            mstore(0x40, and(add(add(tables, length), 0x3f), not(0x1f))) // the last row is read 32 bytes wide
            extcodecopy(code, tables, 1, length)
            mstore(TYPE_HASH_AT, typeHash)
            mstore(EPOCH_AT, epoch)
            mstore(sub(DOMAIN_AT, 0x20), 0x1901)
            mstore(DOMAIN_AT, domain)
        }
    }

    /// @dev Checks every entry's order, slot and signature; leaves their weights in the frame. Returns their sum W_S.
    function _countSigners(Batch memory b) private view returns (uint256 counted) {
        (uint256 time, uint256 signers, bytes32 feeds) = (b.time, b.signers, b.feeds);
        uint256 span = _span(time);
        uint256 next; // least admissible signer index
        uint256 tight; // whether an entry's slot is `time` itself
        uint256 offset;
        uint256 wordsLength;
        unchecked {
            offset = SELECTOR + HEADER + b.feedCount;
            wordsLength = WORD * b.feedCount;
        }
        assembly ("memory-safe") {
            mstore(FEEDS_AT, feeds)
            let out := WEIGHTS_AT
            for {} lt(offset, calldatasize()) { offset := add(offset, add(wordsLength, ENTRY_HEAD)) } {
                let head := calldataload(offset) // signer index, slot - time
                mstore(SLOT_AT, add(time, byte(1, head)))
                calldatacopy(WORDS_AT, add(offset, ENTRY_HEAD), wordsLength)
                mstore(WORDS_HASH_AT, keccak256(WORDS_AT, wordsLength))
                mstore(STRUCT_HASH_AT, keccak256(TYPE_HASH_AT, 0xa0))
                mstore(DIGEST_AT, keccak256(PREFIX_AT, 66))
                let s := calldataload(add(offset, 34))
                mstore(V_AT, add(27, shr(255, s)))
                mstore(R_AT, calldataload(add(offset, 2)))
                s := shr(1, shl(1, s))
                mstore(S_AT, s)
                // Where nobody can have signed, ecrecover returns nothing and the digest stays: no address.
                pop(staticcall(gas(), 1, DIGEST_AT, 0x80, DIGEST_AT, 0x20))
                let row := mload(add(signers, mul(byte(0, head), SIGNER_ROW)))
                if or(
                    or(lt(byte(0, head), next), iszero(lt(byte(1, head), span))),
                    or(gt(s, HALF_ORDER), xor(mload(DIGEST_AT), shr(96, row)))
                ) { break }
                tight := or(tight, iszero(byte(1, head)))
                next := add(byte(0, head), 1)
                row := and(shr(64, row), 0xffffffff)
                mstore(out, row)
                out := add(out, 0x20)
                counted := add(counted, row)
            }
        }
        if (offset < msg.data.length) _refuseEntry(b, offset, next, span);
        if (next > b.registered) revert UnknownSigner(next - 1, b.registered);
        if (tight == 0 && next != 0) revert TimeNotOldest(time, _oldest(b));
    }

    /// @dev How many slots from `time` on are inside the window and not too far ahead of the block.
    function _span(uint256 time) private view returns (uint256) {
        unchecked {
            uint256 end = block.timestamp + MAX_AHEAD + 1;
            if (time + WINDOW <= end) return WINDOW;
            return time < end ? end - time : 0;
        }
    }

    /// @dev Says what is wrong with the entry at which counting stopped.
    function _refuseEntry(Batch memory b, uint256 offset, uint256 next, uint256 span) private view {
        uint256 index = _word(offset) >> 248;
        uint256 lag = uint8(_word(offset) >> 240);
        uint256 s = _word(offset + 34) & type(uint256).max >> 1;
        if (index < next) revert SignerNotAscending(index, next);
        if (index >= b.registered) revert UnknownSigner(index, b.registered);
        if (lag >= span) {
            uint256 latestAllowed = block.timestamp + MAX_AHEAD;
            if (b.time + lag > latestAllowed) revert TooFarAhead(b.time + lag, latestAllowed);
            revert OutsideWindow(b.time + lag, b.time + WINDOW);
        }
        if (s > HALF_ORDER) revert HighS(index, s);
        (uint256 recovered, uint256 key) = (_load32(DIGEST_AT), _load32(b.signers + index * SIGNER_ROW) >> 96);
        revert BadSignature(index, recovered > type(uint160).max ? address(0) : address(uint160(recovered)), address(uint160(key)));
    }

    /// @dev The oldest counted slot.
    function _oldest(Batch memory b) private pure returns (uint256) {
        uint256 oldest = type(uint8).max;
        for (uint256 offset = SELECTOR + HEADER + b.feedCount; offset < msg.data.length; offset += ENTRY_HEAD + WORD * b.feedCount) {
            uint256 lag = uint8(_word(offset) >> 240);
            if (lag < oldest) oldest = lag;
        }
        return b.time + oldest;
    }

    // Prices are counted two feeds at a time: two consecutive words of an entry are two lanes of 96 bits, the first feed's the upper.
    // With the flag bit (the doubtful one) set in the minuend only, a lane's subtraction never borrows from its neighbour, and the
    // flag survives exactly where the minuend is at least the subtrahend. A flag times the weights, summed, takes 40 bits at most:
    // in a lane's tally the weight at most the named price stands from bit 95 up, the weight at least the named price from bit 47 up.
    uint256 private constant LANE = 96;
    uint256 private constant FLAGS = 0x800000000000000000000000800000000000000000000000;
    uint256 private constant ONES = 0x000000000000000100000000000000000000000100000000; // least mantissa
    uint256 private constant MANTISSAS = 0x7fffffffffffffff000000007fffffffffffffff00000000;
    uint256 private constant AT_MOST = 95;
    uint256 private constant AT_LEAST = 47;

    /// @dev Checks the named median of every feed. Returns them in the order of feeds.
    function _countPrices(Batch memory b, uint256 counted) private view returns (uint64[] memory medians) {
        uint256 feedCount = b.feedCount;
        medians = new uint64[](feedCount);
        unchecked {
            uint256 feed;
            for (; feed + 1 < feedCount; feed += 2) {
                uint256 first = _named(b, feed);
                uint256 second = _named(b, feed + 1);
                medians[feed] = uint64(first);
                medians[feed + 1] = uint64(second);
                (uint256 tally, uint256 union, uint256 positive) = _tally(b, feed, 256 - 2 * LANE, first << (32 + LANE) | second << 32);
                _settle(b, feed, counted, tally >> LANE, union >> LANE, positive >> LANE);
                _settle(b, feed + 1, counted, tally, union, positive);
            }
            if (feed < feedCount) {
                uint256 last = _named(b, feed);
                medians[feed] = uint64(last);
                (uint256 tally, uint256 union, uint256 positive) = _tally(b, feed, 256 - LANE, last << 32);
                _settle(b, feed, counted, tally, union, positive);
            }
        }
    }

    /// @dev The mantissa that the transmitter names as the feed's median.
    function _named(Batch memory b, uint256 feed) private pure returns (uint256) {
        unchecked {
            uint256 position = _word(SELECTOR + HEADER + feed) >> 248;
            uint256 word = SELECTOR + HEADER + b.feedCount + position * (ENTRY_HEAD + WORD * b.feedCount) + ENTRY_HEAD + feed * WORD;
            if (word >= msg.data.length) revert UnknownPosition(feed, position);
            return (_word(word) >> 192) & (type(uint64).max >> 1);
        }
    }

    /// @dev Adds up the weights on either side of the named medians, whose mantissas stand in `named` as they do in the words.
    ///      `unread` is how many of 32 loaded bits, from the right, are no word of ours. `union` ors all words: a flag in it says that a
    ///      price is doubtful, its low 16 bits are the sources. A flag in `positive` says that no price is zero.
    function _tally(Batch memory b, uint256 feed, uint256 unread, uint256 named)
        private
        pure
        returns (uint256 tally, uint256 union, uint256 positive)
    {
        uint256 entrySize;
        uint256 offset;
        unchecked {
            entrySize = ENTRY_HEAD + WORD * b.feedCount;
            offset = SELECTOR + HEADER + b.feedCount + ENTRY_HEAD + feed * WORD;
        }
        assembly ("memory-safe") {
            positive := FLAGS
            let namedFlagged := or(named, FLAGS)
            for { let weight := WEIGHTS_AT } lt(offset, calldatasize()) { weight := add(weight, 0x20) } {
                let prices := shr(unread, calldataload(offset))
                union := or(union, prices)
                prices := and(prices, MANTISSAS)
                let atMost := and(sub(namedFlagged, prices), FLAGS)
                prices := or(prices, FLAGS)
                positive := and(positive, sub(prices, ONES))
                tally := add(tally, mul(or(atMost, shr(48, and(sub(prices, named), FLAGS))), mload(weight)))
                offset := add(offset, entrySize)
            }
        }
    }

    /// @dev Checks one feed by the lower lane of what `_tally` returned.
    function _settle(Batch memory b, uint256 feed, uint256 counted, uint256 tally, uint256 union, uint256 positive) private view {
        unchecked {
            if (union & 1 << 95 != 0 || positive & 1 << 95 == 0) _refusePrice(b, feed);
            uint256 atMost = uint40(tally >> AT_MOST);
            uint256 below = counted - uint40(tally >> AT_LEAST);
            if (2 * below >= counted || 2 * atMost < counted) revert NotTheMedian(feed, below, atMost, counted);
            uint256 sources = _ones(union & 0xffff);
            if (sources < MIN_SOURCES) revert TooFewSources(feed, sources, MIN_SOURCES);
        }
    }

    /// @dev Names the first entry whose price of this feed is doubtful or zero.
    function _refusePrice(Batch memory b, uint256 feed) private pure {
        for (uint256 entry = SELECTOR + HEADER + b.feedCount; entry < msg.data.length; entry += ENTRY_HEAD + WORD * b.feedCount) {
            uint256 price = _word(entry + ENTRY_HEAD + feed * WORD) >> 192;
            if (price >> 63 != 0) revert DoubtfulPrice(feed, _word(entry) >> 248);
            if (price == 0) revert ZeroPrice(feed, _word(entry) >> 248);
        }
    }

    /// @dev Number of ones among 16 bits.
    function _ones(uint256 x) private pure returns (uint256) {
        unchecked {
            x -= (x >> 1) & 0x5555;
            x = (x & 0x3333) + ((x >> 2) & 0x3333);
            x = (x + (x >> 4)) & 0x0f0f;
            return (x + (x >> 8)) & 0x1f;
        }
    }

    // ------------------------------------------------------------------------------------------------------- assembly

    function _word(uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(offset)
        }
    }

    function _load32(uint256 at) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(at)
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

    function _groupRow(uint256 row) private pure returns (bytes32 feeds, uint256 count) {
        assembly ("memory-safe") {
            feeds := mload(row)
            count := byte(0, mload(add(row, 32)))
        }
    }

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

    // -------------------------------------------------------------------------------------------------- configuration

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
