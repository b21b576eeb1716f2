//! The ways to make one price of what counted, by name.

use std::{fmt, str::FromStr};

use ruint::aliases::U256;

use crate::{
    Price,
    mean::{iqr_mean, trimmed_mean, weighted_mean},
    median::{Vote, lower_weighted_median, median_deviation},
};

macro_rules! strategies {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A way to make one price of what counted. Only [`Strategy::LowerWeightedMedian`] is canonical: all others are shown beside it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Strategy {
            $($(#[$doc])* $name,)*
        }

        impl Strategy {
            /// All of them, the canonical one first.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// A short stable name, as the API and commands use it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

strategies! {
    /// The canonical rule.
    LowerWeightedMedian = "median",
    /// The lower median, each oracle with one vote.
    LowerMedian = "median_unweighted",
    /// The mean by weight of the middle third of the weight.
    TrimmedMean = "trimmed_mean",
    /// The mean by weight of what is not far outside the quartiles.
    IqrMean = "iqr_mean",
    /// The canonical rule while the votes agree, the trimmed mean while they are far apart: then the median jumps from one vote to
    /// the next, and the mean of the middle does not. Both are within the honest votes while not more than a third lies, so whoever
    /// causes the switch gains nothing by it.
    VolatilityAdjusted = "volatility_adjusted",
    /// The arithmetic mean by weight, to show what a liar does to it.
    Mean = "mean",
}

/// No strategy has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no strategy is called {0:?}")]
pub struct UnknownStrategy(pub String);

/// From here on votes are far apart: a standard deviation of 2 % of the median, the limit of the project's first description. It is
/// estimated from the median absolute deviation, which half of the weight cannot falsify; one liar makes any true standard deviation.
pub const VOLATILE_PPM: u64 = 20_000;

/// A normal distribution's standard deviation in ten thousandths of its median absolute deviation.
const SIGMA_OF_DEVIATION: u64 = 14_826;

impl Strategy {
    /// The price; `None` without votes, or where the arithmetic does not fit.
    pub fn price(self, votes: &[Vote]) -> Option<Price> {
        match self {
            Self::LowerWeightedMedian => lower_weighted_median(votes),
            Self::LowerMedian => {
                let each_once: Vec<Vote> = votes.iter().map(|&(price, weight)| (price, weight.min(1))).collect();
                lower_weighted_median(&each_once)
            }
            Self::TrimmedMean => trimmed_mean(votes),
            Self::IqrMean => iqr_mean(votes),
            Self::VolatilityAdjusted if dispersion_ppm(votes)? > VOLATILE_PPM => trimmed_mean(votes),
            Self::VolatilityAdjusted => lower_weighted_median(votes),
            Self::Mean => weighted_mean(votes),
        }
    }
}

/// How far apart votes are: their standard deviation as the median absolute deviation tells it, in parts per million of their median,
/// saturating. `None` without votes or with a median that is not positive.
pub fn dispersion_ppm(votes: &[Vote]) -> Option<u64> {
    let median = lower_weighted_median(votes).filter(|m| m.is_positive())?;
    let deviation = U256::from(median_deviation(votes)?.units().unsigned_abs());
    // The factor for parts per million is a hundred times that of ten thousandths.
    let ppm = deviation * U256::from(SIGMA_OF_DEVIATION * 100) / U256::from(median.units().unsigned_abs());
    Some(u64::try_from(ppm).unwrap_or(u64::MAX))
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.iter().find(|strategy| strategy.as_str() == text);
        named.copied().ok_or_else(|| UnknownStrategy(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::whole;

    fn votes(of: &[(i64, u64)]) -> Vec<Vote> {
        of.iter().map(|&(price, weight)| (whole(price), weight)).collect()
    }

    #[test]
    fn names_lead_back() {
        for &strategy in Strategy::ALL {
            assert_eq!(strategy.as_str().parse(), Ok(strategy));
        }
        assert_eq!("medium".parse::<Strategy>(), Err(UnknownStrategy("medium".to_owned())));
    }

    #[test]
    fn each_makes_its_own_price() {
        let votes = votes(&[(100, 1), (100, 1), (106, 1), (108, 2), (110, 2)]);
        let made: Vec<_> = Strategy::ALL.iter().map(|s| s.price(&votes).unwrap().to_string()).collect();
        // Of weight 7 the middle third is from 2 1/3 to 4 2/3: two thirds of 106 and five thirds of 108.
        let middle = "107.428571428571428571";
        // The deviations are 0, 2 and 8 by weight 2, 3 and 2: the median of them is 2, 2.7 % of 108 as a standard deviation.
        assert_eq!(made, ["108", "106", middle, "106", middle, "106"]);
        assert!(Strategy::ALL.iter().all(|s| s.price(&[]).is_none()));
    }

    #[test]
    fn a_calm_market_keeps_the_median() {
        let calm = votes(&[(10_000, 1), (10_010, 1), (10_020, 1), (12_000, 1)]);
        assert_eq!(dispersion_ppm(&calm), Some(1_481));
        assert_eq!(Strategy::VolatilityAdjusted.price(&calm), Some(whole(10_010)));
        let wild = votes(&[(9_000, 1), (10_000, 1), (10_400, 1), (11_000, 1)]);
        assert_eq!(Strategy::VolatilityAdjusted.price(&wild), Some(whole(10_200)));
        assert_eq!(dispersion_ppm(&votes(&[(0, 1)])), None);
    }
}
