//! Signatures that strict and lax verifiers judge differently, and keys that may not register.

use concurrence_crdt::{AuthorKey, Signature, verify_batch};

use crate::{
    fixtures::{author, key},
    json::Json,
    reasons,
};

const MESSAGE: &[u8] = b"concurrence";

/// A point of order eight and the y of its like: the two y, beside 0, 1 and -1, of points whose order divides eight.
const ORDER_EIGHT: [&str; 2] = [
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

/// A key with a point of order eight added, and a signature by its owner.
const TORSIONED_KEY: &str = "ab83cb3149fdea5c838f2e5716ff9010a295d08d9c442da356b53bafea350975";

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// y near 2^255: the greatest bytes but for the first.
fn high(first: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    (bytes[0], bytes[31]) = (first, 0x7f);
    bytes
}

fn low(first: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = first;
    bytes
}

/// The fourteen encodings, canonical or not, of the eight points whose order divides eight.
fn small_order_points() -> Vec<[u8; 32]> {
    let y = [low(0), low(1), high(0xec), high(0xed), high(0xee), bytes(ORDER_EIGHT[0]), bytes(ORDER_EIGHT[1])];
    let with_sign = |y: [u8; 32], sign: u8| {
        let mut point = y;
        point[31] |= sign;
        point
    };
    y.iter().flat_map(|&y| [with_sign(y, 0), with_sign(y, 0x80)]).collect()
}

/// The least y that belongs to no point of the curve.
fn no_point() -> [u8; 32] {
    let is_point = |y: &[u8; 32]| AuthorKey::from_bytes(*y).verify(MESSAGE, &identity()).is_ok();
    let honest = |y: &[u8; 32]| AuthorKey::register(*y).is_ok() || is_point(y);
    (2..=u8::MAX).map(low).find(|y| !honest(y)).unwrap()
}

/// R the identity, s = 0.
fn identity() -> Signature {
    let mut signature = [0; 64];
    signature[0] = 1;
    Signature::from_bytes(signature)
}

fn signature(name: &str, key: AuthorKey, signature: [u8; 64], verdict: &str) -> Json {
    let signature = Signature::from_bytes(signature);
    let alone = key.verify(MESSAGE, &signature).map_or_else(|e| reasons::key(&e), |()| "accepted".to_owned());
    assert_eq!(alone, verdict, "{name}");
    let batch = verify_batch([(key, MESSAGE, signature); 2].into_iter());
    assert_eq!(batch.is_ok(), verdict == "accepted", "batch and single differ: {name}");
    Json::Record(vec![
        ("name", Json::text(name)),
        ("key", Json::hex(key.as_bytes())),
        ("message", Json::hex(MESSAGE)),
        ("signature", Json::hex(signature.as_bytes())),
        ("verdict", Json::text(verdict)),
    ])
}

pub fn signatures() -> Vec<Json> {
    let (author, good) = (author(2), *Signature::sign(&key(2), MESSAGE).as_bytes());
    let with = |at: usize, part: &[u8]| {
        let mut changed = good;
        changed[at..at + part.len()].copy_from_slice(part);
        changed
    };
    let flip = |bit: usize| with(bit / 8, &[good[bit / 8] ^ (1 << (bit % 8))]);
    let order: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    // R = rB + T, T of order two and of order eight; then a key that carries a point of order eight.
    let order_two = "2c75bc9f17b3ef912b90ae715fdd58d6010568209d036118730c3592d7d052746f292a114305ad98361492ff224c99d512ba7d59ca664193615c190104fb4502";
    let order_eight = "50db8b0a48169233b91fb69314c1ad7d8c82f7572f86d73ccaa21642ba64723847b5ad11c7ba07aaa2ed54520f6709ec94e8f1add34809de086753e14b443107";
    let by_torsioned = "c18a4360e84c106ed46f518ea022a729fefa97df62fc9ee78cf3ca6d282fad8ba6fc9923d9baf919146345c8695afa45ff6f2f1192a72896bf3697eeac377400";
    let torsioned = AuthorKey::from_bytes(bytes(TORSIONED_KEY));
    let mut raised = good;
    let carry = (0..32).fold(0u16, |carry, at| {
        let sum = u16::from(good[32 + at]) + u16::from(order[at]) + carry;
        raised[32 + at] = sum.to_le_bytes()[0];
        sum >> 8
    });
    assert_eq!(carry, 0);
    let identity_key = |y: [u8; 32]| AuthorKey::from_bytes(y);
    vec![
        signature("as the author signs", author, good, "accepted"),
        signature("R carries a point of order two", author, bytes(order_two), "accepted"),
        signature("R carries a point of order eight", author, bytes(order_eight), "accepted"),
        signature("the key carries a point of order eight", torsioned, bytes(by_torsioned), "accepted"),
        signature(
            "R is another encoding of the identity, and so is the key",
            identity_key(high(0xee)),
            with_r(high(0xee)),
            "accepted",
        ),
        signature("s raised by the order of the group", author, raised, "signature"),
        signature("s is the order of the group", author, with(32, &order), "signature"),
        signature("a bit of R flipped", author, flip(9), "signature"),
        signature("the sign of R flipped", author, flip(255), "signature"),
        signature("a bit of s flipped", author, flip(300), "signature"),
        signature("R is no point", author, with(0, &no_point()), "signature"),
        signature("the key is no point", AuthorKey::from_bytes(no_point()), good, "key_not_canonical"),
        signature("another author's", crate::fixtures::author(3), good, "signature"),
    ]
}

/// A signature of that R and s = 0.
fn with_r(r: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature
}

/// Each of the points as key with each as R and s = 0, over the message: all 196 are accepted.
pub fn small_order() -> Json {
    let points = small_order_points();
    for (a, r) in points.iter().flat_map(|a| points.iter().map(move |r| (a, r))) {
        let judged = AuthorKey::from_bytes(*a).verify(MESSAGE, &Signature::from_bytes(with_r(*r)));
        assert_eq!(judged, Ok(()), "{a:02x?} {r:02x?}");
    }
    let rule = "each point as key, with each as R and s = 0, over the message: accepted";
    Json::Record(vec![
        ("rule", Json::text(rule)),
        ("message", Json::hex(MESSAGE)),
        ("points", Json::list(&points, |point| Json::hex(point))),
    ])
}

pub fn registrations() -> Vec<Json> {
    let registration = |name: &str, key: [u8; 32], verdict: &str| {
        let found = AuthorKey::register(key).map_or_else(|e| reasons::key(&e), |_| "accepted".to_owned());
        assert_eq!(found, verdict, "{name}");
        Json::Record(vec![("name", Json::text(name)), ("key", Json::hex(&key)), ("verdict", Json::text(verdict))])
    };
    let small = small_order_points().into_iter().map(|key| {
        let is_canonical = key[..1] < [0xed][..] || key[1] != 0xff;
        let verdict = if is_canonical { "key_small_order" } else { "key_not_canonical" };
        registration("a point whose order divides eight", key, verdict)
    });
    let not_canonical =
        (0xef..=0xff).map(high).find(|y| AuthorKey::from_bytes(*y).verify(MESSAGE, &identity()).is_err());
    let others = [
        registration("an author's key", *author(1).as_bytes(), "accepted"),
        registration("a key that carries a point of order eight", bytes(TORSIONED_KEY), "accepted"),
        registration("no point of the curve", no_point(), "key_not_canonical"),
        registration("y at or above the order of the field", not_canonical.unwrap(), "key_not_canonical"),
    ];
    others.into_iter().chain(small).collect()
}
