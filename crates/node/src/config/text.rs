//! The text of a configuration file before it means anything: `${VAR}` expanded in strings, unknown keys refused by name and line.

use toml_edit::{Document, Item, Value};

use super::ConfigError;

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
            "api_key",
            "api_secret",
            "weight",
            "poll_interval_ms",
            "requests_per_minute",
            "timeout_ms",
        ],
    ),
    ("data_sources.on_chain", &["name", "chain", "rpc_url", "weight"]),
    ("data_sources.oracles", &["name", "chain", "contract", "weight"]),
    ("submission", &["min_sources", "max_price_age_seconds", "submission_interval_seconds", "confidence_threshold"]),
    ("aggregation", &["window_seconds", "max_width"]),
    ("monitoring", &["metrics_port", "metrics_addr", "log_level"]),
    ("api", &["listen_addr"]),
    ("performance", &["attestation_batch_size", "merge_interval_ms", "cache_ttl_seconds", "max_memory_gb"]),
    ("storage", &["path"]),
    ("feeds", &["name", "decimals", "legs"]),
    ("feeds.legs", &["source", "symbol", "base", "quote", "weight", "mirror"]),
];

/// Checks all keys and expands `${VAR}` in all strings (comments are no strings). Line numbers stay as they were.
pub(super) fn prepare(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    let document = Document::parse(text).map_err(|error| ConfigError::Syntax {
        line: error.span().map_or(0, |span| line_of(text, span.start)),
        detail: error.message().to_owned(),
    })?;
    let mut walk = Walk { text, variable, replacements: Vec::new() };
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
    Ok(expanded)
}

struct Walk<'a> {
    text: &'a str,
    variable: &'a dyn Fn(&str) -> Option<String>,
    replacements: Vec<(std::ops::Range<usize>, String)>,
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
                let expanded =
                    expand(string.value(), self.variable).map_err(|name| ConfigError::UnsetVariable { line, name })?;
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
fn expand(value: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
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
