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

use concurrence_crdt::{HeadVote, LogKey, OpId};
use concurrence_protocol::Write;
use redb::{
    Builder, Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend,
};

use crate::{
    Durability, Store, StoreError, StoreId, StoreStats,
    lock::{Refused, lock_existing, lock_file},
    redb_write::{Changes, Counts, Fault, Rows, corrupt, put_about},
    row::{
        ABOUT, BY_ID, BYTES, FACTS, ID, META, OPS, OpKey, PROOFS, QUARANTINE, Table, VERSION, op_key, position, unseal,
    },
    sidecar::sync_directory_of,
};

/// Version of the tables' layout; the file says which one it has.
pub const FORMAT_VERSION: u32 = 1;

/// Most bytes of file pages kept in memory. A guess: the recent ends of a hundred logs, and the upper levels of the id index of
/// millions of operations; seven nodes in one demo stay within half a gigabyte.
pub const CACHE_BYTES: usize = 64 << 20;

/// The same on a backend that the caller brings: small, so that in tests and simulations reads reach the disk and its faults.
const BACKEND_CACHE_BYTES: usize = 1 << 20;

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
    /// Always there until the value is dropped.
    handle: Option<Handle>,
    path: PathBuf,
    id: StoreId,
    counts: Counts,
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
            true => {
                Self::with_handle(path.clone(), Some(lock), || Ok(Handle::Writing(builder_for(&path).open(&path)?)))
            }
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
            let mut builder = builder_for(&path);
            builder.set_cache_size(BACKEND_CACHE_BYTES);
            let database = builder.create_with_backend(backend)?;
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
            let start = start(&handle.begin_read()?, &path)?;
            Ok((handle, start))
        });
        let (handle, (id, counts)) = opened?;
        Ok(Self {
            handle: Some(handle),
            path,
            id,
            counts,
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
        self.call(|| body(&self.handle.as_ref().ok_or(redb::Error::DatabaseClosed)?.begin_read()?))
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
        let Some(Handle::Writing(database)) = &self.handle else {
            return Err(Fault::Refused(StoreError::OpenForReading { path: self.path.clone() }));
        };
        let mut txn = database.begin_write()?;
        txn.set_durability(durability)?;
        let mut rows = Rows::open(&txn, &self.counts)?;
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
        let changes = self.call(|| self.write(writes, durability))?;
        self.counts.apply(changes);
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
        self.call(|| Ok(self.counts.lens.iter().map(|(&log, &len)| (log, len)).collect()))
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

    fn facts(&self) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.read(|txn| {
            let mut facts = Vec::new();
            for row in txn.open_table(FACTS)?.iter()? {
                let (key, row) = row?;
                match self.intact(Table::Facts, key.value(), row.value()) {
                    Some(fact) => facts.push(fact.into()),
                    None if key.value()[0] == HeadVote::KIND => {
                        return Err(Fault::Refused(StoreError::RottenMeta { key: "own vote".to_owned() }));
                    }
                    None => {}
                }
            }
            Ok(facts)
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
            ops: self.counts.lens.values().fold(0, |sum, len| sum.saturating_add(*len)),
            quarantined: self.counts.quarantined,
            bytes: self.counts.bytes,
            file_bytes: fs::metadata(&self.path).map_or(0, |meta| meta.len()),
            rotten_rows: self.rotten.borrow().len() as u64,
        }
    }
}

/// Closes the file. redb takes locks of its own there, which a panic on a damaged page may have poisoned.
impl Drop for RedbStore {
    fn drop(&mut self) {
        let handle = self.handle.take();
        if catch_unwind(AssertUnwindSafe(|| drop(handle))).is_err() {
            tracing::error!(store = %self.path.display(), "store could not be closed in order");
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

/// What is read of a store when it is opened: its id, and what it keeps in memory.
fn start(txn: &ReadTransaction, path: &Path) -> Result<(StoreId, Counts), Fault> {
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
    txn.open_table(FACTS)?;
    let quarantined = txn.open_table(QUARANTINE)?.len()?;
    Ok((StoreId::from_bytes(id), Counts { lens: lens(txn)?, quarantined, bytes: u64::from_be_bytes(bytes) }))
}

/// The length of every log, by two look-ups a log. On pages that rotted a look-up can answer out of order: then it would never
/// end.
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
        let (last_log, seq) = position(last?.0.value());
        if last_log != log || after.is_some_and(|after| start <= after) {
            return Err(corrupt("its logs are out of order"));
        }
        lens.insert(log, seq.checked_add(1).ok_or_else(|| corrupt("a log is longer than can be counted"))?);
        after = Some(end);
    }
}

/// Makes all tables, and writes what the store says about itself.
fn initialise(database: &Database, id: StoreId) -> Result<(), Fault> {
    let txn = database.begin_write()?;
    txn.open_table(OPS)?;
    txn.open_table(META)?;
    txn.open_table(FACTS)?;
    [BY_ID, QUARANTINE, PROOFS].into_iter().try_for_each(|table| txn.open_table(table).map(drop))?;
    let mut about = txn.open_table(ABOUT)?;
    put_about(&mut about, VERSION, &FORMAT_VERSION.to_be_bytes())?;
    put_about(&mut about, ID, id.as_bytes())?;
    put_about(&mut about, BYTES, &0_u64.to_be_bytes())?;
    drop(about);
    Ok(txn.commit()?)
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
/// rotted it can panic, which is a damaged file like any other. (Seen once in some ten thousand damaged files: a second panic
/// inside redb while the first unwinds, which ends the process. Checking every page's checksum at every start would prevent
/// that, and would give up a whole store for one rotten row.)
fn guarded<T>(path: &Path, body: impl FnOnce() -> Result<T, Fault>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Fault::Refused(error))) => Err(error),
        Ok(Err(Fault::Redb(error))) => Err(StoreError::redb(path, &error)),
        Err(panic) => Err(StoreError::Corrupt { path: path.to_owned(), reason: panic_text(panic.as_ref()) }),
    }
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
        Write::Op { bytes, .. }
        | Write::Certified { bytes, .. }
        | Write::Quarantine { bytes, .. }
        | Write::Proof { bytes, .. }
        | Write::Fact { bytes, .. } => bytes.len(),
        Write::Meta { value, .. } => value.len(),
    };
    len as u64
}
