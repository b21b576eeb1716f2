//! The file beside the key that says where our own log ended, and in which store. A store alone cannot tell that it was
//! restored from a backup; a node that appended to it would fork its own log.
//!
//! The order of an own append: the operation is durable in the store; then the sidecar says so, durably; then it is sent. So
//! an operation that the sidecar does not cover was never sent, and a store that is ahead of the sidecar lost nothing.

use std::{
    fmt, fs,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use concurrence_crdt::{AuthorKey, LOGS_MAX, LogKey};

use crate::{Store, StoreError, StoreId, lock::beside};

/// Logs an author may keep, as a length.
const LOGS: usize = LOGS_MAX as usize;

/// Bytes of a sidecar file: magic 8, store 16, author 32, next positions 4 x 8, checksum 8.
pub const SIDECAR_LEN: usize = 8 + 16 + 32 + 8 * LOGS + 8;

/// What a sidecar file begins with; the last byte is its version.
const MAGIC: [u8; 8] = *b"CNCSIDE\0";

/// What the sidecar says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// The store our own operations are in.
    pub store: StoreId,
    /// Our own author key.
    pub author: AuthorKey,
    /// The next position in each of our logs.
    pub next: [u64; LOGS],
}

/// Why a sidecar could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SidecarError {
    /// The file is not what we write.
    #[error("sidecar {} is damaged ({reason}): move it away to start in recovery, where the node appends nothing until peers have answered for its log", .path.display())]
    Garbage {
        /// The sidecar file.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// The operating system failed.
    #[error("sidecar of key {} cannot be used ({reason}): the node must be able to read and write the directory it is in", .key_file.display())]
    Io {
        /// The key file.
        key_file: PathBuf,
        /// What the operating system said.
        reason: String,
    },
}

/// Whether a starting node may append to its own logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnLog {
    /// Sidecar and store agree: append at once.
    Append,
    /// The key was never used: nothing of ours was ever sent. Listen for a while, in case it is used elsewhere, then append.
    Fresh,
    /// Operations of ours may be missing: append nothing until peers have answered for our log, or the operator overrides.
    Recovering(Reason),
}

/// Why a node may not append yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The store has operations of ours, and nothing says whether they are all.
    SidecarLost {
        /// Lengths of our logs in the store.
        store_lens: [u64; LOGS],
    },
    /// The sidecar was written for another key.
    OtherKey {
        /// The key in the sidecar.
        sidecar: AuthorKey,
        /// The key of this node.
        own: AuthorKey,
    },
    /// The sidecar speaks of another store.
    OtherStore {
        /// The store in the sidecar.
        sidecar: StoreId,
        /// The store that is open.
        store: StoreId,
    },
    /// The right store, but with fewer operations than were in it.
    RolledBack {
        /// The log.
        log: LogKey,
        /// Its next position by the sidecar.
        sidecar_next: u64,
        /// Its length in the store.
        store_len: u64,
    },
}

/// Bytes of operations read from a store at once when it is read whole.
pub const READ_AT_ONCE: usize = 4 << 20;

/// The lengths of an author's logs, each as long as it can be read. The own log's rest behind a row that rotted was sent: it has to be
/// fetched back before anything is appended.
pub fn own_lens(store: &dyn Store, author: AuthorKey) -> Result<[u64; LOGS], StoreError> {
    let mut lens = [0; LOGS];
    for (log, len) in store.logs()? {
        if let Some(slot) = lens.get_mut(usize::from(log.index)).filter(|_| log.author == author) {
            *slot = readable(store, log, len)?;
        }
    }
    Ok(lens)
}

fn readable(store: &dyn Store, log: LogKey, len: u64) -> Result<u64, StoreError> {
    let mut read = 0;
    while read < len {
        match store.range(log, read, len, READ_AT_ONCE)?.len() {
            0 => break,
            ops => read += ops as u64,
        }
    }
    Ok(read)
}

