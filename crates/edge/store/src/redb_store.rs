//! A store in a redb file.
//!
//! Commits are one-phase: redb picks the newest state whose checksums match after a crash. Its quick repair is not asked for
//! commit by commit, since it grows the file several times over; redb does it by itself at an orderly end, and after any other end
//! reads the whole file once.

use std::{
    any::Any,
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, DirBuilder, File},
    io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use concurrence_crdt::{LogKey, OpId};
use concurrence_protocol::Write;
use redb::{
    Builder, Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend, Table as RedbTable, WriteTransaction,
};

use crate::{
    Durability, Store, StoreError, StoreId, StoreStats,
    lock::{Refused, lock_existing, lock_file},
    row::{ABOUT, BY_ID, BYTES, ID, META, OPS, OpKey, PROOFS, QUARANTINE, Table, VERSION, op_key, position, seal, unseal},
    sidecar::sync_directory_of,
};

/// Version of the tables' layout; the file says which one it has.
pub const FORMAT_VERSION: u32 = 0;

/// Most bytes of file pages kept in memory. A guess: the recent ends of a hundred logs, and the upper levels of the id index of
/// millions of operations; seven nodes in one demo stay within half a gigabyte.
pub const CACHE_BYTES: usize = 64 << 20;

/// Bytes that commits with [`Durability::Eventual`] may put off; the commit that would exceed them waits for the disk. Bounds
/// what a killed node must fetch again to seconds of traffic, and the pages that redb cannot reuse before a durable commit.
pub const UNSYNCED_BYTES_MAX: u64 = 4 << 20;

/// Rotten rows remembered and counted; a disk with more is to be replaced, not counted.
pub const ROTTEN_ROWS_MAX: usize = 1_024;

/// The file in a store's directory; the name of a new one before it is whole; and the lock file.
const FILE: &str = "ops.redb";
const NEW_FILE: &str = "ops.redb.new";
const LOCK_FILE: &str = "lock";

/// A store in a redb file, or on any [`StorageBackend`].
#[derive(Debug)]
pub struct RedbStore {
    handle: Handle,
    path: PathBuf,
    id: StoreId,
    /// Lengths of all logs: at most four for each member of the registry.
    lens: BTreeMap<LogKey, u64>,
    quarantined: u64,
    bytes: u64,
    unsynced_bytes: u64,
    rotten: RefCell<BTreeSet<(Table, Vec<u8>)>>,
    /// The first fatal error. What redb holds in memory is not trusted after it.
    failed: OnceCell<StoreError>,
    /// Dropped last, when redb has closed the file.
    _lock: Option<File>,
}

enum Handle {
    Writing(Database),
    Reading(ReadOnlyDatabase),
}

/// Why something inside a call went wrong.
enum Fault {
    /// The request does not fit; nothing was changed.
    Refused(StoreError),
    /// redb, or the disk under it, failed.
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl RedbStore {
    /// Opens the store in a directory, which is created (mode 0700) if needed, and locks it until the value is dropped.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir).map_err(|e| StoreError::io(dir, &e))?;
        let lock = lock_file(&dir.join(LOCK_FILE)).map_err(|refused| locked(dir, refused))?;
        match path.try_exists().map_err(|e| StoreError::io(&path, &e))? {
            true => Self::with_handle(path.clone(), Some(lock), || Ok(Handle::Writing(builder_for(&path).open(&path)?))),
            false => Self::create(dir, path, lock),
        }
    }

