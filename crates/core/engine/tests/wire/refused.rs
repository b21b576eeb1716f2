//! What every reader refuses, one fault a vector, and by which name.

use concurrence_crdt::{AUTHORS_MAX, ENTRY_LEN, Header, LOGS_MAX, LogKey, NetworkId, OpId, PAYLOAD_LEN_MAX};
use concurrence_oracle::Slot;
use concurrence_protocol::{DELTA_PROOFS_MAX, FRAME_LEN_MAX};

use crate::{
    accepted::{all_frames, frontier, frontier_bytes},
    fixtures::{DECLARED, author, batch, fork, key, price_op, proof, refs, signed},
    json::Json,
    reasons::Form,
};

/// A vector, if the decoder refuses the bytes by this very name.
pub fn refused(form: Form, name: &str, bytes: &[u8], reason: &str) -> Json {
    assert_eq!(form.read(bytes), Err(reason.to_owned()), "{form:?}: {name}");
    Json::Record(vec![
        ("form", Json::text(form.name())),
        ("name", Json::text(name)),
        ("bytes", Json::hex(bytes)),
        ("reason", Json::text(reason)),
    ])
}

/// The form cut off in several places, and with a byte behind its end.
pub fn cut_and_longer(form: Form, good: &[u8]) -> Vec<Json> {
    let cut = |len: usize| refused(form, &format!("{len} of {} bytes", good.len()), &good[..len], "truncated");
    let mut vectors: Vec<_> = [0, 1, good.len() / 2, good.len() - 1].into_iter().map(cut).collect();
    vectors.push(refused(form, "a byte behind the end", &[good, &[0]].concat(), "trailing"));
    vectors
}

/// Bytes with one of them changed.
pub fn with(mut bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    bytes[at] = byte;
    bytes
}

pub fn operations() -> Vec<Json> {
    let good = price_op(1, 1, |_| ());
    let (header, half) = (good.header().encode(), good.signed().encode());
    let mut all = [cut_and_longer(Form::Header, &header), cut_and_longer(Form::SignedHeader, &half)].concat();
    all.extend(cut_and_longer(Form::Operation, good.bytes()));
    all.extend(headers());
    let payload_differs = with(good.bytes().to_vec(), good.bytes().len() - 1, 0xee);
    let over = signed(1, &vec![0; PAYLOAD_LEN_MAX + 1], |_| ());
    let victim = concurrence_crdt::Op::sign(good.header().clone(), good.payload(), &key(2));
    all.extend([
        refused(Form::Operation, "the payload is not the promised one", &payload_differs, "payload_hash"),
        refused(Form::Operation, "a payload over the cap", over.bytes(), "over_cap: payload length"),
        refused(Form::Operation, "signed by another author's key", victim.bytes(), "signature"),
        refused(Form::SignedHeader, "signed by another author's key", &victim.signed().encode(), "signature"),
    ]);
    all.extend(proofs());
    all
}

fn headers() -> Vec<Json> {
    let case = |name: &str, reason: &str, change: &dyn Fn(&mut Header)| {
        refused(Form::Operation, name, signed(1, b"payload", change).bytes(), reason)
    };
    let later_version = with(signed(1, b"payload", |_| ()).bytes().to_vec(), 0, 1);
    let other = NetworkId::from_bytes([8; 32]);
    vec![
        refused(Form::Operation, "a later version", &later_version, "version"),
        case("another network", "other_network", &|h| h.network = other),
        case("a fifth log", "over_cap: log index", &|h| h.log.index = LOGS_MAX),
        case("a first operation with one before it", "not_canonical: prev of the first operation", &|h| {
            h.prev = OpId::from_bytes([1; 32]);
        }),
        case("seventeen refs", "over_cap: refs", &|h| h.refs = refs(17)),
        case("refs out of order", "not_canonical: order of refs", &|h| {
            h.refs = refs(3);
            h.refs.swap(1, 2);
        }),
        case("a ref twice", "not_canonical: order of refs", &|h| h.refs = [refs(1), refs(1)].concat()),
    ]
}

/// What makes of a good header another one.
type Change = fn(&mut Header);

