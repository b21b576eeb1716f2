//! The text of a configuration file before it means anything: `${VAR}` expanded in strings, unknown keys refused by name and line.

use toml_edit::{Document, Item, Value};

use super::{ConfigError, Secret};

/// Sections and their keys, the only ones accepted. Every key is documented in [`Config`](super::Config).
const SCHEMA: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "oracle",
            "network",
            "data_sources",
            "submission",
            "aggregation",
            "monitoring",
            "api",
            "performance",
            "storage",
            "feeds",
        ],
    ),
    ("oracle", &["id", "key_file", "key_passphrase", "registry"]),
    ("network", &["listen_addr", "bootstrap_peers", "broadcast", "observers"]),
    ("data_sources", &["exchanges", "on_chain", "oracles"]),
    (
        "data_sources.exchanges",
        &[
            "name",
            "api_url",
            "ws_url",
            "stream",
            "api_key",
            "api_secret",
            "weight",
            "poll_interval_ms",
            "requests_per_minute",
            "timeout_ms",
        ],
    ),
    ("data_sources.on_chain", &["name", "chain", "rpc_url", "second_rpc_url", "depth", "poll_interval_ms", "weight"]),
    (
        "data_sources.oracles",
        &["name", "chain", "contract", "rpc_url", "second_rpc_url", "depth", "poll_interval_ms", "weight"],
    ),
    (
        "submission",
        &[
            "min_sources",
            "max_price_age_seconds",
            "submission_interval_seconds",
            "heartbeat_seconds",
            "move_threshold",
            "confidence_threshold",
        ],
    ),
    ("aggregation", &["window_seconds", "max_width"]),
    ("monitoring", &["metrics_port", "metrics_addr", "log_level"]),
    ("api", &["listen_addr"]),
    ("performance", &["attestation_batch_size", "merge_interval_ms", "cache_ttl_seconds", "max_memory_gb"]),
    ("storage", &["path"]),
    ("feeds", &["name", "decimals", "min_groups", "legs"]),
    (
        "feeds.legs",
        &[
            "source",
            "symbol",
            "base",
            "quote",
            "weight",
            "mirror",
            "invert",
            "min_volume",
            "ws_symbol",
            "venue_id",
            "contract",
        ],
    ),
    (
        "feeds.legs.contract",
        &[
            "address",
            "decimals0",
            "decimals1",
            "window_seconds",
            "min_liquidity",
            "coin",
            "created_seconds",
            "stableswap_ng",
            "plain",
            "decimals",
            "heartbeat_seconds",
            "min_answer",
            "max_answer",
        ],
    ),
];

/// Checks all keys and expands `${VAR}` in all strings (comments are no strings). Line numbers stay as they were.
pub(super) fn prepare(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Prepared, ConfigError> {
    let document = Document::parse(text).map_err(|error| ConfigError::Syntax {
        line: error.span().map_or(0, |span| line_of(text, span.start)),
        detail: error.message().to_owned(),
    })?;
    let mut walk = Walk { text, variable, replacements: Vec::new(), variables: Variables::default() };
    for (key, item) in document.as_table() {
        walk.key("", key, document.as_table().key(key).and_then(toml_edit::Key::span))?;
        walk.item(key, item)?;
    }
    let mut replacements = walk.replacements;
    replacements.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut expanded = text.to_owned();
    for (span, value) in replacements {
        expanded.replace_range(span, &value);
    }
    Ok(Prepared { text: expanded, variables: walk.variables })
}

/// A text ready to be read, and what was put into it.
pub(super) struct Prepared {
    /// The text with all variables expanded.
    pub(super) text: String,
    /// The variables.
    pub(super) variables: Variables,
}

/// The environment variables that a configuration holds, kept so that no message shows their values: nobody but the operator knows
/// which of them are secret.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(Vec<(String, Secret)>);

/// Shorter values are no secrets, and would be found in any text.
const SECRET_LEN_MIN: usize = 4;

impl Variables {
    /// A message with each value replaced by `${NAME}`.
    pub(super) fn mask(&self, message: &str) -> String {
        self.0.iter().filter(|(_, value)| value.expose().len() >= SECRET_LEN_MIN).fold(
            message.to_owned(),
            |message, (name, value)| {
                let (shown, quoted) = (format!("${{{name}}}"), format!("{:?}", value.expose()));
                message.replace(value.expose(), &shown).replace(quoted.trim_matches('"'), &shown)
            },
        )
    }
}

struct Walk<'a> {
    text: &'a str,
    variable: &'a dyn Fn(&str) -> Option<String>,
    replacements: Vec<(std::ops::Range<usize>, String)>,
    variables: Variables,
}