    /// Opens the store in a directory for reading. Of a node that runs, or whose file the caller may not read, it is an error.
    /// After an unclean end the file has to be repaired first, which writes to it.
    pub fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        if !path.try_exists().map_err(|e| StoreError::io(&path, &e))? {
            return Err(StoreError::Missing { path });
        }
        let lock = lock_existing(&dir.join(LOCK_FILE)).map_err(|refused| locked(dir, refused))?;
        Self::with_handle(path.clone(), lock, || match builder_for(&path).open_read_only(&path) {
            Ok(database) => Ok(Handle::Reading(database)),
            Err(redb::DatabaseError::RepairAborted) => {
                drop(builder_for(&path).open(&path)?);
                Ok(Handle::Reading(builder_for(&path).open_read_only(&path)?))
            }
            Err(e) => Err(e.into()),
        })
    }

    /// Opens the store on a backend; one that is empty gets a new store named `id`. A backend whose very creation was cut short
    /// is no store: start with an empty one.
    pub fn with_backend(backend: impl StorageBackend, id: StoreId) -> Result<Self, StoreError> {
        let path = PathBuf::from("(no file)");
        Self::with_handle(path.clone(), None, || {
            let database = builder_for(&path).create_with_backend(backend)?;
            if database.begin_read()?.list_tables()?.next().is_none() {
                initialise(&database, id)?;
            }
            Ok(Handle::Writing(database))
        })
    }

    /// Makes the file under another name and gives it its own when it is whole and durable: a file with that name is a store.
    fn create(dir: &Path, path: PathBuf, lock: File) -> Result<Self, StoreError> {
        let new = dir.join(NEW_FILE);
        let id = StoreId::random()?;
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(StoreError::io(&new, &e)),
            _ => {}
        }
        Self::with_handle(path.clone(), Some(lock), || {
            let database = builder_for(&new).create(&new)?;
            initialise(&database, id)?;
            fs::rename(&new, &path)
                .and_then(|()| sync_directory_of(&path))
                .and_then(|()| sync_directory_of(dir))
                .map_err(redb::Error::Io)?;
            Ok(Handle::Writing(database))
        })
    }

    /// Reads what is kept in memory of a store.
    fn with_handle(
        path: PathBuf,
        lock: Option<File>,
        open: impl FnOnce() -> Result<Handle, Fault>,
    ) -> Result<Self, StoreError> {
        let opened = guarded(&path, || {
            let handle = open()?;
            let start = Start::read(&handle.begin_read()?, &path)?;
            Ok((handle, start))
        });
        let (handle, start) = opened?;
        Ok(Self {
            handle,
            path,
            id: start.id,
            lens: start.lens,
            quarantined: start.quarantined,
            bytes: start.bytes,
            unsynced_bytes: 0,
            rotten: RefCell::default(),
            failed: OnceCell::new(),
            _lock: lock,
        })
    }

    /// Does one call: not after a fatal error, and remembering the first one.
    fn call<T>(&self, body: impl FnOnce() -> Result<T, Fault>) -> Result<T, StoreError> {
        match self.failed.get() {
            Some(first) => Err(first.clone()),
            None => guarded(&self.path, body).inspect_err(|error| self.remember(error)),
        }
    }

    fn remember(&self, error: &StoreError) {
        if error.is_fatal() {
            tracing::error!(%error, "store failed");
            self.failed.get_or_init(|| error.clone());
        }
    }

    fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.call(|| body(&self.handle.begin_read()?))
    }

    /// The value of a row that was read; `None`, and counted, if it rotted.
    fn intact<'a>(&self, table: Table, key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
        let value = unseal(table, key, row);
        let mut rotten = self.rotten.borrow_mut();
        if value.is_none() && rotten.len() < ROTTEN_ROWS_MAX && rotten.insert((table, key.to_vec())) {
            tracing::warn!(store = %self.path.display(), ?table, rows = rotten.len(), "stored row does not match its checksum");
        }
        value
    }

    fn find(&self, txn: &ReadTransaction, id: &OpId) -> Result<Option<Arc<[u8]>>, Fault> {
        let index = txn.open_table(BY_ID)?.get(id.as_bytes())?;
        let key = index.as_ref().and_then(|row| self.intact(Table::ById, id.as_bytes(), row.value()));
        if let Some(key) = key.and_then(|key| key.first_chunk::<41>()) {
            let row = txn.open_table(OPS)?.get(key)?;
            return Ok(row.and_then(|row| self.intact(Table::Ops, key, row.value()).map(Arc::from)));
        }
        let row = txn.open_table(QUARANTINE)?.get(id.as_bytes())?;
        Ok(row.and_then(|row| self.intact(Table::Quarantine, id.as_bytes(), row.value())?.get(32..).map(Arc::from)))
    }

    fn load(&self, txn: &ReadTransaction, wanted: (OpKey, OpKey), bytes_max: usize) -> Result<Vec<Arc<[u8]>>, Fault> {
        let (mut loaded, mut bytes): (Vec<Arc<[u8]>>, usize) = (Vec::new(), 0);
        let (_, mut seq) = position(&wanted.0);
        for row in txn.open_table(OPS)?.range::<&OpKey>(&wanted.0..&wanted.1)? {
            let (key, row) = row?;
            let Some(op) = self.intact(Table::Ops, key.value(), row.value()) else { break };
            bytes = bytes.saturating_add(op.len());
            if position(key.value()).1 != seq || (bytes > bytes_max && !loaded.is_empty()) {
                break;
            }
            seq += 1;
            loaded.push(op.into());
        }
        Ok(loaded)
    }

    /// Writes all rows or none; what changed in memory is taken over when redb has committed.
    fn write(&self, writes: &[Write], durability: redb::Durability) -> Result<Changes, Fault> {
        let Handle::Writing(database) = &self.handle else {
            return Err(Fault::Refused(StoreError::OpenForReading { path: self.path.clone() }));
        };
        let mut txn = database.begin_write()?;
        txn.set_durability(durability)?;
        let mut rows = Rows::open(&txn, self)?;
        for write in writes {
            rows.write(write)?;
        }
        let changes = rows.close()?;
        txn.commit()?;
        Ok(changes)
    }
}

