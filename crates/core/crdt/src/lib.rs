//! The replicated core: signed operations in hash-chained logs, and the state that every replica computes from them.
//!
//! An [`Op`] is decoded, then verified, then [admitted](History::admit) to a [`History`]. Histories that were given the same
//! operations and [fork proofs](ForkProof), in whatever order and however often, have the same [digest](History::digest).
//!
//! Everything here is a pure function of its arguments: no clock, no randomness, no I/O.

mod ballots;
pub mod canary;
mod certificate;
mod codec;
mod descent;
mod fork;
mod frontier;
mod head;
mod history;
mod id;
mod key;
mod log;
mod membership;
mod op;
mod time;

pub use ballots::{Ballots, Counted, OPEN_VOTES_MAX};
pub use certificate::{CERTIFICATE_LEN_MAX, Certificate, CertificateConflict, SIGNERS_MAX};
pub use codec::{CodecError, Reader, count_u32};
pub use descent::Descent;
pub use ed25519_zebra::SigningKey;
pub use fork::{ForkError, ForkProof};
pub use frontier::{AUTHORS_MAX, ENTRY_LEN, Entry, Frontier, WANTED_MAX, Wanted};
pub use head::{DoubleVote, HEAD_LEN, Head, HeadVote, VOTE_LEN, VerifiedVote, VoteError};
pub use history::{AWAITED_MAX, Certified, History, Place, frontier_digest};
pub use id::{Digest, NetworkId, OpId, hash};
pub use key::{AuthorKey, KeyError, Signature, verify_batch};
pub use log::{BYTES_PER_BUCKET_MAX, Invalid, LogKey, OPS_PER_BUCKET_MAX, Tail};
pub use membership::{Committee, Membership};
pub use op::{
    HEADER_LEN_MIN, Header, LOGS_MAX, OP_LEN_MAX, Op, OpError, PAYLOAD_LEN_MAX, REFS_MAX, SignedHeader, VERSION,
    VerifiedHeader, VerifiedOp,
};
pub use time::{BUCKET_MS, Bucket, Time};
