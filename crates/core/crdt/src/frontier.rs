//! Frontiers: what a replica has admitted, small enough to send to a peer.

use crate::{
    LOGS_MAX, OpId,
    codec::{CodecError, Reader, count_u32},
};

/// What a replica has admitted, by author number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// One entry for each log with an admitted operation, ascending by author and log.
    pub entries: Vec<Entry>,
    /// Numbers of the forked authors, ascending.
    pub forked: Vec<u16>,
}

/// The end of one admitted log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the author in the registry's history.
    pub author: u16,
    /// Which of the author's logs.
    pub log: u8,
    /// Admitted operations, at least 1.
    pub len: u64,
    /// Id of the last of them, which commits to all before it.
    pub head: OpId,
}

/// Bytes of an encoded entry.
pub const ENTRY_LEN: usize = 43;

/// Most authors a registry's history can name: far above any committee, low enough that a frontier stays below 1 MiB.
pub const AUTHORS_MAX: usize = 4096;

impl Frontier {
    /// The canonical bytes: counted entries, counted forked authors.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&count_u32(self.entries.len()));
        for entry in &self.entries {
            out.extend_from_slice(&entry.author.to_be_bytes());
            out.push(entry.log);
            out.extend_from_slice(&entry.len.to_be_bytes());
            out.extend_from_slice(entry.head.as_bytes());
        }
        out.extend_from_slice(&count_u32(self.forked.len()));
        self.forked.iter().for_each(|author| out.extend_from_slice(&author.to_be_bytes()));
    }

    /// Reads what [`encode`](Self::encode) wrote; any other form is refused.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let count = reader.count("frontier entries", AUTHORS_MAX * usize::from(LOGS_MAX))?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count.min(reader.left() / ENTRY_LEN));
        for _ in 0..count {
            let (author, log) = (reader.u16()?, reader.u8()?);
            let entry = Entry { author, log, len: reader.u64()?, head: OpId::from_bytes(reader.array()?) };
            let ascending = entries.last().is_none_or(|last| (last.author, last.log) < (author, log));
            if !ascending || log >= LOGS_MAX || entry.len == 0 {
                return Err(CodecError::NotCanonical("frontier entry"));
            }
            entries.push(entry);
        }
        let count = reader.count("forked authors", AUTHORS_MAX)?;
        let forked = (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>, _>>()?;
        if !forked.is_sorted_by(|a, b| a < b) {
            return Err(CodecError::NotCanonical("order of forked authors"));
        }
        Ok(Self { entries, forked })
    }

    /// The entry of a log.
    pub fn entry(&self, author: u16, log: u8) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&(author, log), |e| (e.author, e.log)).ok()?;
        self.entries.get(at)
    }
}
