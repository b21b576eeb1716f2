//! `/metrics`: computed from the snapshot at each scrape. Floating point appears here only, for display.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::answer::readiness;
use crate::snapshot::{BreakerState, FeedStatus, Snapshot};

/// OpenMetrics, which every Prometheus since 2.5 reads.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Most values of one label taken from a snapshot's map. They are meant to be a few fixed words; if a defect ever let
/// data in, the scrape stays small.
const LABELS_MAX: usize = 64;

/// The whole text of a scrape.
pub(crate) fn render(snapshot: Arc<Snapshot>, publishing: bool, now_ms: u64) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { snapshot, publishing, now_ms }));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Scrape {
    snapshot: Arc<Snapshot>,
    publishing: bool,
    now_ms: u64,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.node(&mut page)?;
        self.feeds(&mut page)?;
        self.sources(&mut page)?;
        self.network(&mut page)?;
        self.counters(&mut page)
    }
}

impl Scrape {
    fn node(&self, page: &mut Page<'_>) -> fmt::Result {
        let (snapshot, node) = (&self.snapshot, &self.snapshot.node);
        let labels = vec![("version", node.version.as_str()), ("network", &node.network_id), ("node", &node.id)];
        page.gauges("oracle_build_info", "Version, network and name of the node; always 1.", [(labels, 1.0)])?;
        page.gauge("oracle_start_time_seconds", "When the process started.", seconds(node.started_ms))?;
        let age = seconds(self.now_ms.saturating_sub(snapshot.as_of_ms));
        page.gauge("oracle_snapshot_age_seconds", "Age of the state these numbers are from.", age)?;
        let ready = readiness(snapshot, self.publishing, self.now_ms);
        page.gauge("oracle_ready", "1 when /readyz answers 200.", flag(ready.ready))?;
        page.gauge("oracle_recovering", "1 while the node appends nothing to its own log.", flag(node.recovering))?;
        if let Some(offset_ms) = node.clock_offset_ms {
            let help = "Own clock minus the median of the peers'.";
            page.gauge("oracle_clock_skew_seconds", help, offset_ms as f64 / 1_000.0)?;
        }
        if let Some(bytes) = resident_bytes() {
            page.gauge("process_resident_memory_bytes", "Memory of the process held in RAM.", bytes as f64)?;
        }
        Ok(())
    }

    fn feeds(&self, page: &mut Page<'_>) -> fmt::Result {
        let feeds = &self.snapshot.feeds;
        let help = "Fresh sources of this node that passed the gate.";
        let rows = feeds.iter().map(|f| (vec![("feed", f.price.feed.as_str())], f64::from(f.local.active_sources)));
        page.gauges("oracle_active_sources", help, rows)?;

        let help = "Distance of a source's furthest price from the cross-source median, as a ratio without sign.";
        let mut furthest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for feed in feeds {
            for leg in &feed.local.legs {
                let deviation = furthest.entry((&feed.price.feed, &leg.source)).or_default();
                *deviation = (*deviation).max(leg.deviation_ppm.map_or(0, i64::unsigned_abs));
            }
        }
        let rows = furthest.into_iter().map(|((feed, source), ppm)| {
            (vec![("feed", feed), ("source", source)], ppm as f64 / 1e6) // below 2^53, and for display
        });
        page.gauges("oracle_price_deviation", help, rows)?;

        let rows = feeds.iter().filter_map(|f| {
            let price = decimal(f.price.price.as_deref()?, f.price.expo)?;
            Some((vec![("feed", f.price.feed.as_str())], price))
        });
        page.gauges("oracle_aggregate_price", "The network's answer, rounded for display; absent when halted.", rows)?;

        let rows = feeds.iter().flat_map(|f| {
            FeedStatus::ALL.map(|status| {
                (vec![("feed", f.price.feed.as_str()), ("status", status.as_str())], flag(f.price.status == status))
            })
        });
        page.gauges("oracle_feed_status", "1 for the status the feed has, 0 for the others.", rows)?;

        let age = |as_of_ms: u64| seconds(self.now_ms.saturating_sub(as_of_ms));
        let rows = feeds.iter().map(|f| (vec![("feed", f.price.feed.as_str())], age(f.price.as_of_ms)));
        page.gauges("oracle_feed_age_seconds", "Age of the network's answer.", rows)?;

        let share = |counted: u64, total: u64| if total == 0 { 0.0 } else { counted as f64 / total as f64 };
        let rows = feeds
            .iter()
            .map(|f| (vec![("feed", f.price.feed.as_str())], share(f.price.counted_weight, f.price.total_weight)));
        page.gauges("oracle_counted_weight_ratio", "Share of the registry's weight behind the answer.", rows)
    }

