//! JSON-RPC, as far as reading contracts needs it: requests, and answers taken apart. Pure.

use concurrence_crdt::Time;
use serde_json::{json, value::RawValue};

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
};

/// A block by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// Its hash, `0x` and 64 hexadecimal digits.
    pub hash: String,
    /// Its height.
    pub number: u64,
    /// Its time; the chain's own, in whole seconds.
    pub time: Time,
}

/// Longest result read, in bytes. The longest that is asked for (`observe` of two moments) has eight words.
const RESULT_LEN_MAX: usize = 1_024;

/// The request for a block: by its hash, or by a tag such as `safe` or `finalized`. Without its transactions.
pub fn block_request(block: &str) -> String {
    let method = if block.starts_with("0x") { "eth_getBlockByHash" } else { "eth_getBlockByNumber" };
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": [block, false]}).to_string()
}

/// The request for a block by its height.
pub fn number_request(number: u64) -> String {
    let params = json!([format!("{number:#x}"), false]);
    json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": params}).to_string()
}

/// The request for what a contract returns at a block named by its hash (EIP-1898), which must be canonical.
pub fn call_request(contract: &str, data: &str, block_hash: &str) -> String {
    let block = json!({"blockHash": block_hash, "requireCanonical": true});
    let params = json!([{"to": contract, "data": data}, block]);
    json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": params}).to_string()
}

/// Reads the answer to a [`block_request`].
pub fn parse_block(body: &[u8]) -> Result<BlockHead, ParseError> {
    let object = json::object(body)?;
    let result = result(&object)?;
    if result.get() == "null" {
        return Err(ParseError::new(Kind::Refused(Refusal::Unavailable), "no such block"));
    }
    let block = Object::parse(result.get())?;
    let hash = block.string("hash")?;
    let plain =
        hash.strip_prefix("0x").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !plain {
        return Err(ParseError::new(Kind::Shape, format_args!("hash is {hash:?}")));
    }
    let seconds = quantity(&block, "timestamp")?;
    let ms = seconds.checked_mul(1_000).ok_or_else(|| ParseError::new(Kind::Time, "timestamp"))?;
    Ok(BlockHead { hash, number: quantity(&block, "number")?, time: Time::from_ms(ms) })
}

/// Reads the answer to a [`call_request`]: the bytes that the contract returned. None at all means that there is no contract.
pub fn parse_call(body: &[u8]) -> Result<Vec<u8>, ParseError> {
    let object = json::object(body)?;
    let raw = result(&object)?.get();
    let hex = raw.strip_prefix("\"0x").and_then(|rest| rest.strip_suffix('"'));
    let hex = hex.ok_or_else(|| ParseError::new(Kind::Shape, "result is no hexadecimal string"))?;
    if hex.is_empty() {
        return Err(ParseError::new(Kind::NoContract, "0x"));
    }
    if hex.len() > 2 * RESULT_LEN_MAX || !hex.len().is_multiple_of(2) {
        return Err(ParseError::new(Kind::Shape, format_args!("result has {} digits", hex.len())));
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?); // pairs, by the check above
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| ParseError::new(Kind::Shape, "result is no hexadecimal string"))
}

/// The result, or the server's own error.
fn result<'a>(object: &Object<'a>) -> Result<&'a RawValue, ParseError> {
    let Some(error) = object.get("error").filter(|error| error.get() != "null") else { return object.need("result") };
    let error = Object::parse(error.get())?;
    let code = error.need("code")?.get();
    let words = error.string("message").unwrap_or_default();
    let lower = words.to_ascii_lowercase();
    let refusal = match code {
        "429" | "-32005" => Refusal::RateLimit,
        _ if lower.contains("rate limit") || lower.contains("too many requests") => Refusal::RateLimit,
        // A node that has not seen the block yet, or no longer has its state.
        _ if lower.contains("not found") || lower.contains("missing trie node") => Refusal::Unavailable,
        "-32603" => Refusal::Unavailable,
        _ => Refusal::Other,
    };
    Err(ParseError::new(Kind::Refused(refusal), format_args!("code {code}: {words}")))
}

/// A quantity: `0x` and hexadecimal digits without leading zeros.
fn quantity(object: &Object<'_>, key: &str) -> Result<u64, ParseError> {
    let text = object.string(key)?;
    let number = text.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    number.ok_or_else(|| ParseError::new(Kind::Shape, format_args!("{key} is {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0x8d4b2a9c3b6d5f7e1a0c9b8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f";

    #[test]
    fn errors_of_nodes_are_told_apart() {
        for (name, want) in [
            ("alchemy_429", Kind::Refused(Refusal::RateLimit)),
            ("infura_rate_limit", Kind::Refused(Refusal::RateLimit)),
            ("header_not_found", Kind::Refused(Refusal::Unavailable)),
            ("method_not_found", Kind::Refused(Refusal::Other)),
        ] {
            let path = format!("{}/../../../data/venues/onchain/rpc_error_{name}.json", env!("CARGO_MANIFEST_DIR"));
            assert_eq!(parse_call(&std::fs::read(path).unwrap()).unwrap_err().kind, want, "{name}");
        }
    }

    #[test]
    fn results_are_bytes_or_refused() {
        let call = |result: &str| parse_call(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).as_bytes());
        assert_eq!(call("\"0x00ff\"").unwrap(), [0, 255]);
        for (result, want) in [
            ("\"0x\"", Kind::NoContract),
            ("null", Kind::Shape),
            ("\"0x0\"", Kind::Shape),
            ("\"0xzz\"", Kind::Shape),
            ("\"00\"", Kind::Shape),
        ] {
            assert_eq!(call(result).unwrap_err().kind, want, "{result}");
        }
        let long = format!("\"0x{}\"", "00".repeat(RESULT_LEN_MAX + 1));
        assert_eq!(call(&long).unwrap_err().kind, Kind::Shape);
    }

    #[test]
    fn blocks_have_hash_height_and_time() {
        let block = |body: &str| parse_block(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{body}}}"#).as_bytes());
        let good = format!(r#"{{"hash":"{HASH}","number":"0x10","timestamp":"0x6681f280"}}"#);
        let head = block(&good).unwrap();
        assert_eq!((head.hash.as_str(), head.number, head.time), (HASH, 16, Time::from_ms(1_719_792_256_000)));
        assert_eq!(block("null").unwrap_err().kind, Kind::Refused(Refusal::Unavailable));
        assert_eq!(block(&good.replace("0x8d", "0x")).unwrap_err().kind, Kind::Shape);
        assert_eq!(block(&good.replace("0x6681f280", "0xffffffffffffffff")).unwrap_err().kind, Kind::Time);
        assert!(call_request("0xaa", "0x01", HASH).contains(HASH));
        assert!(block_request("safe").contains("eth_getBlockByNumber") && block_request(HASH).contains("ByHash"));
    }
}
