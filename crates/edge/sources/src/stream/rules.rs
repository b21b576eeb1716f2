//! How a venue wants its stream to be used.

/// The rules of one venue's stream: where it is, how to subscribe, when it is asked for a sign of life, how often one may connect.
pub struct StreamRules {
    /// The public address.
    pub url: &'static str,
    /// The requests that subscribe to some markets; the number is that of the request on its connection, from 1.
    pub subscribe: fn(markets: &[String], number: u64) -> Vec<String>,
    /// Most markets in one call of [`subscribe`](Self::subscribe).
    pub markets_per_request: usize,
    /// Least time between two of our messages, in milliseconds.
    pub request_gap_ms: u64,
    /// How the connection is kept by us; `None` where the venue does it. Ping frames are answered below, by the transport.
    pub ping: Option<Ping>,
    /// A connection that says nothing for so long is dead, in milliseconds.
    pub silence_ms: u64,
    /// A connection this old is replaced before the venue closes it, in milliseconds.
    pub age_ms_max: u64,
    /// Most connections opened in [`connects_window_ms`](Self::connects_window_ms): at most nine tenths of the vendor's limit.
    pub connects_max: usize,
    /// The window over which they are counted, in milliseconds.
    pub connects_window_ms: u64,
    /// Least time between the opening of two connections, in milliseconds.
    pub connect_gap_ms: u64,
}

/// A sign of life that we ask for.
#[derive(Clone, Copy)]
pub struct Ping {
    /// How often, in milliseconds.
    pub every_ms: u64,
    /// The message, by its number on the connection.
    pub text: fn(u64) -> String,
}
