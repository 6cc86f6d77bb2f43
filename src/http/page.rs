//! The status page: the pools, and how the load spreads over the shards. Plain HTML, no script.

use std::fmt::Display;

use crate::telemetry::{Counter, PoolInfo, Reading, ShardLoad, Snapshot, shard_loads};
use crate::types::Role;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}\
    table{border-collapse:collapse;margin-bottom:2rem}\
    th,td{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}\
    meter{width:8rem}";

const SHARD_COLUMNS: &[&str] =
    &["database", "shard", "primary", "replicas", "servers", "queries", "share of queries", "share of time, lately"];

const POOL_COLUMNS: &[&str] = &[
    "database",
    "user",
    "shard",
    "role",
    "clients active",
    "waiting",
    "servers active",
    "idle",
    "connecting",
    "longest wait",
];

/// The whole page.
pub(super) fn render(snapshot: &Snapshot, reading: &Reading) -> String {
    let shards = shard_loads(snapshot, reading).iter().map(shard_row).collect::<String>();
    let pools = snapshot.merged_pools().values().map(|pool| pool_row(snapshot, pool)).collect::<String>();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Weir</title><style>{STYLE}</style>\
         </head><body>\n<h1>Weir {}</h1>\n<h2>Shards</h2>\n{}<h2>Pools</h2>\n{}\
         <p>{} in doubt. More: <a href=\"/metrics\">metrics</a>, and SHOW HELP on the console.</p>\n</body></html>\n",
        env!("CARGO_PKG_VERSION"),
        table(SHARD_COLUMNS, &shards),
        table(POOL_COLUMNS, &pools),
        count_of(snapshot.in_doubt.len(), "transaction"),
    )
}

fn table(columns: &[&str], rows: &str) -> String {
    let head = columns.iter().map(|column| format!("<th>{column}</th>")).collect::<String>();
    format!("<table>\n<tr>{head}</tr>\n{rows}</table>\n")
}

fn shard_row(load: &ShardLoad) -> String {
    row(&[
        cell(&load.info.database),
        cell(&load.info.name),
        cell(load.info.addresses(Role::Primary)),
        cell(load.info.addresses(Role::Replica)),
        cell(load.servers),
        cell(load.total.get(Counter::QueryCount)),
        share_cell(load.total_share.queries_percent),
        share_cell(load.recent_share.time_percent),
    ])
}

fn pool_row(snapshot: &Snapshot, pool: &PoolInfo) -> String {
    row(&[
        cell(&pool.key.database),
        cell(&pool.key.user),
        cell(snapshot.shard_name(&pool.key.database, pool.key.shard)),
        cell(pool.key.role.as_str()),
        cell(pool.cl_active),
        cell(pool.cl_waiting),
        cell(pool.sv_active),
        cell(pool.sv_idle),
        cell(pool.sv_login),
        cell(format_args!("{:.3} s", pool.maxwait.as_secs_f64())),
    ])
}

fn row(cells: &[String]) -> String {
    format!("<tr>{}</tr>\n", cells.concat())
}

fn cell(value: impl Display) -> String {
    format!("<td>{}</td>", escape(&value.to_string()))
}

fn share_cell(percent: Option<f64>) -> String {
    match percent {
        Some(percent) => format!("<td><meter max=\"100\" value=\"{percent:.1}\"></meter> {percent:.1} %</td>"),
        None => cell("no load"),
    }
}

fn count_of(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// Names come from the configuration and from clients: none of them may become markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::telemetry::sample::{self, Sample};
    use crate::telemetry::{Inspect, Scope};

    #[tokio::test]
    async fn the_page_shows_shards_and_pools() {
        let snapshot = Sample.snapshot(Scope::Pools).await;
        let page = render(&snapshot, &sample::telemetry().read(Instant::now()));
        let expected = [
            "<tr><td>shop</td><td>west</td><td>10.0.1.1:5432</td><td>10.0.1.1:5433</td><td>6</td><td>3</td>\
             <td><meter max=\"100\" value=\"75.0\"></meter> 75.0 %</td>",
            "<td>shop</td><td>ann</td><td>east</td><td>primary</td><td>1</td><td>0</td><td>1</td><td>2</td><td>0</td>\
             <td>2.000 s</td>",
            "<p>1 transaction in doubt.",
        ];
        for part in expected {
            assert!(page.contains(part), "{part} is not in:\n{page}");
        }
    }

    #[test]
    fn names_never_become_markup() {
        assert_eq!(cell("<b>\"&"), "<td>&lt;b&gt;&quot;&amp;</td>");
        assert_eq!(share_cell(None), "<td>no load</td>");
    }
}
