//! Nothing is dialled but what was configured.
//!
//! Parts of libp2p dial on their own (gossipsub looks for its explicit peers), with addresses that peers told them.
//! This behaviour sees every dial before it starts and stops those that name no configured address.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};

/// Knows every configured address and denies all other dials.
#[derive(Default)]
pub(crate) struct DialGuard {
    configured: BTreeSet<Multiaddr>,
}

/// A dial that named no address, or one that is not configured.
#[derive(Debug, thiserror::Error)]
#[error("only configured addresses are dialled")]
pub(crate) struct NotConfigured;

impl DialGuard {
    pub(crate) fn allow(&mut self, addr: Multiaddr) {
        self.configured.insert(addr);
    }

    fn check(&self, addrs: &[Multiaddr]) -> Result<(), NotConfigured> {
        match addrs.is_empty() || !addrs.iter().all(|addr| self.configured.contains(addr)) {
            true => Err(NotConfigured),
            false => Ok(()),
        }
    }
}

impl NetworkBehaviour for DialGuard {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.check(addresses).map_err(ConnectionDenied::new)?;
        Ok(Vec::new())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_addresses_pass() {
        let addr = |text: &str| text.parse::<Multiaddr>().unwrap();
        let (known, other) = (addr("/ip4/127.0.0.1/tcp/1"), addr("/ip4/127.0.0.1/tcp/2"));
        let mut guard = DialGuard::default();
        assert!(guard.check(std::slice::from_ref(&known)).is_err());
        guard.allow(known.clone());
        assert!(guard.check(std::slice::from_ref(&known)).is_ok());
        assert!(guard.check(&[]).is_err());
        assert!(guard.check(&[known, other]).is_err());
    }
}
