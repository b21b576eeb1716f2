//! What a replica asks of its store. The driver carries requests to a `Store` in the order they were made and hands the replies back.

use std::sync::Arc;

use concurrence_crdt::{
    AuthorKey, Certificate, CertificateConflict, DoubleVote, HeadVote, LogKey, Membership, NetworkId, OpId, Reader,
    VerifiedVote, VoteError,
};

/// Pairs a reply with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// One row of an atomic commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An admitted operation, at the end of its log.
    Op {
        /// Its log.
        log: LogKey,
        /// Its position.
        seq: u64,
        /// Its id.
        id: OpId,
        /// Its encoded bytes.
        bytes: Arc<[u8]>,
    },
    /// An operation of a forked author below a certified head: as [`Op`](Self::Op), but if another one stands at its position, that one and
    /// all that follow it give way.
    Certified {
        /// Its log.
        log: LogKey,
        /// Its position.
        seq: u64,
        /// Its id.
        id: OpId,
        /// Its encoded bytes.
        bytes: Arc<[u8]>,
    },
    /// An operation beyond the admitted state of a forked author: findable by id, counted nowhere.
    Quarantine {
        /// Its author.
        author: AuthorKey,
        /// Its id.
        id: OpId,
        /// Its encoded bytes.
        bytes: Arc<[u8]>,
    },
    /// The proof that an author forked; kept for ever.
    Proof {
        /// Who forked.
        author: AuthorKey,
        /// The encoded proof.
        bytes: Arc<[u8]>,
    },
    /// What was said of a log or by a member; replaces what was kept about the same.
    Fact {
        /// What it is about.
        key: FactKey,
        /// Its encoded bytes, whose first tells what it is.
        bytes: Arc<[u8]>,
    },
    /// A named value of the node itself, such as a watermark.
    Meta {
        /// Its name.
        key: &'static str,
        /// Its bytes.
        value: Vec<u8>,
    },
}

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactKey {
    /// This node's own newest vote for a log. Nobody else is sure to have it.
    Vote(LogKey),
    /// The certificate for the greatest certified head on a log's chain.
    Certificate(LogKey),
    /// That a member voted twice.
    DoubleVote(AuthorKey),
    /// Why a log is frozen.
    Conflict(LogKey),
}

impl FactKey {
    /// Bytes of an encoded key.
    pub const LEN: usize = 34;

    /// What stores keep it under: kind, author, log. Kinds ascend in the order in which facts are taken back.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let (kind, author, index) = match self {
            Self::Vote(log) => (HeadVote::KIND, log.author, log.index),
            Self::Certificate(log) => (Certificate::KIND, log.author, log.index),
            Self::DoubleVote(voter) => (DoubleVote::KIND, *voter, 0),
            Self::Conflict(log) => (CertificateConflict::KIND, log.author, log.index),
        };
        let mut out = [0; Self::LEN];
        out[0] = kind;
        out[1..33].copy_from_slice(author.as_bytes());
        out[33] = index;
        out
    }
}

/// What stands in a store under a [`FactKey`], verified.
#[derive(Clone, Debug)]
pub enum Fact {
    /// This node's own newest vote for a log.
    Vote(VerifiedVote),
    /// The certificate for the greatest certified head on a log's chain.
    Certificate(Certificate),
    /// That a member voted twice.
    DoubleVote(DoubleVote),
    /// Why a log is frozen.
    Conflict(CertificateConflict),
}

impl Fact {
    /// Reads and verifies what a store kept; the first byte tells what it is.
    pub fn read(bytes: &[u8], network: NetworkId, members: &Membership) -> Result<Self, VoteError> {
        let mut reader = Reader::new(bytes);
        Ok(match bytes.first() {
            Some(&HeadVote::KIND) => Self::Vote(HeadVote::read(&mut reader, network)?.verify(members)?),
            Some(&Certificate::KIND) => Self::Certificate(Certificate::read(&mut reader, network, members)?),
            Some(&DoubleVote::KIND) => Self::DoubleVote(DoubleVote::read(&mut reader, network, members)?),
            _ => Self::Conflict(CertificateConflict::read(&mut reader, network, members)?),
        })
    }
}

/// What a driver must do with the store. A failed request ends the node: state and store would part ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRequest {
    /// Write all rows or none.
    Commit {
        /// Names the reply.
        token: Token,
        /// The rows.
        writes: Vec<Write>,
        /// Whether the reply must wait until the rows survive a power cut. Foreign operations can be fetched again and need not.
        durable: bool,
    },
    /// Read consecutive operations of one log.
    Load {
        /// Names the reply.
        token: Token,
        /// Which log.
        log: LogKey,
        /// First position.
        from: u64,
        /// Position after the last one wanted.
        until: u64,
        /// Stop before exceeding this many bytes; at least one operation is read if there is one.
        bytes_max: usize,
    },
    /// Read one operation by its id, admitted or quarantined.
    Find {
        /// Names the reply.
        token: Token,
        /// Which operation.
        id: OpId,
    },
}

/// A store's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreReply {
    /// The rows are written.
    Committed(Token),
    /// Encoded operations from the asked position on, without gaps; a row that rotted on disk ends them.
    Loaded(Token, Vec<Arc<[u8]>>),
    /// The operation, if held.
    Found(Token, Option<Arc<[u8]>>),
}
