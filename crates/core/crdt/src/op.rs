//! Operations: a header that commits to a payload, and the author's signature over the header's id.
//!
//! The byte layout, with the reason of every field and cap, is `docs/decisions/001-op-bytes.md`.

use std::sync::Arc;

use ed25519_zebra::SigningKey;

use crate::{
    AuthorKey, Digest, KeyError, LogKey, NetworkId, OpId, Signature, Time,
    codec::{CodecError, Reader, count_u32},
    hash, verify_batch,
};

/// Version of headers and of everything framed around them. Zero promises no compatibility.
pub const VERSION: u8 = 0;

/// Greatest payload: with the longest header and the signature it stays below the 64 KiB that gossip carries.
pub const PAYLOAD_LEN_MAX: usize = 60 * 1024;

/// Most `refs` a header may carry: one for each other member of a usual committee; they are only hints.
pub const REFS_MAX: usize = 16;

/// Logs an author may keep: one in use, and spares to move on to when a clock error left one in the future.
pub const LOGS_MAX: u8 = 4;

/// Bytes of a header without refs.
pub const HEADER_LEN_MIN: usize = 157;

/// Bytes of the longest encoded operation.
pub const OP_LEN_MAX: usize = HEADER_LEN_MIN + REFS_MAX * 32 + Signature::LEN + PAYLOAD_LEN_MAX;

/// What an author signs: position in its own log, time, and the commitment to a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The network this operation belongs to.
    pub network: NetworkId,
    /// Who wrote it, and in which of its logs.
    pub log: LogKey,
    /// Position in the log, from 0 without gaps.
    pub seq: u64,
    /// Id of the operation at `seq - 1`; [`OpId::ZERO`] at 0.
    pub prev: OpId,
    /// Registry epoch the author wrote under.
    pub epoch: u32,
    /// The author's clock. Quotas count by its minute, which never falls along a log.
    pub declared: Time,
    /// What the payload is. Unknown kinds are stored and relayed.
    pub kind: u16,
    /// Length of the payload in bytes, at most [`PAYLOAD_LEN_MAX`].
    pub payload_len: u32,
    /// BLAKE3 of the payload.
    pub payload_hash: Digest,
    /// Operations of others the author had seen, strictly ascending, at most [`REFS_MAX`]. Hints for fetching, never a condition.
    pub refs: Vec<OpId>,
}

/// A header with its author's signature: half of a fork proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeader {
    header: Header,
    id: OpId,
    signature: Signature,
}

/// A structurally canonical operation whose payload matches its header. Its signature is not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    signed: SignedHeader,
    bytes: Arc<[u8]>,
}

/// An operation whose signature verified. Only such operations reach the state. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedOp(Arc<Op>);

/// A header whose signature verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedHeader(SignedHeader);

