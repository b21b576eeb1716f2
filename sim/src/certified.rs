//! What must hold of votes and certificates when a run is over (CERT-2, CERT-4, CERT-5). That certified heads only grow is watched while it
//! runs.

use concurrence_crdt::{LogKey, OpId};

use crate::{Violation, World, check::hold, reference::Reference};

impl World {
    /// CERT-2: every certificate that an honest node holds is signed by more than two thirds of the members, each once. (All have a weight
    /// of one.)
    pub fn check_certificates(&self) -> Result<(), Violation> {
        let members = self.registry.newest().1.members();
        for node in self.honest() {
            let Some(engine) = &self.nodes[node].engine else { continue };
            let history = engine.replica().history();
            for certificate in history.logs().filter_map(|(log, _)| history.certificate(log)) {
                let head = certificate.head();
                let good = members.iter().filter(|member| {
                    let vote = certificate.vote_of(&member.author);
                    vote.is_some_and(|v| member.author.verify(head.digest().as_bytes(), &v.vote().signature).is_ok())
                });
                let good = good.count();
                hold(3 * good > 2 * members.len(), "CERT-2", || {
                    format!("node {node} takes {head:?} for certified by {good} of {}", members.len())
                })?;
            }
        }
        Ok(())
    }

    /// CERT-4: whatever happened to it, an honest member's votes for a log were for heads of one chain that was in the world, and nobody can
    /// show two of them that contradict one another.
    pub fn check_votes(&self) -> Result<(), Violation> {
        let model = Reference::new(&self.evidence.ops, self.registry.network_id());
        let misused = self.misused();
        for (number, voter) in self.nodes.iter().enumerate().filter(|(_, node)| node.is_honest()) {
            let voter = voter.keys.author_key();
            if misused.contains(&voter) {
                continue;
            }
            let of_it = self.evidence.votes.iter().filter(|((by, _), _)| *by == voter);
            for (&(_, log), heads) in of_it {
                let heads: Vec<(u64, OpId)> = heads.iter().copied().collect();
                let one_chain = heads.last().map_or(Ok(()), |&longest| on_one_chain(&model, log, longest, &heads));
                hold(one_chain.is_ok(), "CERT-4", || format!("node {number} voted for {log:?}: {one_chain:?}"))?;
            }
            for node in self.honest() {
                let Some(engine) = &self.nodes[node].engine else { continue };
                let is_accused = engine.replica().history().double_vote(&voter).is_some();
                hold(!is_accused, "CERT-4", || format!("node {node} has a proof that honest {number} voted twice"))?;
            }
        }
        Ok(())
    }

    /// CERT-5: where more than two thirds of the members are honest, all that honest authors wrote is certified in the end.
    pub fn check_certified(&self) -> Result<(), Violation> {
        let misused = self.misused();
        let honest: Vec<_> = self.honest().into_iter().filter(|&node| !misused.contains(&self.author(node))).collect();
        let voting = honest.iter().filter(|&&node| !self.is_left_alone(node)).count();
        if !self.are_two_thirds(voting) {
            return Ok(());
        }
        for &node in &honest {
            let Some(engine) = &self.nodes[node].engine else { continue };
            let history = engine.replica().history();
            for (log, tail) in history.logs().filter(|(log, _)| honest.iter().any(|&of| self.author(of) == log.author))
            {
                let certified = history.certified_len(log);
                hold(certified == tail.len, "CERT-5", || {
                    format!("node {node} holds {} operations of {log:?}, certified are {certified}", tail.len)
                })?;
            }
        }
        Ok(())
    }
}

/// Whether all heads are on the chain of the longest one.
fn on_one_chain(model: &Reference, log: LogKey, longest: (u64, OpId), heads: &[(u64, OpId)]) -> Result<(), String> {
    let chain = model.chain(log, longest.0, longest.1)?;
    for &(len, id) in heads {
        let at = usize::try_from(len).unwrap_or(usize::MAX).checked_sub(1);
        let on_chain = at.and_then(|at| chain.get(at)).map(|op| op.id());
        if on_chain != Some(id) {
            return Err(format!("{id:?} at {len} is not below {:?} at {}", longest.1, longest.0));
        }
    }
    Ok(())
}
