//! The demo as it is run: the real program, real sockets, and its own verdict.

use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs the demo; its exit code and last line. What it shows meanwhile is printed, for a failing run.
fn demo(arguments: &[&str]) -> (Option<i32>, Value) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_oracle-node")).args(["demo", "--json"]).args(arguments).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    (output.status.code(), serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap())
}

#[test]
fn liars_are_named_and_nobody_else_through_three_partitions() {
    let (code, line) = demo(&["--duration", "30", "--seed", "4"]);
    assert_eq!(code, Some(0), "{line}");
    assert_eq!((&line["converged"], &line["nodes"], &line["honest"]), (&true.into(), &7.into(), &5.into()), "{line}");
    assert_eq!((&line["forks_proven"], &line["liars_found"]), (&1.into(), &2.into()), "{line}");
    assert_eq!(line["false_accusations"], 0, "{line}");
    let digest = line["frontier_digest"].as_str().unwrap();
    assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
    assert!(line["ops"].as_u64() > Some(100), "six nodes, once a second: {line}");
    let bps = |which: &str| line["error_bps"][which].as_f64().unwrap();
    // The reference moves a bar of a minute every three seconds here, and answers follow it.
    assert!(bps("p99") <= bps("max") && bps("max") > 0.0 && bps("max") < 100.0, "{line}");
    // A side with more than two thirds stays ok, one with more than half is degraded, one with less halts. A machine that stands still
    // for seconds delays a status; it does not change one in twenty.
    let (sampled, wrong) = (line["statuses"]["sampled"].as_u64().unwrap(), line["statuses"]["wrong"].as_u64().unwrap());
    assert!(sampled > 50 && wrong * 20 <= sampled, "{line}");
}

#[test]
fn without_liars_nobody_is_accused() {
    let (code, line) = demo(&["--liars", "0", "--duration", "12", "--broadcast", "full_mesh"]);
    assert_eq!(code, Some(0), "{line}");
    assert_eq!((&line["honest"], &line["converged"]), (&7.into(), &true.into()), "{line}");
    assert_eq!((&line["liars_found"], &line["false_accusations"]), (&0.into(), &0.into()), "{line}");
}

#[test]
fn told_to_stop_it_stops() {
    let command = Command::new(env!("CARGO_BIN_EXE_oracle-node")).arg("demo").stderr(Stdio::piped()).spawn();
    let mut child = command.unwrap();
    let mut shown = std::io::BufReader::new(child.stderr.take().unwrap());
    // It has begun once it says where its page is.
    std::io::BufRead::read_line(&mut shown, &mut String::new()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let rest = std::io::read_to_string(shown).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("no verdict"), "{rest}");
}
