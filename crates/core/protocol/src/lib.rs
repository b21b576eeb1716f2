//! What two peers say to one another, without I/O.
//!
//! A driver feeds a [`Replica`] with [`Input`]s and carries out its [`Output`]s: frames to peers, requests to the store,
//! events to whoever is interested. It never learns what the frames mean.

mod account;
mod answer;
mod certify;
mod descents;
mod frame;
mod intake;
mod own;
mod replica;
mod session;
mod store;
mod waiting;

pub use account::{Account, Ban, Fault};
pub use answer::Serving;
pub use frame::{
    DELTA_BYTES_MAX, DELTA_PROOF_BYTES_MAX, DELTA_PROOFS_MAX, Delta, FRAME_LEN_MAX, Frame, FrameError, Hello,
    PROOFS_MAX, PROTOCOL_VERSION, Refusal, decode_proof,
};
pub use intake::Reason;
pub use own::{OwnLog, OwnStart};
pub use replica::{
    CLOCK_OFFSET_MAX_MS, CannotAppend, Config, Event, Input, MessageId, Now, Output, Peer, Replica, Verdict,
};
pub use session::Session;
pub use store::{Fact, FactKey, StoreReply, StoreRequest, Token, Write};
pub use waiting::{WAITING_BYTES_MAX, WAITING_OPS_MAX};
