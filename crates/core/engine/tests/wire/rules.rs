//! Rules that judge by bytes alone: what may extend a log, and which price operations count.

use std::collections::BTreeSet;

use concurrence_crdt::{BUCKET_MS, BYTES_PER_BUCKET_MAX, Header, OP_LEN_MAX, OPS_PER_BUCKET_MAX, Op, OpId, Tail, Time};
use concurrence_engine::View;
use concurrence_oracle::{AggregateParams, KIND_PRICE_BATCH, Slot};

use crate::{
    fixtures::{DECLARED, batch, header, price_op, registry, signed},
    json::Json,
    reasons::invalid,
};

/// The end of a log of author 3, who is a member in both epochs.
struct Log {
    tail: Tail,
    epoch: u32,
    operations: u32,
    bytes: u32,
}

impl Log {
    const EMPTY: Self = Self { tail: Tail::EMPTY, epoch: 0, operations: 0, bytes: 0 };

    /// A log of operations of these sizes, all in the minute of [`DECLARED`] and of one epoch.
    fn of(epoch: u32, sizes: &[usize]) -> Self {
        let mut log = Self { epoch, ..Self::EMPTY };
        for &size in sizes {
            let header = Header { seq: log.tail.len, prev: log.tail.head, epoch, ..header(3) };
            log.tail = log.tail.extended(&header, header.id(), size, &registry().membership()).unwrap();
            log.operations += 1;
            log.bytes += u32::try_from(size).unwrap();
        }
        log
    }

    /// The next operation, changed.
    fn next(&self, payload_len: usize, change: impl FnOnce(&mut Header)) -> Op {
        signed(3, &vec![0; payload_len], |h| {
            (h.seq, h.prev, h.epoch) = (self.tail.len, self.tail.head, self.epoch);
            change(h);
        })
    }

    fn verdict(&self, op: &Op) -> &'static str {
        if !self.tail.precedes(op.header()) {
            return "not_next";
        }
        let judged = self.tail.extended(op.header(), op.id(), op.bytes().len(), &registry().membership());
        judged.map_or_else(|error| invalid(&error), |_| "valid")
    }
}

fn extension(name: &str, log: &Log, op: &Op, verdict: &str) -> Json {
    assert_eq!(log.verdict(op), verdict, "{name}");
    let before = Json::Record(vec![
        ("len", Json::text(log.tail.len)),
        ("head", Json::hex(log.tail.head.as_bytes())),
        ("epoch", Json::text(log.epoch)),
        ("minute", Json::text(log.tail.bucket().number())),
        ("operations_in_minute", Json::text(log.operations)),
        ("bytes_in_minute", Json::text(log.bytes)),
    ]);
    let rest = [("name", Json::text(name)), ("log", before), ("bytes", Json::hex(op.bytes()))];
    Json::Record(rest.into_iter().chain([("verdict", Json::text(verdict))]).collect())
}

/// An operation, and the end of the log that it is to extend.
pub fn extensions() -> Vec<Json> {
    let (empty, short, later) = (Log::EMPTY, Log::of(0, &[300, 300]), Log::of(1, &[300]));
    let minutes = |n: i64| Time::from_ms(DECLARED.ms().checked_add_signed(n * BUCKET_MS.cast_signed()).unwrap());
    let case = |name: &str, log: &Log, change: &dyn Fn(&mut Header), verdict| {
        extension(name, log, &log.next(3, change), verdict)
    };
    let stranger = |n, epoch| signed(n, b"x", |h| h.epoch = epoch);
    let mut all = vec![
        case("the first of a log", &empty, &|_| (), "valid"),
        case("the third of a log", &short, &|_| (), "valid"),
        case("a gap", &short, &|h| h.seq += 1, "not_next"),
        case("a position that is taken", &short, &|h| h.seq -= 1, "not_next"),
        case("behind another operation", &short, &|h| h.prev = OpId::from_bytes([1; 32]), "not_next"),
        case("the epoch rises", &short, &|h| h.epoch = 1, "valid"),
        case("the epoch falls", &later, &|h| h.epoch = 0, "epoch_falls"),
        case("an epoch that nobody knows", &short, &|h| h.epoch = 2, "unknown_epoch"),
        extension("a member that is yet to come", &empty, &stranger(5, 0), "not_a_member"),
        extension("a member that left", &empty, &stranger(4, 1), "not_a_member"),
        extension("a member that came", &empty, &stranger(5, 1), "valid"),
        extension("somebody unknown", &empty, &stranger(9, 0), "not_a_member"),
        case("a later minute", &short, &|h| h.declared = minutes(1), "valid"),
        case("an earlier minute", &short, &|h| h.declared = minutes(-1), "minute_falls"),
        case(
            "an earlier millisecond of one minute",
            &short,
            &|h| h.declared = Time::from_ms(DECLARED.ms() - 200),
            "valid",
        ),
        case("the end of time", &short, &|h| h.declared = Time::from_ms(u64::MAX), "valid"),
    ];
    all.extend(quotas(&minutes(1)));
    all
}

