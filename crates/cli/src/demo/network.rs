//! Seven nodes with their own keys, stores, sockets and APIs, fed by simulated exchanges.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use anyhow::Context as _;
use concurrence_exchanges::{Exchange, Fault, ReplayClock, Tape};
use concurrence_node::{
    Config, Keys, Node, Options, RegistryFile,
    net::{PeerAddr, PeerId},
};
use concurrence_sim::Equivocator;

use super::liar::TwoFaced;

/// What a node does. No node is told its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reports what its venues say.
    Honest,
    /// Its venues say 20 % too much.
    High,
    /// Signs different histories for different peers.
    Equivocator,
}

/// One node of the demo.
pub struct Member {
    /// `node-1` to `node-7`.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its author key, hex.
    pub author: String,
    /// Its peer id.
    pub peer: PeerId,
    /// The node.
    pub node: Node,
}

impl Member {
    /// `1` to `7`.
    pub fn number(&self) -> String {
        self.name.trim_start_matches("node-").to_owned()
    }
}

/// The whole demo network.
pub struct Network {
    /// Its nodes.
    pub members: Vec<Member>,
    exchanges: Vec<Exchange>,
    /// What the exchanges replay.
    pub tape: Arc<Tape>,
    /// Where the replay is.
    pub clock: ReplayClock,
    _directory: tempfile::TempDir,
}

/// How the demo network is made.
pub struct Plan {
    /// One for each node.
    pub roles: Vec<Role>,
    /// Where on the tape the replay begins, unix seconds.
    pub start_s: u64,
    /// Recorded seconds in a real one.
    pub speed: u32,
    /// `gossipsub` or `full_mesh`.
    pub broadcast: String,
    /// Port of the first node's API and page; the others take free ones.
    pub page_port: u16,
}

/// By how much the high reporter's venues are off, in millionths.
const HIGH_PPM: u32 = 1_200_000;

impl Network {
    /// Starts venues and nodes and lets the nodes dial one another.
    pub async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no directory for keys and stores")?;
        let tape = Arc::new(Tape::usdc_depeg());
        let clock = ReplayClock::start(plan.start_s, plan.speed);
        let honest = crate::exchange_sim::start(0, clock, 1_000_000, &tape).await?;
        let high = crate::exchange_sim::start(0, clock, HIGH_PPM, &tape).await?;

        let keys: Vec<_> = plan.roles.iter().map(|_| Keys::generate()).collect::<Result<_, _>>()?;
        let registry_path = directory.path().join("registry.toml");
        let mut registry = RegistryFile::init("demo")?;
        for (n, keys) in (1..).zip(&keys) {
            registry.add(&format!("node-{n}"), &keys.public(), 1);
        }
        registry.save(&registry_path, true)?;

