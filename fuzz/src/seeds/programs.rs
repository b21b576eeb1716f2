//! Seeds of the targets that run programs: each tells one story that its target must survive.

use concurrence_store::{Sidecar, StoreId};

use super::Seed;
use crate::{material::author, steps::program};

pub(super) fn seeds() -> Vec<Seed> {
    [own_log(), intake(), sync_session(), sync_session_with_a_liar(), store_recovery(), venue_streams()].concat()
}

/// `what` of [`crate::own_log`]: 0 append (b: how far it gets), 2 back up, 3 restore, 4 lose the store, 5 lose the sidecar, 6 another key,
/// 7 recover.
fn own_log() -> Vec<Seed> {
    let seed = |name, steps: &[[u8; 4]]| Seed::new("own_log", name, program(steps));
    let file = Sidecar { store: StoreId::from_bytes([9; 16]), author: author(1), next: [1, 2, 3, u64::MAX] };
    vec![
        seed("appends-and-crashes", &[[0, 0, 2, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0]]),
        seed(
            "backup-restored",
            &[[0, 0, 2, 0], [2, 0, 0, 0], [0, 0, 2, 0], [3, 0, 0, 0], [0, 0, 2, 0], [7, 0, 0, 0], [0, 0, 2, 0]],
        ),
        seed("sidecar-lost", &[[0, 0, 2, 0], [5, 0, 0, 0], [0, 0, 2, 0], [7, 0, 0, 0], [0, 0, 2, 0]]),
        seed("store-lost", &[[0, 3, 2, 0], [4, 0, 0, 0], [0, 0, 2, 0], [7, 0, 0, 0], [0, 0, 2, 0]]),
        seed("both-lost", &[[0, 0, 2, 0], [4, 0, 0, 0], [5, 0, 0, 0], [0, 0, 2, 0]]),
        seed("key-swapped", &[[0, 0, 2, 0], [6, 1, 0, 0], [0, 0, 2, 0], [6, 0, 0, 0], [0, 0, 2, 0], [7, 0, 0, 0]]),
        Seed::new("own_log", "sidecar-whole", sidecar_file(&file)),
        Seed::new("own_log", "sidecar-cut", sidecar_file(&file).split_off(1)),
    ]
}

