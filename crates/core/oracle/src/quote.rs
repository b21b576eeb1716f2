//! What a venue said, before anything is made of it.

use concurrence_crdt::Time;

use crate::Price;

/// One venue's answer for one market, as parsed from its own format.
///
/// A field the venue did not send is `None`; a field it sent in a form that is not a price is a parse error, never `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Best bid, in units of the market's quote currency.
    pub bid: Option<Price>,
    /// Best ask, in units of the market's quote currency.
    pub ask: Option<Price>,
    /// Last traded price, in units of the market's quote currency.
    pub last: Option<Price>,
    /// Traded volume of the last 24 hours, in units of the base currency.
    pub volume: Option<Price>,
    /// The venue's own time for this answer, if it gave one.
    pub venue_time: Option<Time>,
    /// When this node received the answer, by its own clock.
    pub received: Time,
}
