//! Recorded history: closes by the minute.

use std::{collections::BTreeMap, io::Read};

use crate::{Answer, Endpoint, Moment, TapeError, Venue, answer, tape_file};

/// Closes of some markets over some time.
#[derive(Clone, Debug)]
pub struct Tape {
    /// Never empty; nor is any market's list of bars, whose ends strictly increase.
    markets: BTreeMap<Venue, BTreeMap<String, Vec<Close>>>,
}

/// A market on the tape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Market {
    /// The venue.
    pub venue: Venue,
    /// The venue's request symbol: `BTCUSDT`, `BTC-USD`, `XBTUSD`.
    pub symbol: String,
}

/// The last price of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The price in units of 1e-8 of the quote currency, above zero.
    pub units: i128,
    /// When the bar ended, milliseconds since the epoch: from then on the close is known.
    pub bar_end_ms: u64,
}

/// Decimal places of [`Close::units`].
pub const UNIT_DECIMALS: usize = 8;

/// Length of a bar, milliseconds.
pub const BAR_MS: u64 = 60_000;

/// For how long after its bar a close stands in for missing ones in [`Tape::reference`], milliseconds.
pub const FORWARD_FILL_MS: u64 = 300_000;

/// The two US dollar markets whose mean is the reference.
const REFERENCE: [(Venue, &str); 2] = [(Venue::Coinbase, "BTC-USD"), (Venue::Kraken, "XBTUSD")];

/// The embedded history; its source is in data/README.md.
const USDC_DEPEG: &[u8] = include_bytes!("../../data/history/usdc_depeg_2023-03-10_13_1m_multi_venue.csv.gz");

impl Tape {
    /// The USDC de-peg: 2023-03-10 00:00 to 2023-03-14 00:00 UTC, eleven markets on three venues.
    pub fn usdc_depeg() -> Self {
        // The bytes are part of the program, and a test reads them.
        Self::from_csv_gz(USDC_DEPEG).expect("the embedded tape is well formed")
    }

    /// Reads a gzipped CSV with the columns `ts,venue,symbol,open,high,low,close,volume`: `ts` the unix second at which the one-minute
    /// bar opens, rows of one market in order of time. The file is not trusted: everything about it is bounded.
    pub fn from_csv_gz(reader: impl Read) -> Result<Self, TapeError> {
        Ok(Self { markets: tape_file::read(reader)? })
    }

    /// The markets on the tape, in order.
    pub fn markets(&self) -> Vec<Market> {
        let of = |(venue, symbols): (&Venue, &BTreeMap<String, Vec<Close>>)| {
            let venue = *venue;
            symbols.keys().map(move |symbol| Market { venue, symbol: symbol.clone() }).collect::<Vec<_>>()
        };
        self.markets.iter().flat_map(of).collect()
    }

    /// When the first close of any market is known, milliseconds since the epoch.
    pub fn start_ms(&self) -> u64 {
        self.bars().filter_map(|bars| bars.first()).map(|bar| bar.bar_end_ms).min().unwrap_or(0)
    }

    /// When the last close of any market is known, milliseconds since the epoch.
    pub fn end_ms(&self) -> u64 {
        self.bars().filter_map(|bars| bars.last()).map(|bar| bar.bar_end_ms).max().unwrap_or(0)
    }

    /// The newest close known at an instant, however old it is; `None` before a market's first, and for a market not on the tape.
    /// `symbol` in any of the venue's spellings.
    pub fn close_at(&self, venue: Venue, symbol: &str, unix_ms: u64) -> Option<Close> {
        let symbols = self.markets.get(&venue)?;
        let bars = symbols.get(symbol).or_else(|| symbols.get(&venue.spelling(symbol)))?;
        let known = bars.partition_point(|bar| bar.bar_end_ms <= unix_ms);
        bars.get(known.checked_sub(1)?).copied()
    }

    /// What BTC/USD was worth at an instant, in units of 1e-8 dollars: the arithmetic mean of the Coinbase BTC-USD and Kraken XBT/USD
    /// closes, each at most [`FORWARD_FILL_MS`] old; `None` without both. Half a unit is cut off.
    pub fn reference(&self, unix_ms: u64) -> Option<i128> {
        let mut sum = 0;
        for (venue, symbol) in REFERENCE {
            let close = self.close_at(venue, symbol, unix_ms)?;
            if unix_ms - close.bar_end_ms > FORWARD_FILL_MS {
                return None;
            }
            sum += close.units;
        }
        Some(sum / 2)
    }

    /// What a venue's endpoint answers about a symbol at a moment, prices scaled by `price_ppm` millionths (1,000,000 leaves them as
    /// they are). Pure: this is what an [`Exchange`](crate::Exchange) sends.
    pub fn answer(&self, endpoint: Endpoint, symbol: &str, moment: Moment, price_ppm: u32) -> Answer {
        answer::answer(self, endpoint, symbol, moment, price_ppm)
    }

