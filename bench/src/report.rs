//! What was measured, as a table for people and as JSON.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{cpu::Pair, machine::Machine};

/// All rows of one run and where they were measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// What stands beside ours: `raw`, the library under it, or `least`, what nothing can be below.
    pub(crate) beside: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) name: String,
    /// How fast, or how much, ours is: the median of all rounds.
    pub(crate) ours: Quantity,
    /// The same of the library under it, in the same rounds; or the least that is possible.
    pub(crate) raw: Option<Quantity>,
    /// Ours in units of raw.
    pub(crate) ratio: Option<Spread>,
    /// What was aimed at.
    pub(crate) aim: Option<Aim>,
    /// What a reader must know beside the numbers.
    pub(crate) note: String,
}

/// A number and its unit.
#[derive(Debug, Serialize)]
pub(crate) struct Quantity {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// The median of all rounds, and the extremes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

/// What was aimed at, and whether it was reached.
#[derive(Debug, Serialize)]
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) is_met: bool,
}

impl Row {
    /// A row without anything to compare with.
    pub(crate) fn plain(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let ours = Quantity { value, unit };
        Self { name: name.into(), ours, raw: None, ratio: None, aim: None, note: String::new() }
    }

    /// A row of rates: each round did `count` units of work both ways.
    pub(crate) fn rates(name: impl Into<String>, rounds: &[Pair], count: usize, unit: &'static str) -> Self {
        let rate = |time: fn(&Pair) -> Duration| Spread::of(rounds.iter().map(|r| per_second(count, time(r)))).median;
        let mut row = Self::plain(name, rate(|r| r.ours), unit);
        row.raw = Some(Quantity { value: rate(|r| r.raw), unit });
        row.ratio = Some(Spread::of(rounds.iter().map(Pair::ratio)));
        row
    }

    /// Aims at a median ratio of at least `least`.
    pub(crate) fn aiming_at_ratio(mut self, least: f64) -> Self {
        let is_met = self.ratio.is_some_and(|ratio| ratio.median >= least);
        self.aim = Some(Aim { what: format!("ratio >= {least}"), is_met });
        self
    }

    /// Aims at at least `least` of ours.
    pub(crate) fn aiming_at_least(mut self, least: f64) -> Self {
        let what = format!(">= {} {}", Figure(least), self.ours.unit);
        self.aim = Some(Aim { what, is_met: self.ours.value >= least });
        self
    }

    /// Aims at at most `most` of ours.
    pub(crate) fn aiming_at_most(mut self, most: f64) -> Self {
        let what = format!("<= {} {}", Figure(most), self.ours.unit);
        self.aim = Some(Aim { what, is_met: self.ours.value <= most });
        self
    }

    /// Puts the least that is possible beside ours.
    pub(crate) fn beside(mut self, least: f64) -> Self {
        self.raw = Some(Quantity { value: least, unit: self.ours.unit });
        self
    }

    /// Adds to the note.
    pub(crate) fn noting(mut self, note: impl AsRef<str>) -> Self {
        if !self.note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(note.as_ref());
        self
    }
}

/// Units of work a second.
pub(crate) fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (sorted[0], sorted[sorted.len() - 1]); // every row has at least one round
        Self { median: (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0, least: first, greatest: last }
    }
}

impl fmt::Display for Report {
    /// A Markdown table, aligned, so that it reads well in a terminal and in the README alike; then the notes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        let heads = ["row", "ours", self.beside, "ratio (least to greatest)", "aim", ""].map(str::to_owned);
        let mut lines = vec![heads];
        lines.extend(self.rows.iter().map(Row::cells));
        let mut widths = [0; COLUMNS];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        lines.insert(1, widths.map(|width| "-".repeat(width)));
        for line in &lines {
            let cells: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "| {} |", cells.join(" | "))?;
        }
        writeln!(f)?;
        let noted = self.rows.iter().filter(|row| !row.note.is_empty());
        noted.into_iter().try_for_each(|row| writeln!(f, "* {}: {}", row.name, row.note))
    }
}

/// Columns of the table.
const COLUMNS: usize = 6;

impl Row {
    fn cells(&self) -> [String; COLUMNS] {
        let ratio = |r: &Spread| format!("{:.2} ({:.2} to {:.2})", r.median, r.least, r.greatest);
        let verdict = |aim: &Aim| if aim.is_met { "met" } else { "MISSED" };
        [
            self.name.clone(),
            self.ours.to_string(),
            self.raw.as_ref().map(Quantity::to_string).unwrap_or_default(),
            self.ratio.as_ref().map(ratio).unwrap_or_default(),
            self.aim.as_ref().map(|aim| aim.what.clone()).unwrap_or_default(),
            self.aim.as_ref().map(verdict).unwrap_or_default().to_owned(),
        ]
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Figure(self.value), self.unit)
    }
}

/// A number as people write it: thousands apart, decimals only where they say something.
struct Figure(f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 100.0 {
            return write!(f, "{}", (self.0 * 100.0).round() / 100.0);
        }
        let digits = format!("{:.0}", self.0);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at) % 3 == 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_do() {
        let figures =
            [(0.0, "0"), (12.345, "12.35"), (99.5, "99.5"), (100.4, "100"), (1e3, "1,000"), (1_234_567.0, "1,234,567")];
        for (value, text) in figures {
            assert_eq!(Figure(value).to_string(), text);
        }
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(of(&[3.0, 1.0, 2.0]).median, 2.0);
        let even = of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((even.least, even.median, even.greatest), (1.0, 2.5, 4.0));
    }

    #[test]
    fn a_ratio_below_its_aim_is_missed() {
        let pair = |ours, raw| Pair { ours: Duration::from_millis(ours), raw: Duration::from_millis(raw) };
        let row = Row::rates("x", &[pair(100, 80), pair(100, 70), pair(100, 90)], 10, "ops/s");
        assert_eq!(row.ours.value, 100.0);
        assert!((row.ratio.unwrap().median - 0.8).abs() < 1e-9);
        let is_met = |least| Row::rates("x", &[pair(100, 80)], 10, "ops/s").aiming_at_ratio(least).aim.unwrap().is_met;
        assert!(is_met(0.79) && !is_met(0.81));
    }
}
