//! Real processes of the real program, from configuration files, on loopback.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use concurrence_exchanges::{Exchange, ExchangeConfig, Fault, ReplayClock, Tape, TimeMode, Venue};
use concurrence_node::RegistryFile;
use concurrence_oracle::Registry;
use serde_json::Value;

/// Within this everything a test waits for must have come true.
pub const BOUND: Duration = Duration::from_secs(15);

/// A network's directory: registry, keys and configurations, and the venues that feed it.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub venues: Vec<Exchange>,
    pub members: Vec<Member>,
}

/// One member of the network, running or not.
pub struct Member {
    pub name: String,
    pub home: PathBuf,
    pub author: String,
    pub peer: String,
    pub p2p_port: u16,
    pub api_port: u16,
    /// Where others dial it; a proxy's port where it is to be cut off.
    pub dialled_port: u16,
}

/// What a configuration says beside the defaults of these tests.
#[derive(Clone, Default)]
pub struct Extra {
    /// Peers that may connect without being members.
    pub observers: Vec<String>,
    /// Ports to dial other members at, where not their own.
    pub dial_ports: BTreeMap<usize, u16>,
    /// Only these members are dialled; all others if empty.
    pub dial_only: Option<Vec<usize>>,
    /// Addresses to dial beside the members'.
    pub dial_also: Vec<String>,
    /// `submission.min_sources`.
    pub min_sources: Option<u8>,
    /// The `[[feeds]]` tables; BTC/USD if there are none.
    pub feeds: Option<&'static str>,
}

/// A running process; killed when dropped.
pub struct Process {
    child: Child,
    stderr: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// A network of `n` members with their keys and registry, and three venues.
    pub async fn new(n: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tape = Arc::new(Tape::usdc_depeg());
        let clock = ReplayClock::start(1_678_516_200, 1);
        let mut venues = Vec::new();
        for venue in [Venue::Binance, Venue::Coinbase, Venue::Kraken] {
            let (listen, tape) = (SocketAddr::from(([127, 0, 0, 1], 0)), Arc::clone(&tape));
            let config = ExchangeConfig { venue, listen, tape, clock, time_mode: TimeMode::Wall, price_ppm: 1_000_000 };
            venues.push(Exchange::start(config).await.unwrap());
        }
        let registry = dir.path().join("registry.toml");
        done(oracle_node().args(["registry", "init", "--network", "test", "--file"]).arg(&registry));
        let mut members = Vec::new();
        for m in 0..n {
            let (name, home) = (format!("node-{m}"), dir.path().join(format!("node-{m}")));
            std::fs::create_dir(&home).unwrap();
            let key = home.join("oracle-key.json");
            let keys = done(oracle_node().args(["keygen", "--json", "--output"]).arg(&key));
            let keys: Value = serde_json::from_slice(&keys).unwrap();
            done(
                oracle_node()
                    .args(["registry", "add", "--name", &name, "--key"])
                    .arg(&key)
                    .arg("--file")
                    .arg(&registry),
            );
            let text = |field: &str| keys[field].as_str().unwrap().to_owned();
            let (p2p_port, api_port) = (free_port(), free_port());
            let (author, peer) = (text("author"), text("peer"));
            members.push(Member { name, home, author, peer, p2p_port, api_port, dialled_port: p2p_port });
        }
        Self { dir, venues, members }
    }

    /// Who belongs to the network.
    pub fn registry(&self) -> Registry {
        let path = self.dir.path().join("registry.toml");
        RegistryFile::load(&path).unwrap().registry(&path).unwrap()
    }

