//! Named parts of a task: how long each took, whether it passed, and the table that says so at the end.

use std::time::{Duration, Instant};

/// What has been run so far.
#[derive(Default)]
pub struct Parts(Vec<Part>);

struct Part {
    name: String,
    took: Duration,
    budget: Option<Duration>,
    result: Result<(), String>,
}

impl Part {
    /// Slower machines than the one the budgets were measured on are no failure; the table says it, and a hang is stopped.
    fn verdict(&self) -> &str {
        let is_over = self.budget.is_some_and(|budget| self.took > budget);
        self.result.as_ref().map_or_else(String::as_str, |()| if is_over { "ok, over its budget" } else { "ok" })
    }
}

impl Parts {
    /// Runs one part and remembers how it went. A failure does not stop the parts after it.
    pub fn run(&mut self, name: &str, budget: Option<Duration>, part: impl FnOnce() -> anyhow::Result<()>) {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = part().map_err(|error| format!("{error:#}"));
        if let Err(error) = &result {
            eprintln!("{name}: {error}");
        }
        self.record(name, start.elapsed(), budget, result);
    }

    fn record(&mut self, name: &str, took: Duration, budget: Option<Duration>, result: Result<(), String>) {
        self.0.push(Part { name: name.to_owned(), took, budget, result });
    }

    /// Prints the closing table; fails with the names of the parts that did.
    pub fn finish(self, task: &str) -> anyhow::Result<()> {
        println!("\n{}", self.table());
        let failed: Vec<_> = self.0.iter().filter(|p| p.result.is_err()).map(|p| p.name.as_str()).collect();
        anyhow::ensure!(failed.is_empty(), "{task} failed in: {}", failed.join(", "));
        println!("{task}: all {} parts passed", self.0.len());
        Ok(())
    }

    fn table(&self) -> String {
        let total: Duration = self.0.iter().map(|p| p.took).sum();
        let budgets: Option<Duration> = self.0.iter().map(|p| p.budget).sum();
        let rows = self.0.iter().map(|p| (p.name.as_str(), p.took, p.budget, p.verdict()));
        let width = self.0.iter().map(|p| p.name.len()).max().unwrap_or(0).max("total".len());
        let mut out = format!("{:width$}  {:>8}  {:>8}  result", "part", "took", "budget");
        for (name, took, budget, result) in rows.chain([("total", total, budgets, "")]) {
            let budget = budget.map_or_else(|| "-".to_owned(), clock);
            out += format!("\n{name:width$}  {:>8}  {budget:>8}  {result}", clock(took)).trim_end();
        }
        out
    }
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_table_shows_time_budget_and_result() {
        let mut parts = Parts::default();
        parts.record("fmt", Duration::from_secs(3), Some(MINUTE), Ok(()));
        parts.record("test", 11 * MINUTE, Some(10 * MINUTE), Ok(()));
        parts.record("tidy", Duration::ZERO, Some(MINUTE), Err("2 findings".into()));
        let expected = "\
part       took    budget  result
fmt        0:03      1:00  ok
test      11:00     10:00  ok, over its budget
tidy       0:00      1:00  2 findings
total     11:03     12:00";
        assert_eq!(parts.table(), expected);
        let error = parts.finish("ci").unwrap_err();
        assert_eq!(error.to_string(), "ci failed in: tidy");
    }

    #[test]
    fn a_failed_part_does_not_stop_the_next() {
        let mut parts = Parts::default();
        parts.run("first", None, || anyhow::bail!("broken"));
        let mut ran = false;
        parts.run("second", None, || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert_eq!(parts.finish("test").unwrap_err().to_string(), "test failed in: first");
    }

    #[test]
    fn without_a_failure_all_passed() {
        let mut parts = Parts::default();
        parts.run("only", Some(MINUTE), || Ok(()));
        parts.finish("test").unwrap();
    }
}