fn proofs() -> Vec<Json> {
    let (pair, halves) = (fork(), |a: &[u8], b: &[u8]| [a, b].concat());
    let good = proof(&pair);
    let (low, high) = (good.headers().0.encode(), good.headers().1.encode());
    let case = |name: &str, bytes: &[u8], reason: &str| refused(Form::ForkProof, name, bytes, reason);
    let positions: [(&str, Change); 3] = [
        ("two positions of one log", |h| (h.seq, h.prev) = (1, OpId::from_bytes([1; 32]))),
        ("two logs of one author", |h| h.log.index = 1),
        ("two authors", |h| h.log = LogKey { author: author(3), index: 0 }),
    ];
    let mut all = cut_and_longer(Form::ForkProof, &good.encode());
    all.extend(positions.map(|(name, change)| {
        case(name, &halves(&low, &signed(4, b"other", change).signed().encode()), "two_positions")
    }));
    let foreign = signed(4, b"other", |h| h.network = NetworkId::from_bytes([8; 32])).signed().encode();
    let forged = |half: &[u8]| with(half.to_vec(), half.len() - 40, 0x5a);
    all.extend([
        case("one header twice", &halves(&low, &low), "not_ordered"),
        case("the greater id first", &halves(&high, &low), "not_ordered"),
        case("the first signature is wrong", &halves(&forged(&low), &high), "signature"),
        case("the second signature is wrong", &halves(&low, &forged(&high)), "signature"),
        case("the second header is another network's", &halves(&low, &foreign), "other_network"),
    ]);
    all
}

pub fn frames() -> Vec<Json> {
    let frame = |name: &str, bytes: &[u8], reason: &str| refused(Form::Frame, name, bytes, reason);
    let mut all = frontiers();
    for (name, good) in all_frames().into_iter().map(|(name, frame)| (name, frame.encode())) {
        match good[0] {
            // What they carry reaches to the end, whatever its length.
            5 | 6 => {}
            _ if matches!(name, "hello" | "refuse: no hello" | "digest" | "pull" | "delta" | "fetch" | "proofs") => {
                let cut = good.len() - 1;
                all.push(frame(&format!("{name}, its last byte missing"), &good[..cut], "truncated"));
                all.push(frame(&format!("{name}, a byte behind its end"), &[&good[..], &[0]].concat(), "trailing"));
            }
            _ => {}
        }
    }
    let delta = |rest: &[&[u8]]| [&[4][..], &[0; 40], &rest.concat()].concat();
    let (none, count) = ([0; 4], |n: usize| u32::try_from(n).unwrap().to_be_bytes());
    all.extend([
        frame("nothing at all", &[], "truncated"),
        frame("an unknown tag", &[9], "frame_tag"),
        frame("the greatest tag", &[255], "frame_tag"),
        frame("one byte over a frame's cap", &vec![5; FRAME_LEN_MAX + 1], "frame_length"),
        frame("an unknown refusal code", &[1, 4], "not_canonical: refusal code"),
        frame("an operation longer than any", &[&[5][..], &[0; 62_174]].concat(), "over_cap: operation length"),
        frame("a proof longer than any", &[&[6][..], &[0; 24_594]].concat(), "over_cap: proof length"),
        frame("a delta whose more is 2", &delta(&[&[2], &none, &none]), "not_canonical: more"),
        frame("a delta of 129 proofs", &delta(&[&[0], &count(DELTA_PROOFS_MAX + 1)]), "over_cap: proofs"),
        frame("a delta of 2,374 operations", &delta(&[&[0], &none, &count(2_374)]), "over_cap: operations"),
        frame("a proof in a delta, too long", &delta(&[&[0], &count(1), &count(24_594)]), "over_cap: proof length"),
        frame(
            "an operation in a delta, too long",
            &delta(&[&[0], &none, &count(1), &count(62_174)]),
            "over_cap: operation length",
        ),
        frame("257 proofs in a frame of their own", &[&[8][..], &count(257)].concat(), "over_cap: proofs"),
        frame("a delta that promises an operation it lacks", &delta(&[&[0], &none, &count(1)]), "truncated"),
    ]);
    all
}

