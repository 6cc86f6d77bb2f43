//! Telemetry as Prometheus metrics, in the OpenMetrics text format.
//!
//! Labels are `database`, `shard` (its name) and `role`. Users are added up, so that the number of series stays small.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::telemetry::{
    Counted, Counter, Counts, Distribution, ListenerInfo, PoolInfo, PoolKey, PoolReading, Reading, Snapshot,
};
use crate::types::Kind;

/// All metrics as text.
pub(super) fn exposition(snapshot: &Snapshot, reading: &Reading) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("weir");
    registry.register_collector(Box::new(Metrics::new(snapshot, reading)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// The labels of a pool, and one more where a metric has parts.
type Labels = Vec<(&'static str, String)>;

/// What is shown, by labels.
#[derive(Debug)]
struct Metrics {
    counted: BTreeMap<Labels, PoolReading>,
    gauged: BTreeMap<Labels, PoolInfo>,
    /// Errors that belong to no pool.
    errors: Counts<Kind>,
    in_doubt: u64,
    /// Of the oldest of them, in seconds.
    in_doubt_age: f64,
    listeners: Vec<ListenerInfo>,
}

/// Name, help and counter.
const COUNTERS: &[(&str, &str, Counter)] = &[
    ("transactions", "Transactions that ended, single queries included", Counter::XactCount),
    ("queries", "Queries that were answered", Counter::QueryCount),
    ("server_assignments", "Times that a server was given to a client", Counter::ServerAssignmentCount),
    ("received_bytes", "Bytes received from clients", Counter::Received),
    ("sent_bytes", "Bytes sent to clients", Counter::Sent),
];

/// A state of connections, and how many a pool has in it.
type State = (&'static str, fn(&PoolInfo) -> u64);

const CLIENT_STATES: &[State] = &[("active", |pool| pool.cl_active), ("waiting", |pool| pool.cl_waiting)];

const SERVER_STATES: &[State] = &[
    ("active", |pool| pool.sv_active),
    ("idle", |pool| pool.sv_idle),
    ("used", |pool| pool.sv_used),
    ("tested", |pool| pool.sv_tested),
    ("login", |pool| pool.sv_login),
];

/// Name, help and a number of a listener's.
type OfListener = (&'static str, &'static str, fn(&ListenerInfo) -> u64);

const LISTENER_GAUGES: &[OfListener] = &[
    ("listening_clients", "Clients that a listener hears for", |listener| listener.clients),
    ("listened_channels", "Channels that listeners hear", |listener| listener.channels),
];

const LISTENER_COUNTERS: &[OfListener] = &[
    ("notifications", "Notifications that came, once for each client they were for", |listener| listener.notifications),
    ("listener_connects", "Connections that were opened to listen", |listener| listener.connects),
    ("listener_losses", "Connections that were lost while somebody listened", |listener| listener.losses),
];

impl Metrics {
    fn new(snapshot: &Snapshot, reading: &Reading) -> Self {
        let mut counted = BTreeMap::<Labels, PoolReading>::new();
        for (key, pool) in &reading.pools {
            counted.entry(labels(snapshot, key)).or_default().absorb(pool);
        }
        let mut gauged = BTreeMap::<Labels, PoolInfo>::new();
        for pool in &snapshot.pools {
            let sum = gauged.entry(labels(snapshot, &pool.key));
            sum.and_modify(|sum| sum.absorb(pool)).or_insert_with(|| pool.clone());
        }
        let (in_doubt, listeners) = (snapshot.in_doubt.len() as u64, snapshot.listeners.clone());
        let in_doubt_age =
            snapshot.in_doubt.iter().map(|transaction| transaction.age.as_secs_f64()).fold(0.0, f64::max);
        Self { counted, gauged, errors: reading.errors.clone(), in_doubt, in_doubt_age, listeners }
    }

    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, counter) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, pool) in &self.counted {
                put_count(&mut metric, labels, pool.counters.get(*counter))?;
            }
        }
        let help = "Time spent in transactions";
        let mut metric = encoder.encode_descriptor("transaction_seconds", help, None, MetricType::Counter)?;
        for (labels, pool) in &self.counted {
            let time = Duration::from_micros(pool.counters.get(Counter::XactTime));
            put_count(&mut metric, labels, time.as_secs_f64())?;
        }
        Ok(())
    }

    fn encode_latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time of queries, from their sending to the end of the answer";
        let mut metric = encoder.encode_descriptor("query_seconds", help, None, MetricType::Histogram)?;
        for (labels, pool) in &self.counted {
            put_distribution(&mut metric, labels, &pool.query_times)?;
        }
        let help = "Time that clients waited for a server";
        let mut metric = encoder.encode_descriptor("wait_seconds", help, None, MetricType::Histogram)?;
        for (labels, pool) in &self.counted {
            put_distribution(&mut metric, labels, &pool.wait_times)?;
        }
        Ok(())
    }

    fn encode_parts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Times that a client kept a server beyond its transaction, by reason";
        let mut metric = encoder.encode_descriptor("pinned_transactions", help, None, MetricType::Counter)?;
        for (labels, pool) in &self.counted {
            put_parts(&mut metric, labels, "reason", &pool.pins)?;
        }
        let help = "Weir's own errors on a pool, by kind";
        let mut metric = encoder.encode_descriptor("pool_errors", help, None, MetricType::Counter)?;
        for (labels, pool) in &self.counted {
            put_parts(&mut metric, labels, "kind", &pool.errors)?;
        }
        let help = "Weir's own errors that belong to no pool, by kind";
        let mut metric = encoder.encode_descriptor("errors", help, None, MetricType::Counter)?;
        put_parts(&mut metric, &Labels::new(), "kind", &self.errors)
    }

    fn encode_gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Clients by state";
        let mut metric = encoder.encode_descriptor("clients", help, None, MetricType::Gauge)?;
        self.put_states(&mut metric, CLIENT_STATES)?;
        let help = "Connections to servers by state";
        let mut metric = encoder.encode_descriptor("servers", help, None, MetricType::Gauge)?;
        self.put_states(&mut metric, SERVER_STATES)?;
        let help = "How long the client that waits longest has waited for a server";
        let mut metric = encoder.encode_descriptor("maxwait_seconds", help, None, MetricType::Gauge)?;
        for (labels, pool) in &self.gauged {
            metric.encode_family(labels)?.encode_gauge(&pool.maxwait.as_secs_f64())?;
        }
        let help = "Transactions over several shards that are not finished on all of them";
        encoder
            .encode_descriptor("in_doubt_transactions", help, None, MetricType::Gauge)?
            .encode_gauge(&self.in_doubt)?;
        let help = "How long ago the oldest of them was prepared";
        encoder.encode_descriptor("in_doubt_seconds", help, None, MetricType::Gauge)?.encode_gauge(&self.in_doubt_age)
    }

    fn encode_listeners(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, gauge) in LISTENER_GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for listener in &self.listeners {
                metric.encode_family(&database_label(listener))?.encode_gauge(&gauge(listener))?;
            }
        }
        for (name, help, counter) in LISTENER_COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for listener in &self.listeners {
                put_count(&mut metric, &database_label(listener), counter(listener))?;
            }
        }
        Ok(())
    }

    fn put_states(&self, metric: &mut MetricEncoder<'_>, states: &[State]) -> fmt::Result {
        for (labels, pool) in &self.gauged {
            for (state, count) in states {
                metric.encode_family(&with(labels, "state", state))?.encode_gauge(&count(pool))?;
            }
        }
        Ok(())
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_counters(&mut encoder)?;
        self.encode_latencies(&mut encoder)?;
        self.encode_parts(&mut encoder)?;
        self.encode_gauges(&mut encoder)?;
        self.encode_listeners(&mut encoder)?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder.encode_descriptor("build", "The version of Weir", None, MetricType::Info)?.encode_info(&version)
    }
}

