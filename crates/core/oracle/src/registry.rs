//! Who is an oracle: the registry's history of epochs, and the committee with capped weights of each.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_crdt::{AUTHORS_MAX, AuthorKey, Committee, Digest, Membership, NetworkId, hash};

use crate::Address;

/// The registry of a network: its whole history of epochs. All nodes of a network have the same one; its digest tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    network: String,
    network_id: NetworkId,
    epochs: Vec<Epoch>,
}

/// One registry epoch: who was a member, and with what weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    members: Vec<Member>,
    committee: Committee,
}

/// An oracle as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name for people; 1 to [`NAME_LEN_MAX`] printable ASCII characters without spaces.
    pub name: String,
    /// Key of its logs.
    pub author: AuthorKey,
    /// Address that signs its price groups.
    pub evm: Address,
    /// Its peer id, in the network's own text form, opaque here; 1 to [`PEER_LEN_MAX`] printable ASCII characters.
    pub peer: String,
    /// Weight before capping, 1 to [`WEIGHT_MAX`].
    pub weight: u64,
}

/// Why a registry was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The network's name is not 1 to [`NAME_LEN_MAX`] printable ASCII characters without spaces.
    #[error("network name {0:?} is not 1 to {NAME_LEN_MAX} printable characters without spaces")]
    Network(String),
    /// There is no epoch, or there are more than [`EPOCHS_MAX`].
    #[error("registry has {0} epochs, allowed are 1 to {EPOCHS_MAX}")]
    Epochs(usize),
    /// An epoch has no member, or more than [`MEMBERS_MAX`].
    #[error("registry epoch {epoch} has {members} members, allowed are 1 to {MEMBERS_MAX}")]
    Members {
        /// The epoch.
        epoch: usize,
        /// Its members.
        members: usize,
    },
    /// More authors than frontiers can name were ever members.
    #[error("registry names {0} authors over all epochs, at most {AUTHORS_MAX} are allowed")]
    Authors(usize),
    /// A name is empty, too long, or has other characters.
    #[error("name {0:?} is not 1 to {NAME_LEN_MAX} printable characters without spaces")]
    Name(String),
    /// A peer id is empty, too long, or has other characters.
    #[error("peer id of {0} is not 1 to {PEER_LEN_MAX} printable characters without spaces")]
    Peer(String),
    /// A weight is zero or above [`WEIGHT_MAX`].
    #[error("weight {weight} of {name} is outside 1..={WEIGHT_MAX}")]
    Weight {
        /// Whose weight.
        name: String,
        /// The weight.
        weight: u64,
    },
    /// Two members of an epoch share what must be their own.
    #[error("registry epoch {epoch}: {name} repeats the {field} of another member")]
    Repeated {
        /// The epoch.
        epoch: usize,
        /// The member that repeats.
        name: String,
        /// `name`, `author key`, `EVM address` or `peer id`.
        field: &'static str,
    },
}

/// Most members of an epoch: the on-chain signer index is one byte, and 255 keeps every count in it.
pub const MEMBERS_MAX: usize = 255;

/// Most epochs: twenty years of weekly changes.
pub const EPOCHS_MAX: usize = 1_024;

/// Greatest weight, so that 255 of them stay far below 64 bits.
pub const WEIGHT_MAX: u64 = 1 << 32;

/// Longest network or member name, in bytes.
pub const NAME_LEN_MAX: usize = 64;

/// Longest peer id text: the longest base58 form of a libp2p id has 52 characters; room for longer hashes.
pub const PEER_LEN_MAX: usize = 128;

/// Fewest members that can tolerate a fault: n > 3f with f = 1.
pub const MEMBERS_FAULT_TOLERANT_MIN: usize = 4;

const DIGEST_DOMAIN: &str = "concurrence v0 registry history";

impl Registry {
    /// A registry from its whole history; the first list of members is epoch 0.
    pub fn new(network: String, network_id: NetworkId, epochs: Vec<Vec<Member>>) -> Result<Self, RegistryError> {
        if !is_plain(&network, NAME_LEN_MAX) {
            return Err(RegistryError::Network(excerpt(&network)));
        }
        if !(1..=EPOCHS_MAX).contains(&epochs.len()) {
            return Err(RegistryError::Epochs(epochs.len()));
        }
        let epochs = epochs.into_iter().enumerate().map(|(number, members)| Epoch::new(number, members));
        let registry = Self { network, network_id, epochs: epochs.collect::<Result<_, _>>()? };
        let authors = registry.membership().authors().len();
        if authors > AUTHORS_MAX { Err(RegistryError::Authors(authors)) } else { Ok(registry) }
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The network's id.
    pub const fn network_id(&self) -> NetworkId {
        self.network_id
    }

    /// All epochs, from epoch 0.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// One epoch.
    pub fn epoch(&self, number: u32) -> Option<&Epoch> {
        self.epochs.get(usize::try_from(number).ok()?)
    }

    /// The newest epoch and its number.
    pub fn newest(&self) -> (u32, &Epoch) {
        let last = self.epochs.len() - 1; // a registry has at least one epoch
        (u32::try_from(last).unwrap_or(u32::MAX), &self.epochs[last])
    }

    /// The committees of all epochs, for the replicated core.
    pub fn membership(&self) -> Membership {
        Membership::new(self.epochs.iter().map(|e| e.committee.clone()).collect())
    }

    /// BLAKE3 over the canonical encoding of the whole history: equal digests are equal registries.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        put_text(&mut bytes, &self.network);
        bytes.extend(self.network_id.as_bytes());
        bytes.extend((self.epochs.len() as u64).to_be_bytes());
        for epoch in &self.epochs {
            bytes.extend((epoch.members.len() as u64).to_be_bytes());
            for member in &epoch.members {
                put_text(&mut bytes, &member.name);
                bytes.extend(member.author.as_bytes());
                bytes.extend(member.evm.as_bytes());
                put_text(&mut bytes, &member.peer);
                bytes.extend(member.weight.to_be_bytes());
            }
        }
        hash(DIGEST_DOMAIN, &bytes)
    }
}

