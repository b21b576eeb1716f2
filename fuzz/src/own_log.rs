//! Whether a starting node may append to its own log: whatever became of store and sidecar, "append" is answered only if nothing is missing
//! that was ever sent (NODE-1). And the sidecar's file itself: garbage is refused.

use std::{
    fs,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use concurrence_store::{OwnLog, SIDECAR_LEN, Sidecar, StoreId, start_state};

use crate::{
    material::author,
    steps::{Step, steps},
};

/// Steps of a program: starts and accidents compose after a few.
const STEPS_MAX: usize = 64;

/// Logs an author may keep.
const LOGS: usize = concurrence_crdt::LOGS_MAX as usize;

/// What is on a node's disk, and what left it.
struct Node {
    own: u8,
    store: StoreId,
    lens: [u64; LOGS],
    sidecar: Option<Sidecar>,
    /// States of the store that an operator may restore.
    backups: Vec<(StoreId, [u64; LOGS])>,
    /// By author: operations in each of its logs that peers may have received. No accident takes these back.
    sent: [[u64; LOGS]; 3],
    stores: u8,
}

/// Runs a program of appends and accidents, starting the node after each, and reads the bytes as a sidecar's file.
pub fn check(bytes: &[u8]) {
    check_file(bytes);
    let mut node = Node {
        own: 1,
        store: StoreId::from_bytes([0; 16]),
        lens: [0; LOGS],
        sidecar: None,
        backups: Vec::new(),
        sent: [[0; LOGS]; 3],
        stores: 0,
    };
    for step in steps(bytes, STEPS_MAX) {
        let may_append = node.start();
        node.step(step, may_append);
    }
    node.start();
}

impl Node {
    /// Decides as a starting node does. Returns whether it would append, at once or after listening.
    fn start(&self) -> bool {
        let own = author(self.own);
        let start = start_state(self.sidecar.as_ref(), own, self.store, self.lens);
        let sent = self.sent[usize::from(self.own)];
        let is_missing = sent.iter().zip(self.lens).any(|(sent, len)| len < *sent);
        match &start {
            OwnLog::Append => assert!(!is_missing, "NODE-1: {sent:?} were sent, {:?} are held", self.lens),
            // A key without store and sidecar looks like a new one: all it can do is listen.
            OwnLog::Fresh => assert!(self.lens == [0; LOGS] && self.noted().is_none_or(|next| next == [0; LOGS])),
            OwnLog::Recovering(reason) => assert!(!reason.to_string().is_empty()),
        }
        start == OwnLog::Append || (start == OwnLog::Fresh && !is_missing)
    }

    fn noted(&self) -> Option<[u64; LOGS]> {
        self.sidecar.filter(|s| s.author == author(self.own)).map(|s| s.next)
    }

    fn step(&mut self, step: Step, may_append: bool) {
        let log = usize::from(step.a) % LOGS;
        match step.what % 8 {
            // Durable in the store, then in the sidecar, then sent; the process may end after any of the three.
            0 | 1 if may_append => {
                self.lens[log] += 1;
                if step.b % 4 != 0 {
                    self.save_sidecar();
                    if step.b % 4 != 1 {
                        self.sent[usize::from(self.own)][log] = self.lens[log];
                    }
                }
            }
            2 => self.backups.push((self.store, self.lens)),
            3 => {
                let at = usize::from(step.a) % self.backups.len().max(1);
                if let Some(&(store, lens)) = self.backups.get(at) {
                    (self.store, self.lens) = (store, lens);
                }
            }
            4 => {
                self.stores = self.stores.wrapping_add(1);
                (self.store, self.lens) = (StoreId::from_bytes([self.stores; 16]), [0; LOGS]);
            }
            5 => self.sidecar = None,
            // Another key in the same place, with the other's sidecar beside it. What the store holds is the other's.
            6 => {
                self.own = 1 + step.a % 2;
                self.lens = [0; LOGS];
                self.backups.clear();
            }
            // What peers send back is stored in order; the sidecar says so once the node is through with recovering.
            7 => {
                let sent = self.sent[usize::from(self.own)];
                self.lens.iter_mut().zip(sent).for_each(|(len, sent)| *len = (*len).max(sent));
                self.save_sidecar();
            }
            _ => {}
        }
    }

    fn save_sidecar(&mut self) {
        self.sidecar = Some(Sidecar { store: self.store, author: author(self.own), next: self.lens });
    }
}

/// A key file's place that no other process uses.
static KEY_FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("concurrence-fuzz-own-log-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    let key_file = folder.join("key.json");
    fs::write(&key_file, "").expect("the folder for temporary files can be written");
    key_file
});

/// Replaces what is in a file. Not by emptying it first: some file systems then wait for the disk, and so would every run.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(false).open(file)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

/// A file that loads is one that `save` writes; any other is refused.
fn check_file(bytes: &[u8]) {
    let file = KEY_FILE.with_file_name("key.json.sidecar");
    write(&file, bytes).expect("the folder for temporary files can be written");
    let loaded = Sidecar::load(&KEY_FILE);
    match loaded {
        Ok(loaded) => {
            assert_eq!(bytes.len(), SIDECAR_LEN);
            let loaded = loaded.expect("the file is there");
            loaded.save(&KEY_FILE).expect("the folder for temporary files can be written");
            assert_eq!(fs::read(&file).ok().as_deref(), Some(bytes), "load, then save: the same bytes");
        }
        Err(error) => assert!(error.to_string().contains("key.json.sidecar"), "{error}"),
    }
}
