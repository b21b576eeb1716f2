//! Reading a tape from a file that nobody vouches for.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use csv::{ByteRecord, ReaderBuilder};
use flate2::read::MultiGzDecoder;

use crate::{BAR_MS, Close, UNIT_DECIMALS, Venue};

/// Why a file is no tape. Lines are counted from 1, the header's.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The file could not be read or is not gzip, after the given line.
    #[error("tape after line {line}: {source}")]
    Read {
        /// The last line read.
        line: u64,
        /// What the reader said.
        source: csv::Error,
    },
    /// The first line is not the column names.
    #[error("tape line 1: columns are {0:?}, wanted {COLUMNS:?}")]
    Header(String),
    /// A row has another number of fields than the header.
    #[error("tape line {line}: {fields} fields, wanted 8")]
    Fields {
        /// The line.
        line: u64,
        /// How many fields it has.
        fields: usize,
    },
    /// A field is not what its column holds.
    #[error("tape line {line}: {column} is {text:?}, wanted {wanted}")]
    Value {
        /// The line.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// The field, cut to 40 characters.
        text: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A market's rows are not in strictly increasing order of time.
    #[error("tape line {line}: {symbol} is not in order of time")]
    Order {
        /// The line.
        line: u64,
        /// The market.
        symbol: String,
    },
    /// More rows than [`ROWS_MAX`].
    #[error("tape line {0}: more than {ROWS_MAX} rows")]
    TooManyRows(u64),
    /// More markets than [`MARKETS_MAX`].
    #[error("tape line {0}: more than {MARKETS_MAX} markets")]
    TooManyMarkets(u64),
    /// A header and no rows.
    #[error("tape has no rows")]
    Empty,
}

/// Most rows read: seventeen times the embedded tape, two months of its markets; about 48 MiB in memory.
pub const ROWS_MAX: usize = 1_000_000;

/// Most markets read: six times the embedded tape's.
pub const MARKETS_MAX: usize = 64;

/// Most bytes read after decompression: 128 a row, where the embedded tape has 70.
pub const UNPACKED_LEN_MAX: u64 = 128 * 1024 * 1024;

/// The columns, in order.
const COLUMNS: &str = "ts,venue,symbol,open,high,low,close,volume";

/// Last second accepted: the end of the year 9999, the last that the venues' formats can write.
const UNIX_S_MAX: u64 = 253_402_300_799;

/// Longest symbol accepted; the embedded tape's have 9 characters.
const SYMBOL_LEN_MAX: usize = 24;

/// Most digits before the point of a close: with 8 after it, and a scale, far inside 128 bits.
const WHOLE_DIGITS_MAX: usize = 12;

type Markets = BTreeMap<Venue, BTreeMap<String, Vec<Close>>>;

/// Reads a whole tape.
pub(crate) fn read(reader: impl Read) -> Result<Markets, TapeError> {
    let bounded = Bounded { inner: MultiGzDecoder::new(reader), left: UNPACKED_LEN_MAX };
    let mut rows = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bounded);
    let mut record = ByteRecord::new();
    let mut markets = Markets::new();
    let (mut line, mut count, mut market_count) = (0, 0, 0);
    while rows.read_byte_record(&mut record).map_err(|source| TapeError::Read { line, source })? {
        line = record.position().map_or(line + 1, csv::Position::line);
        if count == 0 {
            check_header(&record)?;
        } else {
            let (venue, symbol, close) = row(&record, line)?;
            let bars = markets.entry(venue).or_default().entry(symbol.clone()).or_default();
            market_count += usize::from(bars.is_empty());
            if bars.last().is_some_and(|last| last.bar_end_ms >= close.bar_end_ms) {
                return Err(TapeError::Order { line, symbol });
            }
            bars.push(close);
        }
        if count == ROWS_MAX + 1 {
            return Err(TapeError::TooManyRows(line));
        }
        if market_count > MARKETS_MAX {
            return Err(TapeError::TooManyMarkets(line));
        }
        count += 1;
    }
    if markets.is_empty() { Err(TapeError::Empty) } else { Ok(markets) }
}