impl Store for RedbStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn commit(&mut self, writes: &[Write], durability: Durability) -> Result<(), StoreError> {
        let size: u64 = writes.iter().map(size).sum();
        let wait = durability == Durability::Immediate || self.unsynced_bytes + size > UNSYNCED_BYTES_MAX;
        if writes.is_empty() && !wait {
            return Ok(());
        }
        let durability = if wait { redb::Durability::Immediate } else { redb::Durability::None };
        let Changes { lens, bytes, quarantined } = self.call(|| self.write(writes, durability))?;
        self.lens.extend(lens);
        (self.bytes, self.quarantined) = (bytes, quarantined);
        self.unsynced_bytes = if wait { 0 } else { self.unsynced_bytes + size };
        Ok(())
    }

    fn range(&self, log: LogKey, from: u64, until: u64, bytes_max: usize) -> Result<Vec<Arc<[u8]>>, StoreError> {
        if from >= until {
            return self.call(|| Ok(Vec::new()));
        }
        self.read(|txn| self.load(txn, (op_key(log, from), op_key(log, until)), bytes_max))
    }

    fn op(&self, id: &OpId) -> Result<Option<Arc<[u8]>>, StoreError> {
        self.read(|txn| self.find(txn, id))
    }

    fn logs(&self) -> Result<Vec<(LogKey, u64)>, StoreError> {
        self.call(|| Ok(self.lens.iter().map(|(&log, &len)| (log, len)).collect()))
    }

    fn proofs(&self) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.read(|txn| {
            let mut proofs = Vec::new();
            for row in txn.open_table(PROOFS)?.iter()? {
                let (author, row) = row?;
                proofs.extend(self.intact(Table::Proofs, author.value(), row.value()).map(Arc::from));
            }
            Ok(proofs)
        })
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|txn| match txn.open_table(META)?.get(key)? {
            None => Ok(None),
            Some(row) => match self.intact(Table::Meta, key.as_bytes(), row.value()) {
                Some(value) => Ok(Some(value.to_vec())),
                None => Err(Fault::Refused(StoreError::RottenMeta { key: key.to_owned() })),
            },
        })
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            ops: self.lens.values().sum(),
            quarantined: self.quarantined,
            bytes: self.bytes,
            file_bytes: fs::metadata(&self.path).map_or(0, |meta| meta.len()),
            rotten_rows: self.rotten.borrow().len() as u64,
        }
    }
}

