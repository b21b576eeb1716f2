//! The live table, or plain lines where there is no terminal.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use comfy_table::{Cell, Color, Table, presets::UTF8_BORDERS_ONLY};
use concurrence_node::api::{FeedStatus, Snapshot};
use crossterm::{cursor, queue, terminal};

use super::{
    network::{Member, Network, Role},
    verdict::{Verdict, error_bps, newest, reference},
};

/// Where the demo is shown.
pub struct Screen {
    is_live: bool,
    /// Lines drawn last time, to draw over them.
    lines: u16,
    next_line_at: Duration,
    page: String,
}

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

impl Screen {
    pub fn new(json: bool, network: &Network) -> Self {
        let page = network.members.first().map(|m| format!("http://{}", m.node.api_addr())).unwrap_or_default();
        let is_live = std::io::stderr().is_terminal() && !json;
        eprintln!("seven nodes on loopback; the page of the first is at {page}");
        Self { is_live, lines: 0, next_line_at: Duration::ZERO, page }
    }

    pub fn draw(&mut self, elapsed: Duration, sides: &[usize], network: &Network, verdict: &Verdict) {
        if self.is_live {
            self.table(elapsed, sides, network, verdict);
        } else if elapsed >= self.next_line_at {
            self.next_line_at = elapsed + LINE_EVERY;
            line(elapsed, sides, network);
        }
    }

    pub fn close(&mut self) {
        self.lines = 0;
    }

    fn table(&mut self, elapsed: Duration, sides: &[usize], network: &Network, verdict: &Verdict) {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header([
            "node",
            "side",
            "BTC/USD",
            "status",
            "off (bps)",
            "weight",
            "peers",
            "ops",
            "history",
            "has proven",
        ]);
        for (n, member) in network.members.iter().enumerate() {
            table.add_row(row(network, member, sides[n]));
        }
        let now = reference(network).map_or_else(|| "-".to_owned(), |r| format!("{:.11}", r.to_string()));
        let worst = verdict.error_bps();
        let state = describe(sides);
        let text = format!(
            "{table}\n{:>4} s  {state}  reference {now}  ok answers within {:.1} bps\npage {}\n",
            elapsed.as_secs(),
            worst.max,
            self.page
        );
        let mut out = std::io::stderr().lock();
        // Drawing is decoration: a terminal that fails changes nothing.
        if self.lines > 0 {
            queue!(out, cursor::MoveToPreviousLine(self.lines), terminal::Clear(terminal::ClearType::FromCursorDown))
                .ok();
        }
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
        self.lines = u16::try_from(text.lines().count()).unwrap_or(0);
    }
}

fn row(network: &Network, member: &Member, side: usize) -> Vec<Cell> {
    let snapshot = newest(member);
    let Some(answer) = snapshot.feeds.first().map(|feed| &feed.price) else {
        return vec![Cell::new(&member.name), Cell::new("starting")];
    };
    let color = match answer.status {
        FeedStatus::Ok => Color::Green,
        FeedStatus::Degraded => Color::Yellow,
        FeedStatus::Stale | FeedStatus::Halted => Color::Red,
    };
    let off = error_bps(network, &snapshot).map_or_else(|| "-".to_owned(), |e| format!("{e:.1}"));
    vec![
        Cell::new(label(member)),
        Cell::new(if side == 0 { "A" } else { "B" }),
        Cell::new(price_text(&snapshot)),
        Cell::new(answer.status.as_str()).fg(color),
        Cell::new(off),
        Cell::new(format!("{}/{}", answer.counted_weight, answer.total_weight)),
        Cell::new(snapshot.peers.iter().filter(|p| p.connected).count()),
        Cell::new(snapshot.frontier.ops),
        Cell::new(snapshot.frontier.digest.get(..8).unwrap_or_default()),
        Cell::new(proven(network, &snapshot)),
    ]
}

/// What the audience may know and the nodes are not told.
fn label(member: &Member) -> String {
    match member.role {
        Role::Honest => member.name.clone(),
        Role::High => format!("{} (20 % high)", member.name),
        Role::Equivocator => format!("{} (two histories)", member.name),
    }
}

/// Whom a node's own findings accuse, by name.
fn proven(network: &Network, snapshot: &Snapshot) -> String {
    let name = |author: &str| {
        let member = network.members.iter().find(|m| m.author == author);
        member.map_or_else(|| author.to_owned(), |m| m.name.clone())
    };
    let accusations: Vec<_> = snapshot.anomalies.iter().map(|a| format!("{} {}", a.kind, name(&a.oracle))).collect();
    accusations.join(", ")
}

fn price_text(snapshot: &Snapshot) -> String {
    let Some(answer) = snapshot.feeds.first().map(|feed| &feed.price) else { return "-".to_owned() };
    let price =
        answer.price.as_ref().and_then(|p| concurrence_oracle::Price::parse(&format!("{p}e{}", answer.expo)).ok());
    price.map_or_else(|| "-".to_owned(), |p| format!("{:.8}", p.to_string()))
}

fn describe(sides: &[usize]) -> String {
    match sides.iter().filter(|&&side| side == 1).count() {
        0 => "whole".to_owned(),
        small => format!("cut {}|{small}", sides.len() - small),
    }
}

/// One plain line: time, partition, and each node's status and price.
fn line(elapsed: Duration, sides: &[usize], network: &Network) {
    let nodes: Vec<_> = network
        .members
        .iter()
        .enumerate()
        .map(|(n, member)| {
            let snapshot = newest(member);
            let status = snapshot.feeds.first().map_or("starting", |feed| feed.price.status.as_str());
            let side = if sides[n] == 0 { "A" } else { "B" };
            format!("{}:{side}:{status}:{}", n + 1, price_text(&snapshot))
        })
        .collect();
    let first = network.members.iter().find(|m| m.role == Role::Honest).map(newest);
    let accused = first.map(|snapshot| proven(network, &snapshot)).unwrap_or_default();
    let now = reference(network).map_or_else(|| "-".to_owned(), |r| format!("{:.8}", r.to_string()));
    eprintln!("{:>3}s {:<8} ref {now}  {}  [{accused}]", elapsed.as_secs(), describe(sides), nodes.join(" "));
}
