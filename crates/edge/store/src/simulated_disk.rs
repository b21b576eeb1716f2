//! A disk in memory that loses what was not synced, fills up, fails and rots on demand: the production store runs on it in
//! tests and in the simulator.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

/// Bytes that reach a disk together or not at all.
pub const SECTOR_LEN: usize = 512;

/// A disk in memory. Clones are handles to the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What reads return.
    current: Vec<u8>,
    /// What surely survives a power cut.
    synced: Vec<u8>,
    /// Sectors written since the last sync.
    unsynced: BTreeSet<usize>,
    /// Calls that write, resize or sync, until they fail with this kind of error.
    failing: Option<(u64, io::ErrorKind)>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk after a power cut now: all that was synced, and of what was not, whatever `keep` answers true for. It is asked
    /// once for a change of length, then once for each sector written since the last sync. This disk goes on as it was.
    pub fn crashed(&self, mut keep: impl FnMut() -> bool) -> Self {
        let state = self.state();
        let mut survived = state.synced.clone();
        if state.current.len() != state.synced.len() && keep() {
            survived.resize(state.current.len(), 0);
        }
        for &sector in state.unsynced.iter().filter(|_| keep()) {
            let start = sector * SECTOR_LEN;
            let end = (start + SECTOR_LEN).min(survived.len()).min(state.current.len());
            if start < end {
                survived[start..end].copy_from_slice(&state.current[start..end]);
            }
        }
        let state = State { synced: survived.clone(), current: survived, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets `calls` more calls that write, resize or sync succeed, and fails all that follow.
    pub fn fail_after(&self, calls: u64, kind: io::ErrorKind) {
        self.state().failing = Some((calls, kind));
    }

    /// Ends [`fail_after`](Self::fail_after).
    pub fn heal(&self) {
        self.state().failing = None;
    }

    /// Where some bytes lie that were synced: the first place of them.
    pub fn find(&self, wanted: &[u8]) -> Option<usize> {
        let state = self.state();
        let first = *wanted.first()?;
        let starts = state.synced.iter().enumerate().filter(|&(_, &byte)| byte == first).map(|(at, _)| at);
        starts.into_iter().find(|&at| state.synced.get(at..at + wanted.len()) == Some(wanted))
    }

    /// Flips the lowest bit of a byte, whether it was synced or not: it rotted where it lay.
    pub fn flip(&self, at: usize) {
        let State { current, synced, .. } = &mut *self.state();
        for byte in [current.get_mut(at), synced.get_mut(at)].into_iter().flatten() {
            *byte ^= 1;
        }
    }

    /// Changes the disk's bytes behind the store's back.
    pub fn tamper(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        change(&mut state.current);
        state.synced = state.current.clone();
        state.unsynced.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves plain bytes: nothing to protect from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn mutation(&mut self) -> io::Result<()> {
        match &mut self.failing {
            None => Ok(()),
            Some((0, kind)) => Err(io::Error::from(*kind)),
            Some((calls, _)) => {
                *calls -= 1;
                Ok(())
            }
        }
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let wanted = span(offset, out.len()).and_then(|(start, end)| state.current.get(start..end));
        out.copy_from_slice(wanted.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.mutation()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        // Bytes gained are zero, whatever was there before an earlier shrink: they count as written.
        let gained = state.current.len() / SECTOR_LEN..len.div_ceil(SECTOR_LEN);
        state.unsynced.extend(gained);
        state.current.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.mutation()?;
        let State { current, synced, unsynced, .. } = &mut *state;
        synced.resize(current.len(), 0);
        for sector in std::mem::take(unsynced) {
            let start = sector * SECTOR_LEN;
            let end = (start + SECTOR_LEN).min(current.len());
            if start < end {
                synced[start..end].copy_from_slice(&current[start..end]);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.mutation()?;
        let (start, end) = span(offset, data.len()).ok_or(io::ErrorKind::StorageFull)?;
        state.current.get_mut(start..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        state.unsynced.extend(start / SECTOR_LEN..end.div_ceil(SECTOR_LEN));
        Ok(())
    }
}

fn span(offset: u64, len: usize) -> Option<(usize, usize)> {
    let start = usize::try_from(offset).ok()?;
    Some((start, start.checked_add(len)?))
}