impl Handle {
    fn begin_read(&self) -> Result<ReadTransaction, redb::TransactionError> {
        match self {
            Self::Writing(database) => database.begin_read(),
            Self::Reading(database) => database.begin_read(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Writing(_)) { "Writing" } else { "Reading" })
    }
}

/// What a commit changes in memory: the new values.
struct Changes {
    lens: BTreeMap<LogKey, u64>,
    bytes: u64,
    quarantined: u64,
}

/// The tables of a transaction.
struct Rows<'a> {
    store: &'a RedbStore,
    ops: RedbTable<'a, &'static OpKey, &'static [u8]>,
    by_id: RedbTable<'a, &'static [u8; 32], &'static [u8]>,
    quarantine: RedbTable<'a, &'static [u8; 32], &'static [u8]>,
    proofs: RedbTable<'a, &'static [u8; 32], &'static [u8]>,
    meta: RedbTable<'a, &'static str, &'static [u8]>,
    about: RedbTable<'a, &'static str, &'static [u8]>,
    changes: Changes,
}

impl<'a> Rows<'a> {
    fn open(txn: &'a WriteTransaction, store: &'a RedbStore) -> Result<Self, Fault> {
        Ok(Self {
            store,
            ops: txn.open_table(OPS)?,
            by_id: txn.open_table(BY_ID)?,
            quarantine: txn.open_table(QUARANTINE)?,
            proofs: txn.open_table(PROOFS)?,
            meta: txn.open_table(META)?,
            about: txn.open_table(ABOUT)?,
            changes: Changes { lens: BTreeMap::new(), bytes: store.bytes, quarantined: store.quarantined },
        })
    }

    fn write(&mut self, write: &Write) -> Result<(), Fault> {
        match write {
            Write::Op { log, seq, id, bytes } => self.append(*log, *seq, id, bytes),
            Write::Quarantine { author, id, bytes } => {
                let held = self.quarantine.get(id.as_bytes())?;
                let held = held.is_some_and(|row| unseal(Table::Quarantine, id.as_bytes(), row.value()).is_some());
                if !held && self.by_id.get(id.as_bytes())?.is_none() {
                    let row = seal(Table::Quarantine, id.as_bytes(), &[author.as_bytes(), bytes]);
                    let old = self.quarantine.insert(id.as_bytes(), row.as_slice())?;
                    self.changes.uncount(old.map(|row| row.value().len()));
                    self.changes.quarantined += 1;
                    self.changes.bytes += bytes.len() as u64;
                }
                Ok(())
            }
            Write::Proof { author, bytes } => {
                let author = author.as_bytes();
                let held = self.proofs.get(author)?;
                if held.is_none_or(|row| unseal(Table::Proofs, author, row.value()).is_none()) {
                    self.proofs.insert(author, seal(Table::Proofs, author, &[bytes]).as_slice())?;
                }
                Ok(())
            }
            Write::Meta { key, value } => {
                self.meta.insert(key, seal(Table::Meta, key.as_bytes(), &[value]).as_slice())?;
                Ok(())
            }
        }
    }

