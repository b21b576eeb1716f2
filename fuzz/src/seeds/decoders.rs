//! Seeds of the decoders: one of each form, and one for each way to be refused.

use concurrence_crdt::{
    Ballots, Counted, Digest, DoubleVote, ForkProof, Frontier, Head, HeadVote, NetworkId, Op, OpId, REFS_MAX,
    Signature, SignedHeader, Time,
};
use concurrence_oracle::{
    Attestation, BatchDraft, Domain, Feed, FeedLegs, LegRecord, LegsRecord, Price, PriceBatch, Slot, SourceId, Verdict,
    sign,
};
use concurrence_protocol::{Delta, Frame, Hello, PROTOCOL_VERSION, Refusal};
use k256::ecdsa::SigningKey;

use super::Seed;
use crate::{
    material::{Chain, NETWORK, REGISTRY, START, key, members, verified},
    price_batches::{EPOCH, signing_key},
};

pub(super) fn seeds() -> Vec<Seed> {
    [frames(), operations(), fork_proofs(), price_batches(), venue_answers(), chain_answers()].concat()
}

/// Bytes after a change.
fn changed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    bytes
}

fn cut(bytes: &[u8], by: usize) -> Vec<u8> {
    bytes[..bytes.len() - by].to_vec()
}

fn longer(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0]].concat()
}

fn frames() -> Vec<Seed> {
    let mut chain = Chain::new(1, 0);
    let ops: Vec<_> = (0..3).map(|n| chain.op(&[n; 5]).bytes().clone()).collect();
    let (now, digest, frontier) = (START, Digest::from_bytes([5; 32]), frontier());
    let hello = Hello { version: PROTOCOL_VERSION, network: NETWORK, registry: REGISTRY, now, digest, ops: 7 };
    let hello = Frame::Hello(hello).encode();
    let refuse = Frame::Refuse(Refusal::NoHello).encode();
    let fetch = Frame::Fetch(OpId::from_bytes([6; 32])).encode();
    let pull = Frame::Pull { now, credit: 1 << 19, frontier }.encode();
    let asks_all = Frame::Pull { now, credit: 0, frontier: Frontier::default() }.encode();
    let proofs = vec![fork().encode(), vote(1).encode(), double_vote().encode(), certificate()];
    let told = Frame::Proofs(vec![vote(1).encode(), vote(2).encode()]).encode();
    let delta = Frame::Delta(Delta { now, digest, more: true, proofs, ops: ops.clone() }).encode();
    let empty = Frame::Delta(Delta { now, digest, more: false, proofs: Vec::new(), ops: Vec::new() }).encode();
    let count = |bytes: &[u8], at: usize, to: u32| changed(bytes, |b| b[at..at + 4].copy_from_slice(&to.to_be_bytes()));
    // tag, now; then credit and the count of entries, or digest, more and the count of proofs
    let (entries, more, proofs) = (1 + 8 + 4, 1 + 8 + 32, 1 + 8 + 32 + 1);
    let seed = |name, bytes: Vec<u8>| Seed::new("frames", name, bytes);
    vec![
        seed("accepted-hello", hello.clone()),
        seed("accepted-refuse", refuse.clone()),
        seed("accepted-digest", Frame::Digest { now: Time::from_ms(u64::MAX), digest, ops: u64::MAX }.encode()),
        seed("accepted-pull", pull.clone()),
        seed("accepted-pull-of-nothing", asks_all.clone()),
        seed("accepted-delta", delta.clone()),
        seed("accepted-delta-of-nothing", empty.clone()),
        seed("accepted-op", Frame::Op(ops[0].clone()).encode()),
        seed("accepted-proof", Frame::Proof(fork().encode()).encode()),
        seed("accepted-fetch", fetch.clone()),
        seed("accepted-proofs", told.clone()),
        seed("accepted-proof-certificate", Frame::Proof(certificate()).encode()),
        seed("refused-truncated-proofs", cut(&told, 1)),
        seed("refused-over-cap-proofs-of-their-own", count(&told, 1, 257)),
        seed("refused-tag", vec![9, 0, 0]),
        seed("refused-truncated-nothing", Vec::new()),
        seed("refused-truncated-hello", cut(&hello, 1)),
        seed("refused-truncated-delta", cut(&delta, 1)),
        seed("refused-truncated-claimed-entries", count(&asks_all, entries, 16_384)),
        seed("refused-trailing-fetch", longer(&fetch)),
        seed("refused-trailing-pull", longer(&pull)),
        seed("refused-over-cap-entries", count(&pull, entries, 16_385)),
        seed("refused-over-cap-proofs", count(&empty, proofs, 129)),
        seed("refused-over-cap-operations", count(&empty, proofs + 4, u32::MAX)),
        seed("refused-not-canonical-refusal", changed(&refuse, |b| b[1] = 4)),
        seed("refused-not-canonical-more", changed(&delta, |b| b[more] = 2)),
        seed("refused-not-canonical-entry-without-length", changed(&pull, |b| b[entries + 7..entries + 15].fill(0))),
        seed("refused-not-canonical-entries-descend", changed(&pull, |b| b[entries + 4 + 1] = 9)),
        seed(
            "refused-not-canonical-forked-twice",
            changed(&pull, |b| {
                let forked = entries + 4 + 3 * concurrence_crdt::ENTRY_LEN + 4;
                b[forked + 3] = 2;
            }),
        ),
    ]
}

