//! Executes a replica's requests.

use concurrence_protocol::{StoreReply, StoreRequest, Token, Write};

use crate::{Durability, Store, StoreError};

/// Most rows that [`serve_all`] puts in one transaction: past a few hundred a larger one is hardly cheaper a row, and this
/// bounds what one keeps in memory to some MiB. A single larger request still goes in whole.
pub const GROUP_WRITES_MAX: usize = 4_096;

/// Executes one request.
pub fn serve(store: &mut dyn Store, request: StoreRequest) -> Result<StoreReply, StoreError> {
    match request {
        StoreRequest::Commit { token, writes, durable } => {
            store.commit(&writes, durability(durable))?;
            Ok(StoreReply::Committed(token))
        }
        StoreRequest::Load { token, log, from, until, bytes_max } => {
            Ok(StoreReply::Loaded(token, store.range(log, from, until, bytes_max)?))
        }
        StoreRequest::Find { token, id } => Ok(StoreReply::Found(token, store.op(&id)?)),
    }
}

/// Executes requests in order and answers in order. Commits that stand next to one another share a transaction, which is
/// durable if any of them is: one wait for the disk serves them all. Stops at the first error.
pub fn serve_all(store: &mut dyn Store, requests: Vec<StoreRequest>) -> Result<Vec<StoreReply>, StoreError> {
    let mut replies = Vec::with_capacity(requests.len());
    let mut group = Group::default();
    for request in requests {
        match request {
            StoreRequest::Commit { token, writes, durable } => {
                if group.writes.len() + writes.len() > GROUP_WRITES_MAX {
                    group.commit(store, &mut replies)?;
                }
                group.tokens.push(token);
                group.writes.extend(writes);
                group.durable |= durable;
            }
            read => {
                group.commit(store, &mut replies)?;
                replies.push(serve(store, read)?);
            }
        }
    }
    group.commit(store, &mut replies)?;
    Ok(replies)
}

/// Commits waiting to share a transaction.
#[derive(Default)]
struct Group {
    tokens: Vec<Token>,
    writes: Vec<Write>,
    durable: bool,
}

impl Group {
    fn commit(&mut self, store: &mut dyn Store, replies: &mut Vec<StoreReply>) -> Result<(), StoreError> {
        let group = std::mem::take(self);
        if !group.tokens.is_empty() {
            store.commit(&group.writes, durability(group.durable))?;
            replies.extend(group.tokens.into_iter().map(StoreReply::Committed));
        }
        Ok(())
    }
}

const fn durability(durable: bool) -> Durability {
    if durable { Durability::Immediate } else { Durability::Eventual }
}
