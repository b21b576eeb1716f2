//! Hosts with real network stacks of their own: Linux network namespaces on one bridge, and faults between them.
//!
//! Needs root, iproute2 and nftables; `cargo xtask test` installs the latter two. Without them the test fails and says so.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces that are gone when it is dropped, also by a panic.
pub struct Lab {
    tag: String,
    hosts: usize,
}

/// Where the hub's services are reached: venues, which no fault touches.
pub const VENUES: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 253);
/// The hub's other address: forwarders that delay.
pub const FORWARDER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
/// Delay of a forwarder each way, and what jitter adds at most.
const DELAY_MS: u64 = 150;
const JITTER_MS: u64 = 50;

impl Lab {
    /// A hub and so many hosts; each has one link to the hub.
    pub fn new(hosts: usize) -> Self {
        assert!(rustix::process::geteuid().is_root(), "network namespaces need root: run these tests as root");
        for tool in ["ip", "nft"] {
            let found = Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
            assert!(found.is_ok(), "{tool} is missing: cargo xtask test installs iproute2 and nftables (as root)");
        }
        static LABS: AtomicUsize = AtomicUsize::new(0);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let lab = Self { tag: format!("cn{}-{number}", std::process::id()), hosts };
        let hub = lab.hub();
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link add br0 type bridge"));
        // The first address is the one that connections from the hub come from: forwarders'.
        ip(&format!("-n {hub} addr add {FORWARDER}/24 dev br0"));
        ip(&format!("-n {hub} addr add {VENUES}/24 dev br0"));
        ip(&format!("-n {hub} link set br0 up"));
        ip(&format!("-n {hub} link set lo up"));
        for n in 0..hosts {
            let space = lab.space(n);
            ip(&format!("netns add {space}"));
            ip(&format!("link add port{n} netns {hub} type veth peer name eth0 netns {space}"));
            ip(&format!("-n {hub} link set port{n} master br0 up"));
            ip(&format!("-n {space} addr add {}/24 dev eth0", lab.addr(n)));
            ip(&format!("-n {space} link set eth0 up"));
            ip(&format!("-n {space} link set lo up"));
        }
        lab
    }

    /// Name of the namespace of a host.
    pub fn space(&self, host: usize) -> String {
        format!("{}-{host}", self.tag)
    }

    /// Name of the hub's namespace.
    pub fn hub(&self) -> String {
        format!("{}-hub", self.tag)
    }

