//! Frames: what peers send one another. One tag byte, then fixed fields; every other form is refused.

use std::sync::Arc;

use concurrence_crdt::{
    CERTIFICATE_LEN_MAX, CodecError, Digest, ForkError, ForkProof, Frontier, NetworkId, OP_LEN_MAX, OpId, Reader, Time,
    count_u32,
};

/// Version of the conversation. Peers of another version refuse one another by name.
pub const PROTOCOL_VERSION: u8 = 1;

/// Greatest frame: a full answer of operations and proofs, or the frontier of a registry of [`concurrence_crdt::AUTHORS_MAX`] authors.
pub const FRAME_LEN_MAX: usize = 1 << 20;

/// Most bytes of operations in one answer, whatever credit was given: a thousand 300-byte operations fit with room.
pub const DELTA_BYTES_MAX: usize = 512 * 1024;

/// Most proofs in one answer; the rest follow in the next. 31 certificates of 21 signers are 64 kB.
pub const DELTA_PROOFS_MAX: usize = 128;

/// Most bytes of proofs in one answer: with the fullest one of operations a frame holds them with room.
pub const DELTA_PROOF_BYTES_MAX: usize = 256 * 1024;

/// Most proofs in a frame of their own: 256 votes of 207 bytes are less than the 64 KiB that gossip carries.
pub const PROOFS_MAX: usize = 256;

/// Most operations in one answer: [`DELTA_BYTES_MAX`] of the smallest operation there is.
const DELTA_OPS_MAX: usize = DELTA_BYTES_MAX / (concurrence_crdt::HEADER_LEN_MIN + 64) + 1;

/// One message between peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame of either side.
    Hello(Hello),
    /// Why the sender will not talk to the receiver.
    Refuse(Refusal),
    /// "This is my frontier's digest": an invitation to pull if it differs.
    Digest {
        /// The sender's clock.
        now: Time,
        /// Digest of its frontier.
        digest: Digest,
        /// How many operations it has admitted.
        ops: u64,
    },
    /// "This is what I have: send what I lack."
    Pull {
        /// The sender's clock.
        now: Time,
        /// Bytes of operations the sender will take in answer.
        credit: u32,
        /// What it has.
        frontier: Frontier,
    },
    /// The answer to a pull: proofs first, then operations.
    Delta(Delta),
    /// One operation, as its author or a forwarder broadcasts it.
    Op(Arc<[u8]>),
    /// One proof, as its finder broadcasts it.
    Proof(Vec<u8>),
    /// "Send me this operation, admitted or quarantined."
    Fetch(OpId),
    /// Several proofs: a member's votes, as it broadcasts them.
    Proofs(Vec<Vec<u8>>),
}

/// Who the sender is, so that strangers to the network part at once, with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub version: u8,
    /// Its network.
    pub network: NetworkId,
    /// Digest of its registry's whole history.
    pub registry: Digest,
    /// Its clock.
    pub now: Time,
    /// Digest of its frontier.
    pub digest: Digest,
    /// How many operations it has admitted: where digests differ, whoever has fewer asks first.
    pub ops: u64,
}

/// The answer to a [`Frame::Pull`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The sender's clock.
    pub now: Time,
    /// Digest of the sender's frontier when it began to answer.
    pub digest: Digest,
    /// Whether credit ran out: pull again.
    pub more: bool,
    /// Encoded proofs that the asker did not know: of forks, of double votes, certificates; and its own open votes.
    pub proofs: Vec<Vec<u8>>,
    /// Encoded operations, each behind the asker's frontier or in conflict with it.
    pub ops: Vec<Arc<[u8]>>,
}

