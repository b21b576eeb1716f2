//! A TCP proxy that can be cut: what stands between a node and the others where it must be cut off.

use std::sync::Arc;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Forwards connections from a port of its own to another, until it is cut.
pub struct Proxy {
    pub port: u16,
    open: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// A proxy in front of a port on loopback.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(watch::channel(true).0);
        let gate = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                if *gate.borrow() {
                    tokio::spawn(forward(inbound, to, gate.subscribe()));
                }
            }
        });
        Self { port, open }
    }

    /// Closes all connections and refuses new ones, or lets them through again.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn forward(mut inbound: TcpStream, to: u16, mut gate: watch::Receiver<bool>) {
    let Ok(mut outbound) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound) => {}
        _ = gate.wait_for(|open| !open) => {}
    }
}