    fn append(&mut self, log: LogKey, seq: u64, id: &OpId, bytes: &[u8]) -> Result<(), Fault> {
        let len = self.changes.lens.get(&log).or(self.store.lens.get(&log)).copied().unwrap_or(0);
        if seq > len {
            return Err(Fault::Refused(StoreError::Gap { log, seq, len }));
        }
        let key = op_key(log, seq);
        if seq < len {
            return self.again(log, seq, &key, id, bytes);
        }
        self.put(&key, id, bytes)?;
        let old = self.quarantine.remove(id.as_bytes())?;
        self.changes.uncount(old.map(|row| row.value().len()));
        self.changes.bytes += bytes.len() as u64;
        self.changes.lens.insert(log, seq + 1);
        Ok(())
    }

    /// An operation at a position that is held: nothing to do if it is the same. Of the two rows of an operation either may have
    /// rotted; the other one tells whether it is the same, and both are written anew.
    fn again(&mut self, log: LogKey, seq: u64, key: &OpKey, id: &OpId, bytes: &[u8]) -> Result<(), Fault> {
        let index = self.by_id.get(id.as_bytes())?;
        let same_id = index.is_some_and(|row| unseal(Table::ById, id.as_bytes(), row.value()) == Some(key));
        let held = self.ops.get(key)?;
        let op = held.as_ref().and_then(|row| unseal(Table::Ops, key, row.value()));
        let (intact, same_bytes) = (op.is_some(), op == Some(bytes));
        drop(held);
        match (same_id, intact, same_bytes) {
            (true, true, _) => Ok(()),
            (true, false, _) | (false, _, true) => self.put(key, id, bytes),
            (false, _, false) => Err(Fault::Refused(StoreError::Conflict { log, seq })),
        }
    }

    fn put(&mut self, key: &OpKey, id: &OpId, bytes: &[u8]) -> Result<(), Fault> {
        self.ops.insert(key, seal(Table::Ops, key, &[bytes]).as_slice())?;
        self.by_id.insert(id.as_bytes(), seal(Table::ById, id.as_bytes(), &[key]).as_slice())?;
        Ok(())
    }

    fn close(mut self) -> Result<Changes, Fault> {
        if self.changes.bytes != self.store.bytes {
            put_about(&mut self.about, BYTES, &self.changes.bytes.to_be_bytes())?;
        }
        Ok(self.changes)
    }
}

impl Changes {
    /// Takes a quarantined row of this length, author and checksum included, out of the counts.
    fn uncount(&mut self, row_len: Option<usize>) {
        if let Some(len) = row_len {
            self.quarantined = self.quarantined.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(len.saturating_sub(QUARANTINE_OVERHEAD) as u64);
        }
    }
}

/// Bytes of a quarantined row beside the operation: checksum and author.
const QUARANTINE_OVERHEAD: usize = 8 + 32;

/// What is read of a store when it is opened.
struct Start {
    id: StoreId,
    lens: BTreeMap<LogKey, u64>,
    quarantined: u64,
    bytes: u64,
}

impl Start {
    fn read(txn: &ReadTransaction, path: &Path) -> Result<Self, Fault> {
        let about = txn.open_table(ABOUT)?;
        let value = |name: &str| -> Result<Vec<u8>, Fault> {
            let row = about.get(name)?.ok_or_else(|| corrupt(format!("it does not say its {name}")))?;
            let value = unseal(Table::About, name.as_bytes(), row.value());
            Ok(value.ok_or_else(|| corrupt(format!("its {name} does not match its checksum")))?.to_vec())
        };
        let version = value(VERSION)?.try_into().map_err(|_| corrupt("its version has the wrong length"))?;
        let found = u32::from_be_bytes(version);
        if found != FORMAT_VERSION {
            return Err(Fault::Refused(StoreError::Version { path: path.to_owned(), found, known: FORMAT_VERSION }));
        }
        let id = value(ID)?.try_into().map_err(|_| corrupt("its id has the wrong length"))?;
        let bytes = value(BYTES)?.try_into().map_err(|_| corrupt("its count of bytes has the wrong length"))?;
        [BY_ID, PROOFS].into_iter().try_for_each(|table| txn.open_table(table).map(drop))?;
        txn.open_table(META)?;
        Ok(Self {
            id: StoreId::from_bytes(id),
            lens: lens(txn)?,
            quarantined: txn.open_table(QUARANTINE)?.len()?,
            bytes: u64::from_be_bytes(bytes),
        })
    }
}

