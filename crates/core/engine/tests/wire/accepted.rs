//! Operations, their parts, frontiers and frames that every reader accepts, with their fields.

use std::sync::Arc;

use concurrence_crdt::{Digest, Entry, Frontier, Header, Op, OpId, SignedHeader, Time, Wanted};
use concurrence_protocol::{Delta, Frame, Hello, PROTOCOL_VERSION, Refusal};

use crate::{
    fixtures::{
        DECLARED, NETWORK, certificate, double_vote, fork, head, longest, price_op, proof, refs, registry, signed, vote,
    },
    json::Json,
    reasons::Form,
};

/// A vector, if the decoder takes the bytes too.
pub fn accepted(form: Form, name: &str, bytes: &[u8], fields: Json, derived: Vec<(&'static str, Json)>) -> Json {
    assert_eq!(form.read(bytes), Ok(()), "{name}");
    Json::Record(vec![
        ("form", Json::text(form.name())),
        ("name", Json::text(name)),
        ("bytes", Json::hex(bytes)),
        ("fields", fields),
        ("derived", Json::Record(derived)),
    ])
}

pub fn operations() -> Vec<Json> {
    let (fork, longest) = (fork(), longest());
    let longest_fork = (signed(4, b"one", |h| h.refs = refs(16)), signed(4, b"other", |h| h.refs = refs(16)));
    let second = price_op(1, 17, |h| {
        (h.seq, h.prev, h.refs) = (1, price_op(1, 1, |_| ()).id(), vec![fork.0.id(), longest.id()]);
        h.refs.sort_unstable();
    });
    let headers = [("the shortest header", &fork.0), ("the longest header", &longest)];
    let headers = headers.map(|(name, op)| of_header(name, op.header()));
    let signed_headers = [("of a short operation", &fork.0), ("with two refs", &second), ("the longest", &longest)];
    let signed_headers = signed_headers.map(|(name, op)| of_signed(name, op.signed()));
    let operations = [
        ("empty payload: the shortest operation", signed(2, b"", |_| ())),
        ("price batch of one feed", price_op(1, 1, |_| ())),
        ("price batch of 17 feeds, second of its log, with two refs", second),
        ("payload that is no price batch although it says so", signed(3, b"no batch", |h| h.kind = 1)),
        ("unknown kind, last log, every field at its greatest: the longest operation", longest),
    ];
    let operations = operations.map(|(name, op)| of_op(name, &op));
    let proofs = [("two first operations", &fork), ("with 16 refs on each side: the longest proof", &longest_fork)];
    let proofs = proofs.map(|(name, pair)| {
        let proof = proof(pair);
        let (low, high) = proof.headers();
        let fields = vec![("low", signed_fields(low)), ("high", signed_fields(high))];
        let derived = vec![
            ("author", Json::hex(proof.author().as_bytes())),
            ("low_id", Json::hex(low.id().as_bytes())),
            ("high_id", Json::hex(high.id().as_bytes())),
        ];
        accepted(Form::ForkProof, name, &proof.encode(), Json::Record(fields), derived)
    });
    headers.into_iter().chain(signed_headers).chain(operations).chain(proofs).collect()
}

fn of_header(name: &str, header: &Header) -> Json {
    let derived = vec![("id", Json::hex(header.id().as_bytes()))];
    accepted(Form::Header, name, &header.encode(), Json::Record(header_fields(header)), derived)
}

fn of_signed(name: &str, signed: &SignedHeader) -> Json {
    let derived = vec![("id", Json::hex(signed.id().as_bytes()))];
    accepted(Form::SignedHeader, name, &signed.encode(), signed_fields(signed), derived)
}

fn of_op(name: &str, op: &Op) -> Json {
    let fields = vec![("signed_header", signed_fields(op.signed())), ("payload", Json::hex(op.payload()))];
    let derived = vec![("id", Json::hex(op.id().as_bytes()))];
    accepted(Form::Operation, name, op.bytes(), Json::Record(fields), derived)
}

fn header_fields(header: &Header) -> Vec<(&'static str, Json)> {
    vec![
        ("network_id", Json::hex(header.network.as_bytes())),
        ("author", Json::hex(header.log.author.as_bytes())),
        ("log", Json::text(header.log.index)),
        ("seq", Json::text(header.seq)),
        ("prev", Json::hex(header.prev.as_bytes())),
        ("epoch", Json::text(header.epoch)),
        ("declared_ms", Json::text(header.declared.ms())),
        ("kind", Json::text(header.kind)),
        ("payload_length", Json::text(header.payload_len)),
        ("payload_hash", Json::hex(header.payload_hash.as_bytes())),
        ("refs", Json::list(&header.refs, |id| Json::hex(id.as_bytes()))),
    ]
}

fn signed_fields(signed: &SignedHeader) -> Json {
    let header = Json::Record(header_fields(signed.header()));
    Json::Record(vec![("header", header), ("signature", Json::hex(signed.signature().as_bytes()))])
}

/// A frontier with numbers at both ends.
pub fn frontier() -> Frontier {
    let entry = |author, log, (len, certified), head| {
        let head = OpId::from_bytes([head; 32]);
        Entry { author, log, len, head, certified }
    };
    let entries = vec![
        entry(0, 0, (1, 0), 1),
        entry(0, 3, (u64::MAX, u64::MAX), 2),
        entry(2, 1, (7, 6), 0xff),
        entry(2, 2, (u64::MAX, 0), 0xff),
        entry(u16::MAX, 3, (70_000, 1), 3),
    ];
    let wanted = |author, log, seq, id| Wanted { author, log, seq, id: OpId::from_bytes([id; 32]) };
    let wanted = vec![wanted(0, 0, 0, 4), wanted(0, 0, 0, 5), wanted(0, 0, 9, 1), wanted(u16::MAX, 3, u64::MAX, 0xff)];
    Frontier { entries, forked: vec![1, 3, u16::MAX], double_voters: vec![0, u16::MAX], wanted }
}

pub fn frontier_bytes(frontier: &Frontier) -> Vec<u8> {
    let mut bytes = Vec::new();
    frontier.encode(&mut bytes);
    bytes
}

pub fn frontier_fields(frontier: &Frontier) -> Json {
    let entry = |e: &Entry| {
        Json::Record(vec![
            ("author", Json::text(e.author)),
            ("log", Json::text(e.log)),
            ("len", Json::text(e.len)),
            ("head", Json::hex(e.head.as_bytes())),
            ("open", Json::text((e.len - e.certified).min(u32::MAX.into()))),
        ])
    };
    let wanted = |w: &Wanted| {
        Json::Record(vec![
            ("author", Json::text(w.author)),
            ("log", Json::text(w.log)),
            ("seq", Json::text(w.seq)),
            ("id", Json::hex(w.id.as_bytes())),
        ])
    };
    Json::Record(vec![
        ("entries", Json::list(&frontier.entries, entry)),
        ("forked", Json::list(&frontier.forked, Json::text)),
        ("double_voters", Json::list(&frontier.double_voters, Json::text)),
        ("wanted", Json::list(&frontier.wanted, wanted)),
    ])
}

/// A frame for each tag and code, with a name.
pub fn all_frames() -> Vec<(&'static str, Frame)> {
    let (fork, one) = (fork(), price_op(1, 1, |_| ()));
    let (digest, now, proof) = (Digest::from_bytes([6; 32]), DECLARED, proof(&fork).encode());
    let ops = vec![Arc::clone(one.bytes()), Arc::clone(fork.0.bytes())];
    let certificate = certificate(head(&one), &[1, 2, 4]);
    let votes = [1, 2].map(|n| vote(head(&one), n).encode());
    let all_proofs = vec![proof.clone(), double_vote().encode(), certificate, votes[0].clone()];
    let hello = Hello {
        version: PROTOCOL_VERSION,
        network: NETWORK,
        registry: registry().digest(),
        now,
        digest,
        ops: 1_234_567,
    };
    vec![
        ("hello", Frame::Hello(hello)),
        ("hello of a later version: readable, and refused by name", Frame::Hello(Hello { version: 2, ..hello })),
        ("refuse: other protocol version", Frame::Refuse(Refusal::Version)),
        ("refuse: other network", Frame::Refuse(Refusal::Network)),
        ("refuse: other registry history", Frame::Refuse(Refusal::Registry)),
        ("refuse: no hello", Frame::Refuse(Refusal::NoHello)),
        ("digest", Frame::Digest { now, digest, ops: 0 }),
        ("digest at the end of time", Frame::Digest { now: Time::from_ms(u64::MAX), digest, ops: u64::MAX }),
        ("pull of whoever has nothing", Frame::Pull { now, credit: 524_288, frontier: Frontier::default() }),
        ("pull", Frame::Pull { now, credit: u32::MAX, frontier: frontier() }),
        ("empty delta", Frame::Delta(Delta { now, digest, more: false, proofs: vec![], ops: vec![] })),
        ("delta", Frame::Delta(Delta { now, digest, more: true, proofs: all_proofs, ops })),
        ("op", Frame::Op(Arc::clone(one.bytes()))),
        ("the longest op", Frame::Op(Arc::clone(longest().bytes()))),
        ("proof", Frame::Proof(proof)),
        ("fetch", Frame::Fetch(one.id())),
        ("proofs", Frame::Proofs(votes.to_vec())),
        ("no proofs", Frame::Proofs(Vec::new())),
    ]
}

pub fn frames() -> Vec<Json> {
    let frontiers = [("empty", Frontier::default()), ("numbers at both ends", frontier())];
    let frontiers = frontiers.into_iter().map(|(name, frontier)| {
        accepted(Form::Frontier, name, &frontier_bytes(&frontier), frontier_fields(&frontier), vec![])
    });
    let frames = all_frames().into_iter().map(|(name, frame)| {
        let bytes = frame.encode();
        assert_eq!(Frame::decode(&bytes).as_ref(), Ok(&frame), "{name}");
        let message_id = Json::text(blake3::hash(&bytes));
        accepted(Form::Frame, name, &bytes, frame_fields(&frame), vec![("message_id", message_id)])
    });
    frontiers.chain(frames).collect()
}

fn frame_fields(frame: &Frame) -> Json {
    let digest_of = |digest: &Digest| Json::hex(digest.as_bytes());
    let mut fields = Vec::new();
    let tag = match frame {
        Frame::Hello(hello) => {
            fields.push(("version", Json::text(hello.version)));
            fields.push(("network_id", Json::hex(hello.network.as_bytes())));
            fields.push(("registry_digest", digest_of(&hello.registry)));
            fields.push(("now_ms", Json::text(hello.now.ms())));
            fields.push(("frontier_digest", digest_of(&hello.digest)));
            fields.push(("operations_admitted", Json::text(hello.ops)));
            "hello"
        }
        Frame::Refuse(refusal) => {
            fields.push(("code", Json::text(*refusal as u8)));
            "refuse"
        }
        Frame::Digest { now, digest, ops } => {
            fields.push(("now_ms", Json::text(now.ms())));
            fields.push(("frontier_digest", digest_of(digest)));
            fields.push(("operations_admitted", Json::text(ops)));
            "digest"
        }
        Frame::Pull { now, credit, frontier } => {
            fields.push(("now_ms", Json::text(now.ms())));
            fields.push(("credit", Json::text(credit)));
            fields.push(("frontier", frontier_fields(frontier)));
            "pull"
        }
        Frame::Delta(delta) => {
            fields.push(("now_ms", Json::text(delta.now.ms())));
            fields.push(("frontier_digest", digest_of(&delta.digest)));
            fields.push(("more", Json::Flag(delta.more)));
            fields.push(("proofs", Json::list(&delta.proofs, |proof| Json::hex(proof))));
            fields.push(("operations", Json::list(&delta.ops, |op| Json::hex(op))));
            "delta"
        }
        Frame::Op(op) => {
            fields.push(("operation", Json::hex(op)));
            "op"
        }
        Frame::Proof(proof) => {
            fields.push(("proof", Json::hex(proof)));
            "proof"
        }
        Frame::Proofs(proofs) => {
            fields.push(("proofs", Json::list(proofs, |proof| Json::hex(proof))));
            "proofs"
        }
        Frame::Fetch(id) => {
            fields.push(("id", Json::hex(id.as_bytes())));
            "fetch"
        }
    };
    fields.insert(0, ("tag", Json::text(tag)));
    Json::Record(fields)
}
