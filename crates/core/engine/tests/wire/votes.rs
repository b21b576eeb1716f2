//! Votes, certificates and double votes: accepted ones with their fields, and refused ones.

use concurrence_crdt::{Certificate, DoubleVote, Head, HeadVote, NetworkId, OpId, Reader};

use crate::{
    accepted::accepted,
    fixtures::{NETWORK, author, certificate, double_vote, fork, head, price_op, registry, signed, vote},
    json::Json,
    reasons::Form,
    refused::{cut_and_longer, refused, with},
};

/// A head of every field at its greatest; its author and epoch are known.
fn greatest() -> Head {
    let log = concurrence_crdt::LogKey { author: author(5), index: 3 };
    Head { network: NETWORK, log, len: u64::MAX, id: OpId::from_bytes([0xff; 32]), epoch: 1 }
}

pub fn all_accepted() -> Vec<Json> {
    let first = head(&price_op(1, 1, |_| ()));
    let votes = [("for a first operation", vote(first, 2)), ("every field at its greatest", vote(greatest(), 5))];
    let votes = votes.map(|(name, vote)| {
        let fields = vec![("head", head_fields(&vote.head)), ("voter", Json::hex(vote.voter.as_bytes()))];
        let fields = [fields, vec![("signature", Json::hex(vote.signature.as_bytes()))]].concat();
        accepted(Form::HeadVote, name, &vote.encode(), Json::Record(fields), digest(&vote.head))
    });
    let certificates = [
        ("of three of four", first, &[1, 2, 3][..]),
        ("of all", first, &[1, 2, 3, 4]),
        ("of a later epoch, whose weights are capped", greatest(), &[1, 2, 5]),
    ];
    let certificates = certificates.map(|(name, head, voters)| of_certificate(name, &certificate(head, voters)));
    let double = double_vote();
    let (low, high) = double.votes();
    let half = |vote: &HeadVote| {
        let signature = ("signature", Json::hex(vote.signature.as_bytes()));
        Json::Record(vec![("head", head_fields(&vote.head)), signature])
    };
    let fields = vec![("voter", Json::hex(double.voter().as_bytes())), ("low", half(low)), ("high", half(high))];
    let double = accepted(Form::DoubleVote, "for both heads of a fork", &double.encode(), Json::Record(fields), vec![]);
    votes.into_iter().chain(certificates).chain([double]).collect()
}

fn of_certificate(name: &str, bytes: &[u8]) -> Json {
    let read = Certificate::read(&mut Reader::new(bytes), NETWORK, &registry().membership()).unwrap();
    let signers: Vec<_> = read.signers().filter_map(|voter| read.vote_of(&voter)).collect();
    let signature = |vote: &concurrence_crdt::VerifiedVote| {
        let HeadVote { voter, signature, .. } = vote.vote();
        Json::Record(vec![("voter", Json::hex(voter.as_bytes())), ("signature", Json::hex(signature.as_bytes()))])
    };
    let fields = vec![("head", head_fields(read.head())), ("signatures", Json::list(&signers, signature))];
    accepted(Form::Certificate, name, bytes, Json::Record(fields), digest(read.head()))
}

fn head_fields(head: &Head) -> Json {
    Json::Record(vec![
        ("network_id", Json::hex(head.network.as_bytes())),
        ("epoch", Json::text(head.epoch)),
        ("author", Json::hex(head.log.author.as_bytes())),
        ("log", Json::text(head.log.index)),
        ("len", Json::text(head.len)),
        ("head", Json::hex(head.id.as_bytes())),
    ])
}

fn digest(head: &Head) -> Vec<(&'static str, Json)> {
    vec![("digest", Json::hex(head.digest().as_bytes()))]
}

/// Where fields are in a vote or a certificate: behind the kind.
const VERSION: usize = 1;
const LOG: usize = 70;
const COUNT: usize = 111;

