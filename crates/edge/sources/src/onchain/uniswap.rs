//! Uniswap v3 pools: the mean price over a window, from `observe`, and the price of this moment, from `slot0`, as a diagnostic.
//!
//! The mean is geometric, since it is one of ticks. A window that the pool's history does not span reverts (`OLD`) and gives no price:
//! never that of the moment in its place (Inverse, 2 April 2022). All in integers.

use concurrence_crdt::Time;
use concurrence_oracle::{PRICE_DECIMALS, Price, Quote};
use ruint::aliases::{U256, U512};

use super::{abi::Words, rpc};
use crate::{ParseError, ParseErrorKind as Kind};

/// The call `slot0()`.
pub const SLOT0: &str = "0x3850c7bd";

/// A pool of which a mean price is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniswapPool {
    /// Decimals of token0, the one with the lower address.
    pub decimals0: u8,
    /// Decimals of token1.
    pub decimals1: u8,
    /// The price of token1 in token0 is wanted, rather than that of token0 in token1.
    pub invert: bool,
    /// The window of the mean, in seconds; half an hour or more for a pool that one proposer of blocks could hold.
    pub window_s: u32,
    /// Least harmonic mean of the liquidity in range over the window.
    pub liquidity_min: u128,
}

/// Greatest tick, and least without its sign: 1.0001 to this power is just below 2^128 (Uniswap v3 core, `TickMath`).
const TICK_MAX: i128 = 887_272;

/// The least and greatest square roots of a price, in units of 2^-96 (the same).
const SQRT_PRICE_MIN: U256 = U256::from_limbs([4_295_128_739, 0, 0, 0]);
const SQRT_PRICE_MAX: U256 = U256::from_limbs([0x5d95_1d52_6398_8d26, 0xefd1_fc6a_5064_8849, 0xfffd_8963, 0]);

/// Fractional bits of a ratio here. Rounding errors of 2^-128 grow with the power to at most 2^-107 of the result.
const RATIO_BITS: usize = 128;

/// Bits of a tick cumulative: an `int56`, which wraps.
const TICK_CUMULATIVE_BITS: u32 = 56;

impl UniswapPool {
    /// The call `observe([window, 0])`.
    pub fn observe_call(&self) -> String {
        format!("0x883bdbfd{:064x}{:064x}{:064x}{:064x}", 32, 2, self.window_s, 0)
    }

    /// Reads `observe([window, 0])` as of a block: the mean price, if there was liquidity enough.
    pub fn parse_observe(&self, body: &[u8], block_time: Time, received: Time) -> Result<Quote, ParseError> {
        let data = rpc::parse_call(body)?;
        let words = Words::new(&data)?;
        let (ticks, seconds) = (array_of_two(&words, 0)?, array_of_two(&words, 1)?);
        let tick = mean_tick(words.int(ticks, 56)?, words.int(ticks + 1, 56)?, self.window_s)?;
        let liquidity = mean_liquidity(words.uint(seconds, 160)?, words.uint(seconds + 1, 160)?, self.window_s)?;
        if liquidity < U256::from(self.liquidity_min) {
            let detail = format_args!("liquidity {liquidity}, {} is the least", self.liquidity_min);
            return Err(ParseError::new(Kind::Thin, detail));
        }
        self.quote(ratio_at(tick)?, Some(block_time), received)
    }

    /// Reads `slot0()`: the price of this moment, which one transaction can move. A diagnostic, never a source.
    pub fn parse_slot0(&self, body: &[u8], received: Time) -> Result<Quote, ParseError> {
        let data = rpc::parse_call(body)?;
        let words = Words::new(&data)?;
        if words.len() != 7 {
            return Err(ParseError::new(Kind::Shape, format_args!("{} words for seven", words.len())));
        }
        let root = words.uint(0, 160)?;
        if root.is_zero() {
            return Err(ParseError::new(Kind::Zero, "sqrtPriceX96: the pool was never initialised"));
        }
        if !(SQRT_PRICE_MIN..=SQRT_PRICE_MAX).contains(&root) {
            return Err(ParseError::new(Kind::Range, format_args!("sqrtPriceX96 is {root}")));
        }
        if words.uint(6, 1)?.is_zero() {
            return Err(ParseError::new(Kind::Halted, "unlocked is false: in the midst of a swap"));
        }
        // (root / 2^96)^2 in units of 2^-128 would cut bits off small prices: the whole square is kept, in units of 2^-192.
        let root = U512::from(root);
        self.scaled(root * root, 192, None, received)
    }