/// A named reason to refuse a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// The peer speaks another protocol version.
    #[error("other protocol version")]
    Version,
    /// The peer belongs to another network.
    #[error("other network")]
    Network,
    /// The peer's registry history differs.
    #[error("other registry history")]
    Registry,
    /// The receiver's hello has not arrived: it is asked to say it again.
    #[error("no hello")]
    NoHello,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_LEN_MAX`].
    #[error("frame has {0} bytes, at most {FRAME_LEN_MAX} are allowed")]
    TooLong(usize),
    /// An unknown tag.
    #[error("frame tag {0} is unknown")]
    Tag(u8),
    /// Not the canonical form.
    #[error("frame: {0}")]
    Codec(#[from] CodecError),
}

impl Frame {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Hello(hello) => {
                out.extend_from_slice(&[0, hello.version]);
                out.extend_from_slice(hello.network.as_bytes());
                out.extend_from_slice(hello.registry.as_bytes());
                out.extend_from_slice(&hello.now.ms().to_be_bytes());
                out.extend_from_slice(hello.digest.as_bytes());
                out.extend_from_slice(&hello.ops.to_be_bytes());
            }
            Self::Refuse(refusal) => out.extend_from_slice(&[1, *refusal as u8]),
            Self::Digest { now, digest, ops } => {
                out.push(2);
                out.extend_from_slice(&now.ms().to_be_bytes());
                out.extend_from_slice(digest.as_bytes());
                out.extend_from_slice(&ops.to_be_bytes());
            }
            Self::Pull { now, credit, frontier } => {
                out.push(3);
                out.extend_from_slice(&now.ms().to_be_bytes());
                out.extend_from_slice(&credit.to_be_bytes());
                frontier.encode(&mut out);
            }
            Self::Delta(delta) => {
                out.push(4);
                delta.encode(&mut out);
            }
            Self::Op(bytes) => {
                out.push(5);
                out.extend_from_slice(bytes);
            }
            Self::Proof(bytes) => {
                out.push(6);
                out.extend_from_slice(bytes);
            }
            Self::Fetch(id) => {
                out.push(7);
                out.extend_from_slice(id.as_bytes());
            }
            Self::Proofs(proofs) => {
                out.push(8);
                write_proofs(proofs, &mut out);
            }
        }
        out
    }

    /// Reads one frame. Operations and proofs inside are not decoded yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > FRAME_LEN_MAX {
            return Err(FrameError::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let frame = match reader.u8()? {
            0 => Self::Hello(Hello::read(&mut reader)?),
            1 => Self::Refuse(Refusal::from_code(reader.u8()?)?),
            2 => Self::Digest { now: time(&mut reader)?, digest: digest(&mut reader)?, ops: reader.u64()? },
            3 => {
                let (now, credit) = (time(&mut reader)?, reader.u32()?);
                Self::Pull { now, credit, frontier: Frontier::read(&mut reader)? }
            }
            4 => Self::Delta(Delta::read(&mut reader)?),
            5 => {
                over("operation length", reader.left(), OP_LEN_MAX)?;
                Self::Op(reader.slice(reader.left())?.into())
            }
            6 => {
                over("proof length", reader.left(), PROOF_LEN_MAX)?;
                Self::Proof(reader.slice(reader.left())?.to_vec())
            }
            7 => Self::Fetch(OpId::from_bytes(reader.array()?)),
            8 => Self::Proofs(read_proofs(&mut reader, PROOFS_MAX)?),
            tag => return Err(FrameError::Tag(tag)),
        };
        reader.finish()?;
        Ok(frame)
    }
}

/// The longest proof: a certificate that all members of the largest registry signed.
const PROOF_LEN_MAX: usize = CERTIFICATE_LEN_MAX;

fn over(field: &'static str, len: usize, max: usize) -> Result<(), CodecError> {
    if len > max { Err(CodecError::OverCap { field, value: len as u64, max: max as u64 }) } else { Ok(()) }
}

fn time(reader: &mut Reader<'_>) -> Result<Time, CodecError> {
    Ok(Time::from_ms(reader.u64()?))
}

fn digest(reader: &mut Reader<'_>) -> Result<Digest, CodecError> {
    Ok(Digest::from_bytes(reader.array()?))
}

impl Hello {
    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            version: reader.u8()?,
            network: NetworkId::from_bytes(reader.array()?),
            registry: digest(reader)?,
            now: time(reader)?,
            digest: digest(reader)?,
            ops: reader.u64()?,
        })
    }
}

impl Delta {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.now.ms().to_be_bytes());
        out.extend_from_slice(self.digest.as_bytes());
        out.push(u8::from(self.more));
        write_proofs(&self.proofs, out);
        out.extend_from_slice(&count_u32(self.ops.len()));
        for op in &self.ops {
            out.extend_from_slice(&count_u32(op.len()));
            out.extend_from_slice(op);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (now, digest) = (time(reader)?, digest(reader)?);
        let more = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(CodecError::NotCanonical("more")),
        };
        let proofs = read_proofs(reader, DELTA_PROOFS_MAX)?;
        let count = reader.count("operations", DELTA_OPS_MAX)?;
        let mut ops = Vec::new();
        for _ in 0..count {
            let len = reader.count("operation length", OP_LEN_MAX)?;
            ops.push(reader.slice(len)?.into());
        }
        Ok(Self { now, digest, more, proofs, ops })
    }
}

impl Refusal {
    fn from_code(code: u8) -> Result<Self, CodecError> {
        [Self::Version, Self::Network, Self::Registry, Self::NoHello]
            .into_iter()
            .find(|r| *r as u8 == code)
            .ok_or(CodecError::NotCanonical("refusal code"))
    }
}

fn write_proofs(proofs: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend_from_slice(&count_u32(proofs.len()));
    for proof in proofs {
        out.extend_from_slice(&count_u32(proof.len()));
        out.extend_from_slice(proof);
    }
}

fn read_proofs(reader: &mut Reader<'_>, max: usize) -> Result<Vec<Vec<u8>>, CodecError> {
    let count = reader.count("proofs", max)?;
    let mut proofs = Vec::new();
    for _ in 0..count {
        let len = reader.count("proof length", PROOF_LEN_MAX)?;
        proofs.push(reader.slice(len)?.to_vec());
    }
    Ok(proofs)
}

/// Reads a whole encoded fork proof and verifies it.
pub fn decode_proof(bytes: &[u8], network: NetworkId) -> Result<ForkProof, ForkError> {
    let mut reader = Reader::new(bytes);
    let proof = ForkProof::read(&mut reader, network)?;
    reader.finish().map_err(concurrence_crdt::OpError::from)?;
    Ok(proof)
}
