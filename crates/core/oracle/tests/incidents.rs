//! What happened to others, and what a node and the network make of it. One test an incident, named after it; where the rule belongs to
//! a source, a contract or the command line, its test is there (docs/incidents.md lists all).

use std::collections::BTreeSet;

use concurrence_crdt::{AuthorKey, Digest, NetworkId, Time};
use concurrence_oracle::{
    Address, Aggregate, AggregateParams, Attestation, BatchDraft, Cells, ConversionGraph, Domain, Doubt, Feed,
    GraphError, LeftOut, Leg, Member, NoAverage, Observation, ObserveParams, Observed, Price, Prior, Quote, Refused,
    Registry, Shortfall, Slot, SourceId, Status, Strategy, Verdict, aggregate, observe, recover, sign, time_weighted,
};
use proptest::prelude::*;

const NOW: Time = Time::from_ms(1_000_000_000);

fn price(text: &str) -> Price {
    Price::parse(text).expect("a price")
}

/// A market of source `n` that is also its symbol, and what it states last.
type Market<'a> = (u8, &'a str, &'a str);

fn leg(n: u8, market: &str, mirror: Option<u8>) -> Leg {
    let (base, quote) = market.split_once('/').expect("base and quote");
    Leg {
        source: SourceId::new(n).expect("below sixteen"),
        venue: format!("venue_{n}"),
        symbol: market.to_owned(),
        base: base.parse().expect("a currency"),
        quote: quote.parse().expect("a currency"),
        weight: 1,
        mirror,
    }
}

fn said(text: &str) -> Option<Quote> {
    let last = (text != "-").then(|| price(text))?;
    Some(Quote { bid: None, ask: None, last: Some(last), volume: None, venue_time: None, received: NOW })
}

