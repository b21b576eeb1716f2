//! Explanations as text: made from signed operations, and made again from their own inputs to be compared byte for byte.

use std::collections::BTreeMap;

use concurrence_api::explanation as dto;
use concurrence_crdt::{AuthorKey, Digest, ForkProof, Op, OpError, Time, VerifiedOp};
use concurrence_engine::{Derived, Explanation, Statement, Underivable};
use concurrence_oracle::{
    Aggregate, AggregateParams, Anomaly, Feed, LegRecord, LegsRecord, OUTLIER_PPM, Price, Registry, Strategy, outliers,
};
use concurrence_protocol::decode_proof;
use concurrence_store::RedbStore;

use crate::{
    RegistryFile, Resolved,
    past::{explanation, minutes_of, read},
    snapshot::{left_out_word, shortfall_text},
};

/// An explanation, and the text of it that everyone makes alike.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What it says.
    pub view: dto::Explanation,
    /// The same as indented JSON, ended by a line break.
    pub text: String,
}

/// Why there is no explanation, or why one is not true.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The text is no explanation.
    #[error("the file is no explanation: {0}")]
    Json(#[from] serde_json::Error),
    /// A field is not of the form it must have.
    #[error("{0} is not of the form it must have")]
    Field(&'static str),
    /// It is larger than any explanation.
    #[error("the file has {0} bytes, an explanation at most {EXPLANATION_BYTES_MAX}")]
    Long(usize),
    /// It is of another registry.
    #[error("the explanation is of the registry {theirs}, the one given is {ours}")]
    Registry {
        /// The digest in the file.
        theirs: String,
        /// The digest of the registry given.
        ours: Digest,
    },
    /// An operation is malformed or not signed by its author.
    #[error("an operation among the inputs: {0}")]
    Op(#[from] OpError),
    /// A proof of a fork does not verify.
    #[error("a proof of a fork among the inputs does not verify")]
    Proof,
    /// A record of legs is none, or no statement names it.
    #[error("a record of legs among the inputs is malformed, or no statement names it")]
    Legs,
    /// The inputs do not make an answer.
    #[error(transparent)]
    Underivable(#[from] Underivable),
    /// The inputs make another answer than the file says.
    #[error(
        "what follows from the inputs differs from the file at line {line}:\n  file      {theirs}\n  recomputed {ours}"
    )]
    Differs {
        /// The first line that differs, from 1.
        line: usize,
        /// That line of the file.
        theirs: String,
        /// That line as it must be.
        ours: String,
    },
}

/// Longest file read: twice the inputs that a node reads for one answer, which are written in hex.
pub const EXPLANATION_BYTES_MAX: usize = 32 << 20;

/// Explains an answer from the store of a configuration, of a node that does not run. Legs are kept in a running node's memory only: here all
/// are unavailable.
pub fn explain_stored(config: &Resolved, feed: Feed, as_of: Time) -> anyhow::Result<Explained> {
    let registry = RegistryFile::load(&config.registry)?.registry(&config.registry)?;
    let store = RedbStore::open_read_only(&config.data_dir)?;
    let reading = read(&store, registry.network_id(), minutes_of(as_of, &config.aggregation))?;
    let explanation = explanation(&registry, (feed, as_of, config.aggregation), &reading)?;
    let derived = explanation.derive(&registry)?;
    let view = render(&explanation, &derived, &registry, &BTreeMap::new());
    Ok(Explained { text: text(&view), view })
}

/// Makes an explanation again from its inputs and the registry, every signature verified, and compares all bytes.
pub fn verify_explanation(file: &str, registry: &Registry) -> Result<Explained, ExplainError> {
    let (explanation, legs) = inputs(file, registry)?;
    let view = rendered(&explanation, registry, &legs)?;
    let ours = text(&view);
    if ours == file {
        return Ok(Explained { view, text: ours });
    }
    let lines = || file.lines().map(Some).chain([None]).zip(ours.lines().map(Some).chain([None]));
    let (line, (theirs, made)) = lines().enumerate().find(|(_, (a, b))| a != b).unwrap_or((0, (None, None)));
    let shown = |line: Option<&str>| line.unwrap_or("(the end)").trim().chars().take(160).collect();
    Err(ExplainError::Differs { line: line + 1, theirs: shown(theirs), ours: shown(made) })
}

/// The same explanation with more records of legs, those of which no statement names the hash left out.
pub fn with_legs(file: &str, registry: &Registry, records: &[Vec<u8>]) -> Result<Explained, ExplainError> {
    let (explanation, mut legs) = inputs(file, registry)?;
    let named = named_legs(&explanation.derive(registry)?);
    let more = records.iter().map(|record| (LegsRecord::hash_bytes(record), record.clone()));
    legs.extend(more.filter(|(hash, record)| named.contains(hash) && LegsRecord::decode(record).is_ok()));
    let view = rendered(&explanation, registry, &legs)?;
    Ok(Explained { text: text(&view), view })
}

fn rendered(
    explanation: &Explanation,
    registry: &Registry,
    legs: &BTreeMap<Digest, Vec<u8>>,
) -> Result<dto::Explanation, ExplainError> {
    let derived = explanation.derive(registry)?;
    let named = named_legs(&derived);
    if legs.iter().any(|(hash, record)| !named.contains(hash) || LegsRecord::decode(record).is_err()) {
        return Err(ExplainError::Legs);
    }
    Ok(render(explanation, &derived, registry, legs))
}

fn named_legs(derived: &Derived) -> Vec<Digest> {
    derived.statements.iter().filter_map(|statement| statement.said.map(|(_, legs)| legs)).collect()
}

/// The inputs of a file, with every signature verified.
fn inputs(file: &str, registry: &Registry) -> Result<(Explanation, BTreeMap<Digest, Vec<u8>>), ExplainError> {
    if file.len() > EXPLANATION_BYTES_MAX {
        return Err(ExplainError::Long(file.len()));
    }
    let view: dto::Explanation = serde_json::from_str(file)?;
    let ours = registry.digest();
    if view.registry != ours.to_string() {
        return Err(ExplainError::Registry { theirs: view.registry.chars().take(64).collect(), ours });
    }
    let network = registry.network_id();
    let log = |ops: &Vec<String>| -> Result<Vec<VerifiedOp>, ExplainError> {
        let decoded = ops.iter().map(|op| Ok(Op::decode(&bytes(op, "inputs.logs")?, network)?));
        let decoded = decoded.collect::<Result<Vec<_>, ExplainError>>()?;
        Ok(Op::verify_all(decoded).into_iter().collect::<Result<_, _>>()?)
    };
    let proof = |proof: &String| -> Result<ForkProof, ExplainError> {
        decode_proof(&bytes(proof, "inputs.fork_proofs")?, network).map_err(|_| ExplainError::Proof)
    };
    let record = |record: &String| -> Result<_, ExplainError> {
        let record = bytes(record, "inputs.legs")?;
        Ok((LegsRecord::hash_bytes(&record), record))
    };
    let dto::Parameters { window_ms, max_age_ms, sources_min, width_max_ppm } = view.parameters;
    let explanation = Explanation {
        feed: view.feed.parse().map_err(|_| ExplainError::Field("feed"))?,
        as_of: Time::from_ms(view.as_of_ms),
        params: AggregateParams { window_ms, max_age_ms, sources_min, width_max_ppm },
        logs: view.inputs.logs.iter().map(log).collect::<Result<_, _>>()?,
        proofs: view.inputs.fork_proofs.iter().map(proof).collect::<Result<_, _>>()?,
    };
    Ok((explanation, view.inputs.legs.iter().map(record).collect::<Result<_, _>>()?))
}

fn bytes(hex: &str, field: &'static str) -> Result<Vec<u8>, ExplainError> {
    hex::decode(hex).map_err(|_| ExplainError::Field(field))
}

/// The text of an explanation: indented JSON and a line break.
pub(crate) fn text(view: &dto::Explanation) -> String {
    // Strings, numbers, lists and maps with text keys: nothing that JSON could not hold.
    serde_json::to_string_pretty(view).map(|json| json + "\n").unwrap_or_default()
}

/// Everything that follows from an explanation, in words and numbers.
pub(crate) fn render(
    explanation: &Explanation,
    derived: &Derived,
    registry: &Registry,
    legs: &BTreeMap<Digest, Vec<u8>>,
) -> dto::Explanation {
    let Derived { cut, result_id, answer, statements } = derived;
    let AggregateParams { window_ms, max_age_ms, sources_min, width_max_ppm } = explanation.params;
    let forked = |author: &AuthorKey| explanation.proofs.iter().any(|proof| proof.author() == *author);
    let absent = answer.left_out.iter().map(|(author, why)| dto::Absent {
        oracle: name(registry, author),
        reason: if forked(author) { "forked" } else { left_out_word(*why) }.to_owned(),
    });
    dto::Explanation {
        feed: explanation.feed.to_string(),
        as_of_ms: explanation.as_of.ms(),
        network_id: registry.network_id().to_string(),
        registry: registry.digest().to_string(),
        cut: cut.to_string(),
        result_id: result_id.to_string(),
        parameters: dto::Parameters { window_ms, max_age_ms, sources_min, width_max_ppm },
        answer: dto::Answer {
            status: answer.status.as_str().to_owned(),
            price: answer.price.map(|price| price.to_string()),
            interval: answer.interval.map(|(low, high)| [low.to_string(), high.to_string()]),
            shortfalls: answer.shortfalls.iter().map(shortfall_text).collect(),
            newest_ms: answer.newest.map(Time::ms),
            fault_tolerance: answer.fault_tolerance,
        },
        arithmetic: arithmetic(answer, registry),
        statements: statements.iter().map(|s| statement(s, explanation.feed, registry, legs)).collect(),
        left_out: absent.collect(),
        outliers: outliers(answer).iter().map(|far| outlier(far, registry)).collect(),
        inputs: dto::Inputs {
            logs: explanation
                .logs
                .iter()
                .map(|ops| ops.iter().map(|op| hex::encode(op.op().bytes())).collect())
                .collect(),
            fork_proofs: explanation.proofs.iter().map(|proof| hex::encode(proof.encode())).collect(),
            legs: legs.values().map(hex::encode).collect(),
        },
    }
}

fn arithmetic(answer: &Aggregate, registry: &Registry) -> dto::Arithmetic {
    let mut counted: Vec<_> = answer.counted.iter().collect();
    counted.sort_by_key(|c| (c.price, c.author));
    let mut weight_so_far = 0;
    let votes = counted.into_iter().map(|c| {
        weight_so_far += c.weight;
        let (oracle, price) = (name(registry, &c.author), c.price.to_string());
        dto::CountedVote { oracle, price, weight: c.weight, weight_so_far }
    });
    let others = Strategy::ALL.iter().filter(|&&strategy| strategy != Strategy::LowerWeightedMedian);
    dto::Arithmetic {
        votes: votes.collect(),
        counted_weight: answer.counted_weight,
        total_weight: answer.total_weight,
        subset_weight: answer.subset_weight(),
        others: others.map(|&s| (s.as_str().to_owned(), answer.by(s).map(|price| price.to_string()))).collect(),
    }
}

fn statement(
    statement: &Statement,
    feed: Feed,
    registry: &Registry,
    legs: &BTreeMap<Digest, Vec<u8>>,
) -> dto::Statement {
    let header = statement.op.op().header();
    let said = statement.said.as_ref();
    let record = said.and_then(|(_, hash)| LegsRecord::decode(legs.get(hash)?).ok());
    let of_feed = record.and_then(|record| record.feeds.into_iter().find(|legs| legs.feed == feed));
    dto::Statement {
        oracle: name(registry, &header.log.author),
        op: statement.op.op().id().to_string(),
        log: header.log.index,
        seq: header.seq,
        slot: statement.slot.number(),
        price: said.map(|(attestation, _)| attestation.price().to_string()),
        half_width_ppm: said.map(|(attestation, _)| u32::from(attestation.half_width()) * 10),
        sources: said.map(|(attestation, _)| indices(attestation.sources())).unwrap_or_default(),
        fate: statement.fate.name().to_owned(),
        legs_hash: said.map(|(_, hash)| hash.to_string()),
        legs: of_feed.map(|legs| legs.legs.iter().map(leg).collect()),
    }
}

fn leg(leg: &LegRecord) -> dto::Leg {
    let shown = |price: Option<Price>| price.map(|price| price.to_string());
    dto::Leg {
        source: leg.source.index(),
        symbol: leg.symbol.clone(),
        raw: shown(leg.raw),
        converted: shown(leg.converted),
        verdict: leg.verdict.as_str().to_owned(),
    }
}

fn outlier(far: &Anomaly, registry: &Registry) -> dto::Outlier {
    dto::Outlier {
        oracle: name(registry, &far.author),
        slot: far.slot.number(),
        price: far.price.to_string(),
        deviation_ppm: far.deviation_ppm,
        limit_ppm: OUTLIER_PPM,
    }
}

fn indices(sources: u16) -> Vec<u8> {
    (0..16).filter(|index| sources >> index & 1 == 1).collect()
}

/// The registry's newest name of an author; its key if it has none.
fn name(registry: &Registry, author: &AuthorKey) -> String {
    let member = registry.epochs().iter().rev().find_map(|epoch| epoch.member(author));
    member.map_or_else(|| author.to_string(), |member| member.name.clone())
}
