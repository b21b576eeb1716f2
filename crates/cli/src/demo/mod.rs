//! `oracle-node demo`

mod liar;
mod network;
mod screen;
mod statuses;
mod verdict;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use rand_core::{Rng as _, SeedableRng as _};

use self::{
    network::{Network, Plan, Role},
    screen::Screen,
    verdict::Verdict,
};

/// Watch seven oracles, two of them lying, agree on real prices through partitions.
///
/// Five honest nodes, one whose venues say 20 % too much, and one that signs different histories for different peers, each with its own keys,
/// store and sockets on loopback, fed by simulated exchanges that replay the USDC de-peg of March 2023. Every ten seconds the network is cut
/// (6|1, 5|2 and 3|4 in turn) and heals again. A side that still counts more than two thirds of the weight stays ok; with more than half it is
/// degraded, with less it halts; every side goes on writing. At the end the venues close, and every honest node must hold the same history and
/// accuse exactly the liars.
#[derive(clap::Args)]
pub struct Args {
    /// How long, in seconds; at least 12, one partition.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(12..=86_400))]
    duration: u64,
    /// Who lies and who is cut off; the same seed, the same roles.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many lie: 0 nobody, 1 the high reporter, 2 the equivocator too.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    liars: u8,
    /// Recorded seconds in a real one.
    #[arg(long, default_value_t = 20)]
    speed: u32,
    /// How operations spread: gossipsub or full_mesh.
    #[arg(long, default_value = "gossipsub", value_parser = ["gossipsub", "full_mesh"])]
    broadcast: String,
    /// Port of the page on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    page_port: u16,
    /// End with one line of JSON; the table goes to standard error.
    #[arg(long)]
    json: bool,
    /// Log what the nodes log, at this level, to standard error.
    #[arg(long)]
    log: Option<String>,
}

/// Nodes of the demo.
const NODES: usize = 7;
/// Time from one partition to the next.
const CYCLE: Duration = Duration::from_secs(10);
/// When in a cycle the network is cut, and when it heals: three seconds longer than the demo's window, so that the cut shows.
const CUT: Duration = Duration::from_secs(2);
const HEAL: Duration = Duration::from_secs(9);
/// Sizes of the smaller side, in turn: 6|1, 5|2, 3|4.
const SMALL_SIDES: [usize; 3] = [1, 2, 3];
/// Ctrl-C or SIGTERM before the end, by the shells' convention of 128 and the number of SIGINT.
const EXIT_STOPPED: u8 = 130;
/// How long the nodes may take to become equal after the venues closed, quotes having to age out first.
const SETTLE: Duration = Duration::from_secs(20);

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(level) = &self.log {
            crate::run::log_to_stderr(level);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // Told to stop, it stops at once: keys and stores are in a temporary directory, so nothing can be lost.
        let verdict = runtime.block_on(async {
            tokio::select! { verdict = self.play() => verdict.map(Some), stopped = crate::run::told_to_stop() => stopped.map(|()| None) }
        })?;
        runtime.shutdown_background();
        let Some(verdict) = verdict else {
            eprintln!("\nstopped before the end: no verdict");
            return Ok(ExitCode::from(EXIT_STOPPED));
        };
        verdict.print(self.json);
        Ok(if verdict.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn play(&self) -> anyhow::Result<Verdict> {
        let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(self.seed);
        let plan = Plan {
            roles: roles(self.liars, &mut dice),
            start_s: crate::exchange_sim::DEPEG_START_S,
            speed: self.speed,
            broadcast: self.broadcast.clone(),
            page_port: self.page_port,
        };
        let network = Network::start(&plan).await?;
        let mut screen = Screen::new(self.json, &network);
        let mut verdict = Verdict::new(&network);
        let started = Instant::now();
        let mut stage = Stage { cycle: u32::MAX, cut_at: Duration::ZERO, sides: vec![0; NODES] };
        while started.elapsed() < Duration::from_secs(self.duration) {
            stage
                .follow(started.elapsed(), Duration::from_secs(self.duration), &network, &mut dice, &mut verdict)
                .await;
            verdict.sample(&network, stage.cut(started.elapsed()));
            screen.draw(started.elapsed(), &stage.sides, &network, &verdict);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        verdict.healed(&network, &stage.sides);
        network.heal().await;
        network.close_venues();
        screen.say("the venues close; prices age out, and all honest nodes must come to hold the same history");
        verdict.settle(&network, SETTLE).await?;
        screen.draw(started.elapsed(), &[0; NODES], &network, &verdict);
        network.stop().await;
        Ok(verdict)
    }
}

/// Where in the cycle of partitions the demo is.
struct Stage {
    /// The cycle whose partition was last opened; `u32::MAX` before the first.
    cycle: u32,
    /// When it was opened, from the start.
    cut_at: Duration,
    /// Which side each node is on.
    sides: Vec<usize>,
}

impl Stage {
    /// The sides, and how long the network has been cut; `None` while it is whole.
    fn cut(&self, elapsed: Duration) -> Option<(&[usize], Duration)> {
        let is_cut = self.sides.iter().any(|&side| side != 0);
        is_cut.then(|| (self.sides.as_slice(), elapsed.saturating_sub(self.cut_at)))
    }

    /// Opens and heals partitions when their time has come.
    async fn follow(
        &mut self,
        elapsed: Duration,
        duration: Duration,
        network: &Network,
        dice: &mut rand_chacha::ChaCha8Rng,
        verdict: &mut Verdict,
    ) {
        let cycle = u32::try_from(elapsed.as_secs() / CYCLE.as_secs()).unwrap_or(u32::MAX - 1);
        let within = elapsed.saturating_sub(CYCLE * cycle);
        let is_cut = self.cut(elapsed).is_some();
        let is_time = (CUT..HEAL).contains(&within) && CYCLE * cycle + HEAL <= duration;
        if is_time && self.cycle != cycle {
            (self.cycle, self.cut_at) = (cycle, elapsed);
            self.sides = sides(SMALL_SIDES[cycle as usize % SMALL_SIDES.len()], dice);
            verdict.cut(network);
            network.partition(&self.sides).await;
        } else if is_cut && !(CUT..HEAL).contains(&within) {
            verdict.healed(network, &self.sides);
            self.sides = vec![0; NODES];
            network.heal().await;
        }
    }
}

/// Roles, dealt by the dice.
fn roles(liars: u8, dice: &mut rand_chacha::ChaCha8Rng) -> Vec<Role> {
    let mut roles = vec![Role::Honest; NODES];
    let order = shuffled(dice);
    if liars > 0 {
        roles[order[0]] = Role::High;
    }
    if liars > 1 {
        roles[order[1]] = Role::Equivocator;
    }
    roles
}

/// A smaller side of the given size, dealt by the dice.
fn sides(small: usize, dice: &mut rand_chacha::ChaCha8Rng) -> Vec<usize> {
    let mut sides = vec![0; NODES];
    shuffled(dice).into_iter().take(small).for_each(|n| sides[n] = 1);
    sides
}

/// The numbers 0 to 6 in an order of the dice (Fisher and Yates).
fn shuffled(dice: &mut rand_chacha::ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..NODES).collect();
    for n in (1..NODES).rev() {
        let other = dice.next_u64() % (n as u64 + 1);
        order.swap(n, usize::try_from(other).unwrap_or(0));
    }
    order
}
