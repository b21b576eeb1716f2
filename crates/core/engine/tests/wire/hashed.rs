//! What is hashed but never sent as it stands: the bytes under the digests of frontiers, registries and results.
//!
//! The bytes are put together here a second time; that their hash is the product's is asserted.

use concurrence_crdt::{Certificate, Certified, Digest, History, LogKey, Reader, Tail, Time, hash};
use concurrence_oracle::{AggregateParams, Feed, Registry, result_id};

use crate::{
    accepted::{frontier_bytes, frontier_fields},
    fixtures::{DECLARED, NETWORK, author, certificate, double_vote, fork, head, price_op, proof, registry, signed},
    json::Json,
};

pub fn all() -> Vec<Json> {
    vec![
        of_history("nothing admitted", &mut History::new(registry().membership())),
        of_history(
            "three logs of two authors, one certified operation, one forked author, one double voter",
            &mut history(),
        ),
        of_certified("nothing admitted", &mut History::new(registry().membership())),
        of_certified("one certified operation, one double voter", &mut history()),
        of_registry(),
        of_result(),
    ]
}

fn hashed(
    form: &str,
    name: &str,
    bytes: &[u8],
    domain: &'static str,
    digest: Digest,
    rest: Vec<(&'static str, Json)>,
) -> Json {
    assert_eq!(hash(domain, bytes), digest, "{name}");
    let mut fields = vec![
        ("form", Json::text(form)),
        ("name", Json::text(name)),
        ("bytes", Json::hex(bytes)),
        ("domain", Json::text(domain)),
        ("digest", Json::hex(digest.as_bytes())),
    ];
    fields.extend(rest);
    Json::Record(fields)
}

fn history() -> History {
    let mut history = History::new(registry().membership());
    let first = price_op(1, 1, |_| ());
    let second = signed(1, b"second", |h| (h.seq, h.prev) = (1, first.id()));
    let spare = signed(1, b"spare", |h| h.log.index = 1);
    let newcomer = signed(5, b"newcomer", |h| h.epoch = 1);
    for op in [first, second, spare, newcomer] {
        history.admit(&op.verify().unwrap()).unwrap();
    }
    assert!(history.convict(proof(&fork())));
    let certified = certificate(head(&price_op(1, 1, |_| ())), &[1, 2, 3]);
    let certified = Certificate::read(&mut Reader::new(&certified), NETWORK, &registry().membership()).unwrap();
    assert_eq!(history.certify(certified), Certified::Counted);
    assert!(history.expose(double_vote()));
    history
}

fn of_history(name: &str, history: &mut History) -> Json {
    let logs: Vec<_> = history.logs().collect();
    let forked: Vec<_> = history.forked().map(|proof| proof.author()).collect();
    let mut bytes = u32::try_from(logs.len()).unwrap().to_be_bytes().to_vec();
    for (log, tail) in &logs {
        bytes.extend(log.author.as_bytes());
        bytes.push(log.index);
        bytes.extend(tail.len.to_be_bytes());
        bytes.extend(tail.head.as_bytes());
    }
    bytes.extend(u32::try_from(forked.len()).unwrap().to_be_bytes());
    forked.iter().for_each(|author| bytes.extend(author.as_bytes()));
    let log = |(log, tail): &(LogKey, Tail)| {
        Json::Record(vec![
            ("author", Json::hex(log.author.as_bytes())),
            ("log", Json::text(log.index)),
            ("len", Json::text(tail.len)),
            ("head", Json::hex(tail.head.as_bytes())),
        ])
    };
    let fields = vec![("logs", Json::list(&logs, log)), ("forked", Json::list(&forked, |a| Json::hex(a.as_bytes())))];
    // The same as peers send it: authors by their numbers in the registry below.
    let frontier = history.frontier();
    let sent = vec![("bytes", Json::hex(&frontier_bytes(&frontier))), ("fields", frontier_fields(&frontier))];
    let rest = vec![("fields", Json::Record(fields)), ("frontier", Json::Record(sent))];
    hashed("frontier_digest", name, &bytes, "concurrence v0 frontier", history.cut(), rest)
}

/// The whole state: the cut, and what of it is certified. No log is frozen here.
fn of_certified(name: &str, history: &mut History) -> Json {
    let lens: Vec<u64> = history.logs().map(|(log, _)| history.certified_len(log)).collect();
    let double_voters: Vec<_> = history.double_votes().map(|proof| proof.voter()).collect();
    let mut bytes = history.cut().as_bytes().to_vec();
    bytes.extend(u32::try_from(lens.len()).unwrap().to_be_bytes());
    lens.iter().for_each(|len| bytes.extend(len.to_be_bytes()));
    bytes.extend(u32::try_from(double_voters.len()).unwrap().to_be_bytes());
    double_voters.iter().for_each(|voter| bytes.extend(voter.as_bytes()));
    bytes.extend([0; 4]);
    let fields = Json::Record(vec![
        ("cut", Json::hex(history.cut().as_bytes())),
        ("certified", Json::list(&lens, Json::text)),
        ("double_voters", Json::list(&double_voters, |a| Json::hex(a.as_bytes()))),
        ("frozen", Json::List(Vec::new())),
    ]);
    hashed("history_digest", name, &bytes, "concurrence v0 history", history.digest(), vec![("fields", fields)])
}

fn of_registry() -> Json {
    let registry = registry();
    let mut bytes = Vec::new();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    };
    text(&mut bytes, registry.network());
    bytes.extend(registry.network_id().as_bytes());
    bytes.extend((registry.epochs().len() as u64).to_be_bytes());
    for epoch in registry.epochs() {
        bytes.extend((epoch.members().len() as u64).to_be_bytes());
        for member in epoch.members() {
            text(&mut bytes, &member.name);
            bytes.extend(member.author.as_bytes());
            bytes.extend(member.evm.as_bytes());
            text(&mut bytes, &member.peer);
            bytes.extend(member.weight.to_be_bytes());
        }
    }
    let rest = vec![("fields", registry_fields(&registry))];
    let name = "two epochs; a member left, another came, weights changed";
    hashed("registry_digest", name, &bytes, "concurrence v0 registry history", registry.digest(), rest)
}