    /// Writes a member's configuration file.
    pub fn write_config(&self, m: usize, extra: &Extra) -> PathBuf {
        let member = &self.members[m];
        let peers = self
            .members
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != m && extra.dial_only.as_ref().is_none_or(|only| only.contains(other)));
        let peers = peers.map(|(n, other)| {
            let port = extra.dial_ports.get(&n).copied().unwrap_or(other.dialled_port);
            format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", other.peer)
        });
        let peers = peers.chain(extra.dial_also.iter().cloned()).map(|addr| format!("\"{addr}\""));
        let peers: Vec<_> = peers.collect();
        let observers: Vec<_> = extra.observers.iter().map(|peer| format!("\"{peer}\"")).collect();
        let exchanges: String = self.venues.iter().map(exchange_section).collect();
        let text = format!(
            "[oracle]\nid = \"{}\"\nkey_file = \"oracle-key.json\"\nregistry = \"../registry.toml\"\n\n\
             [network]\nlisten_addr = \"127.0.0.1:{}\"\nbootstrap_peers = [{}]\nobservers = [{}]\n\n\
             [submission]\nsubmission_interval_seconds = 1\nmax_price_age_seconds = 4\nmin_sources = {}\n\n\
             [performance]\nmerge_interval_ms = 200\n\n[monitoring]\nmetrics_port = 0\n\n\
             [api]\nlisten_addr = \"127.0.0.1:{}\"\n\n{}{exchanges}",
            member.name,
            member.p2p_port,
            peers.join(", "),
            observers.join(", "),
            extra.min_sources.unwrap_or(3),
            member.api_port,
            extra.feeds.unwrap_or("[[feeds]]\nname = \"BTC/USD\"\n"),
        );
        let path = member.home.join("config.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a member that vouches for its key, so that it need not listen first.
    pub fn start(&self, m: usize, extra: &Extra) -> Process {
        let config = self.write_config(m, extra);
        Process::start(oracle_node().args(["run", "--override-recovery", "--config"]).arg(config))
    }

    /// Starts a member as an operator does.
    pub fn start_plainly(&self, m: usize, extra: &Extra) -> Process {
        let config = self.write_config(m, extra);
        Process::start(oracle_node().args(["run", "--config"]).arg(config))
    }

    /// All venues answer 503, or answer again.
    pub fn set_venues(&self, open: bool) {
        let fault = if open { Fault::None } else { Fault::Status { status: 503 } };
        self.venues.iter().for_each(|venue| venue.set_fault(fault));
    }

    /// Asks a member's API.
    pub async fn get(&self, m: usize, path: &str) -> Option<Value> {
        get(self.members[m].api_port, path).await
    }

    /// A member's frontier digest.
    pub async fn digest(&self, m: usize) -> Option<String> {
        Some(self.get(m, "/v1/frontier").await?["digest"].as_str()?.to_owned())
    }

    /// Length of one author's log as a member sees it; 0 if it is not admitted.
    pub async fn len_of(&self, m: usize, author: &str) -> u64 {
        let Some(frontier) = self.get(m, "/v1/frontier").await else { return 0 };
        let logs = frontier["logs"].as_array().cloned().unwrap_or_default();
        logs.iter().filter(|log| log["author"] == author).filter_map(|log| log["len"].as_u64()).sum()
    }

    /// Waits until these members have equal digests, with nothing published any more.
    pub async fn wait_equal(&self, members: &[usize]) -> Duration {
        let started = Instant::now();
        wait("equal digests", || async {
            let mut digests = Vec::new();
            for &m in members {
                digests.push(self.digest(m).await);
            }
            digests[0].is_some() && digests.iter().all(|digest| *digest == digests[0])
        })
        .await;
        started.elapsed()
    }
}

impl Process {
    /// Starts a command and keeps what it writes to standard error.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&stderr));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line)));
        Self { child, stderr }
    }

    /// Sends a signal to this very process.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the process ends.
    pub async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < 2 * BOUND, "still running; it said: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it wrote to standard error so far.
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program under test.
pub fn oracle_node() -> Command {
    Command::new(env!("CARGO_BIN_EXE_oracle-node"))
}

/// Runs a command that must succeed; its standard output.
pub fn done(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a command that must fail; its exit code and standard error.
pub fn fails(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{command:?} panicked: {said}");
    (output.status.code().unwrap_or(-1), said)
}

/// Waits for a condition, at most [`BOUND`], and prints how long it took.
pub async fn wait<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < BOUND, "{what}: not within {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{what}: {} ms", started.elapsed().as_millis());
}

/// Asks an API on loopback; `None` if it does not answer with JSON.
pub async fn get(port: u16, path: &str) -> Option<Value> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.ok()?;
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn exchange_section(exchange: &Exchange) -> String {
    let (name, url) = (exchange.venue().to_string().to_lowercase(), exchange.api_url());
    format!(
        "\n[[data_sources.exchanges]]\nname = \"{name}\"\napi_url = \"{url}\"\npoll_interval_ms = 400\nrequests_per_minute = 60000\ntimeout_ms = 1000\n"
    )
}

/// Copies a directory's files, not its lock files.
pub fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