/// Two logs and two forked authors.
fn frontier() -> Frontier {
    let entry = |author, log, len| concurrence_crdt::Entry {
        author,
        log,
        len,
        head: OpId::from_bytes([log; 32]),
        certified: len / 2,
    };
    let wanted = concurrence_crdt::Wanted { author: 1, log: 1, seq: 9, id: OpId::from_bytes([4; 32]) };
    Frontier {
        entries: vec![entry(0, 0, 1), entry(0, 3, u64::MAX), entry(1, 1, 9)],
        forked: vec![2, 3],
        double_voters: vec![0],
        wanted: vec![wanted],
    }
}

/// The head of a log of one operation.
fn head() -> Head {
    let op = Chain::new(1, 0).op(b"op");
    Head { network: NETWORK, log: op.header().log, len: 1, id: op.id(), epoch: 0 }
}

fn vote(voter: u8) -> HeadVote {
    HeadVote::sign(head(), key(voter))
}

fn double_vote() -> DoubleVote {
    let verified = |vote: HeadVote| vote.verify(&members()).expect("a member's vote");
    let other = HeadVote::sign(Head { id: OpId::from_bytes([7; 32]), ..head() }, key(1));
    DoubleVote::of(&verified(vote(1)), &verified(other)).expect("two heads at one length")
}

/// The certificate that all members sign.
fn certificate() -> Vec<u8> {
    let mut ballots = Ballots::default();
    let votes = (1..=4).map(|voter| vote(voter).verify(&members()).expect("a member's vote"));
    let counted = votes.map(|vote| ballots.count(&vote, &members()).0);
    let certified =
        counted.filter_map(|c| if let Counted::Certified(certificate) = c { Some(certificate) } else { None });
    certified.last().expect("four of four are enough").encode()
}

fn fork() -> ForkProof {
    let chain = Chain::new(4, 1);
    proof_of(&{ chain }.op(b"left"), &{ chain }.op(b"right"))
}

fn proof_of(one: &Op, two: &Op) -> ForkProof {
    let proof = ForkProof::of(&verified(one).verified_header(), &verified(two).verified_header());
    proof.expect("two headers at one position")
}

fn operations() -> Vec<Seed> {
    let mut chain = Chain::new(1, 0);
    let first = chain.op(b"first").bytes().to_vec();
    let second = chain.op(&[2; 40]).bytes().to_vec();
    let mut header = Chain { seq: u64::MAX, index: 3, declared: Time::from_ms(u64::MAX), ..chain }.header();
    let ids = |count| (0..=u8::MAX).map(|n| OpId::from_bytes([n; 32])).take(count).collect::<Vec<_>>();
    header.refs = ids(REFS_MAX);
    let refs = Op::sign(header.clone(), b"", key(1)).bytes().to_vec();
    header.refs.swap(0, 1);
    let unsorted = Op::sign(header.clone(), b"", key(1)).bytes().to_vec();
    header.refs = ids(REFS_MAX + 1);
    let too_many = Op::sign(header, b"", key(1)).bytes().to_vec();
    let signed_by = |n| Op::sign(Chain::new(1, 0).header(), b"forged", key(n)).bytes().to_vec();
    let foreign = concurrence_crdt::Header { network: NetworkId::from_bytes([8; 32]), ..Chain::new(1, 0).header() };
    // version 1, network 32, author 32: then the log; seq 8: then prev 32; epoch 4, declared 8, kind 2: then the payload's length
    let (log, prev, payload_len) = (65, 65 + 1 + 8, 65 + 1 + 8 + 32 + 4 + 8 + 2);
    let seed = |name, bytes: Vec<u8>| Seed::new("operations", name, bytes);
    vec![
        seed("accepted-first", first.clone()),
        seed("accepted-second", second.clone()),
        seed("accepted-refs-and-greatest-numbers", refs.clone()),
        seed("accepted-empty", Chain::new(3, 2).op(b"").bytes().to_vec()),
        seed("refused-version", changed(&first, |b| b[0] = 1)),
        seed("refused-other-network", Op::sign(foreign, b"", key(1)).bytes().to_vec()),
        seed("refused-payload-hash", changed(&first, |b| b.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1))),
        seed("refused-signature-of-another", signed_by(2)),
        seed("refused-signature-changed", changed(&second, |b| b[160] ^= 1)),
        seed("refused-truncated-header", first[..100].to_vec()),
        seed("refused-truncated-payload", cut(&first, 1)),
        seed("refused-trailing", longer(&first)),
        seed("refused-over-cap-log", changed(&first, |b| b[log] = 4)),
        seed("refused-over-cap-payload", changed(&first, |b| b[payload_len] = 1)),
        seed("refused-over-cap-refs", too_many),
        seed("refused-not-canonical-prev-of-the-first", changed(&first, |b| b[prev] = 1)),
        seed("refused-not-canonical-refs", unsorted),
    ]
}