fn frontiers() -> Vec<Json> {
    let case = |name: &str, reason: &str, change: &dyn Fn(&mut concurrence_crdt::Frontier)| {
        let mut changed = frontier();
        change(&mut changed);
        refused(Form::Frontier, name, &frontier_bytes(&changed), reason)
    };
    let mut more_open = frontier_bytes(&frontier());
    more_open[4 + ENTRY_LEN - 1] = 2;
    let over = |before: &[u8], count: usize| [before, &u32::try_from(count).unwrap().to_be_bytes()].concat();
    let mut all = cut_and_longer(Form::Frontier, &frontier_bytes(&frontier()));
    all.extend([
        case("logs of an author out of order", "not_canonical: frontier entry", &|f| f.entries.swap(0, 1)),
        case("authors out of order", "not_canonical: frontier entry", &|f| f.entries.swap(1, 2)),
        case("one log twice", "not_canonical: frontier entry", &|f| f.entries[1] = f.entries[0]),
        case("an empty log", "not_canonical: frontier entry", &|f| f.entries[0].len = 0),
        case("a fifth log", "not_canonical: frontier entry", &|f| f.entries[1].log = LOGS_MAX),
        case("double voters out of order", "not_canonical: order of double voters", &|f| f.double_voters.swap(0, 1)),
        case("an operation wanted twice", "not_canonical: wanted operation", &|f| f.wanted[1] = f.wanted[0]),
        case("wanted operations out of order", "not_canonical: wanted operation", &|f| f.wanted.swap(0, 1)),
        case("an operation of a fifth log wanted", "not_canonical: wanted operation", &|f| f.wanted[3].log = LOGS_MAX),
        case("forked authors out of order", "not_canonical: order of forked authors", &|f| f.forked.swap(0, 1)),
        case("a forked author twice", "not_canonical: order of forked authors", &|f| f.forked[1] = f.forked[0]),
        refused(Form::Frontier, "more open than there is", &more_open, "not_canonical: frontier entry"),
        refused(
            Form::Frontier,
            "more logs than all authors can have",
            &over(&[], AUTHORS_MAX * usize::from(LOGS_MAX) + 1),
            "over_cap: frontier entries",
        ),
        refused(
            Form::Frontier,
            "more forked authors than there can be",
            &over(&[0; 4], AUTHORS_MAX + 1),
            "over_cap: forked authors",
        ),
        refused(
            Form::Frontier,
            "more double voters than there can be",
            &over(&[0; 8], AUTHORS_MAX + 1),
            "over_cap: double voters",
        ),
        refused(Form::Frontier, "17 wanted operations", &over(&[0; 12], 17), "over_cap: wanted operations"),
    ]);
    all
}

pub fn payloads() -> Vec<Json> {
    [batches(), batch_numbers(), legs()].concat()
}

/// Where things are in a batch of two feeds.
const GROUPS: usize = 40;
const FEEDS: usize = 41;
const FIRST_FEED: usize = 42;
const HEAD_LEN: usize = 22;
const WORDS: usize = FIRST_FEED + 2 * HEAD_LEN;
const SIGNATURE: usize = WORDS + 2 * 12;

fn two_feeds() -> Vec<u8> {
    batch(1, Slot::of(DECLARED), 2).encode()
}

fn changed(name: &str, reason: &str, change: impl FnOnce(&mut Vec<u8>)) -> Json {
    let mut bytes = two_feeds();
    change(&mut bytes);
    refused(Form::PriceBatch, name, &bytes, reason)
}

fn batches() -> Vec<Json> {
    let hundred = batch(1, Slot::of(DECLARED), 100).encode();
    let last_group = hundred.len() - (65 + 34 * 4);
    // The last group of a batch of 112 feeds in its place: full, and twelve feeds over the cap.
    let mut too_many = hundred[..last_group].to_vec();
    let sixteen = too_many.len() - (65 + 34 * 16);
    let mut group = too_many[sixteen..].to_vec();
    (0..16).for_each(|at| group[1 + at * HEAD_LEN + 1] = b'B');
    too_many.extend(group);
    let mut all = cut_and_longer(Form::PriceBatch, &two_feeds());
    all.extend([
        changed("no groups", "batch_feeds", |b| {
            b.truncate(FEEDS);
            b[GROUPS] = 0;
        }),
        changed("eight groups", "batch_groups", |b| b[GROUPS] = 8),
        refused(Form::PriceBatch, "112 feeds in seven groups", &too_many, "batch_feeds"),
        changed("a group that is not filled before the next", "batch_grouping", |b| b[GROUPS] = 2),
        changed("an empty group", "batch_grouping", |b| b[FEEDS] = 0),
        changed("a group of 17 feeds", "batch_grouping", |b| b[FEEDS] = 17),
        changed("a feed twice", "feed_repeated", |b| {
            b.copy_within(FIRST_FEED..FIRST_FEED + 21, FIRST_FEED + HEAD_LEN);
        }),
        changed("feeds out of order", "feed_order", |b| b[FIRST_FEED + 4] = b'9'),
    ]);
    let feeds = [
        ("a feed of an unknown category", 0, 2),
        ("a feed with stray bytes in its padding", 20, b'X'),
        ("a feed with a lower-case letter", 1, b'a'),
        ("a feed without a slash", 5, b'X'),
        ("a feed without a base", 1, b'/'),
    ];
    all.extend(feeds.map(|(name, at, byte)| changed(name, "feed_form", |b| b[FIRST_FEED + at] = byte)));
    let names = [
        ("a feed whose base is its quote", "USD/USD"),
        ("a feed whose base has 11 characters", "ABCDEFGHIJK/USD"),
        ("a feed of three currencies", "A/B/C"),
    ];
    all.extend(names.map(|(name, feed)| {
        changed(name, "feed_form", |b| {
            b[FIRST_FEED + 1..FIRST_FEED + 21].fill(0);
            b[FIRST_FEED + 1..FIRST_FEED + 1 + feed.len()].copy_from_slice(feed.as_bytes());
        })
    }));
    all
}

