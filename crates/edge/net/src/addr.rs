//! Addresses as operators write them, and what to tell an operator who wrote them wrong.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// A peer and one address where it can be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddr {
    /// Who must answer there: a connection to anyone else is closed.
    pub peer: PeerId,
    /// Where, without the `/p2p` part.
    pub addr: Multiaddr,
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/p2p/{}", self.addr, self.peer)
    }
}

/// Why an address was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// A host name stands where an IP address belongs.
    #[error("{text}: {host:?} is a host name, not an IP address; write {suggestion}")]
    HostUnderIp {
        /// The address as written.
        text: String,
        /// The host name.
        host: String,
        /// The form to write instead.
        suggestion: String,
    },
    /// The peer id does not decode.
    #[error(
        "{text}: the peer id {id:?} is not valid ({reason}); ask the peer for the output of show-pubkey, it begins with 12D3KooW or Qm"
    )]
    PeerId {
        /// The address as written.
        text: String,
        /// The id part.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address does not say who answers there.
    #[error("{text}: it does not say which peer answers there; append /p2p/ and the peer id")]
    MissingPeer {
        /// The address as written.
        text: String,
    },
    /// It is an address of a transport that is not supported, or of none.
    #[error("{text}: {reason}; write {expected}")]
    Form {
        /// The address as written.
        text: String,
        /// What is wrong with it.
        reason: String,
        /// The forms that would do.
        expected: &'static str,
    },
}

/// Reads a listen address: a socket address (`0.0.0.0:9000`), which stands for TCP and QUIC on that port, or one multiaddr.
pub fn parse_listen(text: &str) -> Result<Vec<Multiaddr>, AddrError> {
    let text = text.trim();
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let host = match socket.ip() {
            IpAddr::V4(ip) => Protocol::Ip4(ip),
            IpAddr::V6(ip) => Protocol::Ip6(ip),
        };
        let host = Multiaddr::from(host);
        return Ok(vec![
            host.clone().with(Protocol::Tcp(socket.port())),
            host.with(Protocol::Udp(socket.port())).with(Protocol::QuicV1),
        ]);
    }
    let addr = parse_multiaddr(text, LISTEN_FORMS)?;
    match transport_of(&addr) {
        Some((Protocol::Ip4(_) | Protocol::Ip6(_), _)) => Ok(vec![addr]),
        _ => Err(form(text, "it is no address to listen on", LISTEN_FORMS)),
    }
}

/// Reads a peer's address: `/ip4/1.2.3.4/tcp/9000/p2p/12D3KooW...`, with `/dns4/host.name` for a host name and
/// `/udp/9000/quic-v1` for QUIC. The peer id is required.
pub fn parse_peer(text: &str) -> Result<PeerAddr, AddrError> {
    let text = text.trim();
    check_length(text, PEER_FORMS)?;
    let parts: Vec<&str> = text.split('/').collect();
    check_host(text, &parts, PEER_FORMS)?;
    let id_at = parts.iter().position(|part| *part == "p2p").map(|at| at + 1);
    let id = match id_at.and_then(|at| parts.get(at)) {
        None if text.starts_with('/') => return Err(AddrError::MissingPeer { text: text.to_owned() }),
        None => return Err(form(text, "it is not a multiaddr", PEER_FORMS)),
        Some(id) => *id,
    };
    let peer = id.parse::<PeerId>().map_err(|error| AddrError::PeerId {
        text: text.to_owned(),
        id: id.to_owned(),
        reason: error.to_string(),
    })?;
    let mut addr = parse_multiaddr(text, PEER_FORMS)?;
    if addr.pop() != Some(Protocol::P2p(peer)) {
        return Err(form(text, "it goes on after the peer id", PEER_FORMS));
    }
    match transport_of(&addr) {
        Some((_, 0)) => Err(form(text, "port 0 cannot be dialled", PEER_FORMS)),
        Some(_) => Ok(PeerAddr { peer, addr }),
        None => Err(form(text, "it is of no transport we speak", PEER_FORMS)),
    }
}