    fn quote(&self, ratio: U512, venue_time: Option<Time>, received: Time) -> Result<Quote, ParseError> {
        self.scaled(ratio, RATIO_BITS, venue_time, received)
    }

    /// The price of a ratio of raw amounts, token1 for one of token0, in units of 2^-bits.
    fn scaled(&self, ratio: U512, bits: usize, venue_time: Option<Time>, received: Time) -> Result<Quote, ParseError> {
        let refuse = |kind| ParseError::new(kind, "price");
        let (own, other) =
            if self.invert { (self.decimals1, self.decimals0) } else { (self.decimals0, self.decimals1) };
        if own.max(other) > 18 {
            return Err(refuse(Kind::Range));
        }
        let up = U512::from(10u8).pow(U512::from(u32::from(own) + PRICE_DECIMALS));
        let down = U512::from(10u8).pow(U512::from(other));
        let one = U512::from(1u8) << bits;
        // At most 2^320 or 2^256 for the ratio and 2^120 for the power of ten: below 2^512.
        let (numerator, denominator) = if self.invert { (one, ratio) } else { (ratio, one) };
        let numerator = numerator.checked_mul(up).ok_or_else(|| refuse(Kind::Range))?;
        let denominator = denominator.checked_mul(down).ok_or_else(|| refuse(Kind::Range))?;
        let units = numerator.checked_div(denominator).ok_or_else(|| refuse(Kind::Zero))?;
        let units = i128::try_from(units).map_err(|_| refuse(Kind::Range))?;
        if units == 0 {
            return Err(refuse(Kind::Zero));
        }
        Ok(Quote { bid: None, ask: None, last: Some(Price::from_units(units)), volume: None, venue_time, received })
    }
}

/// Where the two elements of the array begin to which word `at` points.
fn array_of_two(words: &Words<'_>, at: usize) -> Result<usize, ParseError> {
    let offset = words.uint(at, 16)?.to::<usize>();
    if !offset.is_multiple_of(super::abi::WORD_LEN) || words.uint(offset / super::abi::WORD_LEN, 16)?.to::<usize>() != 2
    {
        return Err(ParseError::new(Kind::Shape, "not an array of two"));
    }
    Ok(offset / super::abi::WORD_LEN + 1)
}

/// The mean tick, rounded toward negative infinity, from two cumulatives, whose difference wraps as they do.
fn mean_tick(before: i128, now: i128, window_s: u32) -> Result<i128, ParseError> {
    let spare = 128 - TICK_CUMULATIVE_BITS;
    let delta = (now.wrapping_sub(before) << spare) >> spare;
    let refuse = || ParseError::new(Kind::Range, format_args!("tick cumulatives differ by {delta} in {window_s} s"));
    let tick = delta.checked_div_euclid(i128::from(window_s)).ok_or_else(refuse)?; // the divisor is positive: this rounds down
    if tick.abs() > TICK_MAX { Err(refuse()) } else { Ok(tick) }
}

/// The harmonic mean of the liquidity in range: the window over the sum of seconds per liquidity, which wraps at 160 bits and
/// counts in units of 2^-128.
fn mean_liquidity(before: U256, now: U256, window_s: u32) -> Result<U256, ParseError> {
    let mask = (U256::from(1u8) << 160) - U256::from(1u8);
    let delta = now.wrapping_sub(before) & mask;
    let seconds: U256 = U256::from(window_s) << 128;
    seconds.checked_div(delta).ok_or_else(|| ParseError::new(Kind::Range, "seconds per liquidity did not grow"))
}