/// What a node makes of these markets; `-` is no answer. Markets of a group mirror one another.
fn seen(feed: &str, markets: &[Market<'_>], mirror: impl Fn(u8) -> Option<u8>, prior: &Prior) -> Observation {
    let legs: Vec<Leg> = markets.iter().map(|&(n, market, _)| leg(n, market, mirror(n))).collect();
    let quotes: Vec<_> = markets.iter().map(|&(_, _, text)| said(text)).collect();
    let graph = ConversionGraph::new(feed.parse().expect("a feed"), legs.clone(), 1).expect("units compose");
    let quote_of = |leg: &Leg| quotes[legs.iter().position(|l| l == leg)?].as_ref();
    observe(&graph, NOW, quote_of, prior, &ObserveParams::default())
}

fn plain(feed: &str, markets: &[Market<'_>]) -> Observation {
    seen(feed, markets, |_| None, &Prior::default())
}

fn observed(observation: &Observation) -> &Observed {
    observation.outcome.as_ref().expect("enough sources")
}

fn verdict(observation: &Observation, n: u8) -> Verdict {
    observation.legs.legs.iter().find(|leg| leg.source.index() == n).expect("a leg").verdict
}

fn author(n: u8) -> AuthorKey {
    AuthorKey::from_bytes([n; 32])
}

fn registry(members: u8) -> Registry {
    let member = |n: u8| Member {
        name: format!("oracle_{n}"),
        author: author(n),
        evm: Address::from_bytes([n; 20]),
        peer: format!("peer_{n}"),
        weight: 1,
    };
    let network = NetworkId::from_bytes([7; 32]);
    Registry::new("test".into(), network, vec![(0..members).map(member).collect()]).expect("a registry")
}

fn feed() -> Feed {
    "BTC/USD".parse().expect("a feed")
}

fn states(text: &str, doubtful: bool) -> Attestation {
    Attestation::of_price(feed(), (price(text), Price::ZERO), -8, 0b111, doubtful).expect("in range")
}

/// The answer of a network in which oracle n stated the n-th of these, all at once.
fn answer(members: u8, statements: &[Attestation], since_ms: u64) -> Aggregate {
    let mut cells = Cells::tracking(BTreeSet::from([feed()]));
    for (n, &statement) in (0u8..).zip(statements) {
        cells.join(author(n), Slot::of(NOW), statement);
    }
    let registry = registry(members);
    aggregate(&cells, registry.newest().1, feed(), NOW.after_ms(since_ms), &AggregateParams::default())
}

/// One interface gave a thousand times the price of the won, another was down, and the two that were left were averaged.
#[test]
fn synthetix_2019_a_thousandfold_price_while_a_source_is_down() {
    let two = plain("KRW/USD", &[(0, "KRW/USD", "0.00086"), (1, "KRW/USD", "0.86"), (2, "KRW/USD", "-")]);
    assert_eq!(two.outcome, Err(Refused::TooFewSources { have: 2, need: 3 }));
    assert_eq!((two.active_sources(), verdict(&two, 2)), (2, Verdict::NoQuote));
    let three = plain("KRW/USD", &[(0, "KRW/USD", "0.00086"), (1, "KRW/USD", "0.86"), (2, "KRW/USD", "0.00087")]);
    assert_eq!(observed(&three).price, price("0.00087"));
    assert!(observed(&three).is_doubtful(), "three that far apart are published for the record only");
    let four =
        [(0, "KRW/USD", "0.00086"), (1, "KRW/USD", "0.86"), (2, "KRW/USD", "0.00087"), (3, "KRW/USD", "0.000865")];
    let four = plain("KRW/USD", &four);
    assert_eq!((observed(&four).price, verdict(&four, 1)), (price("0.000865"), Verdict::Outlier));
    assert!(!observed(&four).is_doubtful());
}

/// One pool's spot price was moved to twice itself within a transaction.
#[test]
fn bzx_2020_a_pool_is_moved_within_a_block() {
    let with = |pool: &str| {
        plain(
            "SUSD/USD",
            &[(0, "SUSD/USD", "1"), (1, "SUSD/USD", "1.001"), (2, "SUSD/USD", "1.002"), (3, "SUSD/USD", pool)],
        )
    };
    let (before, moved) = (with("1.001"), with("2"));
    assert_eq!(observed(&before).price, observed(&moved).price);
    assert_eq!(verdict(&moved, 3), Verdict::Outlier);
}

/// The stablecoin stood at 1.30 on a single exchange.
#[test]
fn compound_2020_one_exchange_at_a_dollar_thirty() {
    let markets = [(0, "DAI/USD", "1.3"), (1, "DAI/USD", "1.005"), (2, "DAI/USD", "1.002"), (3, "DAI/USD", "1.01")];
    let seen = plain("DAI/USD", &markets);
    assert_eq!(verdict(&seen, 0), Verdict::Outlier);
    assert!(observed(&seen).price <= price("1.01"));
    let far = seen.legs.legs[0].converted.and_then(|far| far.deviation_ppm(observed(&seen).price));
    assert!(far >= Some(290_000), "{far:?}");
}

proptest! {
    /// Two of the publishers stated almost nothing: a fraction cut to zero, an exponent of another feed.
    #[test]
    fn pyth_2021_zeros_and_wrong_exponents(
        honest in prop::collection::vec(4_200_000u64..4_210_000, 3..9), wrong in prop::collection::vec(0usize..4, 4),
    ) {
        // n = honest + f with f at most (n - 1) / 3.
        let f = (honest.len() - 1) / 2;
        let right = |&cents: &u64| Attestation::new(feed(), (cents * 1_000_000, -8), 0, 0b111, false).expect("in range");
        let lies = [(1, -8), (42_000, -8), (4_200_000_000_000, 0), (4_200_000_000_000, -16)];
        let lies = wrong.iter().take(f).map(|&lie| Attestation::new(feed(), lies[lie], 0, 0b111, false).expect("in range"));
        let all: Vec<_> = honest.iter().map(right).chain(lies).collect();
        let out = answer(u8::try_from(all.len()).unwrap(), &all, 0);
        let cents = |n: u64| Price::ONE.scaled(n.into(), 100).unwrap();
        let hull = cents(*honest.iter().min().unwrap())..=cents(*honest.iter().max().unwrap());
        prop_assert_eq!(out.status, Status::Ok);
        prop_assert!(out.price.is_some_and(|p| hull.contains(&p)), "{:?}", out.price);
        // A zero cannot even be stated.
        prop_assert!(Attestation::new(feed(), (0, -8), 0, 0b111, false).is_err());
        prop_assert!(Attestation::of_price(feed(), (price("0.000000001"), Price::ZERO), -8, 0, false).is_err());
    }
}

/// A feed stood still at its lower bound while the market fell to a tenth of it.
#[test]
fn venus_2022_a_feed_that_stands_still_while_luna_falls() {
    let markets =
        [(0, "LUNA/USD", "0.107"), (1, "LUNA/USD", "0.0101"), (2, "LUNA/USD", "0.01"), (3, "LUNA/USD", "0.0099")];
    let seen = plain("LUNA/USD", &markets);
    assert_eq!((verdict(&seen, 0), observed(&seen).price), (Verdict::Outlier, price("0.01")));
    // Where nobody states anything new the answer says that it is old, and then that there is none.
    let network = |since_ms| answer(4, &[states("0.107", false); 4], since_ms);
    assert_eq!((network(30_000).status, network(30_001).status), (Status::Ok, Status::Stale));
    assert_eq!((network(30_001).newest, network(60_000).status), (Some(NOW), Status::Halted));
    assert_eq!(network(60_000).price, None);
}

/// All venues of a thin market were bought up tenfold within minutes.
#[test]
fn mango_2022_every_thin_venue_tenfold_at_once() {
    let markets = [(0, "MNGO/USD", "0.38"), (1, "MNGO/USD", "0.381"), (2, "MNGO/USD", "0.379")];
    let prior = Prior { own: Some((NOW, price("0.038"))), peers: Some(price("0.038")) };
    let seen = seen("MNGO/USD", &markets, |_| None, &prior);
    let doubts = &observed(&seen).doubts;
    assert!(
        matches!(doubts[..], [Doubt::Moved { ppm: 9_000_000 }, Doubt::FarFromPeers { ppm: 9_000_000 }]),
        "{doubts:?}"
    );
    // What all doubt counts nowhere.
    let network = answer(4, &[states("0.38", true); 4], 0);
    assert_eq!((network.status, network.price), (Status::Halted, None));
    assert!(network.left_out.iter().all(|&(_, why)| why == LeftOut::Doubtful));
    let some = [states("0.38", false), states("0.38", true), states("0.38", true), states("0.38", true)];
    assert_eq!(answer(4, &some, 0).status, Status::Degraded);
}

/// The average was taken over whatever time had passed, seconds if need be, and two blocks moved it fiftyfold.
#[test]
fn inverse_2022_an_average_over_less_than_its_window() {
    let at = |s: u64| Time::from_ms(s * 1_000);
    let prices = [(at(1_790), price("400")), (at(1_795), price("20000"))].into();
    assert_eq!(time_weighted(&prices, (at(0), at(1_800)), 1_800_000), Err(NoAverage::Gap(at(0))));
    // Over the whole half hour the same push is worth its share: five of 1,800 seconds.
    let whole = [(at(0), price("400")), (at(1_795), price("20000"))].into();
    let average = time_weighted(&whole, (at(0), at(1_800)), 1_800_000).expect("covered");
    assert!(average < price("455") && average > price("454"), "{average}");
}

/// One reporter's value was usable at once.
#[test]
fn bonq_2023_a_single_reporter() {
    let lie = states("5000000", false);
    let alone = answer(4, &[lie], 0);
    assert_eq!(alone.status, Status::Degraded);
    assert!(alone.shortfalls.contains(&Shortfall::NoMajority));
    let honest = states("100", false);
    let all = answer(4, &[lie, honest, honest, honest], 0);
    assert_eq!((all.status, all.price), (Status::Ok, Some(price("100"))));
}

/// The dollar coins stood at 0.87 dollars for a day.
#[test]
fn usdc_2023_a_stablecoin_is_no_dollar() {
    let markets = [
        (0, "BTC/USD", "20000"),
        (1, "BTC/USD", "20010"),
        (2, "BTC/USDC", "22990"),
        (3, "BTC/USDC", "23000"),
        (4, "BTC/USDC", "22980"),
        (5, "USDC/USD", "0.87"),
    ];
    let seen = plain("BTC/USD", &markets);
    assert!((price("19980")..=price("20010")).contains(&observed(&seen).price));
    let legs = vec![leg(0, "BTC/USD", None), leg(2, "BTC/USDC", None)];
    assert!(matches!(ConversionGraph::new(feed(), legs, 1), Err(GraphError::Unconvertible { .. })));
}

/// Five of eleven sources were spot prices of pools that one loan could move together.
#[test]
fn uwu_2024_five_of_eleven_move_together() {
    let others = ["98", "99", "100", "101", "102", "103"];
    let with = |pools: &str, mirror: fn(u8) -> Option<u8>| {
        let mut markets: Vec<Market<'_>> = (0u8..).zip(others).map(|(n, text)| (n, "SUSDE/USD", text)).collect();
        markets.extend((6..11).map(|n| (n, "SUSDE/USD", pools)));
        observed(&seen("SUSDE/USD", &markets, mirror, &Prior::default())).price
    };
    let grouped = |n| (n >= 6).then_some(1);
    assert_eq!((with("100", grouped), with("120", grouped)), (price("100"), price("100")));
    assert_eq!(with("120", |_| None), price("103"), "as eleven sources of their own they reach the edge of the others");
}

/// A venue's own book fell to 0.65 while the coin was worth one dollar everywhere else.
#[test]
fn binance_2025_one_book_a_third_below_all_others() {
    let seen = plain(
        "USDE/USD",
        &[(0, "USDE/USD", "0.65"), (1, "USDE/USD", "0.999"), (2, "USDE/USD", "1"), (3, "USDE/USD", "0.9985")],
    );
    assert_eq!((verdict(&seen, 0), observed(&seen).price), (Verdict::Outlier, price("0.999")));
}

/// An upgrade read prices of eight decimals as such of eighteen.
#[test]
fn ribbon_2025_decimals_are_signed_with_the_price() {
    let key = k256::ecdsa::SigningKey::from_slice(&[5; 32]).expect("a key");
    let domain = Domain::of(&NetworkId::from_bytes([7; 32]));
    let digest = |expo: i8| {
        let read = Attestation::from_word(feed(), expo, states("42000", false).word()).expect("in range");
        let draft = BatchDraft::new(Slot::of(NOW), Digest::from_bytes([0; 32]), vec![read]).expect("one feed");
        (read.price(), draft.digests(&domain, 0)[0])
    };
    let ((right, signed), (wrong, other)) = (digest(-8), digest(-18));
    assert_eq!(right.over(wrong), Ok(price("10000000000")));
    let signature = sign(&signed, &key);
    let signer = recover(&signed, &signature).expect("recovers");
    assert_ne!(recover(&other, &signature), Ok(signer), "the same bytes under other decimals have another signer");
}

/// A new feed published a ratio of two coins as dollars.
#[test]
fn moonwell_2026_a_ratio_is_no_dollar_price() {
    let ratio = vec![leg(0, "CBETH/ETH", None)];
    let refused = ConversionGraph::new("CBETH/USD".parse().expect("a feed"), ratio.clone(), 1);
    assert!(
        matches!(refused, Err(GraphError::Unconvertible { ref symbol, .. }) if symbol == "CBETH/ETH"),
        "{refused:?}"
    );
    // Said to be dollars all the same, it is doubted by whoever knows what the network says.
    let markets = [(0, "CBETH/USD", "1.12"), (1, "CBETH/USD", "1.12"), (2, "CBETH/USD", "1.12")];
    let seen = seen("CBETH/USD", &markets, |_| None, &Prior { own: None, peers: Some(price("2200")) });
    assert!(matches!(observed(&seen).doubts[..], [Doubt::FarFromPeers { .. }]));
}

/// Consumers went on with answers whose time they never looked at.
#[test]
fn stale_readers_an_old_answer_is_never_ok() {
    for since_ms in (0..90_000).step_by(250) {
        let out = answer(4, &[states("100", false); 4], since_ms);
        assert_eq!(out.status == Status::Ok, since_ms <= 30_000, "{since_ms}");
        assert_eq!(out.price.is_some(), since_ms < 60_000, "{since_ms}");
        assert!(out.price.is_none() || out.age_ms() == Some(since_ms), "the age is there to be seen");
    }
}

/// Two processes signed with one key.
#[test]
fn equivocation_two_prices_for_one_instant_count_as_none() {
    let mut cells = Cells::tracking(BTreeSet::from([feed()]));
    for n in 0..4 {
        cells.join(author(n), Slot::of(NOW), states("100", false));
    }
    cells.join(author(3), Slot::of(NOW), states("101", false));
    let registry = registry(4);
    let out = aggregate(&cells, registry.newest().1, feed(), NOW, &AggregateParams::default());
    assert_eq!((out.status, out.counted.len()), (Status::Ok, 3));
    assert_eq!(out.left_out, [(author(3), LeftOut::Conflict)]);
}

/// The first description's own demonstration: two of seven report 20 % more. Its rule, the mean of what is within the quartiles' fences,
/// takes them in; the canonical one does not.
#[test]
fn two_of_seven_a_fifth_too_high() {
    let (honest, lie) = (states("2500", false), states("3000", false));
    let out = answer(7, &[honest, honest, honest, honest, honest, lie, lie], 0);
    assert_eq!((out.status, out.price), (Status::Ok, Some(price("2500"))));
    assert!(out.by(Strategy::IqrMean) > Some(price("2640")));
    assert_eq!(out.by(Strategy::TrimmedMean), Some(price("2500")));
}