    fn sources(&self, page: &mut Page<'_>) -> fmt::Result {
        let sources = &self.snapshot.sources;
        let rows = sources.iter().map(|s| (vec![("source", s.source.as_str())], flag(s.up)));
        page.gauges("oracle_source_up", "1 when the last request to the source succeeded.", rows)?;

        let rows = sources.iter().flat_map(|s| {
            let outcomes = s.requests.iter().take(LABELS_MAX);
            outcomes.map(|(word, n)| (vec![("source", s.source.as_str()), ("outcome", word.as_str())], *n))
        });
        page.counters("oracle_source_requests", "Requests to a source by outcome.", rows)?;

        let rows = sources.iter().filter_map(|s| {
            let age = seconds(self.now_ms.saturating_sub(s.price_ms?));
            Some((vec![("source", s.source.as_str())], age))
        });
        page.gauges("oracle_source_price_age_seconds", "Age of the newest price of a source.", rows)?;

        let rows = sources.iter().map(|s| {
            let state = match s.breaker {
                BreakerState::Closed => 0.0,
                BreakerState::HalfOpen => 1.0,
                BreakerState::Open => 2.0,
            };
            (vec![("source", s.source.as_str())], state)
        });
        page.gauges("oracle_source_circuit_state", "Circuit breaker: 0 closed, 1 half open, 2 open.", rows)
    }

    fn network(&self, page: &mut Page<'_>) -> fmt::Result {
        let snapshot = &self.snapshot;
        let count = |n: usize| n as f64;
        let connected = snapshot.peers.iter().filter(|peer| peer.connected).count();
        page.gauge("oracle_gossip_peers", "Peers connected.", count(connected))?;
        let in_sync = snapshot.peers.iter().filter(|peer| peer.connected && peer.in_sync).count();
        page.gauge("oracle_gossip_peers_in_sync", "Connected peers that hold what this node holds.", count(in_sync))?;
        let banned = snapshot.peers.iter().filter(|peer| peer.banned_ms > 0).count();
        page.gauge("oracle_peers_banned", "Peers banned now.", count(banned))?;
        let worst = snapshot.peers.iter().map(|peer| peer.score).max().unwrap_or(0);
        page.gauge("oracle_peer_score_max", "Misconduct of the worst peer, in points; 1000 is a ban.", worst.into())?;
        let forks = snapshot.frontier.forked.len() as u64;
        page.counter("oracle_forks_detected", "Authors proven to have signed two histories.", forks)?;
        let double_voters = snapshot.frontier.double_voters.len() as u64;
        page.counter("oracle_double_voters_detected", "Members proven to have voted for two heads.", double_voters)?;
        let conflicts = snapshot.frontier.conflicts.len() as f64;
        page.gauge("oracle_certificate_conflicts", "Logs frozen by contradicting certificates.", conflicts)?;
        let certified = snapshot.frontier.logs.iter().fold(0_u64, |sum, log| sum.saturating_add(log.certified_len));
        page.gauge("oracle_frontier_certified_ops", "Operations certified in all logs.", certified as f64)?;
        page.gauge("oracle_frontier_ops", "Operations admitted in all logs.", snapshot.frontier.ops as f64)
    }

    fn counters(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = &self.snapshot.counters;
        page.by_word("oracle_attestations", "Ticks of this node by result.", "result", &counters.attestations)?;
        page.by_word("oracle_ops", "Operations taken in by outcome.", "outcome", &counters.ops)?;
        page.by_word("oracle_refusals", "Operations, frames and requests refused.", "reason", &counters.refusals)?;
        page.by_word("oracle_peer_bans", "Peers banned, by the last fault.", "fault", &counters.bans)?;
        page.by_word("oracle_anomalies", "Anomalies seen.", "kind", &counters.anomalies)?;
        page.counter("oracle_gossip_merges", "Times that a peer's operations changed the state.", counters.merges)?;
        page.gauge("oracle_store_ops", "Operations stored.", counters.store_ops as f64)?;
        page.gauge("oracle_store_bytes", "Bytes of the store on disk.", counters.store_bytes as f64)?;
        let buffers = || counters.buffers.iter().take(LABELS_MAX);
        let rows = buffers().map(|b| (vec![("buffer", b.buffer.as_str())], b.entries as f64));
        page.gauges("oracle_buffer_entries", "Entries held in a bounded buffer.", rows)?;
        let rows = buffers().map(|b| (vec![("buffer", b.buffer.as_str())], b.limit as f64));
        page.gauges("oracle_buffer_limit", "Entries a bounded buffer may hold.", rows)
    }
}

/// Writes families of metrics. The encoder adds `_total` to a counter's name.
struct Page<'a>(DescriptorEncoder<'a>);

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<'s>(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels<'s>, f64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        rows.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<[(&str, &str); 0], u64, u64>(&value, None)
    }

    fn counters<'s>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'s>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        rows.into_iter().try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<[(&str, &str); 0], u64, u64>(&value, None)
        })
    }

    fn by_word(&mut self, name: &str, help: &str, label: &'static str, counts: &BTreeMap<String, u64>) -> fmt::Result {
        let rows = counts.iter().take(LABELS_MAX).map(|(word, n)| (vec![(label, word.as_str())], *n));
        self.counters(name, help, rows)
    }
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// The nearest float; none when the mantissa is no number.
fn decimal(mantissa: &str, expo: i32) -> Option<f64> {
    format!("{mantissa}e{expo}").parse().ok().filter(|value: &f64| value.is_finite())
}

/// From the kernel's account of this process; none where there is no such file.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mantissas_become_the_nearest_float() {
        assert_eq!(decimal("2045678000000", -8), Some(20_456.78));
        assert_eq!(decimal("9223372036854775807", -18), Some(9.223_372_036_854_776));
        assert_eq!(decimal("5", 3), Some(5_000.0));
        assert_eq!(decimal("1", 400), None);
        assert_eq!(decimal("NaN", 0), None);
        assert_eq!(decimal("", -8), None);
    }
}
