//! A chain read through two nodes: what they do not agree on is not read.

use std::time::Duration;

use reqwest::{Client, Url};

use super::{BlockHead, block_request, call_request, number_request, parse_block, parse_call};
use crate::{FetchError, ParseError, parse_error::short, transport};

/// Two JSON-RPC endpoints of one chain. Addresses may hold keys: no message shows them.
pub struct Chain {
    nodes: [(Client, Url); 2],
    timeout: Duration,
}

/// Why a chain was not set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainConfigError {
    /// An address is not one.
    #[error("rpc address {0} is not an http or https address")]
    Url(usize),
    /// Both addresses are the same: one node would confirm itself.
    #[error("both rpc addresses are the same")]
    Same,
    /// The HTTP client could not be built.
    #[error("http client: {0}")]
    Client(String),
}

/// Why a chain gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A node did not answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A node's answer was refused.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The nodes say different things about one block.
    #[error("the two nodes disagree about {0}")]
    Disagree(&'static str),
}

impl Chain {
    /// Sets two endpoints up; nothing is sent yet.
    pub fn new(rpc_urls: [&str; 2], timeout: Duration) -> Result<Self, ChainConfigError> {
        let node = |at: usize| {
            let url: Option<Url> =
                rpc_urls[at].parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https"));
            let url = url.ok_or(ChainConfigError::Url(at))?;
            let client = transport::client(&url, timeout);
            Ok((client.map_err(|error| ChainConfigError::Client(short(&error.to_string())))?, url))
        };
        let nodes = [node(0)?, node(1)?];
        if nodes[0].1 == nodes[1].1 { Err(ChainConfigError::Same) } else { Ok(Self { nodes, timeout }) }
    }

    /// The block so many below the newest one, if both know it by the same hash and time.
    pub async fn block(&self, depth: u64) -> Result<BlockHead, ChainError> {
        let newest = parse_block(&self.post(0, block_request("latest")).await?)?;
        let first = match depth {
            0 => newest,
            depth => parse_block(&self.post(0, number_request(newest.number.saturating_sub(depth))).await?)?,
        };
        let second = parse_block(&self.post(1, block_request(&first.hash)).await?)?;
        if first == second { Ok(first) } else { Err(ChainError::Disagree("a block")) }
    }

    /// The body of what a contract returns at a block, if both nodes return the same bytes.
    pub async fn call(&self, contract: &str, data: &str, block: &BlockHead) -> Result<Vec<u8>, ChainError> {
        let request = call_request(contract, data, &block.hash);
        let first = self.post(0, request.clone()).await?;
        let second = self.post(1, request).await?;
        if parse_call(&first)? == parse_call(&second)? { Ok(first) } else { Err(ChainError::Disagree("a contract")) }
    }

    async fn post(&self, node: usize, request: String) -> Result<Vec<u8>, FetchError> {
        let (client, url) = &self.nodes[node];
        let answer = transport::post(client, url.clone(), request);
        tokio::time::timeout(self.timeout, answer).await.unwrap_or(Err(FetchError::Timeout(self.timeout)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const HASH: &str = "0x8d4b2a9c3b6d5f7e1a0c9b8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f";
    const TIMEOUT: Duration = Duration::from_secs(5);

    /// A node that knows one block of a time, and returns one word from every contract.
    async fn node(time: &'static str, word: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let answer = move |body: String| async move {
            let result = match body.contains("eth_call") {
                true => {
                    assert!(body.contains(HASH), "calls name the block by its hash: {body}");
                    format!("\"{word}\"")
                }
                false => format!(r#"{{"hash":"{HASH}","number":"0x10","timestamp":"{time}"}}"#),
            };
            ([("content-type", "application/json")], format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#))
        };
        let app = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{addr}")
    }

    async fn read(times: [&'static str; 2], words: [&'static str; 2]) -> Result<Vec<u8>, ChainError> {
        let urls = [node(times[0], words[0]).await, node(times[1], words[1]).await];
        let chain = Arc::new(Chain::new([&urls[0], &urls[1]], TIMEOUT).unwrap());
        let block = chain.block(1).await?;
        Ok(parse_call(&chain.call("0xaa", "0x01", &block).await?)?)
    }

    #[tokio::test]
    async fn what_two_nodes_agree_on_is_read() {
        assert_eq!(read(["0x6681f280", "0x6681f280"], ["0x01", "0x01"]).await, Ok(vec![1]));
        assert_eq!(read(["0x6681f280", "0x6681f281"], ["0x01", "0x01"]).await, Err(ChainError::Disagree("a block")));
        assert_eq!(read(["0x6681f280", "0x6681f280"], ["0x01", "0x02"]).await, Err(ChainError::Disagree("a contract")));
        assert!(matches!(read(["0x6681f280", "0x6681f280"], ["0x01", "0x"]).await, Err(ChainError::Parse(_))));
    }

    #[test]
    fn addresses_are_two_and_never_shown() {
        let refused = |urls| Chain::new(urls, TIMEOUT).err().unwrap().to_string();
        assert_eq!(refused(["http://a/secret", "http://a/secret"]), ChainConfigError::Same.to_string());
        assert!(!refused(["ftp://a/secret", "http://a"]).contains("secret"));
    }
}
