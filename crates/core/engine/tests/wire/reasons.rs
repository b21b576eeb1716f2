//! Every decoder as one function from bytes to the name of a refusal. The names are those of `docs/protocol.md`.

use concurrence_crdt::{
    Certificate, CodecError, DoubleVote, ForkError, Frontier, HeadVote, Header, Invalid, KeyError, Op, OpError, Reader,
    SignedHeader, VoteError,
};
use concurrence_oracle::{
    Address, AttestationError, BatchError, Domain, LegsError, LegsRecord, PriceBatch, SignatureError,
};
use concurrence_protocol::{Frame, FrameError, decode_proof};

use crate::fixtures::{NETWORK, registry};

/// An encoded form.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Header,
    SignedHeader,
    Operation,
    ForkProof,
    HeadVote,
    Certificate,
    DoubleVote,
    Frontier,
    Frame,
    PriceBatch,
    LegsRecord,
}

impl Form {
    /// The form's name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::SignedHeader => "signed_header",
            Self::Operation => "operation",
            Self::ForkProof => "fork_proof",
            Self::HeadVote => "head_vote",
            Self::Certificate => "certificate",
            Self::DoubleVote => "double_vote",
            Self::Frontier => "frontier",
            Self::Frame => "frame",
            Self::PriceBatch => "price_batch",
            Self::LegsRecord => "legs_record",
        }
    }

    /// Reads the whole of the bytes and verifies their signatures. The name of the refusal, if they are refused.
    pub fn read(self, bytes: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(bytes);
        match self {
            Self::Header => {
                Header::read(&mut reader, NETWORK).map_err(|e| op(&e))?;
                reader.finish().map_err(|e| codec(&e))
            }
            Self::SignedHeader => {
                let header = SignedHeader::read(&mut reader, NETWORK).map_err(|e| op(&e))?;
                reader.finish().map_err(|e| codec(&e))?;
                header.verify().map(drop).map_err(|e| key(&e))
            }
            Self::Operation => Op::decode(bytes, NETWORK).and_then(Op::verify).map(drop).map_err(|e| op(&e)),
            Self::ForkProof => decode_proof(bytes, NETWORK).map(drop).map_err(|e| fork(&e)),
            Self::HeadVote => {
                let vote = HeadVote::read(&mut reader, NETWORK).map_err(|e| of_vote(&e))?;
                reader.finish().map_err(|e| codec(&e))?;
                vote.verify(&registry().membership()).map(drop).map_err(|e| of_vote(&e))
            }
            Self::Certificate => {
                let read = Certificate::read(&mut reader, NETWORK, &registry().membership());
                read.map_err(|e| of_vote(&e)).and_then(|_| reader.finish().map_err(|e| codec(&e)))
            }
            Self::DoubleVote => {
                let read = DoubleVote::read(&mut reader, NETWORK, &registry().membership());
                read.map_err(|e| of_vote(&e)).and_then(|_| reader.finish().map_err(|e| codec(&e)))
            }
            Self::Frontier => {
                Frontier::read(&mut reader).and_then(|_| reader.finish()).map(drop).map_err(|e| codec(&e))
            }
            Self::Frame => Frame::decode(bytes).map(drop).map_err(|e| frame(&e)),
            Self::PriceBatch => PriceBatch::decode(bytes).map(drop).map_err(|e| batch(&e)),
            Self::LegsRecord => LegsRecord::decode(bytes).map(drop).map_err(|e| legs(&e)),
        }
    }
}

/// Whether a batch is signed by the registered address.
pub fn verify_batch(payload: &[u8], epoch: u32, registered: Address) -> Result<(), String> {
    let read = PriceBatch::decode(payload);
    read.and_then(|batch| batch.verify(&Domain::of(&NETWORK), epoch, registered)).map_err(|e| batch(&e))
}

fn codec(error: &CodecError) -> String {
    match error {
        CodecError::Truncated { .. } => "truncated".to_owned(),
        CodecError::Trailing(_) => "trailing".to_owned(),
        CodecError::OverCap { field, .. } => format!("over_cap: {field}"),
        CodecError::NotCanonical(field) => format!("not_canonical: {field}"),
    }
}

fn op(error: &OpError) -> String {
    match error {
        OpError::Codec(error) => codec(error),
        OpError::Version(_) => "version".to_owned(),
        OpError::OtherNetwork(_) => "other_network".to_owned(),
        OpError::PayloadHash => "payload_hash".to_owned(),
        OpError::Key(error) => key(error),
    }
}

pub fn key(error: &KeyError) -> String {
    let name = match error {
        KeyError::NotCanonical => "key_not_canonical",
        KeyError::SmallOrder => "key_small_order",
        KeyError::BadSignature => "signature",
    };
    name.to_owned()
}

fn fork(error: &ForkError) -> String {
    match error {
        ForkError::Op(error) => op(error),
        ForkError::DifferentPositions => "two_positions".to_owned(),
        ForkError::NotOrdered => "not_ordered".to_owned(),
        ForkError::Key(error) => key(error),
    }
}

fn of_vote(error: &VoteError) -> String {
    let name = match error {
        VoteError::Codec(error) => return codec(error),
        VoteError::Key(error) => return key(error),
        VoteError::Version(_) => "version",
        VoteError::OtherNetwork(_) => "other_network",
        VoteError::Stranger => "stranger",
        VoteError::UnknownEpoch(_) => "unknown_epoch",
        VoteError::NotAMember(_) => "not_a_member",
        VoteError::NoQuorum { .. } => "no_quorum",
        VoteError::NoContradiction => "no_contradiction",
    };
    name.to_owned()
}

fn frame(error: &FrameError) -> String {
    match error {
        FrameError::TooLong(_) => "frame_length".to_owned(),
        FrameError::Tag(_) => "frame_tag".to_owned(),
        FrameError::Codec(error) => codec(error),
    }
}

fn batch(error: &BatchError) -> String {
    let name = match error {
        BatchError::Codec(error) => return codec(error),
        BatchError::Feeds(_) => "batch_feeds",
        BatchError::Groups(_) => "batch_groups",
        BatchError::Grouping { .. } => "batch_grouping",
        BatchError::Repeated(_) => "feed_repeated",
        BatchError::OutOfOrder(_) => "feed_order",
        BatchError::Feed(_) => "feed_form",
        BatchError::Attestation { error: AttestationError::Mantissa(_), .. } => "mantissa",
        BatchError::Attestation { error: AttestationError::Expo(_), .. } => "exponent",
        BatchError::Signature { error: SignatureError::OutOfRange, .. } => "evm_range",
        BatchError::Signature { error: SignatureError::HighS, .. } => "evm_high_s",
        BatchError::Signature { error: SignatureError::Unrecoverable, .. } => "evm_unrecoverable",
        BatchError::Signer { .. } => "evm_signer",
        BatchError::Attestation { .. } | BatchError::Signatures { .. } => panic!("not of decoding: {error}"),
    };
    name.to_owned()
}

fn legs(error: &LegsError) -> String {
    match error {
        LegsError::Codec(error) => codec(error),
        LegsError::Feed(_) => "feed_form".to_owned(),
    }
}

pub const fn invalid(error: &Invalid) -> &'static str {
    match error {
        Invalid::NotAMember(_) => "not_a_member",
        Invalid::UnknownEpoch(_) => "unknown_epoch",
        Invalid::EpochFalls { .. } => "epoch_falls",
        Invalid::BucketFalls { .. } => "minute_falls",
        Invalid::OpsOverQuota => "operations_over_quota",
        Invalid::BytesOverQuota => "bytes_over_quota",
    }
}
