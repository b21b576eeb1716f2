//! Actors that misuse their vote.

use concurrence_crdt::{Head, HeadVote, OpId, Reader};
use concurrence_protocol::Frame;

use super::{Actor, Scene};

/// B15: votes for two heads of one length, and shows both to its victims. It hurts where a vote moves to whoever was told last, or where one
/// member counts twice. Both votes count, each for its own head; the two are a proof, which all come to hold; and what two thirds signed
/// needs an honest member in any two thirds.
#[derive(Default)]
pub(super) struct DoubleVoter {
    injected: u64,
}

impl Actor for DoubleVoter {
    fn outbound(&mut self, scene: &mut Scene<'_>, to: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        let Ok(Frame::Proofs(proofs)) = Frame::decode(frame) else { return vec![frame.to_vec()] };
        if !scene.victims.contains(&to) {
            return vec![frame.to_vec()];
        }
        let votes = proofs.iter().filter_map(|proof| HeadVote::read(&mut Reader::new(proof), scene.network()).ok());
        let other = |vote: HeadVote| {
            let id = OpId::from_bytes(*blake3::hash(vote.head.id.as_bytes()).as_bytes());
            HeadVote::sign(Head { id, ..vote.head }, &scene.keys.author).encode()
        };
        let others: Vec<_> = votes.map(other).collect();
        self.injected += others.len() as u64;
        vec![Frame::Proofs(others).encode(), frame.to_vec()]
    }

    fn injected(&self) -> u64 {
        self.injected
    }
}
