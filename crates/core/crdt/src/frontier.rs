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
    /// Numbers of the members that are proven to have voted twice, ascending.
    pub double_voters: Vec<u16>,
    /// Certified operations that the sender asks for, each with what precedes it, ascending. No part of what it has admitted, nor of the
    /// digest.
    pub wanted: Vec<Wanted>,
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
    /// How many of them are certified.
    pub certified: u64,
}

/// An operation that a certified head stands upon, and that the sender does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Number of the author in the registry's history.
    pub author: u16,
    /// Which of the author's logs.
    pub log: u8,
    /// Its position.
    pub seq: u64,
    /// Its id.
    pub id: OpId,
}

/// Bytes of an encoded entry.
pub const ENTRY_LEN: usize = 47;

/// How many operations of a log are not certified, if they are so many or more: then none counts as certified. A quota lets an author write so many in 34 years.
const ALL_OPEN: u32 = u32::MAX;

/// Most operations asked for in one frontier: each is answered with up to 64, so that sixteen usual ones fill an answer.
pub const WANTED_MAX: usize = 16;

/// Most authors a registry's history can name: far above any committee, low enough that a frontier stays below 1 MiB.
pub const AUTHORS_MAX: usize = 4096;

impl Frontier {
    /// The canonical bytes: counted entries, counted forked authors, counted double voters, counted wanted operations.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&count_u32(self.entries.len()));
        for entry in &self.entries {
            out.extend_from_slice(&entry.author.to_be_bytes());
            out.push(entry.log);
            out.extend_from_slice(&entry.len.to_be_bytes());
            out.extend_from_slice(entry.head.as_bytes());
            let open = entry.len.saturating_sub(entry.certified);
            out.extend_from_slice(&u32::try_from(open).unwrap_or(ALL_OPEN).to_be_bytes());
        }
        for numbers in [&self.forked, &self.double_voters] {
            out.extend_from_slice(&count_u32(numbers.len()));
            numbers.iter().for_each(|author| out.extend_from_slice(&author.to_be_bytes()));
        }
        out.extend_from_slice(&count_u32(self.wanted.len()));
        for wanted in &self.wanted {
            out.extend_from_slice(&wanted.author.to_be_bytes());
            out.push(wanted.log);
            out.extend_from_slice(&wanted.seq.to_be_bytes());
            out.extend_from_slice(wanted.id.as_bytes());
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; any other form is refused.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let count = reader.count("frontier entries", AUTHORS_MAX * usize::from(LOGS_MAX))?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count.min(reader.left() / ENTRY_LEN));
        for _ in 0..count {
            let (author, log) = (reader.u16()?, reader.u8()?);
            let (len, head) = (reader.u64()?, OpId::from_bytes(reader.array()?));
            let open = reader.u32()?;
            let certified = if open == ALL_OPEN { 0 } else { len.saturating_sub(open.into()) };
            let entry = Entry { author, log, len, head, certified };
            let ascending = entries.last().is_none_or(|last| (last.author, last.log) < (author, log));
            if !ascending || log >= LOGS_MAX || len == 0 || u64::from(open) > len {
                return Err(CodecError::NotCanonical("frontier entry"));
            }
            entries.push(entry);
        }
        let forked = numbers(reader, "forked authors", "order of forked authors")?;
        let double_voters = numbers(reader, "double voters", "order of double voters")?;
        let count = reader.count("wanted operations", WANTED_MAX)?;
        let mut wanted: Vec<Wanted> = Vec::with_capacity(count);
        for _ in 0..count {
            let (author, log) = (reader.u16()?, reader.u8()?);
            let next = Wanted { author, log, seq: reader.u64()?, id: OpId::from_bytes(reader.array()?) };
            if wanted.last().is_some_and(|last| *last >= next) || log >= LOGS_MAX {
                return Err(CodecError::NotCanonical("wanted operation"));
            }
            wanted.push(next);
        }
        Ok(Self { entries, forked, double_voters, wanted })
    }

    /// The entry of a log.
    pub fn entry(&self, author: u16, log: u8) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&(author, log), |e| (e.author, e.log)).ok()?;
        self.entries.get(at)
    }
}

fn numbers(reader: &mut Reader<'_>, field: &'static str, order: &'static str) -> Result<Vec<u16>, CodecError> {
    let count = reader.count(field, AUTHORS_MAX)?;
    let numbers = (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>, _>>()?;
    if numbers.is_sorted_by(|a, b| a < b) { Ok(numbers) } else { Err(CodecError::NotCanonical(order)) }
}