fn check_header(record: &ByteRecord) -> Result<(), TapeError> {
    if record.iter().eq(COLUMNS.split(',').map(str::as_bytes)) {
        return Ok(());
    }
    let names: Vec<_> = record.iter().take(8).map(shown).collect();
    Err(TapeError::Header(names.join(",")))
}

fn row(record: &ByteRecord, line: u64) -> Result<(Venue, String, Close), TapeError> {
    let fields: Vec<&[u8]> = record.iter().take(9).collect();
    let [ts, venue, symbol, _open, _high, _low, close, _volume] = fields[..] else {
        return Err(TapeError::Fields { line, fields: record.len() });
    };
    let wrong = |column, text, wanted| TapeError::Value { line, column, text: shown(text), wanted };
    let open_s = text(ts).and_then(|t| t.parse::<u64>().ok()).filter(|s| *s <= UNIX_S_MAX && s.is_multiple_of(60));
    let open_s = open_s.ok_or_else(|| wrong("ts", ts, "a unix second at the start of a minute"))?;
    let venue = text(venue)
        .and_then(|name| name.parse::<Venue>().ok())
        .ok_or_else(|| wrong("venue", venue, "binance, coinbase or kraken"))?;
    let spelled = text(symbol).filter(|s| symbol_fits(venue, s));
    let symbol =
        spelled.ok_or_else(|| wrong("symbol", symbol, "the venue's symbol, such as BTCUSDT, BTC-USD, XBT/USD"))?;
    let units = text(close).and_then(units).filter(|units| *units > 0);
    let units = units.ok_or_else(|| wrong("close", close, "a plain decimal above zero"))?;
    Ok((venue, venue.spelling(symbol), Close { units, bar_end_ms: open_s * 1_000 + BAR_MS }))
}

/// Upper-case letters and digits, in two parts where the venue separates them: such a symbol can stand in JSON and in a path.
fn symbol_fits(venue: Venue, symbol: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let parts = match venue {
        Venue::Binance => return symbol.len() <= SYMBOL_LEN_MAX && plain(symbol),
        Venue::Coinbase => symbol.split_once('-'),
        Venue::Kraken => symbol.split_once('/'),
    };
    symbol.len() <= SYMBOL_LEN_MAX && parts.is_some_and(|(base, quote)| plain(base) && plain(quote))
}