    /// Address of a host.
    pub fn addr(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, u8::try_from(host + 1).unwrap())
    }

    /// A command that runs on a host.
    pub fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(host), program]);
        command
    }

    /// Loses so many of a hundred packets that come to a host from others, and from forwarders.
    pub fn lose(&self, host: usize, percent: u8) {
        self.rules(
            host,
            &format!(
                "{} numgen random mod 100 < {percent} counter drop",
                self.from(&(0..self.hosts).collect::<Vec<_>>())
            ),
            "",
        );
    }

    /// Packets that a host's rule of loss has dropped.
    pub fn lost(&self, host: usize) -> u64 {
        let rules = self.command(host, "nft").args(["list", "ruleset"]).output().unwrap().stdout;
        let rules = String::from_utf8(rules).unwrap();
        let counted = rules.split_once("counter packets ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        counted.unwrap_or(0)
    }

    /// A host hears nothing of these others; `both_ways` neither do they of it. Forwarders count as the last host.
    pub fn cut(&self, host: usize, others: &[usize], both_ways: bool) {
        let from = self.from(others);
        let to = if both_ways { format!("{} drop", from.replace("saddr", "daddr")) } else { String::new() };
        self.rules(host, &format!("{from} drop"), &to);
    }

    /// Takes a host's faults away.
    pub fn heal(&self, host: usize) {
        self.rules(host, "", "");
    }

    fn from(&self, others: &[usize]) -> String {
        let mut addrs: Vec<_> = others.iter().map(|&other| self.addr(other).to_string()).collect();
        if others.contains(&DELAYED) {
            addrs.push(FORWARDER.to_string());
        }
        format!("ip saddr {{ {} }}", addrs.join(", "))
    }

    fn rules(&self, host: usize, input: &str, output: &str) {
        let table = format!(
            "flush ruleset\ntable inet lab {{\n chain in {{ type filter hook input priority 0; {input}\n }}\n \
             chain out {{ type filter hook output priority 0; {output}\n }}\n}}\n"
        );
        let mut nft = self.command(host, "nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "nft refused:\n{table}");
    }

    /// What a web server on a host's loopback answers; `None` if it does not.
    pub fn get(&self, host: usize, port: u16, path: &str) -> Option<String> {
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = inside(self.space(host), move || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer.split_once("\r\n\r\n")?.1.to_owned())
        });
        answer.join().unwrap()
    }

    /// Open files of all processes on a host.
    pub fn open_files(&self, host: usize) -> usize {
        let pids = Command::new("ip").args(["netns", "pids", &self.space(host)]).output().unwrap().stdout;
        let pids = String::from_utf8(pids).unwrap();
        let count = |pid: &str| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        pids.split_whitespace().map(count).sum()
    }

    /// Starts to forward connections to a host's port, each byte delayed and none overtaking another; the forwarder's port.
    pub fn forward(&self, host: usize, port: u16) -> u16 {
        let (sender, bound) = mpsc::channel();
        let to = SocketAddr::from((self.addr(host), port));
        inside(self.hub(), move || {
            let listener = TcpListener::bind((FORWARDER, 0)).unwrap();
            sender.send(listener.local_addr().unwrap().port()).unwrap();
            while let Ok((inbound, _)) = listener.accept() {
                std::thread::spawn(move || {
                    let Ok(outbound) = TcpStream::connect_timeout(&to, Duration::from_secs(5)) else { return };
                    let (back, forth) = (inbound.try_clone().unwrap(), outbound.try_clone().unwrap());
                    delay(inbound, outbound);
                    delay(forth, back);
                });
            }
        });
        bound.recv().unwrap()
    }
}

/// The host that is reached through forwarders only, which have an address of their own.
pub const DELAYED: usize = 3;

impl Drop for Lab {
    fn drop(&mut self) {
        let spaces = (0..self.hosts).map(|host| self.space(host)).chain([self.hub()]);
        spaces.for_each(|space| drop(Command::new("ip").args(["netns", "del", &space]).status()));
    }
}

/// Runs something on a thread that lives in a namespace, as do all threads that it starts.
pub fn inside<T: Send + 'static>(space: String, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(move || {
        let handle = std::fs::File::open(format!("/run/netns/{space}")).unwrap();
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&handle), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    })
}

/// Copies what comes in to where it goes, later.
fn delay(mut from: TcpStream, mut to: TcpStream) {
    let (sender, chunks) = mpsc::sync_channel::<(Instant, Vec<u8>)>(1_024);
    std::thread::spawn(move || {
        let mut chunk = vec![0; 16 * 1024];
        for n in 0.. {
            match from.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(len) => {
                    let due = Instant::now() + Duration::from_millis(DELAY_MS + n * 37 % (JITTER_MS + 1));
                    if sender.send((due, chunk[..len].to_vec())).is_err() {
                        break;
                    }
                }
            }
        }
    });
    std::thread::spawn(move || {
        for (due, chunk) in chunks {
            std::thread::sleep(due.saturating_duration_since(Instant::now())); // the delay itself
            if to.write_all(&chunk).is_err() {
                break;
            }
        }
        to.shutdown(std::net::Shutdown::Both).ok();
    });
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Waits for a condition within a bound, and prints how long it took.
pub fn until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < bound, "{what}: not within {bound:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{what}: {} ms", started.elapsed().as_millis());
}

/// Values of all samples of a metric, by their labels.
pub fn samples(page: &str, metric: &str) -> BTreeSet<String> {
    page.lines().filter(|line| line.starts_with(metric)).map(str::to_owned).collect()
}