fn registry_fields(registry: &Registry) -> Json {
    let epochs = Json::list(registry.epochs(), |epoch| {
        Json::list(epoch.members(), |member| {
            Json::Record(vec![
                ("name", Json::text(&member.name)),
                ("author", Json::hex(member.author.as_bytes())),
                ("evm", Json::hex(member.evm.as_bytes())),
                ("peer", Json::text(&member.peer)),
                ("weight", Json::text(member.weight)),
                ("capped_weight", Json::text(epoch.committee().weight(&member.author))),
            ])
        })
    });
    let membership = registry.membership();
    assert_eq!(membership.number(&author(5)).and_then(|n| membership.author(n)), Some(author(5)));
    Json::Record(vec![
        ("network", Json::text(registry.network())),
        ("network_id", Json::hex(registry.network_id().as_bytes())),
        ("epochs", epochs),
        ("author_numbers", Json::list(membership.authors(), |author| Json::hex(author.as_bytes()))),
    ])
}

fn of_result() -> Json {
    let (cut, registry, feed) = (history().cut(), registry().digest(), "BTC/USD".parse::<Feed>().unwrap());
    let as_of = Time::from_ms(DECLARED.ms() + 1_000);
    let params = AggregateParams { window_ms: 60_000, max_age_ms: 30_000, sources_min: 2, width_max_ppm: 20_000 };
    let mut bytes = [&cut.as_bytes()[..], &as_of.ms().to_be_bytes(), registry.as_bytes(), feed.as_bytes()].concat();
    bytes.extend([params.window_ms.to_be_bytes(), params.max_age_ms.to_be_bytes()].concat());
    bytes.push(params.sources_min);
    bytes.extend(params.width_max_ppm.to_be_bytes());
    let fields = Json::Record(vec![
        ("cut", Json::hex(cut.as_bytes())),
        ("as_of_ms", Json::text(as_of.ms())),
        ("registry_digest", Json::hex(registry.as_bytes())),
        ("feed", Json::text(feed)),
        ("window_ms", Json::text(params.window_ms)),
        ("max_age_ms", Json::text(params.max_age_ms)),
        ("sources_min", Json::text(params.sources_min)),
        ("width_max_ppm", Json::text(params.width_max_ppm)),
    ]);
    let digest = result_id(cut, as_of, registry, feed, &params);
    hashed(
        "result_id",
        "an answer for BTC/USD",
        &bytes,
        "concurrence v0 aggregate result",
        digest,
        vec![("fields", fields)],
    )
}