/// Why bytes are no operation of this network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The bytes are not the canonical form.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Another version of the format.
    #[error("operation version is {0}, this node speaks {VERSION}")]
    Version(u8),
    /// Another network's operation, or one replayed from it.
    #[error("operation belongs to network {0:?}")]
    OtherNetwork(NetworkId),
    /// The payload is not the one the header commits to.
    #[error("payload does not match the hash in its header")]
    PayloadHash,
    /// The author key or the signature was refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Header {
    const ID_DOMAIN: &'static str = "concurrence v0 operation id";

    /// `BLAKE3(domain, header bytes)`: what is signed and what others refer to.
    pub fn id(&self) -> OpId {
        Self::id_of(&self.encode())
    }

    fn id_of(encoded: &[u8]) -> OpId {
        OpId::from_bytes(*hash(Self::ID_DOMAIN, encoded).as_bytes())
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN_MIN + 32 * self.refs.len());
        out.push(VERSION);
        out.extend_from_slice(self.network.as_bytes());
        out.extend_from_slice(self.log.author.as_bytes());
        out.push(self.log.index);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(self.prev.as_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.declared.ms().to_be_bytes());
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.payload_len.to_be_bytes());
        out.extend_from_slice(self.payload_hash.as_bytes());
        out.push(u8::try_from(self.refs.len()).unwrap_or(u8::MAX)); // capped at REFS_MAX wherever a header is made
        self.refs.iter().for_each(|r| out.extend_from_slice(r.as_bytes()));
        out
    }

    /// Reads a header of `network`; anything but the canonical form is refused.
    pub fn read(reader: &mut Reader<'_>, network: NetworkId) -> Result<Self, OpError> {
        let version = reader.u8()?;
        if version != VERSION {
            return Err(OpError::Version(version));
        }
        let found = NetworkId::from_bytes(reader.array()?);
        if found != network {
            return Err(OpError::OtherNetwork(found));
        }
        let author = AuthorKey::from_bytes(reader.array()?);
        let index = reader.u8()?;
        cap("log index", u64::from(index), u64::from(LOGS_MAX) - 1)?;
        let (seq, prev) = (reader.u64()?, OpId::from_bytes(reader.array()?));
        if seq == 0 && prev != OpId::ZERO {
            return Err(CodecError::NotCanonical("prev of the first operation").into());
        }
        let (epoch, declared, kind) = (reader.u32()?, Time::from_ms(reader.u64()?), reader.u16()?);
        let payload_len = reader.u32()?;
        cap("payload length", u64::from(payload_len), PAYLOAD_LEN_MAX as u64)?;
        let payload_hash = Digest::from_bytes(reader.array()?);
        let count = reader.u8()?;
        cap("refs", u64::from(count), REFS_MAX as u64)?;
        let refs = (0..count).map(|_| Ok(OpId::from_bytes(reader.array()?))).collect::<Result<Vec<_>, CodecError>>()?;
        if !refs.is_sorted_by(|a, b| a < b) {
            return Err(CodecError::NotCanonical("order of refs").into());
        }
        let log = LogKey { author, index };
        Ok(Self { network, log, seq, prev, epoch, declared, kind, payload_len, payload_hash, refs })
    }
}

fn cap(field: &'static str, value: u64, max: u64) -> Result<(), CodecError> {
    if value > max { Err(CodecError::OverCap { field, value, max }) } else { Ok(()) }
}

impl SignedHeader {
    /// Signs a header.
    pub fn sign(header: Header, key: &SigningKey) -> Self {
        let id = header.id();
        Self { header, id, signature: Signature::sign(key, id.as_bytes()) }
    }

    /// Joins a header and a signature made elsewhere; nothing is verified.
    pub fn join(header: Header, signature: Signature) -> Self {
        let id = header.id();
        Self { header, id, signature }
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The operation's id.
    pub const fn id(&self) -> OpId {
        self.id
    }

    /// The signature over the id.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Header bytes, then the signature.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode();
        out.extend_from_slice(self.signature.as_bytes());
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn read(reader: &mut Reader<'_>, network: NetworkId) -> Result<Self, OpError> {
        let mut start = reader.clone();
        let header = Header::read(reader, network)?;
        // There is one form: the bytes read are those that the header encodes to, so they need not be made again.
        let id = Header::id_of(start.slice(reader.offset() - start.offset())?);
        debug_assert_eq!(id, header.id());
        Ok(Self { header, id, signature: Signature::from_bytes(reader.array()?) })
    }

    /// Verifies the signature.
    pub fn verify(self) -> Result<VerifiedHeader, KeyError> {
        self.header.log.author.verify(self.id.as_bytes(), &self.signature)?;
        Ok(VerifiedHeader(self))
    }
}

impl VerifiedHeader {
    /// The header and its signature.
    pub const fn signed(&self) -> &SignedHeader {
        &self.0
    }
}

impl Op {
    /// Puts a payload under a header, fills in its length and hash, and signs. Deterministic.
    ///
    /// The payload must be at most [`PAYLOAD_LEN_MAX`] bytes and the refs sorted: otherwise every node, this one included,
    /// refuses the result when it decodes it.
    pub fn sign(mut header: Header, payload: &[u8], key: &SigningKey) -> Self {
        header.commit(payload);
        Self::assemble(SignedHeader::sign(header, key), payload)
    }

