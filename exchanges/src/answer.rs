//! The bytes that venues send. Pure.

use crate::{Close, Endpoint, Moment, Tape, Venue, tape::fixed, venue::kraken_key};

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, JSON.
    pub body: Vec<u8>,
}

/// Width of the synthetic book: a basis point of the close, in millionths, half of it on either side.
pub const SPREAD_PPM: i128 = 100;

/// Most pairs in one Kraken request; the simulated venue has five.
const KRAKEN_PAIRS_MAX: usize = 16;

/// A price and everything invented around it.
struct Ticker {
    last: i128,
    bid: i128,
    ask: i128,
    /// A day's volume of the base currency, 1e-8 units: 1,000 to 1,499, by the minute.
    volume: i128,
    /// A trade's number that grows by the minute.
    trade_id: u64,
    time_ms: u64,
}

/// What an endpoint answers about a symbol at a moment.
pub(crate) fn answer(tape: &Tape, endpoint: Endpoint, symbol: &str, moment: Moment, price_ppm: u32) -> Answer {
    let ticker = |symbol: &str| {
        let close = tape.close_at(endpoint.venue(), symbol, moment.tape_ms)?;
        Some(Ticker::around(close, moment, price_ppm))
    };
    match endpoint {
        Endpoint::BinanceTicker24hr | Endpoint::BinanceBookTicker | Endpoint::BinanceTickerPrice => {
            if symbol.is_empty() {
                return binance_error(
                    -1102,
                    "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
                );
            }
            let legal = symbol.len() <= 20
                && symbol.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_.".contains(&b));
            if !legal {
                let rule = "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.";
                return binance_error(-1100, rule);
            }
            match ticker(symbol) {
                Some(ticker) => ok(ticker.binance(endpoint, symbol)),
                None => binance_error(-1121, "Invalid symbol."),
            }
        }
        Endpoint::CoinbaseTicker => match ticker(symbol) {
            Some(ticker) => ok(ticker.coinbase()),
            None => json(404, r#"{"message":"NotFound"}"#.into()),
        },
        Endpoint::CoinbaseSpot => match (ticker(symbol), symbol.split_once('-')) {
            (Some(ticker), Some((base, currency))) => ok(ticker.coinbase_spot(base, currency)),
            _ => json(404, r#"{"errors":[{"id":"not_found","message":"Not found"}]}"#.into()),
        },
        Endpoint::KrakenTicker => kraken(symbol, ticker),
    }
}

/// What a venue says to a path that it does not have.
pub(crate) fn no_such_path(venue: Venue) -> Answer {
    match venue {
        Venue::Binance => json(404, r#"{"code":-1000,"msg":"path not found"}"#.into()),
        Venue::Coinbase => json(404, r#"{"message":"NotFound"}"#.into()),
        Venue::Kraken => ok(r#"{"error":["EGeneral:Unknown method"]}"#.into()),
    }
}

/// What a venue says to whoever asks too often.
pub(crate) fn too_many_requests(venue: Venue) -> Answer {
    let body = match venue {
        Venue::Binance => {
            r#"{"code":-1003,"msg":"Too much request weight used; current limit is 6000 request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."}"#
        }
        Venue::Coinbase => r#"{"message":"Public rate limit exceeded"}"#,
        Venue::Kraken => r#"{"error":["EGeneral:Too many requests"]}"#,
    };
    json(429, body.into())
}

/// The venue's own clock: Binance's `/api/v3/time`, Kraken's `/0/public/Time`.
pub(crate) fn server_time(venue: Venue, moment: Moment) -> Answer {
    let ms = moment.server_ms();
    match venue {
        Venue::Binance => ok(format!(r#"{{"serverTime":{ms}}}"#)),
        Venue::Kraken => ok(format!(r#"{{"error":[],"result":{{"unixtime":{}}}}}"#, ms / 1_000)),
        Venue::Coinbase => no_such_path(venue),
    }
}

/// Kraken answers several pairs at once, each under its own name, and errors with status 200.
fn kraken(pairs: &str, ticker: impl Fn(&str) -> Option<Ticker>) -> Answer {
    let asked: Vec<&str> = pairs.split(',').take(KRAKEN_PAIRS_MAX + 1).collect();
    if pairs.is_empty() || asked.len() > KRAKEN_PAIRS_MAX {
        return ok(r#"{"error":["EGeneral:Invalid arguments"]}"#.into());
    }
    let mut results: Vec<String> = Vec::new();
    for pair in asked {
        let Some(ticker) = ticker(pair) else {
            return ok(r#"{"error":["EQuery:Unknown asset pair"]}"#.into());
        };
        let altname = Venue::Kraken.spelling(pair);
        let result = ticker.kraken(kraken_key(&altname));
        if !results.contains(&result) {
            results.push(result);
        }
    }
    ok(format!(r#"{{"error":[],"result":{{{}}}}}"#, results.join(",")))
}

impl Ticker {
    fn around(close: Close, moment: Moment, price_ppm: u32) -> Self {
        // A close has at most 12 digits before the point (1e20 units): no product here comes near 128 bits.
        let last = (close.units * i128::from(price_ppm) / 1_000_000).max(2);
        // At least a unit on either side, so that the book is neither locked nor crossed, and the bid above zero.
        let half = (last * SPREAD_PPM / 2_000_000).max(1);
        let minute = close.bar_end_ms / crate::BAR_MS;
        Self {
            last,
            bid: last - half,
            ask: last + half,
            volume: (1_000 + i128::from(minute % 500)) * 100_000_000,
            trade_id: minute,
            time_ms: moment.venue_time_ms(close.bar_end_ms),
        }
    }

    fn binance(&self, endpoint: Endpoint, symbol: &str) -> String {
        let [last, bid, ask, volume] = [self.last, self.bid, self.ask, self.volume].map(|units| fixed(units, 8));
        match endpoint {
            Endpoint::BinanceTickerPrice => format!(r#"{{"symbol":"{symbol}","price":"{last}"}}"#),
            Endpoint::BinanceBookTicker => format!(
                r#"{{"symbol":"{symbol}","bidPrice":"{bid}","bidQty":"1.00000000","askPrice":"{ask}","askQty":"1.00000000"}}"#
            ),
            _ => {
                let (id, close_time) = (self.trade_id, self.time_ms);
                let open_time = close_time.saturating_sub(86_400_000);
                format!(
                    r#"{{"symbol":"{symbol}","priceChange":"0.00000000","priceChangePercent":"0.000","weightedAvgPrice":"{last}","prevClosePrice":"{last}","lastPrice":"{last}","lastQty":"1.00000000","bidPrice":"{bid}","bidQty":"1.00000000","askPrice":"{ask}","askQty":"1.00000000","openPrice":"{last}","highPrice":"{last}","lowPrice":"{last}","volume":"{volume}","quoteVolume":"{volume}","openTime":{open_time},"closeTime":{close_time},"firstId":{id},"lastId":{id},"count":1}}"#
                )
            }
        }
    }

    fn coinbase(&self) -> String {
        let [last, bid, ask, volume] = [self.last, self.bid, self.ask, self.volume].map(|units| fixed(units, 0));
        let (id, time) = (self.trade_id, iso_time(self.time_ms));
        format!(
            r#"{{"ask":"{ask}","bid":"{bid}","volume":"{volume}","trade_id":{id},"price":"{last}","size":"1","time":"{time}"}}"#
        )
    }

    fn coinbase_spot(&self, base: &str, currency: &str) -> String {
        let amount = fixed(self.last, 2);
        format!(r#"{{"data":{{"base":"{base}","currency":"{currency}","amount":"{amount}"}}}}"#)
    }

    fn kraken(&self, key: &str) -> String {
        let [last, bid, ask] = [self.last, self.bid, self.ask].map(|units| fixed(units, 5));
        let volume = fixed(self.volume, 8);
        format!(
            r#""{key}":{{"a":["{ask}","1","1.000"],"b":["{bid}","1","1.000"],"c":["{last}","1.00000000"],"v":["{volume}","{volume}"],"p":["{last}","{last}"],"t":[1,1],"l":["{last}","{last}"],"h":["{last}","{last}"],"o":"{last}"}}"#
        )
    }
}

fn ok(body: String) -> Answer {
    json(200, body)
}

fn json(status: u16, body: String) -> Answer {
    Answer { status, body: body.into_bytes() }
}

fn binance_error(code: i32, message: &str) -> Answer {
    json(400, format!(r#"{{"code":{code},"msg":"{message}"}}"#))
}

/// Milliseconds since the epoch as `2023-03-10T00:01:00.000000Z`: Coinbase's form.
fn iso_time(ms: u64) -> String {
    let (seconds, days) = (ms / 1_000, ms / 86_400_000);
    let (mut year, mut day) = (1970, days);
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    // Whole cycles of the calendar first: 400 years have 146,097 days. Then at most 400 steps.
    year += 400 * (day / 146_097);
    day %= 146_097;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}000Z", day + 1, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// 2023-03-10 00:01:00 UTC, the end of the first bar.
    const FIRST_MS: u64 = 1_678_406_460_000;

    fn asked(endpoint: Endpoint, symbol: &str, price_ppm: u32) -> (u16, Value) {
        let answer = Tape::usdc_depeg().answer(endpoint, symbol, Moment::replayed(FIRST_MS), price_ppm);
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// An independent reading: the text as a floating-point number, good to a millionth here.
    fn number(value: &Value) -> f64 {
        value.as_str().expect("a string").parse().unwrap()
    }

    #[test]
    fn binance_bodies() {
        let (status, day) = asked(Endpoint::BinanceTicker24hr, "BTCUSDT", 1_000_000);
        assert_eq!((status, day["symbol"].as_str()), (200, Some("BTCUSDT")));
        assert_eq!(day["lastPrice"], "20360.61000000");
        assert_eq!(day["closeTime"], FIRST_MS);
        assert_eq!(day.as_object().unwrap().len(), 21, "every field of the real answer");
        assert!((number(&day["askPrice"]) / number(&day["bidPrice"]) - 1.0001).abs() < 1e-6, "a basis point wide");
        assert!(
            (number(&day["askPrice"]) + number(&day["bidPrice"]) - 2.0 * 20_360.61).abs() < 1e-6,
            "around the close"
        );
        assert_eq!(asked(Endpoint::BinanceTickerPrice, "USDCUSDT", 1_000_000).1["price"], "0.99990000");
        assert_eq!(asked(Endpoint::BinanceBookTicker, "USDCUSDT", 1_000_000).1["bidPrice"], "0.99985001");
        assert_eq!(asked(Endpoint::BinanceTickerPrice, "BTCUSDT", 1_200_000).1["price"], "24432.73200000");
    }

    #[test]
    fn coinbase_bodies() {
        let (status, ticker) = asked(Endpoint::CoinbaseTicker, "BTC-USD", 1_000_000);
        assert_eq!((status, ticker["price"].as_str()), (200, Some("20364.09")));
        assert_eq!(ticker["time"], "2023-03-10T00:01:00.000000Z");
        assert!(number(&ticker["bid"]) < 20_364.09 && number(&ticker["ask"]) > 20_364.09);
        let (_, spot) = asked(Endpoint::CoinbaseSpot, "USDT-USD", 1_000_000);
        assert_eq!(spot["data"].to_string(), r#"{"amount":"1.00008","base":"USDT","currency":"USD"}"#);
    }

    #[test]
    fn kraken_bodies() {
        let (_, one) = asked(Endpoint::KrakenTicker, "XBTUSD", 1_000_000);
        assert_eq!(one["error"].as_array().map(Vec::len), Some(0));
        assert_eq!(one["result"].as_object().map(serde_json::Map::len), Some(1));
        let ticker = &one["result"]["XXBTZUSD"];
        assert_eq!((ticker["c"][0].as_str(), ticker["a"].as_array().map(Vec::len)), (Some("20364.00000"), Some(3)));
        let (_, three) = asked(Endpoint::KrakenTicker, "XBT/USDC,USDTUSD,USDTZUSD", 1_000_000);
        let keys: Vec<&String> = three["result"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["USDTZUSD", "XBTUSDC"], "a pair asked for twice is answered once");
    }

    #[test]
    fn unknown_symbols_get_the_vendors_errors() {
        for (symbol, code) in [("ETHUSDT", -1121), ("", -1102), ("btcusdt", -1100), ("BTC/USDT", -1100)] {
            let (status, error) = asked(Endpoint::BinanceTicker24hr, symbol, 1_000_000);
            assert_eq!((status, error["code"].as_i64()), (400, Some(code)), "{symbol}");
        }
        let (status, error) = asked(Endpoint::CoinbaseTicker, "ETH-USD", 1_000_000);
        assert_eq!((status, error["message"].as_str()), (404, Some("NotFound")));
        let (status, error) = asked(Endpoint::CoinbaseSpot, "ETH-USD", 1_000_000);
        assert_eq!((status, error["errors"][0]["id"].as_str()), (404, Some("not_found")));
        for pairs in ["ETHUSD", "XBTUSD,ETHUSD"] {
            let (status, error) = asked(Endpoint::KrakenTicker, pairs, 1_000_000);
            assert_eq!((status, error["error"][0].as_str()), (200, Some("EQuery:Unknown asset pair")));
            assert!(error.get("result").is_none());
        }
        let many = vec!["XBTUSD"; KRAKEN_PAIRS_MAX + 1].join(",");
        assert_eq!(asked(Endpoint::KrakenTicker, &many, 1_000_000).1["error"][0], "EGeneral:Invalid arguments");
    }

    #[test]
    fn a_market_has_no_price_before_its_first_close() {
        let early =
            Tape::usdc_depeg().answer(Endpoint::BinanceTickerPrice, "BTCUSDT", Moment::replayed(FIRST_MS - 1), 1);
        assert_eq!(early.status, 400);
    }

    #[test]
    fn extreme_scales_keep_the_book_in_order() {
        for ppm in [0, 1, u32::MAX] {
            let (_, book) = asked(Endpoint::BinanceBookTicker, "USDCUSDT", ppm);
            assert!(number(&book["bidPrice"]) > 0.0 && number(&book["bidPrice"]) < number(&book["askPrice"]), "{book}");
        }
    }

    #[test]
    fn iso_times() {
        for (ms, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_825_600_500, "2000-02-29T12:00:00.500000Z"),
            (1_678_751_999_999, "2023-03-13T23:59:59.999000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000000Z"),
            (253_402_300_799_000, "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(iso_time(ms), want);
        }
    }
}