/// Decides at start, from what the sidecar says and what the store holds of ours, whether we may append.
pub fn start_state(sidecar: Option<&Sidecar>, own: AuthorKey, store: StoreId, own_lens: [u64; LOGS]) -> OwnLog {
    let Some(sidecar) = sidecar else {
        return match own_lens {
            [0, 0, 0, 0] => OwnLog::Fresh,
            store_lens => OwnLog::Recovering(Reason::SidecarLost { store_lens }),
        };
    };
    if sidecar.author != own {
        return OwnLog::Recovering(Reason::OtherKey { sidecar: sidecar.author, own });
    }
    if sidecar.next == [0; LOGS] && own_lens == [0; LOGS] {
        return OwnLog::Fresh;
    }
    if sidecar.store != store {
        return OwnLog::Recovering(Reason::OtherStore { sidecar: sidecar.store, store });
    }
    let behind = (0..LOGS_MAX).zip(sidecar.next).zip(own_lens).find(|((_, next), len)| len < next);
    match behind {
        None => OwnLog::Append,
        Some(((index, sidecar_next), store_len)) => {
            OwnLog::Recovering(Reason::RolledBack { log: LogKey { author: own, index }, sidecar_next, store_len })
        }
    }
}

impl Sidecar {
    /// Reads `<key file>.sidecar`; `None` if there is none. To be called under the key's [`KeyLock`](crate::KeyLock).
    pub fn load(key_file: &Path) -> Result<Option<Self>, SidecarError> {
        let failed = |e: io::Error| SidecarError::Io { key_file: key_file.to_owned(), reason: e.to_string() };
        let path = beside(key_file, "sidecar").map_err(failed)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let mut bytes = Vec::with_capacity(SIDECAR_LEN + 1);
        file.take(SIDECAR_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Self::decode(&bytes).map(Some).map_err(|reason| SidecarError::Garbage { path, reason })
    }

    /// Removes `<key file>.sidecar`: from now on nothing says that the store holds all of our logs, and the next start
    /// recovers. To be called under the key's [`KeyLock`](crate::KeyLock).
    pub fn remove(key_file: &Path) -> Result<(), SidecarError> {
        let removed = beside(key_file, "sidecar").and_then(|path| match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(()) => sync_directory_of(&path),
        });
        removed.map_err(|e| SidecarError::Io { key_file: key_file.to_owned(), reason: e.to_string() })
    }

    /// Writes `<key file>.sidecar`, whole or not at all, and waits until it survives a power cut. To be called under the
    /// key's [`KeyLock`](crate::KeyLock).
    pub fn save(&self, key_file: &Path) -> Result<(), SidecarError> {
        self.try_save(key_file).map_err(|e| SidecarError::Io { key_file: key_file.to_owned(), reason: e.to_string() })
    }

    fn try_save(&self, key_file: &Path) -> io::Result<()> {
        let (path, new) = (beside(key_file, "sidecar")?, beside(key_file, "sidecar.new")?);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&new)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_directory_of(&path)
    }

    fn encode(&self) -> [u8; SIDECAR_LEN] {
        let mut bytes = Vec::with_capacity(SIDECAR_LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(self.store.as_bytes());
        bytes.extend_from_slice(self.author.as_bytes());
        self.next.iter().for_each(|next| bytes.extend_from_slice(&next.to_be_bytes()));
        let checksum = checksum(&bytes);
        let mut whole = [0; SIDECAR_LEN];
        whole[..SIDECAR_LEN - 8].copy_from_slice(&bytes);
        whole[SIDECAR_LEN - 8..].copy_from_slice(&checksum);
        whole
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; SIDECAR_LEN] = bytes.try_into().map_err(|_| "it has the wrong length")?;
        if bytes[..7] != MAGIC[..7] {
            return Err("it does not begin as a sidecar does");
        }
        if bytes[7] != MAGIC[7] {
            return Err("it is of a newer version than this program");
        }
        if bytes[SIDECAR_LEN - 8..] != checksum(&bytes[..SIDECAR_LEN - 8]) {
            return Err("its checksum does not match");
        }
        let (mut store, mut author, mut next) = ([0; 16], [0; 32], [0; LOGS]);
        store.copy_from_slice(&bytes[8..24]);
        author.copy_from_slice(&bytes[24..56]);
        for (next, encoded) in next.iter_mut().zip(bytes[56..].as_chunks::<8>().0) {
            *next = u64::from_be_bytes(*encoded);
        }
        Ok(Self { store: StoreId::from_bytes(store), author: AuthorKey::from_bytes(author), next })
    }
}