fn labels(snapshot: &Snapshot, key: &PoolKey) -> Labels {
    vec![
        ("database", key.database.to_string()),
        ("shard", snapshot.shard_name(&key.database, key.shard)),
        ("role", key.role.as_str().to_owned()),
    ]
}

fn database_label(listener: &ListenerInfo) -> Labels {
    vec![("database", listener.database.clone())]
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    let more = (name, value.to_owned());
    labels.iter().cloned().chain([more]).collect()
}

fn put_count(
    metric: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    count: impl EncodeCounterValue,
) -> fmt::Result {
    metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)
}

/// One sample per member that was counted at all.
fn put_parts<K: Counted>(
    metric: &mut MetricEncoder<'_>,
    labels: &Labels,
    name: &'static str,
    counts: &Counts<K>,
) -> fmt::Result {
    for (member, count) in counts.iter().filter(|(_, count)| *count > 0) {
        put_count(metric, &with(labels, name, member.name()), count)?;
    }
    Ok(())
}

fn put_distribution(metric: &mut MetricEncoder<'_>, labels: &Labels, values: &Distribution) -> fmt::Result {
    let buckets = buckets(values);
    let count = buckets.iter().map(|(_, count)| count).sum();
    metric.encode_family(labels)?.encode_histogram::<NoLabelSet>(values.sum().as_secs_f64(), count, &buckets, None)
}

