//! The names under which a network's protocols are spoken, and what a peer's list of names says about it.

use libp2p::StreamProtocol;

use crate::config::{Broadcast, NetError};
use crate::event::RefusalReason;

/// The protocol names of one network.
#[derive(Clone, Debug)]
pub(crate) struct Protocols {
    /// Directed frames and full-mesh broadcast.
    pub(crate) frames: StreamProtocol,
    /// Gossipsub.
    pub(crate) gossip: StreamProtocol,
    /// The one gossip topic.
    pub(crate) topic: String,
    /// What identify carries as the protocol family's version.
    pub(crate) family: String,
    needs_gossip: bool,
    prefix: String,
}

impl Protocols {
    pub(crate) fn new(network: &str, broadcast: Broadcast) -> Result<Self, NetError> {
        let is_hex = network.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let short = match network.get(..NETWORK_DIGITS) {
            Some(short) if is_hex => short,
            _ => return Err(NetError::Network { network: network.to_owned() }),
        };
        let prefix = format!("{FAMILY}{short}/");
        let name =
            |text: String| StreamProtocol::try_from_owned(text).map_err(|error| NetError::Build(error.to_string()));
        Ok(Self {
            frames: name(format!("{prefix}frames/{VERSION}"))?,
            gossip: name(format!("{prefix}gossip/{VERSION}"))?,
            topic: format!("{prefix}ops/{VERSION}"),
            family: format!("{prefix}{VERSION}"),
            needs_gossip: broadcast == Broadcast::Gossipsub,
            prefix,
        })
    }

    /// Judges a peer by the protocols it says it speaks.
    pub(crate) fn judge(&self, theirs: &[StreamProtocol]) -> Result<(), RefusalReason> {
        let ours = if self.needs_gossip { vec![&self.frames, &self.gossip] } else { vec![&self.frames] };
        if ours.iter().all(|name| theirs.contains(name)) {
            return Ok(());
        }
        let ours = ours.iter().map(|name| name.as_ref()).collect::<Vec<_>>().join(", ");
        let family: Vec<&str> = theirs.iter().map(AsRef::as_ref).filter(|name| name.starts_with(FAMILY)).collect();
        let ours_or_none = family.is_empty() || family.iter().any(|name| name.starts_with(&self.prefix));
        let theirs = shown(&family);
        Err(if ours_or_none {
            RefusalReason::UnsupportedProtocol { ours, theirs }
        } else {
            RefusalReason::OtherNetwork { ours, theirs }
        })
    }
}

/// A peer's protocol names, escaped and cut so that they are fit for a log line.
fn shown(names: &[&str]) -> String {
    match names.join(", ").escape_debug().take(SHOWN_CHARS).collect::<String>() {
        text if text.is_empty() => "none of ours".to_owned(),
        text => text,
    }
}

const FAMILY: &str = "/concurrence/";
/// Version of the framing and of what travels in it; 0 promises no compatibility.
const VERSION: u32 = 0;
/// Digits of the network id in the names. 16: 64 bits are plenty against accidents, and names stay readable.
const NETWORK_DIGITS: usize = 16;
/// Characters of a peer's own words that are shown. 160: two protocol names of ours.
const SHOWN_CHARS: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    const NET_A: &str = "00112233445566778899aabbccddeeff";
    const NET_B: &str = "ff112233445566778899aabbccddeeff";

    fn names(texts: &[&str]) -> Vec<StreamProtocol> {
        texts.iter().map(|text| StreamProtocol::try_from_owned((*text).to_owned()).unwrap()).collect()
    }

    #[test]
    fn a_network_id_is_lowercase_hex() {
        for bad in ["", "0011223344556677x", "001122334455667", "00112233445566AA", "äöüäöüäöü"] {
            assert!(matches!(Protocols::new(bad, Broadcast::FullMesh), Err(NetError::Network { .. })), "{bad}");
        }
        let protocols = Protocols::new(NET_A, Broadcast::FullMesh).unwrap();
        assert_eq!(protocols.frames.as_ref(), "/concurrence/0011223344556677/frames/0");
    }

    #[test]
    fn a_peer_is_judged_by_its_names() {
        let mesh = Protocols::new(NET_A, Broadcast::FullMesh).unwrap();
        let gossip = Protocols::new(NET_A, Broadcast::Gossipsub).unwrap();
        let other = Protocols::new(NET_B, Broadcast::FullMesh).unwrap();
        let all = [mesh.frames.clone(), mesh.gossip.clone()];
        assert_eq!(mesh.judge(&all[..1]), Ok(()));
        assert_eq!(mesh.judge(&all), Ok(()));
        assert_eq!(gossip.judge(&all), Ok(()));
        assert!(matches!(gossip.judge(&all[..1]), Err(RefusalReason::UnsupportedProtocol { .. })));
        assert!(matches!(mesh.judge(&[]), Err(RefusalReason::UnsupportedProtocol { .. })));
        assert!(matches!(mesh.judge(&names(&["/ipfs/ping/1.0.0"])), Err(RefusalReason::UnsupportedProtocol { .. })));
        let newer = names(&["/concurrence/0011223344556677/frames/9"]);
        assert!(matches!(mesh.judge(&newer), Err(RefusalReason::UnsupportedProtocol { .. })));
        let text = mesh.judge(&[other.frames]).unwrap_err().to_string();
        assert!(text.contains("another network") && text.contains("ff11") && text.contains("0011"), "{text}");
    }

    #[test]
    fn a_peers_words_are_escaped_and_cut() {
        let hostile = format!("/concurrence/\u{1b}[31m{}", "x".repeat(4_000));
        let mesh = Protocols::new(NET_A, Broadcast::FullMesh).unwrap();
        let Err(RefusalReason::OtherNetwork { theirs, .. }) = mesh.judge(&names(&[&hostile])) else { panic!("judged") };
        assert!(theirs.chars().count() <= SHOWN_CHARS && !theirs.contains('\u{1b}'), "{theirs}");
    }
}