impl Epoch {
    fn new(number: usize, mut members: Vec<Member>) -> Result<Self, RegistryError> {
        if !(1..=MEMBERS_MAX).contains(&members.len()) {
            return Err(RegistryError::Members { epoch: number, members: members.len() });
        }
        members.sort_by_key(|m| m.author);
        let (mut names, mut authors, mut evms, mut peers) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for member in &members {
            member.check()?;
            let repeats = [
                ("author key", !authors.insert(member.author)),
                ("EVM address", !evms.insert(member.evm)),
                ("peer id", !peers.insert(member.peer.as_str())),
                ("name", !names.insert(member.name.as_str())),
            ];
            if let Some((field, _)) = repeats.into_iter().find(|&(_, repeated)| repeated) {
                return Err(RegistryError::Repeated { epoch: number, name: member.name.clone(), field });
            }
        }
        let weights: Vec<u64> = members.iter().map(|m| m.weight).collect();
        let capped: BTreeMap<_, _> = members.iter().map(|m| m.author).zip(cap_weights(&weights)).collect();
        Ok(Self { members, committee: Committee::new(capped) })
    }

    /// The members, ascending by author key.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member with this author key.
    pub fn member(&self, author: &AuthorKey) -> Option<&Member> {
        self.members.binary_search_by_key(author, |m| m.author).ok().map(|at| &self.members[at])
    }

    /// Members with capped weights: what every count of weight uses.
    pub const fn committee(&self) -> &Committee {
        &self.committee
    }

    /// Whether any fault can be tolerated. With fewer than four members f = 0, weights are not capped, and every answer says so.
    pub fn has_fault_tolerance(&self) -> bool {
        self.members.len() >= MEMBERS_FAULT_TOLERANT_MIN
    }
}

impl Member {
    fn check(&self) -> Result<(), RegistryError> {
        if !is_plain(&self.name, NAME_LEN_MAX) {
            return Err(RegistryError::Name(excerpt(&self.name)));
        }
        if !is_plain(&self.peer, PEER_LEN_MAX) {
            return Err(RegistryError::Peer(self.name.clone()));
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(RegistryError::Weight { name: self.name.clone(), weight: self.weight });
        }
        Ok(())
    }
}

/// Weights capped below a third of their sum: `min(w, c)` with the largest integer c for which `3c < sum of min(w, c)`.
/// Fewer than four weights are returned as they are: no cap can bring each below a third.
pub fn cap_weights(weights: &[u64]) -> Vec<u64> {
    let greatest = weights.iter().copied().max().unwrap_or(0);
    let positive = weights.iter().filter(|&&w| w > 0).count();
    if positive < MEMBERS_FAULT_TOLERANT_MIN {
        return weights.to_vec();
    }
    let below_third = |c: u64| 3 * u128::from(c) < weights.iter().map(|&w| u128::from(w.min(c))).sum::<u128>();
    if below_third(greatest) {
        return weights.to_vec();
    }
    // sum of min(w, c) - 3c is concave in c, zero at 0 and positive at 1 (four weights or more): those c form 1..=cap.
    let (mut cap, mut above) = (1, greatest);
    while above - cap > 1 {
        let middle = cap + (above - cap) / 2;
        if below_third(middle) { cap = middle } else { above = middle }
    }
    weights.iter().map(|&w| w.min(cap)).collect()
}