        let mut members = Vec::new();
        for (n, (keys, &role)) in keys.iter().zip(&plan.roles).enumerate() {
            let venues = if role == Role::High { &high } else { &honest };
            let port = if n == 0 { plan.page_port } else { 0 };
            let home = directory.path().join(format!("node-{}", n + 1));
            let mut config = write_config(&home, n + 1, keys, venues, plan, port)?;
            if role == Role::High {
                // A liar has no doubts: a price 20 % off is where an honest node begins to mark its own as doubtful.
                config.submission.observe.move_max_ppm = u64::MAX;
            }
            let options = Options { fresh_listen_ms: 0, ..options(role, keys, &registry, &registry_path, n)? };
            let node = Node::start(config, options).await.with_context(|| format!("node-{}", n + 1))?;
            let public = keys.public();
            members.push(Member {
                name: format!("node-{}", n + 1),
                role,
                author: public.author,
                peer: keys.peer_id(),
                node,
            });
        }
        let network =
            Self { members, exchanges: honest.into_iter().chain(high).collect(), tape, clock, _directory: directory };
        network.introduce();
        Ok(network)
    }

    /// Each node dials those before it: one connection a pair.
    fn introduce(&self) {
        for (n, member) in self.members.iter().enumerate() {
            for earlier in &self.members[..n] {
                let tcp = earlier.node.listen_addrs().into_iter().find(|addr| addr.to_string().contains("/tcp/"));
                if let Some(addr) = tcp {
                    member.node.add_dial(PeerAddr { peer: earlier.peer, addr });
                }
            }
        }
    }

    /// Cuts the network: a node admits only those of its own side.
    pub async fn partition(&self, side_of: &[usize]) {
        for (n, member) in self.members.iter().enumerate() {
            let same = self.members.iter().enumerate().filter(|(m, _)| side_of[*m] == side_of[n] && *m != n);
            member.node.set_admitted(same.map(|(_, other)| other.peer).collect()).await;
        }
    }

    /// Lets everyone talk to everyone.
    pub async fn heal(&self) {
        self.partition(&vec![0; self.members.len()]).await;
    }

    /// All venues stop answering: below `min_sources` no node publishes anything.
    pub fn close_venues(&self) {
        self.exchanges.iter().for_each(|exchange| exchange.set_fault(Fault::Status { status: 503 }));
    }

    /// Ends all nodes and venues.
    pub async fn stop(self) {
        futures::future::join_all(self.members.into_iter().map(|member| member.node.shutdown())).await;
        futures::future::join_all(self.exchanges.into_iter().map(Exchange::stop)).await;
    }
}

/// Writes a node's key and configuration as an operator would, and reads them back the same way.
fn write_config(
    home: &Path,
    number: usize,
    keys: &Keys,
    venues: &[Exchange],
    plan: &Plan,
    port: u16,
) -> anyhow::Result<concurrence_node::Resolved> {
    std::fs::create_dir(home)?;
    keys.create(&home.join("oracle-key.json"), None)?;
    let exchanges: String = venues.iter().map(exchange_section).collect();
    let broadcast = &plan.broadcast;
    let text = format!(
        r#"
[oracle]
id = "node-{number}"
key_file = "oracle-key.json"
registry = "../registry.toml"

[network]
listen_addr = "127.0.0.1:0"
broadcast = "{broadcast}"

[submission]
min_sources = 3
max_price_age_seconds = 4
submission_interval_seconds = 1

[aggregation]
window_seconds = 4

[performance]
merge_interval_ms = 200

[monitoring]
metrics_port = 0

[api]
listen_addr = "127.0.0.1:{port}"

[[feeds]]
name = "BTC/USD"
{exchanges}"#
    );
    let path = home.join("config.toml");
    std::fs::write(&path, text)?;
    Ok(Config::load(&path)?.resolve(home)?)
}

fn exchange_section(exchange: &Exchange) -> String {
    let (name, url) = (exchange.venue().to_string().to_lowercase(), exchange.api_url());
    format!(
        "\n[[data_sources.exchanges]]\nname = \"{name}\"\napi_url = \"{url}\"\npoll_interval_ms = 400\nrequests_per_minute = 60000\ntimeout_ms = 1000\n"
    )
}

fn options(role: Role, keys: &Keys, registry: &RegistryFile, path: &Path, n: usize) -> anyhow::Result<Options> {
    if role != Role::Equivocator {
        return Ok(Options::default());
    }
    let (author, evm) = keys.signing_keys();
    let actor = Equivocator::new(author, evm, registry.registry(path)?);
    let others = registry.epochs.iter().flat_map(|epoch| &epoch.members).enumerate();
    // Every other node is told the second history.
    let victims: BTreeSet<PeerId> =
        others.filter(|(m, _)| (m + n).is_multiple_of(2)).filter_map(|(_, m)| m.peer.parse().ok()).collect();
    Ok(Options { transport: Box::new(move |net| Box::new(TwoFaced::new(net, actor, victims))), ..Options::default() })
}