    /// Joins a header, which already commits to the payload, with a signature made elsewhere.
    pub fn join(header: Header, payload: &[u8], signature: Signature) -> Self {
        Self::assemble(SignedHeader::join(header, signature), payload)
    }

    fn assemble(signed: SignedHeader, payload: &[u8]) -> Self {
        let mut bytes = signed.encode();
        bytes.extend_from_slice(payload);
        Self { signed, bytes: bytes.into() }
    }

    /// Reads one whole operation.
    pub fn decode(bytes: &[u8], network: NetworkId) -> Result<Self, OpError> {
        Ok(Self { signed: Self::read(bytes, network)?, bytes: bytes.into() })
    }

    /// Reads one whole operation from bytes that are shared already: they are kept, not copied.
    pub fn decode_shared(bytes: Arc<[u8]>, network: NetworkId) -> Result<Self, OpError> {
        Ok(Self { signed: Self::read(&bytes, network)?, bytes })
    }

    /// Reads the header and checks that the payload behind it is the promised one.
    fn read(bytes: &[u8], network: NetworkId) -> Result<SignedHeader, OpError> {
        let mut reader = Reader::new(bytes);
        let signed = SignedHeader::read(&mut reader, network)?;
        let payload = reader.slice(signed.header.payload_len as usize)?;
        reader.finish()?;
        if Digest::from_bytes(*blake3::hash(payload).as_bytes()) != signed.header.payload_hash {
            return Err(OpError::PayloadHash);
        }
        Ok(signed)
    }

    /// The header and its signature.
    pub const fn signed(&self) -> &SignedHeader {
        &self.signed
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        self.signed.header()
    }

    /// The operation's id.
    pub const fn id(&self) -> OpId {
        self.signed.id
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.bytes.len() - self.header().payload_len as usize..]
    }

    /// The encoded operation: header, signature, payload.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Verifies the signature.
    pub fn verify(self) -> Result<VerifiedOp, OpError> {
        self.header().log.author.verify(self.id().as_bytes(), &self.signed.signature)?;
        Ok(VerifiedOp(self.into()))
    }

    /// Verifies many at once, in one batch; if the batch fails each is verified alone, so that one bad signature costs its
    /// sender's others nothing. The answers are in the order of the operations.
    pub fn verify_all(ops: Vec<Self>) -> Vec<Result<VerifiedOp, OpError>> {
        let items = ops.iter().map(|op| (op.header().log.author, &op.signed.id.as_bytes()[..], op.signed.signature));
        if ops.len() > 1 && verify_batch(items).is_ok() {
            return ops.into_iter().map(|op| Ok(VerifiedOp(op.into()))).collect();
        }
        ops.into_iter().map(Self::verify).collect()
    }
}

impl VerifiedOp {
    /// The operation.
    pub fn op(&self) -> &Op {
        &self.0
    }

    /// Its header, which the same signature covers.
    pub fn verified_header(&self) -> VerifiedHeader {
        VerifiedHeader(self.0.signed.clone())
    }

    /// Trusts an operation read back from this node's own store, which verified it before writing and checks its hash on
    /// reading. `audit` verifies such operations again.
    pub fn from_own_store(op: Op) -> Self {
        Self(op.into())
    }
}

impl Header {
    /// Sets length and hash to those of a payload.
    pub fn commit(&mut self, payload: &[u8]) {
        self.payload_len = u32::from_be_bytes(count_u32(payload.len()));
        self.payload_hash = Digest::from_bytes(*blake3::hash(payload).as_bytes());
    }
}
