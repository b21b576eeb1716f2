//! Where and when a run was made: without it a number says nothing.

use std::{
    fmt, fs,
    process::Command,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

/// The machine, the compiler and the day of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    /// By UTC, YYYY-MM-DD.
    date: String,
    rustc: String,
    /// `release`, or a warning.
    build: &'static str,
    /// Whether sizes were cut down to seconds.
    quick: bool,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn here(quick: bool) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let rustc = Command::new("rustc").arg("--version").output().ok().and_then(|o| String::from_utf8(o.stdout).ok());
        Self {
            cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            date: date(since.as_secs() / 86_400),
            rustc: rustc.unwrap_or_default().trim().to_owned(),
            build: if cfg!(debug_assertions) { "DEBUG: the numbers mean nothing" } else { "release" },
            quick,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, date, rustc, build, quick } = self;
        write!(f, "{cpu}, {cores} cores; {date}; {rustc}; build {build}")?;
        if *quick { write!(f, "; quick: sizes too small to mean much") } else { Ok(()) }
    }
}

/// The Gregorian date a number of days after 1970-01-01, counted off year by year and month by month.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        let known = [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (20_819, "2027-01-01"),
        ];
        for (days, text) in known {
            assert_eq!(super::date(days), text);
        }
    }
}
