//! Signatures that strict and lax verifiers judge differently. ZIP-215 accepts or refuses each of them alone and in a batch
//! alike; the point is that every replica says the same.
//!
//! 1. R and A each one of the fourteen encodings of small-order points, canonical or not: accepted (ZIP-215, all 196)
//! 2. none of the fourteen can be registered as an author
//! 3. an honest key's signature whose R carries a point of order two or eight: accepted
//! 4. a signature of a key that carries a point of order eight: accepted, and such a key may register: its owner gains nothing
//! 5. s raised by the group order, which would give one signature two forms: refused
//! 6. a flipped bit anywhere: refused
use concurrence_crdt::{AuthorKey, KeyError, Signature, SigningKey, verify_batch};

const MESSAGE: &[u8] = b"concurrence";

/// The fourteen encodings of the eight points whose order divides eight: seven values of y, each with either sign.
fn small_order() -> Vec<[u8; 32]> {
    let low = |first: u8| {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes
    };
    let high = |first: u8| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (first, 0x7f);
        bytes
    };
    let y = [
        low(0),
        low(1),
        high(0xec),
        high(0xed),
        high(0xee),
        hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ];
    y.iter()
        .flat_map(|y| {
            [0, 0x80].map(|sign| {
                let mut y = *y;
                y[31] |= sign;
                y
            })
        })
        .collect()
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
}

/// Alone and in batches with a good signature before and behind, all must agree.
fn verdict(key: AuthorKey, signature: Signature) -> bool {
    let alone = key.verify(MESSAGE, &signature).is_ok();
    let honest = SigningKey::from([9; 32]);
    let good = (AuthorKey::of(&honest), MESSAGE, Signature::sign(&honest, MESSAGE));
    let item = (key, MESSAGE, signature);
    for batch in [vec![item], vec![good, item], vec![item, good], vec![item, good, item]] {
        assert_eq!(verify_batch(batch.into_iter()).is_ok(), alone, "batch and single differ on {signature}");
    }
    alone
}

#[test]
fn case_1_small_order_points() {
    let points = small_order();
    assert_eq!(points.len(), 14);
    for a in &points {
        for r in &points {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r);
            assert!(verdict(AuthorKey::from_bytes(*a), Signature::from_bytes(signature)), "{a:02x?} {r:02x?}");
        }
    }
}

#[test]
fn case_2_small_order_authors() {
    for a in small_order() {
        assert!(AuthorKey::register(a).is_err(), "{a:02x?}");
    }
}

#[test]
fn case_3_torsioned_signatures() {
    let key = AuthorKey::of(&SigningKey::from([2; 32]));
    // Made from the seed above with R = rB + T, T of order two and of order eight.
    for signature in [
        "2c75bc9f17b3ef912b90ae715fdd58d6010568209d036118730c3592d7d052746f292a114305ad98361492ff224c99d512ba7d59ca664193615c190104fb4502",
        "50db8b0a48169233b91fb69314c1ad7d8c82f7572f86d73ccaa21642ba64723847b5ad11c7ba07aaa2ed54520f6709ec94e8f1add34809de086753e14b443107",
    ] {
        assert!(verdict(key, Signature::from_bytes(hex(signature))));
    }
}

#[test]
fn case_4_torsioned_key() {
    let key = AuthorKey::register(hex("ab83cb3149fdea5c838f2e5716ff9010a295d08d9c442da356b53bafea350975")).unwrap();
    let signature = "c18a4360e84c106ed46f518ea022a729fefa97df62fc9ee78cf3ca6d282fad8ba6fc9923d9baf919146345c8695afa45ff6f2f1192a72896bf3697eeac377400";
    assert!(verdict(key, Signature::from_bytes(hex(signature))));
}

#[test]
fn case_5_raised_s() {
    let key = AuthorKey::of(&SigningKey::from([2; 32]));
    let r = "c18a4360e84c106ed46f518ea022a729fefa97df62fc9ee78cf3ca6d282fad8b";
    let s = "9eaaa655a4123c6702c162c4e2f518a25d7467c25c5b5694fc40bbf3db402106";
    let raised = "8b7e9cb2be754ebfd85d5a67c1eff7b65d7467c25c5b5694fc40bbf3db402116";
    assert!(verdict(key, Signature::from_bytes(hex(&[r, s].concat()))));
    assert!(!verdict(key, Signature::from_bytes(hex(&[r, raised].concat()))));
}

#[test]
fn case_6_flipped_bits() {
    let key = SigningKey::from([2; 32]);
    let (author, good) = (AuthorKey::of(&key), Signature::sign(&key, MESSAGE));
    assert!(verdict(author, good));
    for bit in 0..512 {
        let mut bytes = *good.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!verdict(author, Signature::from_bytes(bytes)), "bit {bit}");
    }
    assert_eq!(author.verify(b"other", &good), Err(KeyError::BadSignature));
}
