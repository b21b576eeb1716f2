//! The audit: every stored operation, signature and view verified again, every source asked once.

use std::{collections::BTreeMap, sync::Arc};

use concurrence_crdt::{History, LogKey, Op, Place, VoteError};
use concurrence_engine::View;
use concurrence_oracle::{KIND_PRICE_BATCH, Registry};
use concurrence_protocol::{Fact, decode_proof};
use concurrence_store::{RedbStore, Store};
use serde::Serialize;

use crate::{RegistryFile, Resolved, chain_watch, node::sources};

/// What is to be audited.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditOptions {
    /// Ask every configured source for every symbol.
    pub check_sources: bool,
    /// Verify every stored operation, proof, EVM signature and the state that follows from them.
    pub verify_attestations: bool,
}

/// What an audit found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditReport {
    /// Whether nothing was found.
    pub ok: bool,
    /// Operations, proofs and sources that were verified.
    pub verified: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// A stable word: `operation`, `chain`, `proof`, `attestation`, `view`, `source`, `unsupported_source`.
    pub kind: &'static str,
    /// Where: a log and position, an author, a source and symbol.
    pub subject: String,
    /// What.
    pub detail: String,
}

/// Verifies what was said of a log or by a member, and counts it.
fn fact(bytes: &[u8], registry: &Registry, history: &mut History) -> Result<(), VoteError> {
    match Fact::read(bytes, registry.network_id(), &registry.membership())? {
        Fact::Vote(_) => {}
        Fact::Certificate(certificate) => _ = history.certify(certificate),
        Fact::DoubleVote(proof) => _ = history.expose(proof),
        Fact::Conflict(conflict) => history.restore_conflict(conflict),
    }
    Ok(())
}

/// Audits the store and sources of a configuration. The node must not be running: its store is locked while it does.
pub async fn audit(config: &Resolved, options: AuditOptions) -> anyhow::Result<AuditReport> {
    let mut report = AuditReport::default();
    if options.verify_attestations {
        let registry = RegistryFile::load(&config.registry)?.registry(&config.registry)?;
        // A node that never ran has no store: nothing to verify, which the report says.
        if config.data_dir.join("ops.redb").exists() {
            let store = RedbStore::open_read_only(&config.data_dir)?;
            report.store(&store, &registry, config)?;
        }
    }
    if options.check_sources {
        report.sources(config).await?;
    }
    report.ok = report.findings.is_empty();
    Ok(report)
}

impl AuditReport {
    fn find(&mut self, kind: &'static str, subject: impl ToString, detail: impl ToString) {
        self.findings.push(Finding { kind, subject: subject.to_string(), detail: detail.to_string() });
    }

    /// Every operation from its bytes up: canonical form, signature, chain, quota, payload, EVM signatures.
    fn store(&mut self, store: &dyn Store, registry: &Registry, config: &Resolved) -> anyhow::Result<()> {
        let mut history = History::new(registry.membership());
        let feeds = config.feeds.iter().map(|plan| plan.graph.feed()).collect();
        let view = View::new(registry.clone(), feeds, config.aggregation);
        for bytes in store.proofs()? {
            match decode_proof(&bytes, registry.network_id()) {
                Ok(proof) => {
                    self.verified += 1;
                    history.convict(proof);
                }
                Err(error) => self.find("proof", "fork proof", error),
            }
        }
        for bytes in store.facts()? {
            match fact(&bytes, registry, &mut history) {
                Ok(()) => self.verified += 1,
                Err(error) => self.find("proof", "vote or certificate", error),
            }
        }
        let mut lens = BTreeMap::new();
        for (log, len) in store.logs()? {
            lens.insert(log, len);
            self.log(store, registry, (log, len), &mut history, &view)?;
        }
        for (log, len) in lens {
            let admitted = history.tail(log).len;
            if admitted != len && history.proof(&log.author).is_none() {
                self.find("view", log, format!("{len} operations are stored, {admitted} of them make a valid chain"));
            }
        }
        for certificate in history.astray() {
            let head = certificate.head();
            self.find("view", head.log, format!("{} operations are certified, the stored ones are others", head.len));
        }
        Ok(())
    }

    fn log(
        &mut self,
        store: &dyn Store,
        registry: &Registry,
        (log, len): (LogKey, u64),
        history: &mut History,
        view: &View,
    ) -> anyhow::Result<()> {
        let mut at = 0;
        while at < len {
            let rows = store.range(log, at, len, 4 << 20)?;
            if rows.is_empty() {
                self.find("operation", format!("{log} at {at}"), "is unreadable: the row rotted on disk");
                return Ok(());
            }
            for bytes in rows {
                self.operation(&bytes, registry, (log, at), history, view);
                at += 1;
            }
        }
        Ok(())
    }

    fn operation(
        &mut self,
        bytes: &Arc<[u8]>,
        registry: &Registry,
        (log, at): (LogKey, u64),
        history: &mut History,
        view: &View,
    ) {
        let subject = format!("{log} at {at}");
        let op = match Op::decode(bytes, registry.network_id()).and_then(Op::verify) {
            Ok(op) => op,
            Err(error) => return self.find("operation", subject, error),
        };
        let header = op.op().header();
        if (header.log, header.seq) != (log, at) {
            return self.find("operation", subject, "is stored under another position than its own");
        }
        self.verified += 1;
        match history.place(header, op.op().id()) {
            Place::Next => {
                if let Err(invalid) = history.admit(&op) {
                    self.find("chain", &subject, invalid);
                }
            }
            Place::Forked => {
                history.admit_certified(&op);
            }
            place => self.find("chain", &subject, format!("does not extend its log: {place:?}")),
        }
        if header.kind == KIND_PRICE_BATCH
            && let Err(kind) = view.read(&op)
        {
            self.find("attestation", subject, kind.name());
        }
    }

    /// Asks every source for every symbol once.
    async fn sources(&mut self, config: &Resolved) -> anyhow::Result<()> {
        for (exchange, source) in sources(&config.exchanges)? {
            for symbol in &exchange.symbols {
                match source.fetch(symbol).await {
                    Ok(_) => self.verified += 1,
                    Err(error) => self.find("source", format!("{} {symbol}", exchange.name), error),
                }
            }
        }
        for source in config.chains.iter().filter(|source| !source.reads.is_empty()) {
            let chain = chain_watch::chain(source)?;
            for (read, result) in chain_watch::read(source, &chain).await {
                match result {
                    Ok(_) => self.verified += 1,
                    Err(error) => self.find("source", format!("{} {}", source.name, read.symbol), error),
                }
            }
        }
        for source in &config.unsupported {
            self.find(
                "unsupported_source",
                &source.name,
                format!("[[{}]] of this kind is not built, or names no second node", source.section),
            );
        }
        Ok(())
    }
}
