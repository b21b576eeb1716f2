//! How operations spread through a whole network: in virtual time over links of a given delay, and measured over real sockets.
//!
//! What is measured runs in a network namespace of its own, so that its loopback interface carries nothing else and can be counted.

mod healing;
mod loopback;
mod node;
mod plot;
mod virtual_time;

use std::{
    error::Error,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::Args;
use concurrence_net::Broadcast;

use crate::{
    machine::Machine,
    report::{Report, Row},
};

/// Measures how operations spread, and how the cost of it grows with the network.
#[derive(Args)]
pub(crate) struct Spread {
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Small networks, for seconds: shows that the rows run, not what they come to.
    #[arg(long)]
    quick: bool,
    /// Where the plot of the growth is written.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Count the interface as it is; set by the program when it has made a namespace for itself.
    #[arg(long, hide = true)]
    isolated: bool,
}

/// Sizes and times.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Nodes of the network whose delays are reported.
    nodes: usize,
    /// Sizes of the growing network.
    sizes: &'static [usize],
    /// Between two operations of a node.
    interval: Duration,
    /// Time that counts, once with operations and once without.
    window: (Duration, Duration),
    /// Time for gossip to make its mesh.
    settle: Duration,
    /// Virtual minutes that count.
    minutes: u64,
    /// Virtual minutes of divergence before a network heals.
    apart_minutes: u64,
}

impl Effort {
    const FULL: Self = Self {
        nodes: 31,
        sizes: &[7, 15, 31, 63],
        interval: TICK,
        window: (Duration::from_secs(40), Duration::from_secs(10)),
        settle: Duration::from_secs(5),
        minutes: 2,
        apart_minutes: 60,
    };

    /// What `--quick` and the tests run.
    pub(crate) const QUICK: Self = Self {
        nodes: 4,
        sizes: &[3, 4],
        interval: Duration::from_secs(1),
        window: (Duration::from_secs(3), Duration::from_secs(1)),
        settle: Duration::from_secs(2),
        minutes: 1,
        apart_minutes: 1,
    };
}

/// The node's default between two batches.
const TICK: Duration = Duration::from_secs(5);

/// How far above one path delay the slowest operation in a hundred may be at the last node, in milliseconds.
const AIM_MS: f64 = 5.0;

/// One-way delays of the simulated links, in milliseconds.
const DELAYS_MS: [u64; 3] = [0, 50, 150];

impl Spread {
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        if !self.isolated {
            return Err(isolate().into());
        }
        let effort = if self.quick { Effort::QUICK } else { Effort::FULL };
        let machine = Machine::here(self.quick);
        let (rows, growth) = measure(effort)?;
        if let Some(path) = &self.plot {
            plot::draw(path, &growth)?;
        }
        let report = Report { machine, beside: "least", rows };
        if self.json {
            println!("{}", serde_json::json!({ "report": report, "growth": growth }));
        } else {
            print!("{report}\n{}", plot::Table(&growth));
        }
        Ok(())
    }
}

/// Measures everything, and says on standard error how far it is.
pub(crate) fn measure(effort: Effort) -> Result<(Vec<Row>, Vec<Grown>), Box<dyn Error>> {
    let mut rows = Vec::new();
    for delay_ms in DELAYS_MS {
        eprintln!("simulating links of {delay_ms} ms");
        rows.extend(virtual_time::spread(effort.nodes, delay_ms, effort.minutes));
    }
    eprintln!("simulating a divergence");
    rows.extend(healing::heal(effort.apart_minutes));
    let mut growth = Vec::new();
    for broadcast in [Broadcast::FullMesh, Broadcast::Gossipsub] {
        for &nodes in effort.sizes {
            eprintln!("measuring {nodes} nodes, {}", name(broadcast));
            let measured = loopback::measure(nodes, broadcast, effort)?;
            if nodes == effort.nodes {
                rows.extend(measured.rows());
            }
            growth.push(measured.grown());
        }
    }
    Ok((rows, growth))
}

/// What one size of network costs, a node and second.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Grown {
    pub(crate) nodes: usize,
    pub(crate) broadcast: &'static str,
    /// Operations that all nodes write, a second.
    pub(crate) ops: f64,
    /// Frames and gossip messages that a node was sent.
    pub(crate) messages: f64,
    /// Frames and messages lost by all nodes in the whole time: queues that were full, connections that ended.
    pub(crate) lost: u64,
    /// Packets that a node sent on the wire.
    pub(crate) packets: f64,
    /// Bytes that a node sent on the wire.
    pub(crate) bytes: f64,
    /// Of these bytes, what every node needs of the operations: each once.
    pub(crate) bytes_least: f64,
    /// Processor time of a node, in milliseconds.
    pub(crate) cpu_ms: f64,
    /// The same while nobody writes.
    pub(crate) idle_cpu_ms: f64,
    /// Until the last node held an operation, p50 and p99, in milliseconds.
    pub(crate) all_ms: (f64, f64),
}

fn name(broadcast: Broadcast) -> &'static str {
    match broadcast {
        Broadcast::FullMesh => "full mesh",
        Broadcast::Gossipsub => "gossipsub",
    }
}

/// Runs this program again in a network namespace with nothing but a loopback interface. Returns only if that fails.
fn isolate() -> io::Error {
    let script = "ip link set lo up && exec \"$0\" \"$@\" --isolated";
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error,
    };
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", script]).arg(own).args(std::env::args_os().skip(1));
    let error = command.exec();
    io::Error::new(error.kind(), format!("unshare (util-linux) and ip (iproute2) are needed: {error}"))
}

/// Bytes and packets that the loopback interface has carried.
fn carried() -> io::Result<(u64, u64)> {
    let text = std::fs::read_to_string(Path::new("/proc/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    let mut numbers = line.unwrap_or_default().split_whitespace().map(|number| number.parse().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}

/// The value below which so many in a hundred lie. At least one value.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[at.min(sorted.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row checks by itself that every operation is everywhere; how fast is not tested.
    #[test]
    fn a_small_network_can_be_measured_and_drawn() {
        let (rows, growth) = measure(Effort { sizes: &[4], ..Effort::QUICK }).unwrap();
        assert!(rows.len() >= 20 && growth.len() == 2, "{rows:?} {growth:?}");
        assert!(rows.iter().all(|row| row.ours.value.is_finite() && row.ours.value >= 0.0), "{rows:?}");
        let file = tempfile::NamedTempFile::new().unwrap();
        plot::draw(file.path(), &growth).unwrap();
        let drawing = std::fs::read_to_string(file.path()).unwrap();
        assert!(drawing.contains("full mesh") && drawing.contains("gossipsub"));
        assert_eq!(plot::Table(&growth).to_string().lines().count(), 4);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<_> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 50), 100.0);
        assert_eq!(percentile(&values, 99), 198.0);
        assert_eq!(percentile(&values[..1], 99), 1.0);
    }
}