fn fork_proofs() -> Vec<Seed> {
    let plain = fork().encode();
    let mut chain = Chain::new(2, 0);
    let first = chain.op(b"first");
    let invented = Chain { prev: OpId::from_bytes([0xee; 32]), ..chain };
    let mut with_refs = chain.header();
    with_refs.refs = vec![OpId::from_bytes([1; 32]), OpId::from_bytes([2; 32])];
    let with_refs = Op::sign(with_refs, b"refs", key(2));
    let second = { chain }.op(b"second");
    let half = plain.len() / 2;
    let (low, high) = (plain[..half].to_vec(), plain[half..].to_vec());
    let pair = |one: &Op, two: &Op| {
        let ordered = if one.id() < two.id() { [one, two] } else { [two, one] };
        ordered.map(|op| op.signed().encode()).concat()
    };
    let unsigned = |op: &Op| SignedHeader::join(op.header().clone(), Signature::from_bytes([1; 64])).encode();
    let seed = |name, bytes: Vec<u8>| Seed::new("fork_proofs", name, bytes);
    vec![
        seed("accepted-two-payloads", plain.clone()),
        seed("accepted-invented-ancestor", proof_of(&{ invented }.op(b"left"), &second).encode()),
        seed("accepted-refs", proof_of(&with_refs, &second).encode()),
        seed("refused-order", [&high[..], &low].concat()),
        seed("refused-order-one-twice", [&low[..], &low].concat()),
        seed("refused-positions-next-to-one-another", pair(&first, &second)),
        seed("refused-positions-of-two-logs", pair(&Chain::new(2, 0).op(b"a"), &Chain::new(2, 1).op(b"b"))),
        seed("refused-positions-of-two-authors", pair(&Chain::new(1, 0).op(b"a"), &Chain::new(2, 0).op(b"b"))),
        seed("refused-signature-changed", changed(&plain, |b| b.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1))),
        seed("refused-signature-invented", {
            let (one, two) = ({ chain }.op(b"one"), { chain }.op(b"two"));
            let ordered = if one.id() < two.id() { [one, two] } else { [two, one] };
            ordered.map(|op| unsigned(&op)).concat()
        }),
        seed("refused-truncated", cut(&plain, 1)),
        seed("refused-truncated-one-header", low.clone()),
        seed("refused-trailing", longer(&plain)),
        seed("refused-other-network", changed(&plain, |b| b[1] ^= 1)),
    ]
}

fn attestations(count: usize) -> Vec<Attestation> {
    let feed = |at: usize| format!("A{at:03}/USD").parse::<Feed>().expect("a feed's name");
    let all = (0..count).map(|at| Attestation::new(feed(at), (at as u64 + 1, -8), 3, 7, at % 2 == 1));
    all.collect::<Result<_, _>>().expect("in range")
}

fn batch(count: usize, key: &SigningKey) -> PriceBatch {
    let slot = Slot::of(START);
    let draft = BatchDraft::new(slot, Digest::from_bytes([5; 32]), attestations(count)).expect("feeds ascend");
    let signatures = draft.digests(&Domain::of(&NETWORK), EPOCH).iter().map(|digest| sign(digest, key)).collect();
    draft.signed(signatures).expect("one signature a group")
}

