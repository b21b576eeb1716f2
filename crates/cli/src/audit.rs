//! `oracle-node audit`

use std::{path::PathBuf, process::ExitCode};

use concurrence_node::{AuditOptions, audit};

/// Verify again what a node stored, and ask its sources once. Without options it does both. Stop the node first: its store is locked while
/// it runs.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, default_value = "./config.toml")]
    config: PathBuf,
    /// Ask every configured source for every market.
    #[arg(long)]
    check_sources: bool,
    /// Verify every stored operation, proof and signature, and the state that follows from them.
    #[arg(long)]
    verify_attestations: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// There was nothing to verify.
const EXIT_NOTHING: u8 = 3;

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = super::check_config::load(&self.config)?;
        let both = !self.check_sources && !self.verify_attestations;
        let options = AuditOptions {
            check_sources: both || self.check_sources,
            verify_attestations: both || self.verify_attestations,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(audit(&config, options))?;
        runtime.shutdown_background();
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{} verified, {} findings", report.verified, report.findings.len());
            if report.ok && report.verified == 0 {
                println!("nothing to verify: no operation is stored in {}", config.data_dir.display());
            }
            for finding in &report.findings {
                println!("  {} {}: {}", finding.kind, finding.subject, finding.detail);
            }
        }
        Ok(match (report.ok, report.verified) {
            (false, _) => ExitCode::FAILURE,
            (true, 0) => ExitCode::from(EXIT_NOTHING),
            (true, _) => ExitCode::SUCCESS,
        })
    }
}
