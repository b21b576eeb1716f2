//! The live table, or plain lines where there is no terminal.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets::NOTHING};
use concurrence_node::api::{FeedStatus, Snapshot};
use concurrence_oracle::Price;
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

/// Titles of the table's columns. With the longest cells they take 98 columns of a terminal.
const COLUMNS: [(&str, CellAlignment); 10] = [
    ("node", CellAlignment::Left),
    ("side", CellAlignment::Left),
    ("BTC/USD", CellAlignment::Right),
    ("status", CellAlignment::Left),
    ("bps", CellAlignment::Right),
    ("weight", CellAlignment::Right),
    ("peers", CellAlignment::Right),
    ("ops", CellAlignment::Right),
    ("history", CellAlignment::Left),
    ("has proven", CellAlignment::Left),
];
/// Width of a terminal that does not tell its own, and the least the table is squeezed into.
const WIDTH: u16 = 100;
const WIDTH_MIN: u16 = 60;

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

    /// A line below the table, drawn over by the next table.
    pub fn say(&mut self, text: &str) {
        eprintln!("{text}");
        self.lines += u16::from(self.lines > 0);
    }

    fn table(&mut self, elapsed: Duration, sides: &[usize], network: &Network, verdict: &Verdict) {
        let mut table = Table::new();
        // Cells that do not fit are wrapped by the table: a line wrapped by the terminal would spoil the drawing over it.
        let width = terminal::size().map_or(WIDTH, |(columns, _)| columns.max(WIDTH_MIN));
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        table.set_header(COLUMNS.map(|(title, _)| Cell::new(title).add_attribute(Attribute::Bold)));
        for (column, (_, alignment)) in table.column_iter_mut().zip(COLUMNS) {
            column.set_padding((0, 2)).set_cell_alignment(alignment);
        }
        for (n, member) in network.members.iter().enumerate() {
            table.add_row(row(network, member, sides[n]));
        }
        let now = reference(network).map_or_else(|| "-".to_owned(), cents);
        let (seconds, state, worst) = (elapsed.as_secs(), describe(sides), verdict.error_bps().max);
        let text = format!(
            "\n{table}\n\n{seconds:>3} s   {state:<7}   reference {now}   worst ok answer so far {worst:.1} bps off\nthe page: {}\n",
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
        Role::Honest => member.number(),
        Role::High => format!("{} 20 % high", member.number()),
        Role::Equivocator => format!("{} two histories", member.number()),
    }
}

/// Whom a node's own findings accuse, by number.
fn proven(network: &Network, snapshot: &Snapshot) -> String {
    let number = |author: &str| {
        let member = network.members.iter().find(|m| m.author == author);
        member.map_or_else(|| author.to_owned(), Member::number)
    };
    let accusations: Vec<_> = snapshot.anomalies.iter().map(|a| format!("{} {}", a.kind, number(&a.oracle))).collect();
    accusations.join(", ")
}

fn price_text(snapshot: &Snapshot) -> String {
    let Some(answer) = snapshot.feeds.first().map(|feed| &feed.price) else { return "-".to_owned() };
    let price = answer.price.as_ref().and_then(|p| Price::parse(&format!("{p}e{}", answer.expo)).ok());
    price.map_or_else(|| "-".to_owned(), cents)
}

/// A price cut off after two decimals, for a column.
fn cents(price: Price) -> String {
    let text = price.to_string();
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}.{decimals:0<2.2}")
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
    let now = reference(network).map_or_else(|| "-".to_owned(), cents);
    eprintln!("{:>3}s {:<8} ref {now}  {}  [{accused}]", elapsed.as_secs(), describe(sides), nodes.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_have_two_decimals() {
        for (price, shown) in [("20415.2", "20415.20"), ("20417.179", "20417.17"), ("3", "3.00")] {
            assert_eq!(cents(Price::parse(price).unwrap()), shown);
        }
    }
}
