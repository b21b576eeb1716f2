//! `oracle-node replay`, from outside.

use std::{
    io::Write as _,
    process::{Command, Output},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

fn replay(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-node"));
    command.arg("replay").args(args).output().expect("the program runs")
}

fn report(args: &[&str]) -> Value {
    let output = replay(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn refused(args: &[&str], code: i32) -> String {
    let output = replay(args);
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("text")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is a number"))
}

/// A tape of some rows below the header, as a file.
fn tape(rows: &str) -> tempfile::NamedTempFile {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    write!(packed, "ts,venue,symbol,open,high,low,close,volume\n{rows}").expect("written to memory");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), packed.finish().expect("packed")).expect("written");
    file
}

/// 2023-03-11 05:00 to 09:00 UTC: USDC is down to 0.874 dollars at 07:15.
#[test]
fn the_network_stays_near_the_reference_while_usdc_falls() {
    let report = report(&["--hours", "29..33", "--json"]);
    assert_eq!((report["feed"].as_str(), report["points"].as_u64()), (Some("BTC/USD"), Some(240)));
    let error = |of: &Value, what: &str| number(&of["error_bps"][what]);
    assert!(error(&report, "max") <= 30.0 && error(&report, "p99") <= 15.0, "{report}");
    assert!(error(&report, "mean") > 0.0 && error(&report, "mean") <= error(&report, "p99"), "{report}");

    let variants = report["variants"].as_array().expect("variants");
    let variant = |name: &str| {
        let named = |variant: &&Value| variant["name"] == name;
        variants.iter().find(named).unwrap_or_else(|| panic!("{name} in {report}"))
    };
    assert!(error(variant("mean"), "max") > 300.0);
    assert!(error(variant("through_usdc"), "max") > 1_000.0);
    assert!(error(variant("through_usdc_usdt_markets"), "max") > 1_500.0);
    assert!(error(variant("stablecoins_as_dollar"), "mean") > error(&report, "mean"));
    assert!(error(variant("unweighted"), "mean") > error(&report, "mean"));

    assert_eq!((report["nodes"].as_u64(), report["honest"].as_u64()), (Some(7), Some(5)));
    assert_eq!((report["forks_proven"].as_u64(), report["liars_found"].as_u64()), (Some(1), Some(2)));
    assert_eq!(report["false_accusations"], 0);
    assert_eq!((report["converged"].as_bool(), report["unanswered"].as_u64()), (Some(true), Some(0)));
    assert_ne!(report["forked"], report["outliers"]);
    for losses in ["polls", "frames"] {
        assert!(number(&report[losses]["lost"]) > 0.0, "{losses}");
    }
}

/// What each method is wrong by on the whole tape, in basis points, to a basis point: the figures that the rules were chosen by.
#[test]
fn methods_of_others_err_as_measured_and_ours_keep_what_is_promised() {
    let report = report(&["--methods", "--json"]);
    assert_eq!(report["points"], 5_760);
    let methods = report["methods"].as_array().expect("methods");
    let names: Vec<_> = methods.iter().filter_map(|method| method["name"].as_str()).collect();
    let measured = [
        ("usdc_book_as_usd", 1_432.1, 1_185.0),
        ("mean_as_dollar", 374.0, 293.5),
        ("median_as_dollar", 51.0, 20.9),
        ("median_with_gaps", 112.2, 27.7),
        ("usdt_through_usdc", 1_599.5, 1_177.7),
        ("usdt_real", 29.9, 15.0),
        ("all_real", 27.0, 12.8),
    ];
    assert_eq!(names[..measured.len()], measured.map(|(name, _, _)| name));
    let max = |at: usize| number(&methods[at]["error_bps"]["max"]);
    let p99 = |at: usize| number(&methods[at]["error_bps"]["p99"]);
    for (at, (name, worst, percentile)) in measured.into_iter().enumerate() {
        let is_near = |a: f64, b: f64| (a - b).abs() <= 0.1;
        assert!(is_near(max(at), worst) && is_near(p99(at), percentile), "{name}: {} {}", max(at), p99(at));
    }
    assert_eq!(methods[1]["above_100_bps"], 934);
    assert_eq!(names[measured.len()..], ["unweighted", "ours_unweighted", "ours"]);
    assert!(max(7) <= 27.1 && p99(7) <= 12.9, "{report}");
    assert!(max(9) <= 30.0 && p99(9) <= 13.0, "{report}");
}

#[test]
fn a_seed_reproduces_everything() {
    let run = |seed: &str| replay(&["--minutes", "3", "--json", "--seed", seed]).stdout;
    let one = run("1");
    assert!(!one.is_empty());
    assert_eq!(one, run("1"));
    assert_ne!(one, run("2"));
}

#[test]
fn people_get_a_table() {
    let output = replay(&["--minutes", "2"]);
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).expect("text");
    for word in ["basis points", "network", "mean", "through_usdc", "proven forked: oracle_", "the same history"] {
        assert!(table.contains(word), "{word} in {table}");
    }
}

#[test]
fn hostile_tapes_are_refused_by_line() {
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().expect("a plain path").to_owned();
    let bad = tape("60,binance,BTCUSDT,1,1,1,20000,0\n120,binance,BTCUSDT,1,1,1,NaN,0\n");
    let message = refused(&["--data", &path(&bad)], 1);
    assert!(message.contains("tape line 3: close is \"NaN\"") && message.contains(&path(&bad)), "{message}");

    let millennia = tape("60,binance,BTCUSDT,1,1,1,1,0\n199999999980,binance,BTCUSDT,1,1,1,1,0\n");
    let message = refused(&["--data", &path(&millennia)], 1);
    assert!(message.contains("at most 100000 are allowed"), "{message}");
    let lonely = tape("60,binance,BTCUSDT,1,1,1,20000,0\n");
    assert!(refused(&["--data", &path(&lonely)], 1).contains("no minute could be compared"));

    let plain = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(plain.path(), "ts,venue").expect("written");
    assert!(refused(&["--data", &path(&plain)], 1).contains("tape after line 0"));
    assert!(refused(&["--data", "/no/such/tape.csv.gz"], 1).contains("/no/such/tape.csv.gz cannot be opened"));
}

#[test]
fn nothing_heard_is_nothing_compared() {
    let message = refused(&["--minutes", "2", "--poll-loss", "100"], 1);
    assert!(message.contains("2 had a reference") && message.contains("no ok answer"), "{message}");
}

#[test]
fn parts_are_checked() {
    assert!(refused(&["--hours", "33..29"], 2).contains("no range of hours such as 29..33"));
    assert!(refused(&["--hours", "97..98"], 1).contains("it spans 5760 minutes"));
}
