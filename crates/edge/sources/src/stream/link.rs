//! One connection of a stream: what is still to be sent, and whether it lives.

use std::collections::VecDeque;

use super::{Market, StreamRules};
use crate::{Message, ParseError, Says};

/// A connection, by the order in which it was opened. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One connection.
pub(super) struct Link {
    pub(super) id: LinkId,
    /// When it was asked for, and from then on when it was opened.
    since_ms: u64,
    open: bool,
    /// Messages of ours that wait for their turn.
    queue: VecDeque<String>,
    /// When we last sent something.
    sent_ms: u64,
    /// When it last said something.
    heard_ms: u64,
    pinged_ms: u64,
    pings: u64,
    /// Whether something showed that a subscription stands.
    stands: bool,
    /// The number of the last message, where messages are numbered.
    number: Option<u64>,
    /// Unreadable messages in a row.
    unreadable: u32,
    /// Whether a price came.
    pub(super) priced: bool,
    /// Whether the venue said that it will close it.
    pub(super) closing: bool,
}

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not opened in time.
    Connect,
    /// It said nothing for too long.
    Silent,
    /// Nothing showed in time that a subscription stands.
    NotSubscribed,
    /// A message was lost.
    Gap,
    /// It sent nothing but what cannot be read.
    Unreadable,
}

/// What to make of a message.
pub(super) enum Heard {
    /// It is news.
    News(Says),
    /// It was heard before.
    Repeated,
    /// It could not be read.
    Unreadable(ParseError),
}

/// Longest time to open a connection, in milliseconds: TCP, TLS and the upgrade take a second, on a bad day three.
const CONNECT_MS_MAX: u64 = 10_000;

/// Longest time until something shows that a subscription stands, in milliseconds.
const SUBSCRIBED_MS_MAX: u64 = 10_000;

/// Most unreadable messages in a row: a venue that changed its format is left, one that stumbles is not.
const UNREADABLE_MAX: u32 = 20;

impl Failure {
    /// A stable word for metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect_timeout",
            Self::Silent => "silent",
            Self::NotSubscribed => "not_subscribed",
            Self::Gap => "gap",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Link {
    /// A connection that is being opened.
    pub(super) fn new(id: LinkId, now_ms: u64) -> Self {
        Self {
            id,
            since_ms: now_ms,
            open: false,
            queue: VecDeque::new(),
            sent_ms: 0,
            heard_ms: now_ms,
            pinged_ms: now_ms,
            pings: 0,
            stands: false,
            number: None,
            unreadable: 0,
            priced: false,
            closing: false,
        }
    }

    /// It is open: the subscriptions are due.
    pub(super) fn opened(&mut self, now_ms: u64, rules: &StreamRules, markets: &[Market]) {
        self.open = true;
        (self.since_ms, self.heard_ms, self.pinged_ms) = (now_ms, now_ms, now_ms);
        let names: Vec<String> = markets.iter().map(|market| market.on_stream.clone()).collect();
        for (number, some) in (1..).zip(names.chunks(rules.markets_per_request)) {
            self.queue.extend((rules.subscribe)(some, number));
        }
    }

    /// It showed life.
    pub(super) fn alive(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// It said something.
    pub(super) fn heard(&mut self, now_ms: u64, message: Result<Message, ParseError>) -> Result<Heard, Failure> {
        self.heard_ms = now_ms;
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                self.unreadable += 1;
                return if self.unreadable > UNREADABLE_MAX {
                    Err(Failure::Unreadable)
                } else {
                    Ok(Heard::Unreadable(error))
                };
            }
        };
        self.unreadable = 0;
        if let Some(number) = message.number {
            match self.number {
                Some(last) if number <= last => return Ok(Heard::Repeated),
                Some(last) if number > last + 1 => return Err(Failure::Gap),
                _ => self.number = Some(number),
            }
        }
        self.stands |= matches!(message.says, Says::Subscribed | Says::Prices(_));
        self.priced |= matches!(message.says, Says::Prices(_));
        self.closing |= message.says == Says::Closing;
        Ok(Heard::News(message.says))
    }

    /// What is to be sent now, if anything; or why the connection is given up.
    pub(super) fn tick(&mut self, now_ms: u64, rules: &StreamRules) -> Result<Option<String>, Failure> {
        if !self.open {
            return if now_ms >= self.since_ms + CONNECT_MS_MAX { Err(Failure::Connect) } else { Ok(None) };
        }
        if now_ms >= self.heard_ms + rules.silence_ms {
            return Err(Failure::Silent);
        }
        if !self.stands && now_ms >= self.since_ms + self.subscribing_ms(rules) {
            return Err(Failure::NotSubscribed);
        }
        if now_ms < self.sent_ms + rules.request_gap_ms {
            return Ok(None);
        }
        let due = match &rules.ping {
            Some(ping) if now_ms >= self.pinged_ms + ping.every_ms => {
                self.pinged_ms = now_ms;
                self.pings += 1;
                Some((ping.text)(self.pings))
            }
            _ => self.queue.pop_front(),
        };
        if due.is_some() {
            self.sent_ms = now_ms;
        }
        Ok(due)
    }

    /// When [`tick`](Self::tick) is to be called again.
    pub(super) fn next_wake_ms(&self, rules: &StreamRules) -> u64 {
        if !self.open {
            return self.since_ms + CONNECT_MS_MAX;
        }
        let silent = self.heard_ms + rules.silence_ms;
        let stands = if self.stands { u64::MAX } else { self.since_ms + self.subscribing_ms(rules) };
        let free = self.sent_ms + rules.request_gap_ms;
        let ping = rules.ping.as_ref().map_or(u64::MAX, |ping| free.max(self.pinged_ms + ping.every_ms));
        let queued = if self.queue.is_empty() { u64::MAX } else { free };
        silent.min(stands).min(ping).min(queued)
    }

    /// How long it has been open, in milliseconds; zero until it is.
    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        if self.open { now_ms.saturating_sub(self.since_ms) } else { 0 }
    }

    /// When it will have been open so long.
    pub(super) fn aged_at_ms(&self, age_ms: u64) -> u64 {
        if self.open { self.since_ms.saturating_add(age_ms) } else { u64::MAX }
    }

    /// The time a subscription may take, with all requests still to be sent at their pace.
    fn subscribing_ms(&self, rules: &StreamRules) -> u64 {
        SUBSCRIBED_MS_MAX + self.queue.len() as u64 * rules.request_gap_ms
    }
}