/// The operator's line: both sides, and what it means.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SidecarLost { store_lens } => {
                let [a, b, c, d] = store_lens;
                write!(
                    f,
                    "the store holds {a}, {b}, {c} and {d} operations in our logs, but there is no sidecar beside the key to say whether these are all"
                )
            }
            Self::OtherKey { sidecar, own } => {
                write!(
                    f,
                    "the sidecar beside the key was written for author {sidecar}, but the key is that of author {own}"
                )
            }
            Self::OtherStore { sidecar, store } => {
                write!(
                    f,
                    "the sidecar beside the key speaks of store {sidecar}, but store {store} is open: the store was lost or replaced"
                )
            }
            Self::RolledBack { log, sidecar_next, store_len } => {
                write!(
                    f,
                    "log {log} had {sidecar_next} operations by the sidecar beside the key, but has {store_len} in the store: the store was rolled back"
                )
            }
        }
    }
}

/// Makes a created or renamed file survive a power cut. Directories cannot be synced everywhere; where they can, they are.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(parent)?.sync_all() } else { Ok(()) }
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: AuthorKey = AuthorKey::from_bytes([7; 32]);
    const STORE: StoreId = StoreId::from_bytes([1; 16]);
    const OTHER: StoreId = StoreId::from_bytes([2; 16]);

    fn sidecar(store: StoreId, next: [u64; 4]) -> Sidecar {
        Sidecar { store, author: OWN, next }
    }

    fn key() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("oracle-key.json");
        fs::write(&key, "{}").unwrap();
        (dir, key)
    }

    #[test]
    fn every_state_a_node_can_start_in() {
        let start = |sidecar: Option<Sidecar>, lens| start_state(sidecar.as_ref(), OWN, STORE, lens);
        assert_eq!(start(None, [0; 4]), OwnLog::Fresh, "a new key");
        assert_eq!(
            start(None, [0, 3, 0, 0]),
            OwnLog::Recovering(Reason::SidecarLost { store_lens: [0, 3, 0, 0] }),
            "the sidecar was lost, or only the key was restored"
        );
        assert_eq!(start(Some(sidecar(STORE, [5, 1, 0, 0])), [5, 1, 0, 0]), OwnLog::Append, "an orderly end");
        assert_eq!(
            start(Some(sidecar(STORE, [5, 1, 0, 0])), [6, 1, 0, 0]),
            OwnLog::Append,
            "a crash between the writes"
        );
        assert_eq!(
            start(Some(sidecar(STORE, [0; 4])), [1, 0, 0, 0]),
            OwnLog::Append,
            "the same at the first operation"
        );
        assert_eq!(
            start(Some(sidecar(STORE, [5, 1, 0, 0])), [9, 0, 0, 0]),
            OwnLog::Recovering(Reason::RolledBack {
                log: LogKey { author: OWN, index: 1 },
                sidecar_next: 1,
                store_len: 0
            }),
            "one log is short, another is ahead"
        );
        assert_eq!(
            start(Some(sidecar(OTHER, [5, 0, 0, 0])), [5, 0, 0, 0]),
            OwnLog::Recovering(Reason::OtherStore { sidecar: OTHER, store: STORE }),
            "another store with as many operations"
        );
        assert_eq!(
            start(Some(sidecar(OTHER, [1, 0, 0, 0])), [0; 4]),
            OwnLog::Recovering(Reason::OtherStore { sidecar: OTHER, store: STORE }),
            "the store was lost"
        );
        assert_eq!(
            start(Some(sidecar(OTHER, [0; 4])), [0; 4]),
            OwnLog::Fresh,
            "the store was lost before anything was sent"
        );
        assert_eq!(start(Some(sidecar(STORE, [0; 4])), [0; 4]), OwnLog::Fresh, "ended before the first append");
        let author = AuthorKey::from_bytes([8; 32]);
        assert_eq!(
            start(Some(Sidecar { author, ..sidecar(STORE, [0; 4]) }), [0; 4]),
            OwnLog::Recovering(Reason::OtherKey { sidecar: author, own: OWN }),
            "the key file was replaced"
        );
    }

    #[test]
    fn reasons_name_both_sides() {
        let log = LogKey { author: OWN, index: 2 };
        let text = Reason::RolledBack { log, sidecar_next: 12, store_len: 9 }.to_string();
        assert!(text.contains(&log.to_string()) && text.contains("12") && text.contains('9'), "{text}");
        let text = Reason::OtherStore { sidecar: OTHER, store: STORE }.to_string();
        assert!(text.contains(&OTHER.to_string()) && text.contains(&STORE.to_string()), "{text}");
    }

    #[test]
    fn what_is_saved_is_loaded_and_replaced() {
        let (dir, key) = key();
        assert_eq!(Sidecar::load(&key).unwrap(), None);
        for next in [[0; 4], [1, 2, 3, u64::MAX]] {
            sidecar(STORE, next).save(&key).unwrap();
            assert_eq!(Sidecar::load(&key).unwrap(), Some(sidecar(STORE, next)));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the key and one sidecar");
    }

    #[test]
    fn without_its_sidecar_a_used_key_recovers() {
        let (dir, key) = key();
        Sidecar::remove(&key).unwrap();
        sidecar(STORE, [2, 0, 0, 0]).save(&key).unwrap();
        Sidecar::remove(&key).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the key alone");
        let start = start_state(Sidecar::load(&key).unwrap().as_ref(), OWN, STORE, [2, 0, 0, 0]);
        assert!(matches!(start, OwnLog::Recovering(Reason::SidecarLost { .. })), "{start:?}");
    }

    #[test]
    fn a_half_written_successor_changes_nothing() {
        let (dir, key) = key();
        sidecar(STORE, [4, 0, 0, 0]).save(&key).unwrap();
        fs::write(dir.path().join("oracle-key.json.sidecar.new"), b"CNC").unwrap();
        assert_eq!(Sidecar::load(&key).unwrap(), Some(sidecar(STORE, [4, 0, 0, 0])));
        sidecar(STORE, [5, 0, 0, 0]).save(&key).unwrap();
        assert_eq!(Sidecar::load(&key).unwrap(), Some(sidecar(STORE, [5, 0, 0, 0])));
    }

    #[test]
    fn garbage_is_refused_with_the_files_name() {
        let (dir, key) = key();
        let path = dir.path().join("oracle-key.json.sidecar");
        let good = sidecar(STORE, [1, 2, 3, 4]).encode();
        let mut bad: Vec<Vec<u8>> = (0..SIDECAR_LEN).map(|len| good[..len].to_vec()).collect();
        bad.extend((0..SIDECAR_LEN * 8).map(|bit| {
            let mut flipped = good.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        }));
        bad.push([&good[..], &[0]].concat());
        bad.push(vec![b'x'; 1 << 20]);
        for bytes in bad {
            fs::write(&path, &bytes).unwrap();
            let error = Sidecar::load(&key).unwrap_err();
            assert!(matches!(error, SidecarError::Garbage { .. }), "{error}");
            assert!(error.to_string().contains("oracle-key.json.sidecar"), "{error}");
        }
    }

    #[test]
    fn a_directory_in_the_sidecars_place_is_an_error() {
        let (dir, key) = key();
        fs::create_dir(dir.path().join("oracle-key.json.sidecar")).unwrap();
        assert!(matches!(Sidecar::load(&key), Err(SidecarError::Io { .. })));
        assert!(matches!(sidecar(STORE, [1; 4]).save(&key), Err(SidecarError::Io { .. })));
    }

    /// The vectors that `vectors/check.py` reads too; written by neither side.
    #[test]
    fn golden_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../vectors/sidecar.json");
        let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let bytes = |value: &serde_json::Value| hex::decode(text(value)).unwrap();
        let (accepted, refused) = (file["accepted"].as_array().unwrap(), file["refused"].as_array().unwrap());
        assert!(accepted.len() >= 3 && refused.len() >= 7);
        for vector in accepted {
            let fields = &vector["fields"];
            let expected = Sidecar {
                store: StoreId::from_bytes(bytes(&fields["store_id"]).try_into().unwrap()),
                author: AuthorKey::from_bytes(bytes(&fields["author"]).try_into().unwrap()),
                next: std::array::from_fn(|log| text(&fields[format!("next_{log}")]).parse().unwrap()),
            };
            assert_eq!(Sidecar::decode(&bytes(&vector["bytes"])), Ok(expected), "{}", vector["name"]);
            assert_eq!(expected.encode().to_vec(), bytes(&vector["bytes"]), "{}", vector["name"]);
        }
        for vector in refused {
            let reason = match Sidecar::decode(&bytes(&vector["bytes"])).unwrap_err() {
                "it has the wrong length" => "sidecar_length",
                "it does not begin as a sidecar does" => "sidecar_magic",
                "it is of a newer version than this program" => "sidecar_version",
                "its checksum does not match" => "sidecar_checksum",
                other => other,
            };
            assert_eq!(text(&vector["reason"]), reason, "{}", vector["name"]);
        }
    }
}
