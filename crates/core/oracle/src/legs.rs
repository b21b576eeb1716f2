//! How prices came about: every leg of a tick with its verdict, in bytes to which the batch commits.

use concurrence_crdt::{CodecError, Digest, Reader, hash};

use crate::{BATCH_FEEDS_MAX, Feed, LEGS_MAX, NameError, Price, SYMBOL_LEN_MAX, SourceId};

/// The legs of all feeds of one tick. The author keeps the bytes and serves them by their hash; they are not replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegsRecord {
    /// One entry a feed, at most [`BATCH_FEEDS_MAX`].
    pub feeds: Vec<FeedLegs>,
}

/// The legs of one feed, by source and symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedLegs {
    /// The feed.
    pub feed: Feed,
    /// Its legs, used or not; at most [`LEGS_MAX`].
    pub legs: Vec<LegRecord>,
}

/// One leg of one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegRecord {
    /// The source.
    pub source: SourceId,
    /// The venue's symbol; 1 to [`SYMBOL_LEN_MAX`] printable ASCII characters.
    pub symbol: String,
    /// The price the venue stated, in the market's own quote currency.
    pub raw: Option<Price>,
    /// The same in the feed's quote currency; for a conversion leg, the rate it gives.
    pub converted: Option<Price>,
    /// What became of it.
    pub verdict: Verdict,
}

