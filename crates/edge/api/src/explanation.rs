//! An answer with everything it follows from, as text: `GET /v1/prices/{feed}/explain`, and the file that `oracle-node verify` reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Everything about one answer. `feed`, `as_of_ms`, `parameters` and `inputs` are given; all the rest follows from them and the registry, to
/// the last byte: `oracle-node verify` makes it again and compares. Prices are exact decimals, ids lower-case hex.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The feed's name, as `BTC/USD`.
    pub feed: String,
    /// The instant of the answer.
    pub as_of_ms: u64,
    /// The network, 32 bytes hex.
    pub network_id: String,
    /// Digest of the registry's history.
    pub registry: String,
    /// Digest of the cut: of all that was held up to the minute of `as_of_ms`.
    pub cut: String,
    /// Hash of cut, instant, registry and parameters.
    pub result_id: String,
    /// What the answer was computed with.
    pub parameters: Parameters,
    /// The answer.
    pub answer: Answer,
    /// How the price follows from what counted.
    pub arithmetic: Arithmetic,
    /// Everything that was said about the feed within the window, by author and position.
    pub statements: Vec<Statement>,
    /// Members of which nothing counted, and why.
    pub left_out: Vec<Absent>,
    /// Prices that counted and are further from the answer than the rule allows. A verified explanation is signed evidence against whoever
    /// stands here: its own signature is among the inputs, and so is everything by which the rule was run.
    pub outliers: Vec<Outlier>,
    /// The signed bytes from which all of it follows.
    pub inputs: Inputs,
}

/// Parameters of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Length of the window before `as_of_ms`.
    pub window_ms: u64,
    /// Greatest age of the newest attestation of an answer that is not stale.
    pub max_age_ms: u64,
    /// Distinct sources needed.
    pub sources_min: u8,
    /// Greatest width of the interval, in millionths of the price.
    pub width_max_ppm: u32,
}

/// The network's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// `ok`, `degraded`, `stale` or `halted`.
    pub status: String,
    /// Null exactly when halted.
    pub price: Option<String>,
    /// Least and greatest price that any admissible subset could give.
    pub interval: Option<[String; 2]>,
    /// Why the status is not `ok`.
    pub shortfalls: Vec<String>,
    /// When the newest slot that counted began.
    pub newest_ms: Option<u64>,
    /// False in registries of fewer than four members.
    pub fault_tolerance: bool,
}

/// How the price follows from what counted: votes in ascending order of price, each with the weight up to and including it. The price is
/// that of the first vote for which twice this weight is at least `counted_weight`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Arithmetic {
    /// The votes.
    pub votes: Vec<CountedVote>,
    /// Weight of all of them.
    pub counted_weight: u64,
    /// Weight of the whole registry, after capping.
    pub total_weight: u64,
    /// Least weight of the subsets over which the interval is taken: its lower end is the first vote, ascending, for which twice the
    /// weight at or below reaches it; its upper end the first, descending, for which twice the weight at or above exceeds it.
    pub subset_weight: u64,
    /// What other ways to one price make of the same votes; null where they make none.
    pub others: BTreeMap<String, Option<String>>,
}

/// One vote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountedVote {
    /// Whose, by the registry's name.
    pub oracle: String,
    /// Its price.
    pub price: String,
    /// Its weight, after capping.
    pub weight: u64,
    /// Weight of this and all votes before it.
    pub weight_so_far: u64,
}

/// What one operation said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Who, by the registry's name; the author key of someone who has none.
    pub oracle: String,
    /// The operation's id.
    pub op: String,
    /// The author's log.
    pub log: u8,
    /// The operation's place in it.
    pub seq: u64,
    /// Declared time in seconds.
    pub slot: u64,
    /// The price; null if the operation cannot be read.
    pub price: Option<String>,
    /// Half of the oracle's own uncertainty interval, in millionths of the price; null with the price.
    pub half_width_ppm: Option<u32>,
    /// Network-wide indices of the sources it names.
    pub sources: Vec<u8>,
    /// `counted`, `superseded`, `doubtful`, `conflict`, `stranger`, or what is wrong with the operation.
    pub fate: String,
    /// Hash of the legs it was made of; null with the price.
    pub legs_hash: Option<String>,
    /// The legs of this feed; null where they are unavailable: only their author keeps them, for a time.
    pub legs: Option<Vec<Leg>>,
}

/// One leg of a statement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// Network-wide index of the source.
    pub source: u8,
    /// The venue's symbol.
    pub symbol: String,
    /// The price in the market's own currency.
    pub raw: Option<String>,
    /// The same in the feed's currency.
    pub converted: Option<String>,
    /// What became of it.
    pub verdict: String,
}

/// A member of which nothing counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Who, by the registry's name.
    pub oracle: String,
    /// `silent`, `doubtful`, `conflict`, `forked` or `stranger`.
    pub reason: String,
}

/// An accusation by rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Outlier {
    /// Who, by the registry's name.
    pub oracle: String,
    /// The second of its statement.
    pub slot: u64,
    /// Its price.
    pub price: String,
    /// Distance from the answer, in millionths of it.
    pub deviation_ppm: u64,
    /// What it exceeds.
    pub limit_ppm: u64,
}

/// Signed bytes, hex.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Of each log of the cut its last operations, oldest first, back to before the window.
    pub logs: Vec<Vec<String>>,
    /// The proof against each forked author.
    pub fork_proofs: Vec<String>,
    /// Records of legs, in the order of their hashes.
    pub legs: Vec<String>,
}
