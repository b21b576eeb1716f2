//! Real processes on hosts of their own, between which packets are lost, delayed and cut, and strangers and intruders do their worst
//! (SYNC-1, NET-1, NET-2).

use std::{
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use concurrence_exchanges::{Exchange, ExchangeConfig, ReplayClock, Tape, TimeMode, Venue};
use concurrence_net::{identity::Keypair, parse_peer};
use concurrence_node::RegistryFile;
use serde_json::Value;

use crate::{
    harness::{Bench, Extra, Process},
    intruder::{Misuse, misuse},
    lab::{DELAYED, FORWARDER, Lab, VENUES, inside, samples, until},
};

/// Members, each on a host of its own.
const ALL: [usize; 4] = [0, 1, 2, 3];
/// The host of strangers and intruders.
const STRANGER: usize = 4;
/// Within this everything must have healed: a session that fell silent is closed after 10 s, redialled within 5 s, and a pull may time out
/// once.
const HEALS: Duration = Duration::from_secs(45);
/// How long each fault lasts: longer than the 10 s after which a silent session is closed.
const FAULT: Duration = Duration::from_secs(13);

/// A network of members on hosts of their own.
struct Network {
    lab: Lab,
    bench: Bench,
    extra: Extra,
    /// Where the delayed member is reached.
    forwarder: u16,
    _venues: mpsc::Sender<()>,
}

impl Network {
    fn new(observers: Vec<String>) -> Self {
        let lab = Lab::new(5);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut bench = runtime.block_on(Bench::new(ALL.len()));
        let (venues, running) = venues(&lab);
        bench.venues = venues;
        let forwarder = lab.forward(DELAYED, bench.members[DELAYED].p2p_port);
        Self { lab, bench, extra: Extra { observers, ..Extra::default() }, forwarder, _venues: running }
    }

    /// Starts a member on its host. The delayed one dials nobody, so that every byte to and from it is delayed.
    fn start(&self, m: usize) -> Process {
        let dial_only = (m == DELAYED).then(Vec::new);
        let path = self.bench.write_config(m, &Extra { dial_only, ..self.extra.clone() });
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (n, member) in self.bench.members.iter().enumerate() {
            let (host, port) = match n == DELAYED {
                true => (FORWARDER, self.forwarder),
                false => (self.lab.addr(n), member.p2p_port),
            };
            let dialled = format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", member.p2p_port, member.peer);
            text = text.replace(&dialled, &format!("/ip4/{host}/tcp/{port}/p2p/{}", member.peer));
        }
        let port = self.bench.members[m].p2p_port;
        let listen = format!("listen_addr = \"127.0.0.1:{port}\"");
        assert!(text.contains(&listen), "{text}");
        text = text.replace(&listen, &format!("listen_addr = \"{}:{port}\"", self.lab.addr(m)));
        std::fs::write(&path, text).unwrap();
        let mut command = self.lab.command(m, env!("CARGO_BIN_EXE_oracle-node"));
        Process::start(command.args(["run", "--override-recovery", "--config"]).arg(path))
    }

    fn get(&self, m: usize, path: &str) -> Option<String> {
        self.lab.get(m, self.bench.members[m].api_port, path)
    }

    fn frontier(&self, m: usize) -> Option<Value> {
        serde_json::from_str(&self.get(m, "/v1/frontier")?).ok()
    }

    fn len_of(&self, m: usize, of: usize) -> u64 {
        let Some(frontier) = self.frontier(m) else { return 0 };
        let logs = frontier["logs"].as_array().cloned().unwrap_or_default();
        let own = logs.iter().filter(|log| log["author"] == self.bench.members[of].author);
        own.filter_map(|log| log["len"].as_u64()).sum()
    }

    /// How late the delayed member's word comes to member 0: both have one clock.
    fn delay_ms(&self) -> i64 {
        let peers: Value = serde_json::from_str(&self.get(0, "/v1/peers").unwrap()).unwrap();
        let delayed = &self.bench.members[DELAYED].peer;
        let peer = peers["peers"].as_array().unwrap().iter().find(|peer| peer["peer"] == *delayed).unwrap();
        -peer["clock_offset_ms"].as_i64().unwrap()
    }

    /// Every member of a group comes to hold operations of every other that are written from now on.
    fn lives(&self, what: &str, group: &[usize]) {
        let goals: Vec<_> = group.iter().map(|&of| (of, self.len_of(of, of) + 2)).collect();
        until(what, HEALS, || group.iter().all(|&m| goals.iter().all(|&(of, len)| self.len_of(m, of) >= len)));
    }

    fn metrics(&self, m: usize) -> String {
        self.get(m, "/metrics").unwrap_or_default()
    }

    fn value(&self, m: usize, metric: &str) -> f64 {
        let page = self.metrics(m);
        let samples = samples(&page, metric);
        samples.iter().filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    fn bans(&self, m: usize) -> Vec<String> {
        samples(&self.metrics(m), "oracle_peer_bans_total{").into_iter().collect()
    }

    /// NET-2: nobody has banned anybody.
    fn nobody_is_banned(&self) {
        ALL.iter().for_each(|&m| assert_eq!(self.bans(m), Vec::<String>::new(), "NET-2: member {m}"));
    }

    /// SYNC-1: nobody writes any more, and all hold the same.
    fn settles(&self) {
        self.bench.set_venues(false);
        let is_quiet =
            |m: &usize| samples(&self.metrics(*m), "oracle_active_sources{").iter().all(|l| l.ends_with(" 0.0"));
        until("nobody has fresh sources", HEALS, || ALL.iter().all(is_quiet));
        until("equal digests", HEALS, || {
            let digests: Vec<_> = ALL.iter().map(|&m| Some(self.frontier(m)?["digest"].clone())).collect();
            digests[0].is_some() && digests.iter().all(|digest| *digest == digests[0])
        });
        self.bench.set_venues(true);
    }
}

/// Three venues on the hub, which run until what is returned beside them is dropped.
fn venues(lab: &Lab) -> (Vec<Exchange>, mpsc::Sender<()>) {
    let (sender, started) = mpsc::channel();
    let (running, ended) = mpsc::channel::<()>();
    inside(lab.hub(), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tape = Arc::new(Tape::usdc_depeg());
        let clock = ReplayClock::start(1_678_516_200, 1);
        let mut venues = Vec::new();
        for venue in [Venue::Binance, Venue::Coinbase, Venue::Kraken] {
            let (listen, tape) = (SocketAddr::from((VENUES, 0)), Arc::clone(&tape));
            let config = ExchangeConfig { venue, listen, tape, clock, time_mode: TimeMode::Wall, price_ppm: 1_000_000 };
            venues.push(runtime.block_on(Exchange::start(config)).unwrap());
        }
        sender.send(venues).unwrap();
        ended.recv().ok(); // an error is the end
    });
    (started.recv().unwrap(), running)
}

fn last(time: Duration) {
    std::thread::sleep(time); // the fault itself; what follows waits for a condition
}

/// Loss of 30 %, a delay of 150 to 200 ms each way to one member, a partition and one that cuts one direction only: the members go on,
/// become equal when it is over, and ban nobody.
#[test]
fn loss_delay_and_partitions_heal_and_nobody_is_banned() {
    let network = Network::new(Vec::new());
    let _members = ALL.map(|m| network.start(m));
    network.lives("all publish, one of them 150 ms away", &ALL);
    let delay_ms = network.delay_ms();
    // A frame also waits until the request before it is acknowledged.
    assert!((130..3_000).contains(&delay_ms), "{delay_ms} ms");

    ALL.iter().for_each(|&m| network.lab.lose(m, 30));
    network.lives("all hear all while 30 % of packets are lost", &ALL);
    last(FAULT);
    network.nobody_is_banned();
    let lost = ALL.map(|m| network.lab.lost(m));
    assert!(lost.iter().all(|&packets| packets > 50), "packets lost: {lost:?}");
    ALL.iter().for_each(|&m| network.lab.heal(m));

    for m in [0, 1] {
        network.lab.cut(m, &[2, DELAYED], true);
    }
    let before = network.len_of(0, 2);
    last(FAULT);
    let (alone, there) = (network.len_of(0, 2), network.len_of(2, 2));
    assert!(there > before + 5 && alone <= before + 2, "the cut leaks: {before}, then {alone} of {there}");
    network.lives("each side goes on", &[0, 1]);
    for m in [0, 1] {
        network.lab.heal(m);
    }
    network.lives("the cut heals", &ALL);

    network.lab.cut(2, &[0, 1, DELAYED], false);
    last(FAULT);
    let (heard, written) = (network.len_of(2, 0), network.len_of(0, 0));
    assert!(written > heard + 5, "member 2 hears through the cut: {heard} of {written}");
    network.lab.heal(2);
    network.lives("the one-way cut heals", &ALL);
    network.settles();
    network.nobody_is_banned();
}

/// Hundreds of half-open handshakes of a stranger, then observers that flood: members go on and get in, sockets and memory stay bounded, the
/// guilty are banned by who they did it to, and nobody else is.
#[test]
fn strangers_and_intruders_harm_nobody() {
    let keys: Vec<_> = (0..3).map(|_| Keypair::generate_ed25519()).collect();
    let network = Network::new(keys.iter().map(|key| key.public().to_peer_id().to_string()).collect());
    let mut members = ALL.map(|m| network.start(m));
    network.lives("all publish", &ALL);

    let victim = SocketAddr::from((network.lab.addr(0), network.bench.members[0].p2p_port));
    let (stop, stopped) = mpsc::channel::<()>();
    let flood = inside(network.lab.space(STRANGER), move || {
        let (mut held, mut opened) = (std::collections::VecDeque::new(), 0_u64);
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            if let Ok(open) = TcpStream::connect_timeout(&victim, Duration::from_millis(200)) {
                opened += 1;
                held.push_back(open);
            }
            // Each is left half-open; no more of them than a process may have.
            if held.len() > 400 {
                held.pop_front();
            }
        }
        opened
    });
    until("the flood is refused", HEALS, || {
        network.value(0, "oracle_refusals_total{reason=\"connection_limit\"}") > 300.0
    });
    members[1].signal(rustix::process::Signal::KILL);
    members[1] = network.start(1);
    network.lives("a member that restarts gets in, and all go on", &ALL);
    let (files, memory) = (network.lab.open_files(0), network.value(0, "process_resident_memory_bytes"));
    stop.send(()).unwrap();
    println!("{} connections of a stranger: {files} files open, {memory} bytes", flood.join().unwrap());
    assert!(files < 200, "{files} open files");
    assert!(memory < 300e6, "{memory} bytes");
    network.nobody_is_banned();

    let file = network.bench.dir.path().join("registry.toml");
    for (key, how) in keys.into_iter().zip([Misuse::Garbage, Misuse::StaleOps, Misuse::Pulls]) {
        let registry = RegistryFile::load(&file).unwrap().registry(&file).unwrap();
        let target = format!("/ip4/{}/tcp/{}/p2p/{}", victim.ip(), victim.port(), network.bench.members[0].peer);
        let target = parse_peer(&target).unwrap();
        let started = Instant::now();
        let thrown_out = inside(network.lab.space(STRANGER), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(misuse(key, &registry, target, how))
        });
        let sent = thrown_out.join().unwrap();
        println!("{how:?}: thrown out after {} ms and {sent} frames", started.elapsed().as_millis());
        network.lives("members go on", &ALL);
    }
    let expected = ["oracle_peer_bans_total{fault=\"flood\"} 2", "oracle_peer_bans_total{fault=\"frame\"} 1"];
    assert_eq!(network.bans(0), expected, "NET-2");
    for m in [1, 2, DELAYED] {
        assert_eq!(network.bans(m), Vec::<String>::new(), "NET-2: member {m} had no part in it");
    }
    assert!(network.value(0, "oracle_peers_banned") > 0.0, "the last ones are still kept away");
    network.settles();
}