/// The length of every log, by two look-ups a log.
fn lens(txn: &ReadTransaction) -> Result<BTreeMap<LogKey, u64>, Fault> {
    let ops = txn.open_table(OPS)?;
    let mut lens = BTreeMap::new();
    let mut after: Option<OpKey> = None;
    loop {
        let rest = (after.as_ref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let Some(first) = ops.range::<&OpKey>(rest)?.next() else { return Ok(lens) };
        let (log, _) = position(first?.0.value());
        let (start, end) = (op_key(log, 0), op_key(log, u64::MAX));
        let last = ops.range::<&OpKey>(&start..=&end)?.next_back().ok_or_else(|| corrupt("a log has no last row"))?;
        let (_, seq) = position(last?.0.value());
        lens.insert(log, seq.checked_add(1).ok_or_else(|| corrupt("a log is longer than can be counted"))?);
        after = Some(end);
    }
}

/// Makes all tables, and writes what the store says about itself.
fn initialise(database: &Database, id: StoreId) -> Result<(), Fault> {
    let txn = database.begin_write()?;
    txn.open_table(OPS)?;
    txn.open_table(META)?;
    [BY_ID, QUARANTINE, PROOFS].into_iter().try_for_each(|table| txn.open_table(table).map(drop))?;
    let mut about = txn.open_table(ABOUT)?;
    put_about(&mut about, VERSION, &FORMAT_VERSION.to_be_bytes())?;
    put_about(&mut about, ID, id.as_bytes())?;
    put_about(&mut about, BYTES, &0_u64.to_be_bytes())?;
    drop(about);
    Ok(txn.commit()?)
}

fn put_about(
    about: &mut RedbTable<'_, &'static str, &'static [u8]>,
    name: &str,
    value: &[u8],
) -> Result<(), redb::StorageError> {
    about.insert(name, seal(Table::About, name.as_bytes(), &[value]).as_slice()).map(drop)
}

/// How every file is opened.
fn builder_for(path: &Path) -> Builder {
    let mut builder = Builder::new();
    let path = path.to_owned();
    builder.set_cache_size(CACHE_BYTES).set_repair_callback(move |_| {
        tracing::info!(store = %path.display(), "store was not closed in order: reading it once to repair it");
    });
    builder
}

/// Runs a piece of work on redb and names what went wrong. redb checks much of a file as it reads, not all: on pages that
/// rotted it can panic, which is a damaged file like any other.
fn guarded<T>(path: &Path, body: impl FnOnce() -> Result<T, Fault>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Fault::Refused(error))) => Err(error),
        Ok(Err(Fault::Redb(error))) => Err(StoreError::redb(path, &error)),
        Err(panic) => Err(StoreError::Corrupt { path: path.to_owned(), reason: panic_text(panic.as_ref()) }),
    }
}

fn corrupt(reason: impl Into<String>) -> Fault {
    Fault::Redb(redb::Error::Corrupted(reason.into()))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("its pages do not fit together").to_owned()
}

fn locked(dir: &Path, refused: Refused) -> StoreError {
    match refused {
        Refused::Held(pid) => StoreError::Locked { path: dir.to_owned(), pid },
        Refused::Io(e) => StoreError::io(dir, &e),
    }
}

/// Bytes that a row adds to what is not durable yet, its overhead aside.
fn size(write: &Write) -> u64 {
    let len = match write {
        Write::Op { bytes, .. } | Write::Quarantine { bytes, .. } | Write::Proof { bytes, .. } => bytes.len(),
        Write::Meta { value, .. } => value.len(),
    };
    len as u64
}
