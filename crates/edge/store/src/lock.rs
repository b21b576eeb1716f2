//! Locks between processes: a file that its holder keeps locked and writes its process id into. The system frees the lock when
//! the holder ends, however it ends; the file stays, because deleting it would let two processes lock two different files.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::error::holder;

/// Held while a process uses a key file. Two processes with one key would fork its author's log.
#[derive(Debug)]
pub struct KeyLock {
    _file: File,
}

/// Why a key file could not be locked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("key file {} is in use by {}: two nodes with one key would fork its log; stop that one first", .path.display(), holder(.pid))]
    Held {
        /// The key file.
        path: PathBuf,
        /// The holder's process id, if it could be read.
        pid: Option<u32>,
    },
    /// The lock file could not be made beside the key.
    #[error("key file {} cannot be locked ({reason}): the node must be able to write the directory it is in", .path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
}

/// Why a lock file could not be locked.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Somebody has it; the process id if it could be read.
    Held(Option<u32>),
    /// The operating system failed.
    Io(io::Error),
}

impl KeyLock {
    /// Locks `<key file>.lock` until the value is dropped. Links are followed first, so that one key has one lock.
    pub fn acquire(key_file: &Path) -> Result<Self, LockError> {
        let path = key_file.to_owned();
        beside(key_file, "lock")
            .map_err(Refused::Io)
            .and_then(|lock| lock_file(&lock))
            .map(|_file| Self { _file })
            .map_err(|refused| match refused {
                Refused::Held(pid) => LockError::Held { path, pid },
                Refused::Io(e) => LockError::Io { path, reason: e.to_string() },
            })
    }
}

/// `<key file>.<suffix>`, beside the file that a link leads to. The key file must exist.
pub(crate) fn beside(key_file: &Path, suffix: &str) -> io::Result<PathBuf> {
    let mut path = fs::canonicalize(key_file)?.into_os_string();
    path.push(".");
    path.push(suffix);
    Ok(path.into())
}

/// Locks a file, which is created if needed, and writes our process id into it.
pub(crate) fn lock_file(path: &Path) -> Result<File, Refused> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(Refused::Io)?;
    try_lock(&mut file)?;
    let pid = format!("{}\n", std::process::id());
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes())).map_err(Refused::Io)?;
    Ok(file)
}

/// Locks a file that exists and may not be writable; `None` if there is none.
pub(crate) fn lock_existing(path: &Path) -> Result<Option<File>, Refused> {
    match File::open(path) {
        Ok(mut file) => try_lock(&mut file).map(|()| Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Refused::Io(e)),
    }
}

fn try_lock(file: &mut File) -> Result<(), Refused> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Refused::Held(read_pid(file))),
        Err(TryLockError::Error(e)) => Err(Refused::Io(e)),
    }
}

/// A process id in decimal; anything else in the file is no process id.
fn read_pid(file: &mut File) -> Option<u32> {
    /// Digits of the greatest `u32`, and a line end.
    const PID_LEN_MAX: u64 = 11;
    let mut text = String::new();
    file.take(PID_LEN_MAX).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_locked_once_and_free_again_after_drop() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("oracle-key.json");
        fs::write(&key, "{}").unwrap();
        let held = KeyLock::acquire(&key).unwrap();
        let refused = KeyLock::acquire(&key).unwrap_err();
        assert_eq!(refused, LockError::Held { path: key.clone(), pid: Some(std::process::id()) });
        assert!(refused.to_string().contains("oracle-key.json"));
        drop(held);
        KeyLock::acquire(&key).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_key_has_the_keys_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (key, link) = (dir.path().join("key"), dir.path().join("link"));
        fs::write(&key, "{}").unwrap();
        std::os::unix::fs::symlink(&key, &link).unwrap();
        let _held = KeyLock::acquire(&key).unwrap();
        assert!(matches!(KeyLock::acquire(&link), Err(LockError::Held { .. })));
    }

    #[test]
    fn a_missing_key_and_a_garbled_lock_file_are_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        assert!(matches!(KeyLock::acquire(&key), Err(LockError::Io { .. })));
        fs::write(&key, "{}").unwrap();
        let holder = File::create(dir.path().join("key.lock")).unwrap();
        fs::write(dir.path().join("key.lock"), [0xff; 100]).unwrap();
        holder.try_lock().unwrap();
        assert_eq!(KeyLock::acquire(&key).unwrap_err(), LockError::Held { path: key, pid: None });
    }
}