fn quotas(next_minute: &Time) -> Vec<Json> {
    let often = |count: u32| Log::of(0, &vec![300; count as usize]);
    let (before, full) = (often(OPS_PER_BUCKET_MAX - 1), often(OPS_PER_BUCKET_MAX));
    let heavy = Log::of(0, &[OP_LEN_MAX; 16]);
    let left = (BYTES_PER_BUCKET_MAX - heavy.bytes) as usize - heavy.next(0, |_| ()).bytes().len();
    let later = |h: &mut Header| h.declared = *next_minute;
    vec![
        extension("the last operation of a minute", &before, &before.next(3, |_| ()), "valid"),
        extension("one operation too many in a minute", &full, &full.next(3, |_| ()), "operations_over_quota"),
        extension("the same in the next minute", &full, &full.next(3, later), "valid"),
        extension("the last byte of a minute", &heavy, &heavy.next(left, |_| ()), "valid"),
        extension("one byte too many in a minute", &heavy, &heavy.next(left + 1, |_| ()), "bytes_over_quota"),
        extension("the same bytes in the next minute", &heavy, &heavy.next(left + 1, later), "valid"),
    ]
}

/// Valid operations, and whether their payload counts or is a finding.
pub fn price_operations() -> Vec<Json> {
    let params = AggregateParams { window_ms: 60_000, max_age_ms: 30_000, sources_min: 2, width_max_ppm: 20_000 };
    let view = View::new(registry(), BTreeSet::new(), params);
    let read = |name: &str, op: Op, verdict: &str| {
        let verified = op.clone().verify().unwrap();
        assert_eq!(view.read(&verified).map_or_else(|kind| kind.name(), |_| "counts"), verdict, "{name}");
        let fields =
            vec![("name", Json::text(name)), ("bytes", Json::hex(op.bytes())), ("verdict", Json::text(verdict))];
        Json::Record(fields)
    };
    let with_payload = |payload: &[u8]| signed(1, payload, |h| h.kind = KIND_PRICE_BATCH);
    let good = batch(1, Slot::of(DECLARED), 2).encode();
    let mut no_signature = good.clone();
    no_signature[good.len() - 64..].fill(0);
    vec![
        read("a batch of the operation's own slot, signed as registered", with_payload(&good), "counts"),
        read("no batch", with_payload(b"prices"), "bad_payload"),
        read("an empty payload", with_payload(b""), "bad_payload"),
        read("a byte behind the batch", with_payload(&[&good[..], &[0]].concat()), "bad_payload"),
        read("a signature of zeros", with_payload(&no_signature), "bad_signature"),
        read("signed by another member", with_payload(&batch(2, Slot::of(DECLARED), 2).encode()), "bad_signature"),
        read("signed under another epoch", price_op(1, 2, |h| h.epoch = 1), "bad_signature"),
        read("another slot", price_op(1, 2, |h| h.declared = Time::from_ms(h.declared.ms() + 1_000)), "wrong_slot"),
    ]
}
