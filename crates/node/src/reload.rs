//! Another configuration without a stop: what may change, and what changed.

use std::collections::BTreeSet;

use concurrence_engine::{FeedPlan, SubmissionParams};
use concurrence_oracle::Leg;

use crate::{
    Resolved,
    config::{SourceNames, Unsupported},
    watch::Seen,
};

/// What the loop takes over.
pub(crate) struct Reload {
    pub(crate) feeds: Vec<FeedPlan>,
    pub(crate) submission: SubmissionParams,
    pub(crate) sources: Vec<Seen>,
    pub(crate) source_names: SourceNames,
    pub(crate) unsupported: Vec<Unsupported>,
}

impl Reload {
    pub(crate) fn new(config: &Resolved, sources: Vec<Seen>) -> Self {
        Self {
            feeds: config.feeds.clone(),
            submission: config.submission,
            sources,
            source_names: source_names(config),
            unsupported: config.unsupported.clone(),
        }
    }
}

/// The sources of all legs, by their network-wide index.
pub(crate) fn source_names(config: &Resolved) -> SourceNames {
    let legs = config.feeds.iter().flat_map(|plan| plan.graph.legs());
    legs.map(|leg| (leg.source.index(), leg.venue.clone())).collect()
}

/// Refuses a configuration that differs in what only a restart can change, by name.
pub(crate) fn check(old: &Resolved, new: &Resolved) -> anyhow::Result<()> {
    let feeds = |config: &Resolved| config.feeds.iter().map(|p| (p.graph.feed(), p.expo)).collect::<BTreeSet<_>>();
    let same = [
        ("oracle.id", old.id == new.id),
        ("oracle.key_file", old.key_file == new.key_file),
        ("oracle.registry", old.registry == new.registry),
        ("storage.path", old.data_dir == new.data_dir),
        ("network.listen_addr", old.listen == new.listen),
        ("network.bootstrap_peers", old.dial == new.dial),
        ("network.broadcast", old.broadcast == new.broadcast),
        ("network.observers", old.observers == new.observers),
        ("performance.merge_interval_ms", old.sync_interval_ms == new.sync_interval_ms),
        ("monitoring.metrics_addr or metrics_port", old.metrics_addr == new.metrics_addr),
        ("monitoring.log_level", old.log_level == new.log_level),
        ("api.listen_addr", old.api_addr == new.api_addr),
        ("aggregation, min_sources or max_price_age_seconds", old.aggregation == new.aggregation),
        ("the feeds or their decimals", feeds(old) == feeds(new)),
    ];
    let changed: Vec<_> = same.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    anyhow::ensure!(changed.is_empty(), "only a restart changes {}; nothing was changed", changed.join(", "));
    Ok(())
}

/// What differs, for the log: legs by feed, and exchanges.
pub(crate) fn changes(old: &Resolved, new: &Resolved) -> Vec<String> {
    let legs = |config: &Resolved| {
        let of = |plan: &FeedPlan| plan.graph.legs().iter().map(|leg| told(plan, leg)).collect::<Vec<_>>();
        config.feeds.iter().flat_map(of).collect::<BTreeSet<_>>()
    };
    let exchanges =
        |config: &Resolved| config.exchanges.iter().map(|e| format!("exchange {e:?}")).collect::<BTreeSet<_>>();
    let (was, is) = (legs(old), legs(new));
    let mut changes: Vec<_> = was.difference(&is).map(|leg| format!("- {leg}")).collect();
    changes.extend(is.difference(&was).map(|leg| format!("+ {leg}")));
    if old.submission != new.submission {
        changes.push(format!("submission {:?}", new.submission));
    }
    if exchanges(old) != exchanges(new) {
        let names = new.exchanges.iter().map(|exchange| exchange.name.as_str());
        let names: Vec<_> = names.chain(new.chains.iter().map(|chain| chain.name.as_str())).collect();
        changes.push(format!("sources {}", names.join(", ")));
    }
    changes
}

fn told(plan: &FeedPlan, leg: &Leg) -> String {
    let mirror = leg.mirror.map_or_else(String::new, |mirror| format!(", mirror {mirror}"));
    format!(
        "{} {} {}: {}/{}, weight {}{mirror}",
        plan.graph.feed(),
        leg.venue,
        leg.symbol,
        leg.base,
        leg.quote,
        leg.weight
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Config;

    const TEXT: &str = r#"
[oracle]
id = "a"
key_file = "./k.json"
[network]
listen_addr = "127.0.0.1:0"
[[data_sources.exchanges]]
name = "kraken"
[[data_sources.exchanges]]
name = "coinbase"
weight = 10
[submission]
min_sources = 2
"#;

    fn config(from: &str, to: &str) -> Resolved {
        assert!(TEXT.contains(from));
        Config::parse(&TEXT.replace(from, to), &|_| None).and_then(|c| c.resolve(Path::new("."))).unwrap()
    }

    #[test]
    fn weights_and_exchanges_change_without_a_stop() {
        let old = config("", "");
        assert!(changes(&old, &old).is_empty());
        let new = config("weight = 10", "weight = 20");
        check(&old, &new).unwrap();
        let told = changes(&old, &new);
        assert!(told.iter().any(|line| line == "- BTC/USD coinbase BTC-USD: BTC/USD, weight 40"), "{told:?}");
        assert!(told.iter().any(|line| line == "+ BTC/USD coinbase BTC-USD: BTC/USD, weight 80"), "{told:?}");
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let old = config("", "");
        for (from, to, named) in [
            ("id = \"a\"", "id = \"b\"", "oracle.id"),
            ("min_sources = 2", "min_sources = 3", "min_sources"),
            ("127.0.0.1:0", "127.0.0.1:1", "network.listen_addr"),
            ("[submission]", "[[feeds]]\nname = \"ETH/USD\"\n[submission]", "the feeds"),
        ] {
            let said = check(&old, &config(from, to)).unwrap_err().to_string();
            assert!(said.contains(named) && said.contains("nothing was changed"), "{said}");
        }
    }
}