fn batch_numbers() -> Vec<Json> {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let order: Vec<u8> = hex::decode(order).unwrap();
    // (order + 1) / 2: the least s of the upper half.
    let mut high_s: Vec<u8> = hex::decode("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1").unwrap();
    let exponents = [("above the greatest", 1i8), ("below the least", -19), ("far above", 127), ("far below", -128)];
    let mut all: Vec<_> = exponents
        .map(|(name, expo)| {
            let name = format!("an exponent {name}");
            changed(&name, "exponent", |b| b[FIRST_FEED + 21] = expo.to_be_bytes()[0])
        })
        .into();
    let put = |b: &mut Vec<u8>, at: usize, bytes: &[u8]| b[at..at + bytes.len()].copy_from_slice(bytes);
    all.extend([
        changed("a mantissa of 0", "mantissa", |b| put(b, WORDS, &[0; 8])),
        changed("a mantissa of 0 under the doubtful flag", "mantissa", |b| put(b, WORDS, &[0x80, 0, 0, 0, 0, 0, 0, 0])),
        changed("r is 0", "evm_range", |b| put(b, SIGNATURE, &[0; 32])),
        changed("r is the order of the curve", "evm_range", |b| put(b, SIGNATURE, &order)),
        changed("s is 0", "evm_range", |b| put(b, SIGNATURE + 32, &[0; 32])),
        changed("s is in the upper half", "evm_high_s", |b| put(b, SIGNATURE + 32, &high_s)),
    ]);
    high_s[0] |= 0x80;
    all.push(changed("s is in the upper half, y odd", "evm_high_s", |b| put(b, SIGNATURE + 32, &high_s)));
    all
}

fn legs() -> Vec<Json> {
    let case = |name: &str, bytes: &[u8], reason: &str| refused(Form::LegsRecord, name, bytes, reason);
    let mut feed = [0; 21];
    feed[..8].copy_from_slice(b"\x01BTC/USD");
    let record = |leg: &[u8]| [&[1][..], &feed, &[1], leg].concat();
    // source | symbol length, symbol | raw | converted | verdict
    let good = record(&[0, 3, b'X', b'B', b'T', 0, 0, 2]);
    assert_eq!(Form::LegsRecord.read(&good), Ok(()));
    let at = good.len() - 8;
    let mut all = cut_and_longer(Form::LegsRecord, &good);
    let long_symbol = [&[0, 33][..], &[b'X'; 33], &[0, 0, 2]].concat();
    all.extend([
        case("101 feeds", &with(good.clone(), 0, 101), "over_cap: feeds of a legs record"),
        case("65 legs of a feed", &with(good.clone(), 22, 65), "over_cap: legs of a feed"),
        case("a symbol of 33 bytes", &record(&long_symbol), "over_cap: bytes of a symbol"),
        case("a feed of an unknown category", &with(good.clone(), 1, 2), "feed_form"),
        case("a seventeenth source", &with(good.clone(), at, 16), "not_canonical: source index"),
        case("an empty symbol", &record(&[0, 0, 0, 0, 2]), "not_canonical: symbol"),
        case("a symbol with a space", &with(good.clone(), at + 3, b' '), "not_canonical: symbol"),
        case("a symbol that is not ASCII", &with(good.clone(), at + 3, 0xe9), "not_canonical: symbol"),
        case("a price neither absent nor there", &with(good.clone(), at + 5, 2), "not_canonical: presence of a price"),
        case("an unknown verdict", &with(good.clone(), at + 7, 12), "not_canonical: verdict"),
    ]);
    all
}