impl Walk<'_> {
    fn key(&self, section: &str, key: &str, span: Option<std::ops::Range<usize>>) -> Result<(), ConfigError> {
        // A section that takes no tables of its own was refused where its key stands.
        let known = SCHEMA.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, keys)| keys);
        if known.contains(&key) {
            return Ok(());
        }
        let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)));
        Err(ConfigError::UnknownKey {
            line: span.map_or(0, |span| line_of(self.text, span.start)),
            section: section.to_owned(),
            key: key.to_owned(),
            nearest: nearest.map_or_else(|| "none".to_owned(), |&k| k.to_owned()),
        })
    }

    fn item(&mut self, path: &str, item: &Item) -> Result<(), ConfigError> {
        match item {
            Item::None => Ok(()),
            Item::Value(value) => self.value(path, value),
            Item::Table(table) => self.table(path, table),
            Item::ArrayOfTables(tables) => tables.iter().try_for_each(|table| self.table(path, table)),
        }
    }

    fn table(&mut self, path: &str, table: &dyn toml_edit::TableLike) -> Result<(), ConfigError> {
        for (key, item) in table.iter() {
            self.key(path, key, table.key(key).and_then(toml_edit::Key::span))?;
            self.item(&format!("{path}.{key}"), item)?;
        }
        Ok(())
    }

    fn value(&mut self, path: &str, value: &Value) -> Result<(), ConfigError> {
        match value {
            Value::String(string) if string.value().contains("${") => {
                let Some(span) = value.span() else { return Ok(()) };
                let line = line_of(self.text, span.start);
                let mut used = |name: &str| {
                    let value = (self.variable)(name)?;
                    self.variables.0.push((name.to_owned(), value.clone().into()));
                    Some(value)
                };
                let expanded =
                    expand(string.value(), &mut used).map_err(|name| ConfigError::UnsetVariable { line, name })?;
                // One basic string on one line, so that the lines below keep their numbers.
                let lines = self.text[span.clone()].matches('\n').count();
                let mut quoted = serde_json::Value::from(expanded).to_string();
                quoted.push_str(&"\n".repeat(if path.contains('[') { 0 } else { lines }));
                self.replacements.push((span, quoted));
                Ok(())
            }
            Value::Array(array) => array.iter().try_for_each(|value| self.value(path, value)),
            Value::InlineTable(table) => self.table(path, table),
            _ => Ok(()),
        }
    }
}

/// Replaces each `${NAME}`; an unset one is the error.
fn expand(value: &str, variable: &mut dyn FnMut(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, behind) = after.split_once('}').ok_or_else(|| after.to_owned())?;
        out.push_str(&variable(name).ok_or_else(|| name.to_owned())?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// The line of a byte offset, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&b| b == b'\n').count() + 1
}

/// The key that a line of a text sets, if it sets one.
pub(super) fn key_on(text: &str, line: usize) -> Option<&str> {
    let (key, _) = text.lines().nth(line.checked_sub(1)?)?.split_once('=')?;
    Some(key.trim()).filter(|key| !key.is_empty() && !key.starts_with('#'))
}
