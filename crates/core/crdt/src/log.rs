//! One log: the chain of an author's operations, and the rule that says what may come next.

use std::fmt;

use crate::{
    AuthorKey, Bucket, Header, Membership, OpId,
    canary::{Canary, sings},
};

/// Which log of which author.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// Whose log it is.
    pub author: AuthorKey,
    /// Which of the author's logs, 0 to 3.
    pub index: u8,
}

/// Most operations of one log in one bucket: four a second, twenty times the usual pace of one batch in five seconds.
pub const OPS_PER_BUCKET_MAX: u32 = 240;

/// Most encoded bytes of one log in one bucket: 1 MiB, so that an author can cost a node at most 4 MiB of disk a minute.
pub const BYTES_PER_BUCKET_MAX: u32 = 1 << 20;

/// The end of a valid chain: all that is needed to judge the next operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Operations in the chain; the next has this `seq`.
    pub len: u64,
    /// Id of the last operation, [`OpId::ZERO`] of an empty log.
    pub head: OpId,
    epoch: u32,
    bucket: Bucket,
    ops_in_bucket: u32,
    bytes_in_bucket: u32,
}

/// Why an operation can never extend a chain, whoever judges it and whenever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The author is no member of the registry epoch the operation declares.
    #[error("author is not a member of registry epoch {0}")]
    NotAMember(u32),
    /// The registry has no such epoch.
    #[error("registry epoch {0} is not known")]
    UnknownEpoch(u32),
    /// The declared registry epoch is below that of the operation before it.
    #[error("registry epoch falls from {from} to {to}")]
    EpochFalls {
        /// Epoch of the operation before.
        from: u32,
        /// Epoch declared.
        to: u32,
    },
    /// The declared minute is below that of the operation before it.
    #[error("declared minute falls from {from} to {to}")]
    BucketFalls {
        /// Minute of the operation before.
        from: u64,
        /// Minute declared.
        to: u64,
    },
    /// The log already has [`OPS_PER_BUCKET_MAX`] operations in this minute.
    #[error("more than {OPS_PER_BUCKET_MAX} operations in one minute")]
    OpsOverQuota,
    /// The log would exceed [`BYTES_PER_BUCKET_MAX`] in this minute.
    #[error("more than {BYTES_PER_BUCKET_MAX} bytes in one minute")]
    BytesOverQuota,
}

impl Tail {
    /// The end of an empty log.
    pub const EMPTY: Self =
        Self { len: 0, head: OpId::ZERO, epoch: 0, bucket: Bucket::ZERO, ops_in_bucket: 0, bytes_in_bucket: 0 };

    /// The minute of the last operation.
    pub const fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// Whether an operation stands directly behind this end.
    pub fn precedes(&self, header: &Header) -> bool {
        header.seq == self.len && header.prev == self.head
    }

    /// The end of a chain of which only certified operations count: whoever signed for them has judged them, and no others may follow.
    pub(crate) const fn certified(len: u64, head: OpId) -> Self {
        Self { len, head, ..Self::EMPTY }
    }

    /// The end after one more operation of `size` encoded bytes, which must directly follow this one.
    ///
    /// CRDT-5: the verdict depends on the operation, its own chain, the registry and constants; never on clock, arrival or peer.
    pub fn extended(&self, header: &Header, id: OpId, size: usize, members: &Membership) -> Result<Self, Invalid> {
        let committee = members.committee(header.epoch).ok_or(Invalid::UnknownEpoch(header.epoch))?;
        if committee.weight(&header.log.author) == 0 && !sings(Canary::Crdt3) {
            return Err(Invalid::NotAMember(header.epoch));
        }
        if header.epoch < self.epoch {
            return Err(Invalid::EpochFalls { from: self.epoch, to: header.epoch });
        }
        let bucket = header.declared.bucket();
        if bucket < self.bucket {
            return Err(Invalid::BucketFalls { from: self.bucket.number(), to: bucket.number() });
        }
        let (ops, bytes) = if bucket == self.bucket { (self.ops_in_bucket, self.bytes_in_bucket) } else { (0, 0) };
        let size = u32::try_from(size).map_err(|_| Invalid::BytesOverQuota)?;
        let bytes_in_bucket = bytes.checked_add(size).filter(|&b| b <= BYTES_PER_BUCKET_MAX);
        if ops >= OPS_PER_BUCKET_MAX && !sings(Canary::Crdt5) {
            return Err(Invalid::OpsOverQuota);
        }
        Ok(Self {
            len: self.len + 1,
            head: id,
            epoch: header.epoch,
            bucket,
            ops_in_bucket: ops + 1,
            bytes_in_bucket: bytes_in_bucket.ok_or(Invalid::BytesOverQuota)?,
        })
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.author, self.index)
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.author, self.index)
    }
}