macro_rules! verdicts {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What became of a leg.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verdict {
            $($(#[$doc])* $name = $code,)*
        }

        impl Verdict {
            /// The verdict as one byte.
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            /// The verdict of a byte.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// The verdict in words, as a metric label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

verdicts! {
    /// Counted in the median.
    Counted = 0, "counted";
    /// Gave a conversion rate.
    Rate = 1, "rate";
    /// The venue gave no answer.
    NoQuote = 2, "no_quote";
    /// The answer is older than the maximum age.
    TooOld = 3, "too_old";
    /// The answer's time is ahead of this node's by more than the skew allowed.
    FromFuture = 4, "from_future";
    /// A price in the answer is zero or below.
    NotPositive = 5, "not_positive";
    /// The bid is above the ask.
    Crossed = 6, "crossed";
    /// Neither a book with two sides nor a last trade.
    NoPrice = 7, "no_price";
    /// No rate for the leg's quote currency, or the product does not fit.
    NoRate = 8, "no_rate";
    /// A conversion leg that would take more conversions in a row than allowed.
    BeyondHops = 9, "beyond_hops";
    /// Mirrors another leg that is there.
    Mirror = 10, "mirror";
    /// Too far from the others.
    Outlier = 11, "outlier";
}

/// Why bytes are not a legs record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegsError {
    /// Truncated, trailing, over a cap, or not canonical.
    #[error("legs record: {0}")]
    Codec(#[from] CodecError),
    /// A feed is not in canonical form.
    #[error("legs record: {0}")]
    Feed(#[from] NameError),
}

const HASH_DOMAIN: &str = "concurrence v0 legs of a price batch";

impl LegsRecord {
    /// What the batch commits to: BLAKE3 of [`encode`](Self::encode).
    pub fn hash(&self) -> Digest {
        Self::hash_bytes(&self.encode())
    }

    /// The hash of an encoded record, to check bytes that someone served.
    pub fn hash_bytes(bytes: &[u8]) -> Digest {
        hash(HASH_DOMAIN, bytes)
    }

    /// `feeds u8`, each `feed 21 | legs u8`, each `source u8 | symbol len u8, bytes | raw | converted | verdict u8`; a price is
    /// `0` or `1, i128`. Big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![small(self.feeds.len())];
        for FeedLegs { feed, legs } in &self.feeds {
            out.extend(feed.as_bytes());
            out.push(small(legs.len()));
            for leg in legs {
                out.extend([leg.source.index(), small(leg.symbol.len())]);
                out.extend(leg.symbol.as_bytes());
                put_price(&mut out, leg.raw);
                put_price(&mut out, leg.converted);
                out.push(leg.verdict.code());
            }
        }
        out
    }

    /// Reads a record; only what [`encode`](Self::encode) writes is accepted.
    pub fn decode(bytes: &[u8]) -> Result<Self, LegsError> {
        let mut reader = Reader::new(bytes);
        let feeds = read_count(&mut reader, "feeds of a legs record", BATCH_FEEDS_MAX)?;
        let mut record = Self::default();
        for _ in 0..feeds {
            let feed = Feed::from_bytes(reader.array()?)?;
            let legs = read_count(&mut reader, "legs of a feed", LEGS_MAX)?;
            let legs = (0..legs).map(|_| read_leg(&mut reader)).collect::<Result<_, _>>()?;
            record.feeds.push(FeedLegs { feed, legs });
        }
        reader.finish()?;
        Ok(record)
    }
}

fn put_price(out: &mut Vec<u8>, price: Option<Price>) {
    out.push(u8::from(price.is_some()));
    out.extend(price.into_iter().flat_map(|p| p.units().to_be_bytes()));
}

fn read_leg(reader: &mut Reader<'_>) -> Result<LegRecord, CodecError> {
    let source = SourceId::new(reader.u8()?).ok_or(CodecError::NotCanonical("source index"))?;
    let len = read_count(reader, "bytes of a symbol", SYMBOL_LEN_MAX)?;
    let symbol = reader.slice(len)?;
    let symbol = std::str::from_utf8(symbol).ok().filter(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic()));
    let symbol = symbol.ok_or(CodecError::NotCanonical("symbol"))?.to_owned();
    let (raw, converted) = (read_price(reader)?, read_price(reader)?);
    let verdict = Verdict::from_code(reader.u8()?).ok_or(CodecError::NotCanonical("verdict"))?;
    Ok(LegRecord { source, symbol, raw, converted, verdict })
}

fn read_price(reader: &mut Reader<'_>) -> Result<Option<Price>, CodecError> {
    match reader.u8()? {
        0 => Ok(None),
        1 => Ok(Some(Price::from_units(i128::from_be_bytes(reader.array()?)))),
        _ => Err(CodecError::NotCanonical("presence of a price")),
    }
}

fn read_count(reader: &mut Reader<'_>, field: &'static str, max: usize) -> Result<usize, CodecError> {
    let value = usize::from(reader.u8()?);
    if value <= max { Ok(value) } else { Err(CodecError::OverCap { field, value: value as u64, max: max as u64 }) }
}

/// A count below 256: feeds, legs and symbols are bounded by 100, 64 and 32.
fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = LegsRecord> {
        let price = || prop::option::of(any::<i128>().prop_map(Price::from_units));
        let leg = (0u8..16, "[!-~]{1,32}", price(), price(), 0u8..12).prop_map(
            |(source, symbol, raw, converted, verdict)| {
                let (source, verdict) = (SourceId::new(source).unwrap(), Verdict::from_code(verdict).unwrap());
                LegRecord { source, symbol, raw, converted, verdict }
            },
        );
        let feed = ("[A-Z]{1,9}", prop::collection::vec(leg, 0..6))
            .prop_map(|(base, legs)| FeedLegs { feed: format!("{base}1/USD").parse().unwrap(), legs });
        prop::collection::vec(feed, 0..4).prop_map(|feeds| LegsRecord { feeds })
    }

    proptest! {
        #[test]
        fn records_round_trip(record in record()) {
            prop_assert_eq!(LegsRecord::decode(&record.encode()), Ok(record.clone()));
            prop_assert_eq!(LegsRecord::hash_bytes(&record.encode()), record.hash());
        }

        #[test]
        fn changed_bytes_are_refused_or_canonical(record in record(), at: prop::sample::Index, to: u8) {
            let mut bytes = record.encode();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(read) = LegsRecord::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = LegsRecord::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }

    #[test]
    fn verdicts_have_codes_of_their_own() {
        for code in 0..=u8::MAX {
            assert!(Verdict::from_code(code).is_none_or(|v| v.code() == code));
        }
        assert_eq!(Verdict::from_code(12), None);
        assert_eq!(Verdict::Outlier.as_str(), "outlier");
    }
}