fn is_plain(text: &str, len_max: usize) -> bool {
    (1..=len_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn excerpt(text: &str) -> String {
    text.chars().take(NAME_LEN_MAX).collect()
}

/// Text with its length before it.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_be_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{author, epoch, member, registry};

    fn refused(change: impl FnOnce(&mut Vec<Member>)) -> RegistryError {
        let mut members: Vec<_> = (0..4).map(|n| member(n, 1)).collect();
        change(&mut members);
        Registry::new("test".to_owned(), NetworkId::from_bytes([9; 32]), vec![members]).unwrap_err()
    }

    #[test]
    fn what_must_be_ones_own_is_not_shared() {
        let field = |change: fn(&mut Vec<Member>)| match refused(change) {
            RegistryError::Repeated { field, .. } => field,
            other => panic!("{other}"),
        };
        assert_eq!(field(|m| m[1].author = author(0)), "author key");
        assert_eq!(field(|m| m[1].evm = m[0].evm), "EVM address");
        assert_eq!(field(|m| m[1].peer = m[0].peer.clone()), "peer id");
        assert_eq!(field(|m| m[1].name = m[0].name.clone()), "name");
    }

    #[test]
    fn out_of_bounds_is_refused() {
        assert!(matches!(refused(|m| m.clear()), RegistryError::Members { members: 0, .. }));
        assert!(matches!(refused(|m| m[0].weight = 0), RegistryError::Weight { weight: 0, .. }));
        assert!(matches!(refused(|m| m[0].weight = WEIGHT_MAX + 1), RegistryError::Weight { .. }));
        assert!(matches!(refused(|m| m[0].name = String::new()), RegistryError::Name(_)));
        assert!(matches!(refused(|m| m[0].name = "a b".to_owned()), RegistryError::Name(_)));
        assert!(matches!(refused(|m| m[0].peer = "x".repeat(PEER_LEN_MAX + 1)), RegistryError::Peer(_)));
        let many = |n| Registry::new("test".to_owned(), NetworkId::from_bytes([0; 32]), vec![vec![member(1, 1)]; n]);
        assert_eq!(many(0), Err(RegistryError::Epochs(0)));
        assert!(many(EPOCHS_MAX).is_ok());
        assert_eq!(many(EPOCHS_MAX + 1), Err(RegistryError::Epochs(EPOCHS_MAX + 1)));
        let full = registry(&[1; MEMBERS_MAX]);
        assert_eq!(full.newest().1.members().len(), MEMBERS_MAX);
        assert!(Registry::new("a b".to_owned(), NetworkId::from_bytes([0; 32]), vec![vec![member(1, 1)]]).is_err());
    }

    #[test]
    fn digest_covers_everything_but_the_order_given() {
        let build = |epochs: Vec<Vec<Member>>| {
            Registry::new("test".to_owned(), NetworkId::from_bytes([9; 32]), epochs).unwrap().digest()
        };
        let base = || vec![member(1, 5), member(2, 6)];
        let mut reversed = base();
        reversed.reverse();
        assert_eq!(build(vec![base()]), build(vec![reversed]));
        let changes: [fn(&mut Member); 5] = [
            |m| m.name.push('x'),
            |m| m.author = author(7),
            |m| m.evm = Address::from_bytes([7; 20]),
            |m| m.peer.push('x'),
            |m| m.weight = 7,
        ];
        let mut digests = BTreeSet::from([build(vec![base()]), build(vec![base(), base()])].map(|d| *d.as_bytes()));
        for change in changes {
            let mut changed = base();
            change(&mut changed[0]);
            digests.insert(*build(vec![changed]).as_bytes());
        }
        assert_eq!(digests.len(), 7);
    }

    #[test]
    fn a_epoch_knows_its_members() {
        let epoch = epoch(&[1, 1, 1]);
        assert!(!epoch.has_fault_tolerance());
        assert_eq!(epoch.member(&author(2)).unwrap().name, "oracle_2");
        assert_eq!(epoch.member(&author(9)), None);
        assert_eq!(registry(&[1, 2, 3, 4]).membership().newest().1.len(), 4);
    }

    #[test]
    fn a19_small_registries_are_not_capped() {
        assert_eq!(cap_weights(&[100, 1, 1]), [100, 1, 1]);
        assert_eq!(cap_weights(&[100, 1, 1, 0]), [100, 1, 1, 0]);
        assert_eq!(cap_weights(&[100, 1, 1, 1]), [1, 1, 1, 1]);
        assert_eq!(cap_weights(&[100, 10, 10, 10, 10]), [19, 10, 10, 10, 10]);
        assert_eq!(cap_weights(&[]), [0u64; 0]);
        assert_eq!(cap_weights(&[u64::MAX; 4]), [u64::MAX; 4]);
    }

    proptest! {
        #[test]
        fn a19_capped_weights_are_below_a_third_and_as_great_as_can_be(weights in prop::collection::vec(1..=WEIGHT_MAX, 4..40)) {
            let capped = cap_weights(&weights);
            let total: u64 = capped.iter().sum();
            prop_assert!(capped.iter().all(|&c| c > 0 && 3 * c < total));
            prop_assert!(capped.iter().zip(&weights).all(|(&c, &w)| c <= w));
            // A cap greater by one would not do, unless none binds.
            let cap = *capped.iter().max().unwrap() + 1;
            if capped != weights {
                let total: u64 = weights.iter().map(|&w| w.min(cap)).sum();
                prop_assert!(3 * cap >= total);
            }
        }
    }
}