fn parse_multiaddr(text: &str, expected: &'static str) -> Result<Multiaddr, AddrError> {
    check_length(text, expected)?;
    check_host(text, &text.split('/').collect::<Vec<_>>(), expected)?;
    text.parse().map_err(|error: libp2p::multiaddr::Error| form(text, &error.to_string(), expected))
}

fn check_length(text: &str, expected: &'static str) -> Result<(), AddrError> {
    match text.len() {
        0 => Err(form("an empty address", "nothing is written", expected)),
        1..=TEXT_BYTES => Ok(()),
        len => Err(form("an address", &format!("{len} bytes are too long"), expected)),
    }
}

/// Refuses `/ip4/host.name/...` with the form that works, and hosts that cannot exist.
fn check_host(text: &str, parts: &[&str], expected: &'static str) -> Result<(), AddrError> {
    let ["", kind, host, rest @ ..] = parts else { return Ok(()) };
    let named = |dns: &str| {
        let tail: String = rest.iter().flat_map(|part| ["/", part]).collect();
        let (text, host) = (text.to_owned(), (*host).to_owned());
        Err(AddrError::HostUnderIp { text, suggestion: format!("/{dns}/{host}{tail}"), host })
    };
    match *kind {
        "ip4" if host.parse::<Ipv4Addr>().is_err() && is_host_name(host) => named("dns4"),
        "ip6" if host.parse::<Ipv6Addr>().is_err() && is_host_name(host) => named("dns6"),
        "dns" | "dns4" | "dns6" if !is_host_name(host) => {
            Err(form(text, &format!("{host:?} is not a host name"), expected))
        }
        _ => Ok(()),
    }
}

/// Letters, digits, hyphens and dots, with at least one letter (RFC 1123, section 2.1).
fn is_host_name(host: &str) -> bool {
    host.len() <= HOST_BYTES
        && host.chars().any(|c| c.is_ascii_alphabetic())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
        && !host.contains("..")
        && !host.starts_with('.')
}

/// The host and the port, if the address is one of a transport we speak and nothing more.
fn transport_of(addr: &Multiaddr) -> Option<(Protocol<'_>, u16)> {
    let parts: Vec<_> = addr.iter().collect();
    let (host, port) = match parts.as_slice() {
        [host, Protocol::Tcp(port)] | [host, Protocol::Udp(port), Protocol::QuicV1] => (host, *port),
        _ => return None,
    };
    match host {
        Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) => {
            Some((host.clone(), port))
        }
        _ => None,
    }
}

fn form(text: &str, reason: &str, expected: &'static str) -> AddrError {
    AddrError::Form { text: text.to_owned(), reason: reason.to_owned(), expected }
}

