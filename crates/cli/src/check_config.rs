//! `oracle-node check-config`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use concurrence_node::{Config, ConfigError, Keys, PublicKeys, RegistryFile, Resolved, config::Secret};

/// Tell whether a configuration will run, and with what: every value with its default, every source, every leg. Secrets are not shown.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, default_value = "./config.toml")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Reads and checks a configuration file; the passphrase may come from the environment. Relative paths in it begin at its directory.
pub fn load(path: &Path) -> anyhow::Result<Resolved> {
    let directory = path.parent().map_or_else(PathBuf::new, PathBuf::from);
    let named = |error: ConfigError| match error {
        ConfigError::Io { .. } => anyhow::anyhow!("{error}; name your configuration file with --config"),
        error => anyhow::anyhow!("{}: {error}", path.display()),
    };
    let config = Config::load(path).map_err(named)?;
    let mut config = config.resolve(&directory).map_err(named)?;
    config.key_passphrase = config.key_passphrase.or_else(|| super::keygen::passphrase().map(Into::into));
    Ok(config)
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = load(&self.config)?;
        let blockers = blockers(&config);
        let mut warnings = warnings(&config);
        warnings.extend(config.unsupported.iter().map(|source| {
            format!(
                "{} {:?} is not built, or names no second node: unsupported, counts as inactive",
                source.section, source.name
            )
        }));
        if self.json {
            println!("{}", json(&config, &blockers, &warnings));
        } else {
            print(&config, blockers.is_empty());
            blockers.iter().for_each(|blocker| println!("missing: {blocker}"));
            warnings.iter().for_each(|warning| println!("warning: {warning}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the file names and the node cannot start without: a key that opens, and a registry.
fn blockers(config: &Resolved) -> Vec<String> {
    let passphrase = config.key_passphrase.as_ref().map(Secret::expose);
    let key = Keys::load(&config.key_file, passphrase).err().map(|error| error.to_string());
    let registry = RegistryFile::load(&config.registry).and_then(|file| file.registry(&config.registry));
    key.into_iter().chain(registry.err().map(|error| error.to_string())).collect()
}

/// What will not stop the node from starting here, but should be known.
fn warnings(config: &Resolved) -> Vec<String> {
    let mut warnings = Vec::new();
    let registry = RegistryFile::load(&config.registry).and_then(|file| file.registry(&config.registry));
    if let (Ok(keys), Ok(registry)) = (PublicKeys::load(&config.key_file), registry) {
        let (_, epoch) = registry.newest();
        if !epoch.members().iter().any(|member| member.author.to_string() == keys.author) {
            warnings.push(format!("author {} is not in the registry: the node will only follow", keys.author));
        }
    }
    for plan in &config.feeds {
        let priced = plan.graph.legs().iter().filter(|leg| plan.graph.is_price_leg(leg));
        let sources: std::collections::BTreeSet<_> = priced.map(|leg| leg.source).collect();
        let needed = usize::from(config.submission.observe.sources_min);
        if sources.len() < needed {
            let have = sources.len();
            warnings
                .push(format!("{} has {have} supported sources, {needed} are needed to publish it", plan.graph.feed()));
        }
    }
    warnings
}

fn json(config: &Resolved, blockers: &[String], warnings: &[String]) -> serde_json::Value {
    let feeds: Vec<_> = config.feeds.iter().map(|plan| serde_json::json!({
        "feed": plan.graph.feed().to_string(), "expo": plan.expo,
        "legs": plan.graph.legs().iter().map(|leg| serde_json::json!({
            "source": leg.venue, "symbol": leg.symbol, "base": leg.base.to_string(), "quote": leg.quote.to_string(),
            "weight": leg.weight, "priced": plan.graph.is_price_leg(leg),
        })).collect::<Vec<_>>(),
    })).collect();
    serde_json::json!({
        "ok": true, "id": config.id, "feeds": feeds, "missing": blockers, "warnings": warnings,
        "sources": config.exchanges.iter().map(|e| serde_json::json!({"name": e.name, "symbols": e.symbols, "status": "supported"}))
            .chain(config.chains.iter().map(|c| serde_json::json!({
                "name": c.name, "symbols": c.reads.iter().map(|r| &r.symbol).collect::<Vec<_>>(), "status": "supported",
            })))
            .chain(config.unsupported.iter().map(|u| serde_json::json!({"name": u.name, "section": u.section, "status": "unsupported"})))
            .collect::<Vec<_>>(),
        "listen": config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "api_addr": config.api_addr.to_string(), "metrics_addr": config.metrics_addr.to_string(),
    })
}

fn print(config: &Resolved, starts: bool) {
    let verdict =
        if starts { "will run" } else { "is configured, but will not start until what is missing below is there" };
    println!("{} {verdict}", config.id);
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    println!("peers    listens on {}, dials {} addresses", listen.join(" and "), config.dial.len());
    println!("serves   api and page on {}, metrics on {}", config.api_addr, config.metrics_addr);
    println!("store    {}", config.data_dir.display());
    let submission = &config.submission;
    let (interval_s, age_s) = (submission.interval_ms / 1_000, submission.observe.max_age_ms / 1_000);
    println!(
        "submits  every {interval_s} s from at least {} sources no older than {age_s} s",
        submission.observe.sources_min
    );
    for exchange in &config.exchanges {
        println!("source   {:<10} supported, {} markets", exchange.name, exchange.symbols.len());
    }
    for chain in &config.chains {
        println!("source   {:<10} supported, {} contracts", chain.name, chain.reads.len());
    }
    for source in &config.unsupported {
        println!("source   {:<10} unsupported", source.name);
    }
    for plan in &config.feeds {
        println!("feed     {} with {} decimals", plan.graph.feed(), -plan.expo);
        for leg in plan.graph.legs() {
            let use_ = if plan.graph.is_price_leg(leg) { "price" } else { "conversion" };
            println!(
                "           {:<10} {:<10} {}/{} {use_}, weight {}",
                leg.venue, leg.symbol, leg.base, leg.quote, leg.weight
            );
        }
    }
}
