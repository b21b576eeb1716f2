//! Why a store refused or failed, with what the operator can do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use concurrence_crdt::LogKey;

/// Why a store could not be opened, or refused or failed a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another store of this one, has it open.
    #[error("store {} is in use by {}: stop it first, or give this node a directory of its own", .path.display(), holder(.pid))]
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// The holder's process id, if it could be read.
        pid: Option<u32>,
    },
    /// Opened for reading, and there is nothing to read.
    #[error("store {} does not exist: run the node once, or check the directory's name", .path.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
    },
    /// The place cannot be read or written.
    #[error("store {} cannot be used ({reason}): check that it is a directory, its owner and mode, and that the file system is not mounted read-only", .path.display())]
    ReadOnly {
        /// The directory or file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// A write on a store that was opened for reading only.
    #[error("store {} is open for reading only", .path.display())]
    OpenForReading {
        /// The store's file.
        path: PathBuf,
    },
    /// The disk or the quota is used up.
    #[error("the disk of store {} is full ({reason}): free some space and start again; nothing durable was lost", .path.display())]
    Full {
        /// The directory or file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The file is no store of ours, or no whole one any more.
    #[error("store {} is damaged ({reason}): move it away and start again; operations are fetched from peers, and the node appends nothing until they have answered for its log", .path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The file's layout is of another version.
    #[error("store {} has format version {found}, this program knows version {known}: start the program that wrote it, or a newer one", .path.display())]
    Version {
        /// The store's file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// The version this program reads and writes.
        known: u32,
    },
    /// Any other failure of the operating system.
    #[error("store {} failed ({reason}): check the disk and start again", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// No randomness for the id of a new store.
    #[error("a new store's id cannot be drawn: {reason}")]
    NoRandomness {
        /// What the operating system said.
        reason: String,
    },
    /// An operation past the end of its log.
    #[error("operation {seq} of log {log} was to be stored, but the log ends at {len}")]
    Gap {
        /// Its log.
        log: LogKey,
        /// Its position.
        seq: u64,
        /// The log's length.
        len: u64,
    },
    /// An operation at a position where another one is held.
    #[error("another operation is stored at position {seq} of log {log}")]
    Conflict {
        /// Its log.
        log: LogKey,
        /// Its position.
        seq: u64,
    },
    /// The node's own value was read, but its checksum does not match.
    #[error(
        "stored value {key:?} does not match its checksum: restore the store from a backup, or move it away to start anew"
    )]
    RottenMeta {
        /// Its name.
        key: String,
    },
}

impl StoreError {
    /// Whether the store is unusable from now on: the disk failed, as opposed to a refused request.
    pub const fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Gap { .. } | Self::Conflict { .. } | Self::RottenMeta { .. } | Self::OpenForReading { .. }
        )
    }

    /// Names an error of the operating system at a path.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        use io::ErrorKind::{
            AlreadyExists, FileTooLarge, InvalidData, NotADirectory, PermissionDenied, QuotaExceeded,
            ReadOnlyFilesystem, StorageFull, UnexpectedEof,
        };
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { path, reason },
            PermissionDenied | ReadOnlyFilesystem | NotADirectory | AlreadyExists => Self::ReadOnly { path, reason },
            InvalidData | UnexpectedEof => Self::Corrupt { path, reason },
            _ => Self::Io { path, reason },
        }
    }

    /// Names an error of redb at a path.
    pub(crate) fn redb(path: &Path, error: &redb::Error) -> Self {
        let (owned, reason) = (path.to_owned(), error.to_string());
        match error {
            redb::Error::Io(e) => Self::io(path, e),
            redb::Error::DatabaseAlreadyOpen => Self::Locked { path: owned, pid: None },
            redb::Error::UpgradeRequired(found) => {
                Self::Version { path: owned, found: u32::from(*found), known: crate::FORMAT_VERSION }
            }
            redb::Error::Corrupted(reason) => Self::Corrupt { path: owned, reason: reason.clone() },
            redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TypeDefinitionChanged { .. } => Self::Corrupt { path: owned, reason },
            _ => Self::Io { path: owned, reason },
        }
    }
}

/// "process 123", or as much of it as is known.
pub(crate) fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_operating_system_are_told_apart() {
        let at = |code| StoreError::io(Path::new("/data"), &io::Error::from_raw_os_error(code));
        // Linux errno values: ENOSPC, EDQUOT, EFBIG; EACCES, EROFS, EPERM, ENOTDIR; EIO.
        for full in [28, 122, 27] {
            assert!(matches!(at(full), StoreError::Full { .. }), "{full}");
        }
        for read_only in [13, 30, 1, 20] {
            assert!(matches!(at(read_only), StoreError::ReadOnly { .. }), "{read_only}");
        }
        assert!(matches!(at(5), StoreError::Io { .. }));
        assert!(at(28).to_string().contains("/data"));
    }
}