fn price_batches() -> Vec<Seed> {
    let (one, two) = (batch(1, signing_key()).encode(), batch(2, signing_key()).encode());
    let stranger = SigningKey::from_slice(&[2; 32]).expect("a small number is a scalar");
    // slot 8, legs 32, groups 1, feeds of the group 1: then (feed 21, exponent 1) each, words of 12, signature 64
    let (feed, word) = (42, 42 + 2 * 22);
    let signature = word + 2 * 12;
    let seed = |name, bytes: Vec<u8>| Seed::new("price_batches", name, bytes);
    vec![
        seed("accepted-one-feed", one.clone()),
        seed("accepted-two-feeds-one-doubtful", two.clone()),
        seed("accepted-two-groups", batch(17, signing_key()).encode()),
        seed("accepted-a-hundred-feeds", batch(100, signing_key()).encode()),
        seed("refused-signer-another-key", batch(2, &stranger).encode()),
        seed("refused-signer-another-slot", changed(&one, |b| b[7] ^= 1)),
        seed("refused-signature-r-is-zero", changed(&two, |b| b[signature..signature + 32].fill(0))),
        seed(
            "refused-signature-high-s",
            changed(&two, |b| {
                b[signature + 32] = 0x7f;
                b[signature + 33..signature + 64].fill(0xff);
            }),
        ),
        seed("refused-order-repeated", changed(&two, |b| b.copy_within(feed..feed + 21, feed + 22))),
        seed("refused-count-no-group", changed(&one[..41], |b| b[40] = 0)),
        seed("refused-count-too-many-groups", changed(&one, |b| b[40] = 8)),
        seed("refused-count-empty-group", changed(&one, |b| b[41] = 0)),
        seed("refused-attestation-zero", changed(&two, |b| b[word..word + 8].fill(0))),
        seed("refused-attestation-exponent", changed(&two, |b| b[feed + 21] = 1)),
        seed("refused-feed-category", changed(&two, |b| b[feed] = 2)),
        seed("refused-feed-lower-case", changed(&two, |b| b[feed + 1] = b'a')),
        seed("refused-truncated", cut(&one, 1)),
        seed("refused-trailing", longer(&one)),
        seed("refused-count-legs-record", legs().encode()),
        seed("refused-count-signature-and-digest", [&two[signature..], &[7; 32][..]].concat()),
    ]
}

fn legs() -> LegsRecord {
    let leg = |source, verdict, raw| LegRecord {
        source: SourceId::new(source).expect("a small index"),
        symbol: "BTCUSDT".into(),
        raw,
        converted: raw,
        verdict,
    };
    let price = Some(Price::from_units(62_099_560_000_000_000_000_000));
    let legs = vec![leg(0, Verdict::Counted, price), leg(1, Verdict::NoQuote, None)];
    LegsRecord { feeds: vec![FeedLegs { feed: attestations(1)[0].feed(), legs }] }
}

/// Beside the recorded answers in `data/venues`, which are seeds too: what nobody recorded.
fn venue_answers() -> Vec<Seed> {
    let seed = |name, text: &str| Seed::new("venue_answers", name, text);
    vec![
        seed(
            "accepted-binance-book-and-last",
            r#"{"symbol":"BTCUSDT","bidPrice":"1.0","askPrice":"1.1","lastPrice":"9","volume":"0","closeTime":1719792000123}"#,
        ),
        seed("accepted-binance-least-price", r#"{"symbol":"LTCBTC","price":"1e-18"}"#),
        seed(
            "accepted-kraken-own-name",
            r#"{"error":["WAnything"],"result":{"a":{"a":["2","1","1"],"b":["1","1","1"],"c":["1.5","1"],"v":["0","3"]}}}"#,
        ),
        seed("accepted-coinbase-spot", r#"{"data":{"amount":"62099.5","base":"BTC","currency":"USD"}}"#),
        seed("refused-everywhere-escaped-key-twice", "{\"symbol\":\"LTCBTC\",\"price\":\"1\",\"\\u0070rice\":\"2\"}"),
        seed("refused-everywhere-crossed", r#"{"symbol":"BTCUSDT","bidPrice":"2","askPrice":"1"}"#),
        seed("refused-everywhere-control-characters", "{\"code\":-1121,\"msg\":\"\\u001b[2J\\n\"}"),
        seed("refused-everywhere-greatest-exponent", r#"{"symbol":"LTCBTC","price":"9e999999999999"}"#),
    ]
}

/// Beside the recorded answers in `data/venues/onchain`, which are seeds too.
fn chain_answers() -> Vec<Seed> {
    let seed = |name, result: &str| {
        Seed::new("chain_answers", name, format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#))
    };
    let hash = "ab".repeat(32);
    vec![
        seed("accepted-a-block", &format!(r#"{{"hash":"0x{hash}","number":"0x1","timestamp":"0x6681f280"}}"#)),
        seed("accepted-a-moving-average", &format!("\"0x{:064x}\"", 10u128.pow(18))),
        seed("refused-everywhere-no-contract", "\"0x\""),
        seed("refused-everywhere-an-array-beyond-the-end", &format!("\"0x{}\"", format!("{:064x}", 0xffe0).repeat(9))),
    ]
}
