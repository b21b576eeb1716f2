//! Coinbase Advanced Trade, REST: the public product and its latest trades.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use super::parse::object;
use crate::{
    ParseError, ParseErrorKind as Kind, json,
    message::{check_market, spelled_same},
    time,
};

/// Reads `products/{id}/ticker`: best bid and ask, and the newest trade with its time. The bid and ask of a trade itself are empty
/// strings.
pub(crate) fn parse_trades(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = object(body)?;
    let (bid, ask) = (object.price_or_empty("best_bid")?, object.price_or_empty("best_ask")?);
    json::check_book(bid, ask)?;
    let trades = json::objects(object.need("trades")?, "trades")?;
    let newest = trades.first().ok_or_else(|| ParseError::new(Kind::Missing, "trades[0]"))?;
    check_market(asked, &newest.string("product_id")?, spelled_same)?;
    let last = Some(json::price(newest.need("price")?, "price")?);
    let venue_time = Some(time::iso_text(newest.need("time")?, "time")?);
    Ok(Quote { bid, ask, last, volume: None, venue_time, received })
}

/// Reads `products/{id}`: the last price and the day's volume, unless the product cannot be traded or only stands for another.
pub(crate) fn parse_product(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = object(body)?;
    check_market(asked, &object.string("product_id")?, spelled_same)?;
    if let Some(alias) = object.get("alias").filter(|alias| alias.get() != "\"\"") {
        return Err(ParseError::new(Kind::Symbol, format_args!("stands for {}", json::string(alias, "alias")?)));
    }
    for flag in ["is_disabled", "trading_disabled", "auction_mode", "cancel_only", "post_only", "view_only"] {
        if object.get(flag).is_some_and(|value| value.get() != "false") {
            return Err(ParseError::new(Kind::Halted, flag));
        }
    }
    let last = Some(json::price(object.need("price")?, "price")?);
    Ok(Quote { bid: None, ask: None, last, volume: object.volume("volume_24h")?, venue_time: None, received })
}
