//! Whether each side of a partition answers as the weight on it allows.

use std::{collections::BTreeSet, time::Duration};

use concurrence_node::api::FeedStatus;
use serde::Serialize;

use super::{
    network::{Member, Network},
    verdict::{honest, newest},
};

/// What was seen of the honest nodes' statuses while the network was cut.
#[derive(Default)]
pub struct Statuses {
    /// Names of honest nodes whose answer was ok when the present partition opened.
    ok_at_cut: BTreeSet<String>,
    tally: Tally,
}

/// How many statuses were looked at, and how many were not what the weight on the node's side allows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Statuses looked at.
    pub sampled: u64,
    /// Those that should have been others.
    pub wrong: u64,
    /// The first of them, in words.
    pub first_wrong: Option<String>,
}

/// When attestations of the other side count no longer: the demo's window, and one second for slots, gossip and snapshots.
const AGED: Duration = Duration::from_secs(5);

impl Statuses {
    /// A partition opens.
    pub fn cut(&mut self, network: &Network) {
        let ok = honest(network).filter(|member| status(member) == Some(FeedStatus::Ok));
        self.ok_at_cut = ok.map(|member| member.name.clone()).collect();
    }

    /// Looks at all honest nodes, a given time after the partition opened.
    pub fn sample(&mut self, network: &Network, side_of: &[usize], cut_for: Duration) {
        let total = network.members.len();
        for (member, &side) in network.members.iter().zip(side_of) {
            if !honest(network).any(|m| m.name == member.name) {
                continue;
            }
            let weight = counting(network, member, side_of, side);
            let is_aged = cut_for >= AGED;
            let wanted = match expected(weight, total) {
                FeedStatus::Ok if is_aged || self.ok_at_cut.contains(&member.name) => FeedStatus::Ok,
                other if is_aged => other,
                // Attestations from before the cut still count.
                _ => continue,
            };
            let seen = status(member);
            self.tally.sampled += 1;
            if seen != Some(wanted) {
                self.tally.wrong += 1;
                let seen = seen.map_or("nothing", FeedStatus::as_str);
                self.tally.first_wrong.get_or_insert_with(|| {
                    let (name, wanted, ms) = (&member.name, wanted.as_str(), cut_for.as_millis());
                    format!("{name} was {seen}, not {wanted}, {ms} ms into a cut that left it {weight} of {total}")
                });
            }
        }
    }

    /// What was seen so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// More than two thirds of the weight is ok, less degraded (decision 002).
const fn expected(weight: usize, total: usize) -> FeedStatus {
    if 3 * weight > 2 * total {
        FeedStatus::Ok
    } else if weight > 0 {
        FeedStatus::Degraded
    } else {
        FeedStatus::Halted
    }
}

/// Members on a node's side that the node does not know to be forked; each weighs 1.
fn counting(network: &Network, member: &Member, side_of: &[usize], side: usize) -> usize {
    let snapshot = newest(member);
    let is_forked = |author: &str| snapshot.anomalies.iter().any(|a| a.kind == "fork" && a.oracle == author);
    network.members.iter().zip(side_of).filter(|(m, s)| **s == side && !is_forked(&m.author)).count()
}

fn status(member: &Member) -> Option<FeedStatus> {
    newest(member).feeds.first().map(|feed| feed.price.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_of_seven_by_weight() {
        let words: Vec<_> = (0..=7).map(|weight| expected(weight, 7).as_str()).collect();
        assert_eq!(words, ["halted", "degraded", "degraded", "degraded", "degraded", "ok", "ok", "ok"]);
    }
}
