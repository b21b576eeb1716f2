//! The tables of a redb file, and the checksum that every row carries.

use concurrence_crdt::{
    AuthorKey, LogKey,
    canary::{Canary, sings},
};
use concurrence_protocol::FactKey;
use redb::TableDefinition;

/// Admitted operations: [`op_key`] -> encoded operation.
pub(crate) const OPS: TableDefinition<'static, &'static OpKey, &'static [u8]> = TableDefinition::new("ops");
/// Where an admitted operation is: id -> [`op_key`].
pub(crate) const BY_ID: TableDefinition<'static, &'static [u8; 32], &'static [u8]> = TableDefinition::new("by_id");
/// Quarantined operations: id -> author, encoded operation. The author, so that its rows can be told from others'.
pub(crate) const QUARANTINE: TableDefinition<'static, &'static [u8; 32], &'static [u8]> =
    TableDefinition::new("quarantine");
/// Fork proofs: author -> encoded proof.
pub(crate) const PROOFS: TableDefinition<'static, &'static [u8; 32], &'static [u8]> = TableDefinition::new("proofs");
/// Facts: [`FactKey`] -> encoded fact.
pub(crate) const FACTS: TableDefinition<'static, &'static [u8; FactKey::LEN], &'static [u8]> =
    TableDefinition::new("facts");
/// The node's own values: name -> bytes.
pub(crate) const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");
/// The store's own values: [`VERSION`], [`ID`], [`BYTES`].
pub(crate) const ABOUT: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("about");

/// Name of the format version, a `u32`.
pub(crate) const VERSION: &str = "version";
/// Name of the store's id, 16 bytes.
pub(crate) const ID: &str = "id";
/// Name of the count of operations' bytes, a `u64`.
pub(crate) const BYTES: &str = "bytes";

/// author 32 | log 1 | seq 8, all big-endian, so that rows of one log lie side by side in order.
pub(crate) type OpKey = [u8; 41];

/// The key of an operation's row.
pub(crate) fn op_key(log: LogKey, seq: u64) -> OpKey {
    let mut key = [0; 41];
    key[..32].copy_from_slice(log.author.as_bytes());
    key[32] = log.index;
    key[33..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The log and position of an operation's row.
pub(crate) fn position(key: &OpKey) -> (LogKey, u64) {
    let (mut author, mut seq) = ([0; 32], [0; 8]);
    author.copy_from_slice(&key[..32]);
    seq.copy_from_slice(&key[33..]);
    (LogKey { author: AuthorKey::from_bytes(author), index: key[32] }, u64::from_be_bytes(seq))
}

/// Which table a checksum was made for, so that a row copied into another table does not pass there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Table {
    Ops = 1,
    ById = 2,
    Quarantine = 3,
    Proofs = 4,
    Meta = 5,
    About = 6,
    Facts = 7,
}

/// Bytes of a row's checksum: eight let one in 2^64 rotten rows pass. Against bit rot, not against forgers: who can write the
/// file can also write checksums.
pub(crate) const CHECKSUM_LEN: usize = 8;

/// A row: checksum, then the value, given in parts.
pub(crate) fn seal(table: Table, key: &[u8], value: &[&[u8]]) -> Vec<u8> {
    let mut row = vec![0; CHECKSUM_LEN];
    value.iter().for_each(|part| row.extend_from_slice(part));
    let checksum = checksum(table, key, &row[CHECKSUM_LEN..]);
    row[..CHECKSUM_LEN].copy_from_slice(&checksum);
    row
}

/// The value of a row, or `None` if it rotted.
pub(crate) fn unseal<'a>(table: Table, key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (found, value) = row.split_at_checked(CHECKSUM_LEN)?;
    (sings(Canary::Store3) || checksum(table, key, value)[..] == *found).then_some(value)
}

/// Key lengths are hashed too, since names in one table differ in length.
fn checksum(table: Table, key: &[u8], value: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[table as u8]).update(&(key.len() as u64).to_be_bytes()).update(key).update(value);
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_LEN]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_opens_only_as_it_was_sealed() {
        let row = seal(Table::Ops, b"key", &[b"one", b"two"]);
        assert_eq!(unseal(Table::Ops, b"key", &row), Some(&b"onetwo"[..]));
        assert_eq!(unseal(Table::Quarantine, b"key", &row), None);
        assert_eq!(unseal(Table::Ops, b"kez", &row), None);
        for bit in 0..row.len() * 8 {
            let mut rotten = row.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(Table::Ops, b"key", &rotten), None, "bit {bit}");
        }
        for len in 0..row.len() {
            assert_eq!(unseal(Table::Ops, b"key", &row[..len]), None, "length {len}");
        }
    }

    #[test]
    fn keys_sort_by_author_log_and_position() {
        let log = |author: u8, index| LogKey { author: AuthorKey::from_bytes([author; 32]), index };
        let ascending = [(log(1, 0), 0), (log(1, 0), 255), (log(1, 0), 256), (log(1, 1), 0), (log(2, 0), 0)];
        let keys = ascending.map(|(log, seq)| op_key(log, seq));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| position(&key)), ascending);
    }
}
