// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {FeedStore} from "./FeedStore.sol";
import {MerkleProof} from "./MerkleProof.sol";
import {Price} from "./Price.sol";
import {SignerSets} from "./SignerSets.sol";
import {ISignerRegistry} from "./interfaces/ISignerRegistry.sol";

/// @title  Prices out of reports
/// @notice Report lane: one Merkle root over the answers for all feeds of a slot, signed by members of more than a third of the registered
///         weight, each of which recomputed it from more than two thirds. One of them is honest. The root is verified once for all feeds;
///         consumers prove their feed against it (`prove`), or have it stored (`pushProven`).
///
///         Payload: everything after the selector, packed, big-endian.
///           last byte of the epoch 1 | slot 5 | root 32 | k entries
///           entry: signer index 1 | EIP-2098 signature 64
///         Entries ascend strictly by signer index.
///
///         Signed unit (EIP-712), in the domain of the price groups: PriceReport(uint32 epoch,uint64 slot,bytes32 root)
///
///         The root is stored whole, 256 bits: finding two trees with one root takes 2^128 hashes. Cutting it to 208 bits, to share a slot
///         with the time, would save 2,900 gas a report and leave 2^104: within a state's reach some day, and a report is signed blindly
///         by who recomputes it, so a collision would be a forgery.
contract ReportFeeds is SignerSets, FeedStore {
    /// @notice One feed out of a report.
    struct Leaf {
        bytes21 feed;
        int8 exponent;
        /// @notice As in a price group: doubtful flag 1 | mantissa 63 | half-width 16 | sources 16.
        uint96 word;
        /// @notice Siblings from the leaf upwards.
        bytes32[] proof;
    }

    /// @notice EIP-712 type hash of the signed unit.
    bytes32 public constant PRICE_REPORT_TYPEHASH = keccak256("PriceReport(uint32 epoch,uint64 slot,bytes32 root)");

    uint256 private constant ENTRIES = 42; // calldata offset: selector 4, epoch 1, slot 5, root 32
    uint256 private constant ENTRY = 65;
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0; // secp256k1 n / 2

    uint256 private constant STAMP = (0xff << 168) | type(uint40).max; // share and time of a Price

    uint256 private immutable MAX_AGE;

    /// @notice Storage slot 3: the newest root.
    bytes32 public root;
    /// @notice Storage slot 4: | 0: slot of the root, seconds 40 | 40: share of the weight that signed it, percent 8 | 48: 0 |
    uint256 private s_stamp;

    /// @notice A report was accepted.
    event Reported(uint256 indexed slot, bytes32 root);

    /// @notice The payload is shorter than its header, or its entries are not a whole number.
    error MalformedPayload(uint256 length, uint256 header, uint256 entrySize);
    /// @notice The report is too old.
    error Stale(uint256 time, uint256 oldestAllowed);
    /// @notice The report is ahead of the block.
    error TooFarAhead(uint256 time, uint256 latestAllowed);
    /// @notice The stored report is as new or newer.
    error ReportNotIncreasing(uint256 slot, uint256 stored);
    /// @notice Entries must ascend strictly by signer: nobody counts twice.
    error SignerNotAscending(uint256 index, uint256 leastAdmissible);
    /// @notice No such signer.
    error UnknownSigner(uint256 index, uint256 signers);
    /// @notice s lies in the upper half of the order.
    error HighS(uint256 index, uint256 s);
    /// @notice The signature is not the registered signer's, over this network, epoch, slot and root.
    error BadSignature(uint256 index, address recovered, address key);
    /// @notice The weight that signed is not more than a third of the total.
    error QuorumNotReached(uint256 counted, uint256 total);
    /// @notice The leaf is not in the report.
    error BadProof(bytes32 computed, bytes32 root);
    /// @notice The price is doubtful, or at a boundary.
    error NoPrice(bytes21 feed, uint96 word);

    /// @param registry_ who may sign.
    /// @param maxAge    greatest age of a report that is accepted or proven against, in seconds.
    /// @param ring_     rounds of each feed that are kept besides the newest.
    constructor(ISignerRegistry registry_, uint32 maxAge, uint16 ring_) SignerSets(registry_) FeedStore(ring_) {
        MAX_AGE = maxAge;
    }

    /// @notice Stores the root of the report behind the selector. Fails unless its slot is above the stored one.
    function report() external {
        (uint256 slot, bytes32 root_, uint256 counted, uint256 total) = _verify();
        if (slot <= uint40(s_stamp)) revert ReportNotIncreasing(slot, uint40(s_stamp));
        (root, s_stamp) = (root_, ((100 * counted / total) << 40) | slot);
        emit Reported(slot, root_);
    }

    /// @notice Verifies the report behind the selector; stores nothing.
    function check() external view returns (uint256 slot, bytes32 root_) {
        (slot, root_,,) = _verify();
    }

    /// @notice The price of a feed in the stored report. Fails if it is not there or the report is too old.
    function prove(Leaf calldata leaf) public view returns (Price) {
        uint256 stamp = s_stamp;
        uint256 slot = uint40(stamp);
        if (slot + MAX_AGE < block.timestamp) revert Stale(slot, block.timestamp - MAX_AGE);
        bytes32 computed = MerkleProof.rootOf(MerkleProof.leaf(leaf.feed, leaf.exponent, leaf.word), leaf.proof);
        if (computed != root) revert BadProof(computed, root);
        uint256 mantissa = uint256(leaf.word) >> 32;
        // A doubtful price is above every mantissa: its flag is the bit on top of them.
        if (mantissa == 0 || mantissa >= type(uint64).max >> 1) revert NoPrice(leaf.feed, leaf.word);
        return Price.wrap(slot | (uint256(leaf.word) << 72) | ((stamp >> 40) << 168) | (uint256(uint8(leaf.exponent)) << 176));
    }

    /// @notice Stores feeds of the stored report. Fails unless its slot is above each stored price's time.
    function pushProven(Leaf[] calldata leaves) external {
        for (uint256 i; i < leaves.length; ++i) {
            uint256 price = Price.unwrap(prove(leaves[i]));
            uint256 row = uint256(bytes32(leaves[i].feed)) | (uint256(uint8(leaves[i].exponent)) << 80);
            uint256 word = leaves[i].word;
            assembly ("memory-safe") {
                mstore(0, row)
                mstore(0x20, word)
            }
            _set(0, 0x20, 1, price & STAMP);
        }
    }

    /// @notice When the stored report's slot began, in seconds; 0: there is none.
    function reportedAt() external view returns (uint256) {
        return uint40(s_stamp);
    }

    /// @notice Greatest age of a report, in seconds.
    function maxReportAge() external view returns (uint256) {
        return MAX_AGE;
    }

    // ---------------------------------------------------------------------------------------------------- verification

    // The frame: memory at fixed addresses, as in AttestationVerifier.
    uint256 private constant FRAME = 0xa0;
    uint256 private constant DIGEST_AT = 0xa0; // ecrecover: digest, v, r, s; and v's place takes the answer
    uint256 private constant V_AT = 0xc0;
    uint256 private constant R_AT = 0xe0;
    uint256 private constant S_AT = 0x100;
    uint256 private constant TYPE_HASH_AT = 0x120; // struct: type hash, epoch, slot, root
    uint256 private constant EPOCH_AT = 0x140;
    uint256 private constant SLOT_AT = 0x160;
    uint256 private constant ROOT_AT = 0x180;
    uint256 private constant PREFIX_AT = 0x1a0; // digest: from the last two bytes here, 0x1901, with domain separator and struct hash
    uint256 private constant DOMAIN_AT = 0x1c0;
    uint256 private constant STRUCT_HASH_AT = 0x1e0;
    uint256 private constant TABLE_AT = 0x200;

    /// @dev Verifies the report behind the selector.
    function _verify() private view returns (uint256 slot, bytes32 root_, uint256 counted, uint256 total) {
        uint256 header;
        assembly ("memory-safe") {
            header := calldataload(4)
            root_ := calldataload(10)
        }
        uint256 set = _select(header >> 248);
        slot = (header >> 208) & type(uint40).max;
        // Nothing here overflows: times and weights have 40 bits.
        unchecked {
            if (msg.data.length < ENTRIES || (msg.data.length - ENTRIES) % ENTRY != 0) {
                revert MalformedPayload(msg.data.length, ENTRIES, ENTRY);
            }
            if (block.timestamp - slot > MAX_AGE) _refuseTime(slot);
            counted = _count(set, slot, root_);
            total = uint40(set >> 16);
            // More than a third: then one of the signers is honest, and recomputed the root.
            if (3 * counted <= total) revert QuorumNotReached(counted, total);
        }
    }

    /// @dev The weight that signed the report.
    function _count(uint256 set, uint256 slot, bytes32 root_) private view returns (uint256 counted) {
        uint256 next; // the least admissible signer index
        uint256 offset;
        (bytes32 typeHash, bytes32 domain) = (PRICE_REPORT_TYPEHASH, domainSeparator);
        assembly ("memory-safe") {
            if gt(mload(0x40), FRAME) { invalid() } // the compiler came to need more memory of its own: move the frame
            let length := mul(and(set, 0xff), 24)
            mstore(0x40, and(add(add(TABLE_AT, length), 0x3f), not(0x1f))) // the last row is read 32 bytes wide
            extcodecopy(shr(88, set), TABLE_AT, 1, length)
            mstore(TYPE_HASH_AT, typeHash)
            mstore(EPOCH_AT, and(shr(56, set), 0xffffffff))
            mstore(SLOT_AT, slot)
            mstore(ROOT_AT, root_)
            mstore(PREFIX_AT, 0x1901)
            mstore(DOMAIN_AT, domain)
            mstore(STRUCT_HASH_AT, keccak256(TYPE_HASH_AT, 0x80))
            mstore(DIGEST_AT, keccak256(add(PREFIX_AT, 30), 66))
            for { offset := ENTRIES } lt(offset, calldatasize()) { offset := add(offset, ENTRY) } {
                let index := byte(0, calldataload(offset))
                calldatacopy(R_AT, add(offset, 1), 64)
                let s := mload(S_AT)
                mstore(V_AT, add(27, shr(255, s)))
                s := shr(1, shl(1, s))
                mstore(S_AT, s)
                // Where nobody can have signed, ecrecover returns nothing and v stays, which is nobody's address.
                pop(staticcall(gas(), 1, DIGEST_AT, 0x80, V_AT, 0x20))
                let row := mload(add(TABLE_AT, mul(index, 24)))
                if or(lt(index, next), or(gt(s, HALF_ORDER), xor(mload(V_AT), shr(96, row)))) { break }
                next := add(index, 1)
                counted := add(counted, and(shr(64, row), 0xffffffff))
            }
        }
        if (offset < msg.data.length) _refuseEntry(set, offset, next);
        if (next > uint8(set)) revert UnknownSigner(next - 1, uint8(set));
    }

    /// @dev Says why a time is out of bounds.
    function _refuseTime(uint256 slot) private view {
        if (slot > block.timestamp) revert TooFarAhead(slot, block.timestamp);
        revert Stale(slot, block.timestamp - MAX_AGE);
    }

    /// @dev Says what is wrong with the entry at which counting stopped.
    function _refuseEntry(uint256 set, uint256 offset, uint256 leastAdmissible) private pure {
        uint256 index = uint8(msg.data[offset]);
        uint256 signers = uint8(set);
        if (index < leastAdmissible) revert SignerNotAscending(index, leastAdmissible);
        if (index >= signers) revert UnknownSigner(index, signers);
        if (_at(S_AT) > HALF_ORDER) revert HighS(index, _at(S_AT));
        uint256 recovered = _at(V_AT);
        if (recovered <= 28) recovered = 0; // still v
        revert BadSignature(index, address(uint160(recovered)), address(uint160(_at(TABLE_AT + index * 24) >> 96)));
    }

    function _at(uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(place)
        }
    }
}