    /// The body of the venue's fullest endpoint ([`Venue::endpoint`]) at an instant of the replayed time, prices unscaled.
    pub fn body(&self, venue: Venue, symbol: &str, unix_ms: u64) -> Vec<u8> {
        self.answer(venue.endpoint(), symbol, Moment::replayed(unix_ms), 1_000_000).body
    }

    fn bars(&self) -> impl Iterator<Item = &Vec<Close>> {
        self.markets.values().flat_map(BTreeMap::values)
    }
}

/// Units of 1e-8 as the shortest exact decimal: `20364.09`.
pub fn decimal(units: i128) -> String {
    fixed(units, 0)
}

/// Units of 1e-8 as a decimal with at least `places_min` decimals, trailing zeros beyond them left out.
pub(crate) fn fixed(units: i128, places_min: usize) -> String {
    const ONE: u128 = 100_000_000;
    let sign = if units < 0 { "-" } else { "" };
    let (whole, fraction) = (units.unsigned_abs() / ONE, units.unsigned_abs() % ONE);
    let mut digits = format!("{fraction:0UNIT_DECIMALS$}");
    digits.truncate(digits.trim_end_matches('0').len().max(places_min));
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-03-10 00:00:00 UTC, the open of the first bar.
    const OPEN_MS: u64 = 1_678_406_400_000;

    #[test]
    fn the_embedded_tape_has_four_days_of_eleven_markets() {
        let tape = Tape::usdc_depeg();
        let names: Vec<String> = tape.markets().iter().map(|m| format!("{}:{}", m.venue, m.symbol)).collect();
        assert_eq!(
            names,
            [
                "binance:BTCUSDC",
                "binance:BTCUSDT",
                "binance:USDCUSDT",
                "coinbase:BTC-USD",
                "coinbase:BTC-USDT",
                "coinbase:USDT-USD",
                "kraken:USDCUSD",
                "kraken:USDTUSD",
                "kraken:XBTUSD",
                "kraken:XBTUSDC",
                "kraken:XBTUSDT",
            ]
        );
        assert_eq!((tape.start_ms(), tape.end_ms()), (OPEN_MS + BAR_MS, OPEN_MS + 4 * 86_400_000));
        assert_eq!(tape.bars().map(Vec::len).sum::<usize>(), 59_441);
    }

    #[test]
    fn a_close_is_known_from_the_end_of_its_bar() {
        let tape = Tape::usdc_depeg();
        assert_eq!(tape.close_at(Venue::Coinbase, "BTC-USD", OPEN_MS + BAR_MS - 1), None);
        let first = Close { units: 2_036_409_000_000, bar_end_ms: OPEN_MS + BAR_MS };
        assert_eq!(tape.close_at(Venue::Coinbase, "BTC-USD", OPEN_MS + BAR_MS), Some(first));
        assert_eq!(tape.close_at(Venue::Coinbase, "BTC-USD", OPEN_MS + 2 * BAR_MS - 1), Some(first));
        assert_ne!(tape.close_at(Venue::Coinbase, "BTC-USD", OPEN_MS + 2 * BAR_MS), Some(first));
        let kraken = tape.close_at(Venue::Kraken, "XBT/USD", OPEN_MS + BAR_MS);
        assert_eq!(kraken, tape.close_at(Venue::Kraken, "XXBTZUSD", OPEN_MS + BAR_MS));
        assert_eq!(kraken.map(|close| decimal(close.units)), Some("20364".into()));
        assert_eq!(tape.close_at(Venue::Binance, "ETHUSDT", tape.end_ms()), None);
        assert_eq!(tape.close_at(Venue::Binance, "BTCUSDT", u64::MAX).map(|c| c.bar_end_ms), Some(tape.end_ms()));
    }

    #[test]
    fn usdc_lost_its_peg_on_this_tape() {
        let tape = Tape::usdc_depeg();
        let closes = (OPEN_MS..tape.end_ms())
            .step_by(60_000)
            .filter_map(|at| tape.close_at(Venue::Kraken, "USDCUSD", at).map(|close| close.units));
        assert_eq!(closes.min().map(decimal), Some("0.874".into()), "the low of 11 March, 07:15 UTC");
    }

    #[test]
    fn the_reference_is_the_mean_of_two_and_fills_five_minutes() {
        let tape = Tape::usdc_depeg();
        assert_eq!(tape.reference(OPEN_MS), None);
        assert_eq!(tape.reference(OPEN_MS + BAR_MS).map(decimal), Some("20364.045".into()));
        let end = tape.end_ms();
        assert_eq!(tape.reference(end + FORWARD_FILL_MS), tape.reference(end));
        assert_eq!(tape.reference(end + FORWARD_FILL_MS + 1), None);
    }

    #[test]
    fn decimals() {
        for (units, places, want) in [
            (2_036_409_000_000, 0, "20364.09"),
            (2_036_400_000_000, 0, "20364"),
            (2_036_400_000_000, 5, "20364.00000"),
            (87_400_000, 8, "0.87400000"),
            (1, 2, "0.00000001"),
            (-150_000_000, 0, "-1.5"),
        ] {
            assert_eq!(fixed(units, places), want);
        }
    }
}