const LISTEN_FORMS: &str = "IP:PORT, /ip4/IP/tcp/PORT or /ip4/IP/udp/PORT/quic-v1";
const PEER_FORMS: &str = "/ip4/IP/tcp/PORT/p2p/ID or /dns4/HOST/udp/PORT/quic-v1/p2p/ID";
/// Longest address text. 512: a host name has at most 253 bytes, the rest is under 100.
const TEXT_BYTES: usize = 512;
/// Longest host name (RFC 1035, section 2.3.4).
const HOST_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
    const QM: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";

    #[test]
    fn listen_addresses_that_work() {
        let cases: &[(&str, &[&str])] = &[
            ("0.0.0.0:9000", &["/ip4/0.0.0.0/tcp/9000", "/ip4/0.0.0.0/udp/9000/quic-v1"]),
            (" 127.0.0.1:0 ", &["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]),
            ("[::]:9000", &["/ip6/::/tcp/9000", "/ip6/::/udp/9000/quic-v1"]),
            ("/ip4/0.0.0.0/tcp/9000", &["/ip4/0.0.0.0/tcp/9000"]),
            ("/ip6/::1/udp/9000/quic-v1", &["/ip6/::1/udp/9000/quic-v1"]),
        ];
        for (text, expected) in cases {
            let read: Vec<String> = parse_listen(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(read, *expected, "{text}");
        }
    }

    #[test]
    fn listen_addresses_that_do_not() {
        let cases = [
            ("", "nothing is written"),
            (":9000", "IP:PORT"),
            ("9000", "IP:PORT"),
            ("0.0.0.0", "IP:PORT"),
            ("0.0.0.0:70000", "IP:PORT"),
            ("oracle1.network.com:9000", "IP:PORT"),
            ("/ip4/oracle1.network.com/tcp/9000", "/dns4/oracle1.network.com/tcp/9000"),
            ("/dns4/oracle1.network.com/tcp/9000", "no address to listen on"),
            ("/ip4/1.2.3.4/udp/9000", "no address to listen on"),
            ("/ip4/1.2.3.4/tcp/9000/ws", "no address to listen on"),
            ("/ip4/1.2.3.4.5/tcp/9000", "IP:PORT"),
            ("/ip4", "IP:PORT"),
            ("/", "IP:PORT"),
        ];
        for (text, part) in cases {
            let error = parse_listen(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn peer_addresses_that_work() {
        for id in [ED, QM] {
            for addr in [
                "/ip4/1.2.3.4/tcp/9000",
                "/ip6/2001:db8::1/tcp/9000",
                "/ip4/1.2.3.4/udp/9000/quic-v1",
                "/dns4/oracle1.network.com/tcp/9000",
                "/dns6/oracle1.network.com/udp/9000/quic-v1",
                "/dns/localhost/tcp/65535",
            ] {
                let read = parse_peer(&format!(" {addr}/p2p/{id}\n")).unwrap();
                assert_eq!((read.addr.to_string().as_str(), read.peer.to_string().as_str()), (addr, id));
                assert_eq!(read.to_string(), format!("{addr}/p2p/{id}"));
            }
        }
    }

    #[test]
    fn peer_addresses_that_do_not() {
        let named = |addr: &str| format!("{addr}/p2p/{ED}");
        let cases = [
            (named("/ip4/oracle1.network.com/tcp/9000"), format!("write /dns4/oracle1.network.com/tcp/9000/p2p/{ED}")),
            ("/ip4/oracle1.network.com/tcp/9000/p2p/QmPeerId1...".into(), "write /dns4/oracle1.network.com".into()),
            (named("/ip6/oracle1.network.com/tcp/9000"), "write /dns6/oracle1.network.com".into()),
            ("/dns4/oracle1.network.com/tcp/9000/p2p/QmPeerId1...".into(), "peer id \"QmPeerId1...\"".into()),
            ("/ip4/1.2.3.4/tcp/9000/p2p/12D3KooW".into(), "peer id \"12D3KooW\"".into()),
            ("/ip4/1.2.3.4/tcp/9000/p2p/".into(), "peer id \"\"".into()),
            ("/ip4/1.2.3.4/tcp/9000/p2p".into(), "append /p2p/".into()),
            ("/ip4/1.2.3.4/tcp/9000".into(), "append /p2p/".into()),
            ("1.2.3.4:9000".into(), "not a multiaddr".into()),
            ("".into(), "nothing is written".into()),
            (named("/ip4/1.2.3.4/tcp/0"), "port 0".into()),
            (named("/ip4/1.2.3.4/tcp/70000"), "write /ip4/IP/tcp/PORT".into()),
            (named("/ip4/1.2.3.4/udp/9000"), "no transport".into()),
            (named("/ip4/1.2.3.4/udp/9000/quic"), "no transport".into()),
            (named("/dns4/bad_host/tcp/9000"), "not a host name".into()),
            (named("/dns4//tcp/9000"), "not a host name".into()),
            (named("/memory/1234"), "no transport".into()),
            (format!("{}/p2p-circuit", named("/ip4/1.2.3.4/tcp/9000")), "goes on after".into()),
            ("/".repeat(TEXT_BYTES + 1), "too long".into()),
        ];
        for (text, part) in cases {
            let error = parse_peer(&text).expect_err(&text).to_string();
            assert!(error.contains(&part), "{text}: {error}");
        }
    }
}