/// 1.0001 to the power of a tick, in units of 2^-128, by squaring.
fn ratio_at(tick: i128) -> Result<U512, ParseError> {
    let one = U512::from(1u8) << RATIO_BITS;
    let mut base = one * U512::from(10_001u32) / U512::from(10_000u32);
    let (mut power, mut left) = (one, tick.unsigned_abs());
    while left > 0 {
        if left & 1 == 1 {
            power = (power * base) >> RATIO_BITS;
        }
        left >>= 1;
        // The greatest square that is needed is 1.0001^(2^19), below 2^76; the next one would still fit.
        base = (base * base) >> RATIO_BITS;
    }
    if tick >= 0 {
        return Ok(power);
    }
    (one << RATIO_BITS).checked_div(power).ok_or_else(|| ParseError::new(Kind::Range, "tick"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    const NOW: Time = Time::from_ms(1_719_792_000_000);
    const EQUAL: UniswapPool =
        UniswapPool { decimals0: 18, decimals1: 18, invert: false, window_s: 1_800, liquidity_min: 0 };

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    struct Vector {
        name: String,
        #[serde(rename = "sqrtPriceX96")]
        root: String,
        token0_decimals: u8,
        token1_decimals: u8,
        price_token0_in_token1: String,
        price_token1_in_token0: String,
    }

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/../../../data/venues/onchain/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn slot0(root: U256, unlocked: u8) -> String {
        let words: String = [root, U256::ZERO, U256::ZERO, U256::ZERO, U256::ZERO, U256::ZERO, U256::from(unlocked)]
            .iter()
            .map(|word| format!("{word:064x}"))
            .collect();
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":"0x{words}"}}"#)
    }

    /// As many digits as the vectors give: a price below them is compared as far as it goes.
    fn same(found: &Price, wanted: &str) -> bool {
        let wanted = Price::parse(wanted).unwrap();
        found.distance(wanted).unwrap().units() <= wanted.units() / 100_000_000
    }

    #[test]
    fn prices_of_the_moment_equal_the_published_ones() {
        let vectors: Vec<Vector> = serde_json::from_slice(&file("uniswap_v3_price_vectors.json")).unwrap();
        assert!(vectors.len() >= 6);
        for vector in vectors {
            let body = slot0(vector.root.parse().unwrap(), 1);
            for (invert, wanted) in [(false, &vector.price_token0_in_token1), (true, &vector.price_token1_in_token0)] {
                let pool = UniswapPool {
                    decimals0: vector.token0_decimals,
                    decimals1: vector.token1_decimals,
                    invert,
                    ..EQUAL
                };
                let found = pool.parse_slot0(body.as_bytes(), NOW).map(|quote| quote.last.unwrap());
                match (found, vector.name.as_str()) {
                    // The ends of the range are no prices in units of 1e-18 of anything.
                    (Err(error), "MIN_SQRT_RATIO" | "MAX_SQRT_RATIO") => {
                        assert!(matches!(error.kind, Kind::Zero | Kind::Range), "{error}");
                    }
                    (Err(error), name) => panic!("{name}: {error}"),
                    (Ok(found), name) => assert!(same(&found, wanted), "{name}: {found} for {wanted}"),
                }
            }
        }
        let pool = UniswapPool { decimals0: 8, decimals1: 6, ..EQUAL };
        let quote = pool.parse_slot0(&file("rpc_slot0_WBTC_USDT.json"), NOW).unwrap();
        // Published as ...442, rounded; here the digits beyond 18 are cut off.
        assert_eq!(quote.last.unwrap().to_string(), "67932.929228192964286441");
    }

    #[test]
    fn a_pool_in_the_midst_of_a_swap_or_out_of_range_has_no_price() {
        let kind = |root: U256, unlocked| EQUAL.parse_slot0(slot0(root, unlocked).as_bytes(), NOW).unwrap_err().kind;
        assert_eq!(kind(U256::from(1u8) << 96, 0), Kind::Halted);
        assert_eq!(kind(U256::ZERO, 1), Kind::Zero);
        assert_eq!(kind(SQRT_PRICE_MIN - U256::from(1u8), 1), Kind::Range);
        assert_eq!(kind(SQRT_PRICE_MAX + U256::from(1u8), 1), Kind::Range);
        assert_eq!(SQRT_PRICE_MAX.to_string(), "1461446703485210103287273052203988822378723970342");
    }

    #[test]
    fn means_are_of_the_whole_window_and_round_down() {
        let read = |name, pool: UniswapPool| {
            pool.parse_observe(&file(name), NOW, NOW).map(|quote| quote.last.unwrap().to_string()).map_err(|e| e.kind)
        };
        let exact = read("rpc_observe_1800_mean_tick_exact.json", EQUAL).unwrap();
        assert!(exact == "548333313.90990453614992094", "1.0001^201234, not {exact}");
        // The mean of -117385201 over 1800 is -65214.0005: rounded down -65215, cut off it would be -65214.
        let floored = read("rpc_observe_1800_negative_needs_floor.json", EQUAL).unwrap();
        assert_eq!(floored, "0.001471940108392284", "1.0001^-65215");
        let thin = UniswapPool { liquidity_min: u128::MAX, ..EQUAL };
        assert_eq!(read("rpc_observe_1800_mean_tick_exact.json", thin), Err(Kind::Thin));
        // Asked over a shorter window, the same cumulatives are impossible: nobody sells a short mean as a long one.
        let short = UniswapPool { window_s: 1, ..EQUAL };
        assert_eq!(read("rpc_observe_1800_mean_tick_exact.json", short), Err(Kind::Range));
    }

    /// Inverse, 2 April 2022: a pool whose history is shorter than the window reverts; there is no price, and none of the moment instead.
    #[test]
    fn inverse_2022_a_window_that_is_not_spanned_gives_no_price() {
        let reverted =
            br#"{"jsonrpc":"2.0","id":1,"error":{"code":3,"message":"execution reverted: OLD","data":"0x08c379a0"}}"#;
        assert!(matches!(EQUAL.parse_observe(reverted, NOW, NOW).unwrap_err().kind, Kind::Refused(_)));
        assert_eq!(
            EQUAL.parse_observe(&file("rpc_empty_0x_no_contract.json"), NOW, NOW).unwrap_err().kind,
            Kind::NoContract
        );
    }

    /// bZx, February 2020: one transaction moves the price of the moment as far as it likes. The mean over half an hour moves by what
    /// one block of twelve seconds is of it.
    #[test]
    fn bzx_2020_one_block_hardly_moves_the_mean() {
        let tick = |price_doubled_for_s: i128| {
            let doubled = 6_931; // 1.0001^6931 is 2
            mean_tick(0, doubled * price_doubled_for_s, 1_800).unwrap()
        };
        assert_eq!(tick(1_800), 6_931);
        assert!(tick(12) <= 46, "doubled for one block: less than half a percent");
        assert_eq!(tick(0), 0, "moved and moved back within a block: not at all");
    }

    #[test]
    fn cumulatives_wrap() {
        let max = (1i128 << 55) - 1;
        assert_eq!(mean_tick(max - 500, -(1i128 << 55) + 1_299, 1_800).unwrap(), 1, "1,800 over the edge");
        let top = (U256::from(1u8) << 160) - U256::from(1u8);
        assert_eq!(
            mean_liquidity(top, (U256::from(1_800u32) << 128) / U256::from(7u8), 1_800).unwrap(),
            U256::from(6u8),
            "one unit more than a seventh of the window"
        );
        assert!(mean_liquidity(top, top, 1_800).is_err());
        assert!(mean_tick(0, 0, 0).is_err());
    }

    proptest! {
        /// Neighbouring ticks are one basis point apart, everywhere and on both sides of zero.
        #[test]
        fn each_tick_is_a_ten_thousandth(tick in -500_000i128..500_000) {
            let (low, high) = (ratio_at(tick).unwrap(), ratio_at(tick + 1).unwrap());
            let wanted = low * U512::from(10_001u32) / U512::from(10_000u32);
            let off = if high > wanted { high - wanted } else { wanted - high };
            prop_assert!(off <= (high >> 50) + U512::from(2u8));
        }

        #[test]
        fn any_bytes_give_no_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(EQUAL.parse_observe(&body, NOW, NOW).is_err());
        }

        #[test]
        fn any_words_give_no_panic(words in proptest::collection::vec(any::<[u8; 32]>(), 0..12)) {
            let hex: String = words.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":"0x{hex}"}}"#);
            for result in [EQUAL.parse_observe(body.as_bytes(), NOW, NOW), EQUAL.parse_slot0(body.as_bytes(), NOW)] {
                prop_assert!(result.is_err() || result.unwrap().last.unwrap().is_positive());
            }
        }
    }
}