pub fn all_refused() -> Vec<Json> {
    let first = head(&price_op(1, 1, |_| ()));
    let good = vote(first, 1).encode();
    let case = |name: &str, bytes: &[u8], reason: &str| refused(Form::HeadVote, name, bytes, reason);
    let changed = |head: Head| vote(head, 1).encode();
    let mut all = cut_and_longer(Form::HeadVote, &good);
    all.extend([
        case("another kind of proof", &with(good.clone(), 0, 2), "not_canonical: kind of a proof"),
        case("a later version", &with(good.clone(), VERSION, 1), "version"),
        case("another network", &changed(Head { network: NetworkId::from_bytes([8; 32]), ..first }), "other_network"),
        case("a fifth log", &with(good.clone(), LOG, 4), "over_cap: log index"),
        case("an empty log", &changed(Head { len: 0, ..first }), "not_canonical: length of a head"),
        case("the log of a stranger", &changed(head(&signed(9, b"strange", |_| ()))), "stranger"),
        case("an epoch to come", &changed(Head { epoch: 2, ..first }), "unknown_epoch"),
        case("a voter of another epoch", &vote(first, 5).encode(), "not_a_member"),
        case("a wrong signature", &with(good.clone(), good.len() - 40, 0x5a), "signature"),
    ]);
    all.extend(certificates(first));
    all.extend(double_votes());
    all
}

fn certificates(first: Head) -> Vec<Json> {
    let case = |name: &str, bytes: &[u8], reason: &str| refused(Form::Certificate, name, bytes, reason);
    let good = certificate(first, &[1, 2, 3]);
    let mut swapped = good.clone();
    let (left, right) = swapped.split_at_mut(COUNT + 2 + 96);
    left[COUNT + 2..].swap_with_slice(&mut right[..96]);
    let mut all = cut_and_longer(Form::Certificate, &good);
    all.extend([
        case("another kind of proof", &with(good.clone(), 0, 1), "not_canonical: kind of a proof"),
        case("256 signers", &[&good[..COUNT], &[1, 0]].concat(), "over_cap: signers"),
        case("signers out of order", &swapped, "not_canonical: order of signers"),
        case("a signer twice", &certificate(first, &[1, 1, 2, 3]), "not_canonical: order of signers"),
        case("half of the weight", &certificate(first, &[1, 2]), "no_quorum"),
        case("no signers", &certificate(first, &[]), "no_quorum"),
        case("two of four under capped weights", &certificate(greatest(), &[1, 2]), "no_quorum"),
        case("a signer of another epoch beside enough", &certificate(first, &[1, 2, 3, 5]), "not_a_member"),
        case("one wrong signature", &with(good.clone(), good.len() - 40, 0x5a), "signature"),
        case("an epoch to come", &certificate(Head { epoch: 2, ..first }, &[1, 2, 3]), "unknown_epoch"),
        case("the log of a stranger", &certificate(head(&signed(9, b"s", |_| ())), &[1, 2, 3]), "stranger"),
    ]);
    all
}

fn double_votes() -> Vec<Json> {
    let case = |name: &str, bytes: &[u8], reason: &str| refused(Form::DoubleVote, name, bytes, reason);
    let good = double_vote();
    let (low, high) = good.votes();
    let of = |a: &HeadVote, b: &HeadVote| {
        let half = |vote: &HeadVote| [vote.head.encode(), vote.signature.as_bytes().to_vec()].concat();
        [&[DoubleVote::KIND][..], a.voter.as_bytes(), &half(a), &half(b)].concat()
    };
    let longer = vote(Head { len: 2, ..high.head }, 2);
    let bytes = good.encode();
    let mut all = cut_and_longer(Form::DoubleVote, &bytes);
    all.extend([
        case("another kind of proof", &with(bytes.clone(), 0, 1), "not_canonical: kind of a proof"),
        case("one head twice", &of(low, low), "no_contradiction"),
        case("the greater head first", &of(high, low), "no_contradiction"),
        case("two lengths", &of(low, &longer), "no_contradiction"),
        case("two logs", &of(low, &vote(head(&fork_elsewhere()), 2)), "no_contradiction"),
        case("a wrong signature", &with(bytes.clone(), bytes.len() - 40, 0x5a), "signature"),
        case("a vote of somebody else", &of(low, &vote(high.head, 3)), "signature"),
    ]);
    all
}

/// An operation like those of the fork, in another log.
fn fork_elsewhere() -> concurrence_crdt::Op {
    let (one, _) = fork();
    signed(4, one.payload(), |h| h.log.index = 1)
}