/// Bounds of the buckets; those of the octaves below and above are added to the first and to a last, endless one.
const BOUND_FIRST: Duration = Duration::from_micros(1 << 6);
const BOUND_LAST: Duration = Duration::from_micros(1 << 26);

/// Pairs of an upper bound in seconds and the number of values between it and the bound before.
fn buckets(values: &Distribution) -> Vec<(f64, u64)> {
    let mut buckets = Vec::new();
    let mut below_first = 0;
    let mut above_last = 0;
    for (bound, count) in values.octaves() {
        if bound < BOUND_FIRST {
            below_first += count;
        } else if bound > BOUND_LAST {
            above_last += count;
        } else {
            buckets.push((bound.as_secs_f64(), count + std::mem::take(&mut below_first)));
        }
    }
    buckets.push((f64::INFINITY, above_last));
    buckets
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::telemetry::sample::{self, Sample};
    use crate::telemetry::{Histogram, Inspect, Scope};

    async fn sample_text() -> String {
        let snapshot = Sample.snapshot(Scope::Pools).await;
        exposition(&snapshot, &sample::telemetry().read(Instant::now())).unwrap()
    }

    #[tokio::test]
    async fn what_was_counted_is_exposed() {
        let text = sample_text().await;
        let west = r#"database="shop",shard="west",role="primary""#;
        let expected = [
            "# TYPE weir_queries counter".to_owned(),
            format!("weir_queries_total{{{west}}} 3"),
            format!("weir_transactions_total{{{west}}} 3"),
            format!("weir_received_bytes_total{{{west}}} 300"),
            format!("weir_transaction_seconds_total{{{west}}} 0.006"),
            format!("weir_query_seconds_sum{{{west}}} 0.003"),
            format!("weir_query_seconds_count{{{west}}} 3"),
            format!("weir_query_seconds_bucket{{le=\"0.000512\",{west}}} 0"),
            format!("weir_query_seconds_bucket{{le=\"0.001024\",{west}}} 3"),
            format!("weir_query_seconds_bucket{{le=\"+Inf\",{west}}} 3"),
            format!("weir_wait_seconds_bucket{{le=\"0.000064\",{west}}} 3"),
            format!("weir_pinned_transactions_total{{{west},reason=\"temporary_table\"}} 1"),
            format!("weir_pool_errors_total{{{west},kind=\"server_lost\"}} 1"),
            "weir_errors_total{kind=\"invalid_password\"} 1".to_owned(),
            format!("weir_clients{{{west},state=\"active\"}} 2"),
            format!("weir_servers{{{west},state=\"idle\"}} 4"),
            format!("weir_maxwait_seconds{{{west}}} 2.000005"),
            "weir_in_doubt_transactions 1".to_owned(),
            "weir_in_doubt_seconds 7.5".to_owned(),
            "weir_listening_clients{database=\"shop\"} 2".to_owned(),
            "weir_listened_channels{database=\"shop\"} 5".to_owned(),
            "weir_notifications_total{database=\"shop\"} 40".to_owned(),
            "weir_listener_connects_total{database=\"shop\"} 3".to_owned(),
            "weir_listener_losses_total{database=\"shop\"} 1".to_owned(),
            format!("weir_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        ];
        for line in expected {
            assert!(text.lines().any(|own| own == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn no_value_falls_out_of_the_buckets() {
        let histogram = Histogram::default();
        for value_us in [0, 1, 63, 64, 1 << 26, 1 << 40] {
            histogram.record(Duration::from_micros(value_us));
        }
        let buckets = buckets(&histogram.read());
        assert_eq!((buckets.first(), buckets.last()), (Some(&(0.000_064, 3)), Some(&(f64::INFINITY, 2))));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 6);
    }
}