/// A plain decimal in units of 1e-8; decimals beyond the eighth are cut off.
fn units(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() > WHOLE_DIGITS_MAX || !plain(whole) || !plain(fraction) {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(UNIT_DECIMALS));
    Some(digits.fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0')))
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

fn shown(field: &[u8]) -> String {
    String::from_utf8_lossy(field).chars().take(40).collect()
}

/// Fails, instead of ending quietly, when there is more to read than allowed.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("more than {UNPACKED_LEN_MAX} bytes after decompression"),
            )
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(write: impl FnOnce(&mut GzEncoder<Vec<u8>>)) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        write(&mut encoder);
        encoder.finish().unwrap()
    }

    fn refused(text: &str) -> String {
        let file = packed(|e| e.write_all(text.as_bytes()).unwrap());
        read(&file[..]).map(|markets| markets.len()).expect_err(text).to_string()
    }

    fn with_row(row: &str) -> String {
        format!("{COLUMNS}\n60,binance,BTCUSDT,1,1,1,1,0\n{row}\n")
    }

    #[test]
    fn a_good_file() {
        let text = with_row("60,kraken,XBT/USD,1,2,1,20364.123456789,0\n120,binance,BTCUSDT,,,,7,");
        let markets = read(&packed(|e| e.write_all(text.as_bytes()).unwrap())[..]).unwrap();
        let bars =
            |venue, symbol: &str| markets[&venue][symbol].iter().map(|b| (b.units, b.bar_end_ms)).collect::<Vec<_>>();
        assert_eq!(bars(Venue::Kraken, "XBTUSD"), [(2_036_412_345_678, 120_000)]);
        assert_eq!(bars(Venue::Binance, "BTCUSDT"), [(100_000_000, 120_000), (700_000_000, 180_000)]);
    }

    #[test]
    fn refusals_name_the_line_and_the_field() {
        for (row, want) in [
            ("61,binance,BTCUSDT,1,1,1,1,0", "line 3: ts is \"61\""),
            ("-60,binance,BTCUSDT,1,1,1,1,0", "line 3: ts is \"-60\""),
            ("99999999999960,binance,BTCUSDT,1,1,1,1,0", "line 3: ts is"),
            ("60,mtgox,BTCUSDT,1,1,1,1,0", "line 3: venue is \"mtgox\""),
            ("60,binance,BTC\"USDT,1,1,1,1,0", "line 3: symbol is"),
            ("60,coinbase,BTCUSD,1,1,1,1,0", "line 3: symbol is \"BTCUSD\""),
            ("60,kraken,../USD,1,1,1,1,0", "line 3: symbol is"),
            ("120,binance,BTCUSDT,1,1,1,0.000000001,0", "line 3: close is"),
            ("120,binance,BTCUSDT,1,1,1,-1,0", "line 3: close is \"-1\""),
            ("120,binance,BTCUSDT,1,1,1,NaN,0", "line 3: close is \"NaN\""),
            ("120,binance,BTCUSDT,1,1,1,1e5,0", "line 3: close is \"1e5\""),
            ("120,binance,BTCUSDT,1,1,1,,0", "line 3: close is \"\""),
            ("120,binance,BTCUSDT,1,1,1,9999999999999,0", "line 3: close is"),
            ("60,binance,BTCUSDT,1,1,1,1,0", "line 3: BTCUSDT is not in order"),
            ("120,binance,BTCUSDT", "line 3: 3 fields"),
            ("120,binance,BTCUSDT,1,1,1,1,0,9", "line 3: 9 fields"),
        ] {
            let message = refused(&with_row(row));
            assert!(message.contains(want), "{row}: {message}");
        }
        assert!(refused("a,b\n").contains("line 1: columns are \"a,b\""));
        assert!(refused("").contains("no rows"));
        assert!(refused(COLUMNS).contains("no rows"));
    }

    #[test]
    fn files_that_are_not_gzip_or_end_early_are_refused() {
        assert!(read(&b"ts,venue"[..]).unwrap_err().to_string().contains("after line 0"));
        let whole = packed(|e| e.write_all(with_row("120,binance,BTCUSDT,1,1,1,1,0").as_bytes()).unwrap());
        assert!(matches!(read(&whole[..whole.len() - 9]), Err(TapeError::Read { .. })));
    }

    #[test]
    fn rows_markets_and_bytes_are_bounded() {
        let rows = packed(|e| {
            writeln!(e, "{COLUMNS}").unwrap();
            for minute in 0..=ROWS_MAX {
                writeln!(e, "{},binance,A,,,,1,", minute * 60).unwrap();
            }
        });
        assert!(matches!(read(&rows[..]), Err(TapeError::TooManyRows(_))));
        let markets = packed(|e| {
            writeln!(e, "{COLUMNS}").unwrap();
            for market in 0..=MARKETS_MAX {
                writeln!(e, "60,binance,A{market},,,,1,").unwrap();
            }
        });
        assert!(matches!(read(&markets[..]), Err(TapeError::TooManyMarkets(_))));
        let bomb = packed(|e| {
            let zeros = vec![b'0'; 1 << 20];
            (0..=UNPACKED_LEN_MAX >> 20).for_each(|_| e.write_all(&zeros).unwrap());
        });
        assert!(bomb.len() < 1 << 20, "a small file");
        assert!(read(&bomb[..]).unwrap_err().to_string().contains("bytes after decompression"));
    }
}
