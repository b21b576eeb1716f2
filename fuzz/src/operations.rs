//! Operations as bytes: what decodes is what would be encoded, and a header that was read can be signed and read again.

use concurrence_crdt::{CodecError, Header, Op, OpError, PAYLOAD_LEN_MAX, Reader, Signature, SignedHeader, Tail};

use crate::{
    Verdict,
    material::{NETWORK, author, key, members},
};

/// The author whose key signs headers that were read.
const SIGNER: u8 = 1;

/// Checks one operation's bytes.
pub fn check(bytes: &[u8]) -> Verdict {
    sign_what_reads(bytes);
    match Op::decode(bytes, NETWORK) {
        Ok(op) => {
            check_decoded(&op, bytes);
            // Verified alone and twice in a batch: one verdict.
            let alone = op.clone().verify().map(|op| op.op().id());
            let batch = Op::verify_all(vec![op.clone(), op]);
            assert!(batch.iter().all(|v| v.is_ok() == alone.is_ok()), "single and batch verification differ");
            alone.map_or_else(Verdict::from, |_| Verdict::Accepted)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(Op::decode_shared(bytes.into(), NETWORK), Err(error.clone()), "shared bytes decode alike");
            error.into()
        }
    }
}

/// CRDT-6: one form for one operation.
fn check_decoded(op: &Op, bytes: &[u8]) {
    assert_eq!(**op.bytes(), *bytes, "the bytes are kept as they came");
    assert_eq!(Op::decode_shared(bytes.into(), NETWORK).as_ref(), Ok(op));
    let header = op.header();
    let encoded = header.encode();
    assert_eq!(
        [&encoded[..], op.signed().signature().as_bytes(), op.payload()].concat(),
        bytes,
        "encode(decode(x)) = x"
    );
    assert_eq!(op.id(), header.id(), "the id is that of the header");
    let other = SignedHeader::join(header.clone(), Signature::from_bytes([0xa5; Signature::LEN]));
    assert_eq!(other.id(), op.id(), "the id covers no signature");
    let cut = Op::decode(&bytes[..bytes.len() - 1], NETWORK);
    assert!(matches!(cut, Err(OpError::Codec(CodecError::Truncated { .. }))), "cut short: {cut:?}");
    let longer = Op::decode(&[bytes, &[0]].concat(), NETWORK);
    assert_eq!(longer, Err(OpError::Codec(CodecError::Trailing(1))));
    check_rule(header, op.bytes().len());
}

/// The rule of validity answers, and answers the same again (CRDT-5).
fn check_rule(header: &Header, size: usize) {
    let members = members();
    let judged = Tail::EMPTY.extended(header, header.id(), size, &members);
    assert_eq!(judged, Tail::EMPTY.extended(header, header.id(), size, &members), "CRDT-5: judged twice");
    match judged {
        Ok(tail) => {
            assert_eq!((tail.len, tail.head, tail.bucket()), (1, header.id(), header.declared.bucket()));
            let again = tail.extended(header, header.id(), size, &members);
            assert!(again.is_ok(), "two operations are within any quota: {again:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Whatever header can be read can be written over any payload: then it decodes, and verifies for its signer alone.
fn sign_what_reads(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(header) = Header::read(&mut reader, NETWORK) else { return };
    assert_eq!(header.encode(), bytes[..reader.offset()], "encode(read(x)) = x");
    let payload = &bytes[reader.offset()..];
    let op = Op::sign(header, payload, key(SIGNER));
    match Op::decode(op.bytes(), NETWORK) {
        Ok(decoded) => {
            assert_eq!((&decoded, decoded.payload()), (&op, payload));
            let is_signers = op.header().log.author == author(SIGNER);
            assert_eq!(decoded.verify().is_ok(), is_signers, "a key signs for its own author only");
        }
        Err(error) => assert!(payload.len() > PAYLOAD_LEN_MAX, "{error}"),
    }
}