/// The bytes that `save` writes.
fn sidecar_file(sidecar: &Sidecar) -> Vec<u8> {
    let folder = std::env::temp_dir().join(format!("concurrence-fuzz-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    let key_file = folder.join("key.json");
    std::fs::write(&key_file, "").expect("the folder for temporary files can be written");
    sidecar.save(&key_file).expect("the folder for temporary files can be written");
    let bytes = std::fs::read(key_file.with_file_name("key.json.sidecar")).expect("it was just written");
    std::fs::remove_dir_all(&folder).expect("it was just made");
    bytes
}

/// First the order, then `what` of [`crate::intake`]: 0 append, 3 fork, 4 gap, 5 clock or epoch, 6 damage, 7 cut, 8 forge, 9 prove,
/// 10 strangers, 11 the longest operations.
fn intake() -> Vec<Seed> {
    let seed = |name, steps: &[[u8; 4]]| Seed::new("intake", name, program(steps));
    let longest: Vec<_> = std::iter::once([0, 1, 2, 3]).chain([[11, 2, 0, 3]; 5]).chain([[5, 2, 0, 1]]).collect();
    vec![
        seed("honest-logs", &[[0, 0, 0, 1], [0, 0, 0, 4], [0, 1, 0, 5], [0, 0, 1, 6], [0, 0, 0, 7], [0, 2, 0, 1]]),
        seed("fork-at-the-start", &[[1, 0, 1, 9], [0, 0, 0, 4], [0, 0, 0, 5], [3, 0, 0, 6], [0, 1, 0, 1]]),
        seed("fork-with-invented-ancestor", &[[3, 1, 1, 9], [0, 0, 0, 4], [0, 0, 0, 5], [3, 1, 3, 6], [0, 0, 0, 7]]),
        seed("fork-of-invalid-operations", &[[2, 1, 1, 9], [0, 0, 0, 4], [5, 0, 4, 9], [3, 1, 0, 6], [0, 3, 0, 7]]),
        seed(
            "proof-before-its-operations",
            &[[5, 0, 9, 9], [0, 0, 0, 4], [3, 0, 0, 6], [9, 0, 1, 0], [9, 0, 1, 1], [9, 0, 0, 0]],
        ),
        seed(
            "held-until-their-minute",
            &[[0, 0, 0, 1], [5, 0, 0, 2], [5, 0, 0, 2], [5, 0, 0, 2], [5, 1, 6, 9], [3, 2, 0, 1]],
        ),
        seed("gap-and-what-fills-it", &[[7, 0, 5, 1], [0, 0, 0, 1], [4, 0, 0, 1], [0, 0, 0, 2], [4, 1, 0, 0]]),
        seed("minute-falls", &[[4, 0, 0, 7], [0, 1, 0, 1], [5, 1, 2, 1], [0, 1, 0, 2]]),
        seed(
            "forged-strange-and-foreign",
            &[[0, 0, 0, 3], [8, 0, 0, 0], [8, 1, 0, 1], [10, 0, 0, 0], [10, 0, 0, 1], [0, 0, 0, 1], [8, 0, 0, 2]],
        ),
        seed(
            "damaged-and-cut",
            &[[6, 0, 1, 3], [0, 0, 0, 9], [6, 0, 1, 1], [6, 0, 13, 13], [7, 0, 0, 0], [7, 0, 1, 0], [7, 0, 0, 200]],
        ),
        seed("over-the-quota", &longest),
    ]
}

/// `what` of [`crate::sync_session`]: 0 append, 1 deliver, 2 drop, 3 double, 4 late, 5 cut, 6 change, 7 carry all, 8 wait, 9 the liar writes,
/// 10 it lies, 12 reconnect or restart, 13 slow store.
fn sync_session() -> Vec<Seed> {
    let seed = |name, steps: &[[u8; 4]]| Seed::new("sync_session", name, program(steps));
    vec![
        seed(
            "everyone-writes",
            &[[7, 0, 0, 0], [0, 0, 0, 9], [0, 1, 0, 8], [0, 2, 0, 7], [7, 0, 0, 0], [8, 0, 20, 0], [7, 0, 0, 0]],
        ),
        seed(
            "nothing-arrives",
            &[[7, 0, 0, 0], [0, 0, 0, 1], [2, 0, 0, 0], [2, 8, 0, 0], [0, 1, 0, 2], [2, 1, 0, 0], [2, 9, 0, 0]],
        ),
        seed(
            "doubled-late-cut-changed",
            &[
                [0, 0, 0, 9],
                [3, 0, 0, 0],
                [4, 0, 0, 0],
                [5, 0, 40, 0],
                [6, 0, 3, 1],
                [1, 0, 7, 0],
                [6, 8, 9, 255],
                [7, 0, 0, 0],
            ],
        ),
        seed(
            "hello-lost",
            &[[2, 0, 0, 0], [2, 1, 0, 0], [0, 0, 0, 1], [7, 0, 0, 0], [8, 0, 20, 0], [7, 0, 0, 0], [8, 0, 20, 0]],
        ),
        seed(
            "restart-with-appends-under-way",
            &[
                [7, 0, 0, 0],
                [13, 0, 0, 0],
                [0, 0, 0, 9],
                [1, 0, 7, 0],
                [12, 0, 1, 0],
                [0, 0, 0, 8],
                [7, 0, 0, 0],
                [12, 0, 1, 0],
            ],
        ),
        seed(
            "clocks-apart",
            &[[8, 0, 255, 1], [8, 0, 255, 1], [8, 0, 255, 1], [0, 0, 0, 1], [0, 1, 0, 1], [7, 0, 0, 0], [12, 0, 0, 0]],
        ),
    ]
}

/// Programs of the same target in which the liar has the word.
fn sync_session_with_a_liar() -> Vec<Seed> {
    let seed = |name, steps: &[[u8; 4]]| Seed::new("sync_session", name, program(steps));
    vec![
        seed(
            "liar-forks-in-two-places",
            &[[7, 0, 0, 0], [9, 0, 0, 1], [9, 0, 0, 2], [9, 1, 4, 0], [9, 2, 4, 9], [7, 0, 0, 0]],
        ),
        seed("liar-proves-its-own-fork", &[[9, 0, 0, 1], [9, 1, 4, 0], [10, 2, 7, 1], [10, 2, 7, 4], [7, 0, 0, 0]]),
        seed(
            "liar-writes-the-future",
            &[[9, 0, 6, 40], [9, 1, 5, 3], [9, 1, 7, 9], [8, 0, 255, 0], [8, 0, 255, 0], [7, 0, 0, 0]],
        ),
        seed(
            "liar-asks-for-everything",
            &[
                [0, 0, 0, 200],
                [0, 0, 0, 250],
                [10, 0, 1, 3],
                [10, 0, 1, 255],
                [10, 0, 10, 9],
                [10, 0, 19, 1],
                [10, 0, 28, 77],
                [10, 0, 3, 0],
            ],
        ),
        seed(
            "liar-asks-twice-of-a-slow-store",
            &[[0, 0, 0, 200], [13, 0, 0, 0], [10, 0, 1, 9], [10, 0, 1, 9], [10, 0, 3, 0], [10, 0, 3, 0], [13, 0, 1, 0]],
        ),
        seed(
            "liar-tells-wrong-digests",
            &[[10, 0, 0, 0], [10, 1, 0, 1], [8, 0, 20, 0], [10, 0, 4, 0], [10, 0, 5, 1], [10, 0, 6, 3], [10, 0, 8, 1]],
        ),
    ]
}

/// `what` of [`crate::store_recovery`]: 0 commit, 3 quarantine and proof, 4 misfit, 5 crash, 6 failing disk, then crash, 7 reopen, 8 rot, 9 the
/// same again. An even last number makes a commit durable.
fn store_recovery() -> Vec<Seed> {
    let seed = |name, steps: &[[u8; 4]]| Seed::new("store_recovery", name, program(steps));
    vec![
        seed(
            "commits-and-crashes",
            &[[0, 0, 9, 0], [0, 1, 20, 1], [5, 1, 2, 3], [0, 0, 3, 1], [5, 7, 7, 0], [0, 2, 1, 0]],
        ),
        seed("torn-commit", &[[0, 0, 20, 0], [6, 3, 9, 1], [0, 0, 4, 0], [6, 9, 9, 2], [6, 20, 9, 3]]),
        seed("full-disk", &[[0, 0, 20, 1], [6, 0, 1, 0], [0, 1, 2, 0], [6, 5, 1, 0]]),
        seed("closed-in-order", &[[0, 0, 9, 1], [7, 0, 0, 0], [0, 0, 9, 1], [3, 0, 1, 1], [7, 0, 0, 0], [5, 0, 0, 3]]),
        seed("misfits", &[[4, 0, 0, 0], [0, 0, 9, 1], [4, 0, 3, 1], [4, 0, 3, 0], [4, 1, 0, 1], [5, 0, 0, 0]]),
        seed(
            "rot-and-the-same-again",
            &[[0, 0, 20, 0], [8, 0, 5, 77], [9, 0, 5, 0], [8, 0, 6, 9], [7, 0, 0, 0], [9, 0, 0, 1]],
        ),
        seed("rot-then-crash", &[[0, 0, 20, 0], [3, 1, 4, 0], [8, 0, 5, 77], [0, 0, 5, 1], [5, 0, 5, 1]]),
        seed(
            "quarantine-and-proofs",
            &[[3, 0, 1, 0], [3, 0, 1, 1], [3, 0, 2, 0], [3, 3, 2, 1], [5, 1, 1, 1], [0, 1, 1, 0]],
        ),
    ]
}

/// The stream's index among the channels that are one, then a line an event: `o` opened, `c` closed, `t` and `T` time passes, `l` and `b`
/// refused; anything else is said.
fn venue_streams() -> Vec<Seed> {
    let seed = |name, stream: u8, events: &[&str]| {
        let events = events.iter().map(|event| event.as_bytes()).collect::<Vec<_>>().join(&b'\n');
        Seed::new("venue_streams", name, [vec![stream], events].concat())
    };
    let binance = |time: u64, last: &str| {
        format!(r#"{{"e":"24hrTicker","E":{time},"s":"BTCUSDT","b":"1","a":"3","c":"{last}","v":"1"}}"#)
    };
    let (first, second) = (binance(1_719_792_000_500, "2"), binance(1_719_792_001_000, "2.5"));
    let coinbase = |number: u8| {
        format!(
            r#"{{"channel":"ticker","timestamp":"2024-07-01T00:00:00.{number}Z","sequence_num":{number},"events":[{{"tickers":[{{"product_id":"BTC-USD","price":"2","best_bid":"1","best_ask":"3"}}]}}]}}"#
        )
    };
    let bybit = |kind: &str, fields: &str| {
        format!(
            r#"{{"topic":"tickers.BTCUSDT","ts":1719792000500,"type":"{kind}","data":{{"symbol":"BTCUSDT",{fields}}}}}"#
        )
    };
    vec![
        seed("binance-reordered", 0, &["o", r#"{"result":null,"id":1}"#, &second, &first, &second]),
        seed(
            "binance-announced-end",
            0,
            &["o", &first, r#"{"e":"serverShutdown","E":1}"#, "t", "o", r#"{"result":null,"id":1}"#, &second, "c", "T"],
        ),
        seed("binance-refused-and-banned", 0, &["l", "T", "b", "T", "T", "t"]),
        seed(
            "bybit-changes",
            2,
            &["o", &bybit("snapshot", r#""lastPrice":"2""#), &bybit("delta", r#""bid1Price":"1""#)],
        ),
        seed("coinbase-gap", 4, &["o", &coinbase(1), &coinbase(2), &coinbase(4), "T", "o", &coinbase(1)]),
        seed(
            "kraken-maintenance",
            7,
            &["o", r#"{"channel":"status","data":[{"system":"maintenance"}]}"#, "a", r#"{"channel":"heartbeat"}"#, "T"],
        ),
        seed("okx-pings", 8, &["o", r#"{"event":"subscribe"}"#, "T", "pong", "t", "pong"]),
    ]
}
