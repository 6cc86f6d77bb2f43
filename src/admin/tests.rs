use super::*;
use crate::proxy::operate::{Asked, MakeChange, Routed};
use crate::shardmap::{Distribution, Hash, HashFunction, KeyType, Keyspace, Method, Table};
use crate::telemetry::sample::{self, Sample};
use crate::types::{Epoch, ShardId};
use crate::wire::backend::ErrorFields;
use crate::wire::frame::{self, Sender};

/// The shard map of a small made-up Weir.
struct Maps(std::sync::Mutex<ShardMap>);

impl Default for Maps {
    fn default() -> Self {
        let hash = Hash::even(HashFunction::Postgres, 4, &[ShardId(0), ShardId(1)]).unwrap();
        let keyspace = Keyspace { name: "customer".to_owned(), key: vec![KeyType::Int8], method: Method::Hash(hash) };
        let distribution = Distribution::Sharded { keyspace: "customer".to_owned(), columns: vec!["id".to_owned()] };
        let table = Table { schema: "public".to_owned(), name: "orders".to_owned(), distribution };
        let shards = vec!["west".to_owned(), "east".to_owned()];
        Self(ShardMap::new(Epoch(7), shards, vec![keyspace], vec![table]).unwrap().into())
    }
}

impl Operate for Maps {
    fn maps(&self) -> Vec<(String, Arc<ShardMap>)> {
        vec![("shop".to_owned(), Arc::new(self.0.lock().unwrap().clone()))]
    }

    fn change<'a>(&'a self, _: &'a str, make: MakeChange<'a>) -> Asked<'a, Vec<String>> {
        Box::pin(async move {
            let mut map = self.0.lock().unwrap();
            *map = map.changed(&make(&map)?)?;
            Ok(Vec::new())
        })
    }

    fn explain(&self, _: &str, sql: &str) -> Result<Vec<Routed>> {
        Ok(vec![Routed { statement: 1, engine: "one shard", shard: Some("west".to_owned()), text: sql.to_owned() }])
    }
}

/// What the console answered, as text: `column:type|...`, rows `value|...` with `-` for NULL, `tag` and `ERROR code`.
async fn ask(sql: &str) -> Vec<String> {
    let console = Console::new(sample::telemetry(), Arc::new(Sample), Arc::new(Maps::default()));
    let mut out = BytesMut::new();
    console.execute(sql, &mut out).await;
    let mut rest = &out[..];
    let mut lines = Vec::new();
    while let Some(message) = frame::first(rest, Sender::Server).unwrap() {
        lines.push(describe(message.tag, message.body));
        rest = &rest[message.raw.len()..];
    }
    assert!(rest.is_empty());
    lines
}

fn describe(message_tag: u8, body: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match message_tag {
        tag::ROW_DESCRIPTION => {
            let columns = backend::read_row_description(body).unwrap();
            columns
                .iter()
                .map(|column| format!("{}:{}", text(&column.name), column.type_oid))
                .collect::<Vec<_>>()
                .join("|")
        }
        tag::DATA_ROW => {
            let values = backend::read_data_row(body).unwrap();
            values.iter().map(|value| value.map_or("-".to_owned(), text)).collect::<Vec<_>>().join("|")
        }
        tag::COMMAND_COMPLETE => text(&body[..body.len() - 1]),
        tag::EMPTY_QUERY_RESPONSE => "empty".to_owned(),
        tag::ERROR_RESPONSE => format!("ERROR {}", ErrorFields::read(body).unwrap().sqlstate().unwrap()),
        other => panic!("message {:?}", other as char),
    }
}

async fn check(sql: &str, expected: &[&str]) {
    assert_eq!(ask(sql).await, expected, "{sql}");
}

#[tokio::test]
async fn pools_are_added_up_over_workers() {
    check(
        "SHOW POOLS",
        &[
            "database:25|user:25|cl_active:23|cl_waiting:23|sv_active:23|sv_idle:23|sv_used:23|sv_tested:23|\
             sv_login:23|maxwait:23|maxwait_us:23|pool_mode:25|shard:25|role:25",
            "shop|ann|2|0|2|4|0|0|0|2|5|transaction|west|primary",
            "shop|ann|1|0|1|2|0|0|0|2|5|transaction|east|primary",
            "SHOW",
        ],
    )
    .await;
}

#[tokio::test]
async fn clients_and_servers_name_each_other() {
    let client = "C|ann|shop|logical|active|10.0.0.9|50000|10.0.0.1|6432|2026-11-22 03:21:41 UTC|2026-11-22 03:21:48 UTC\
        |0|0|0|C7|S3,S4|0||psql|2|7|setting|3";
    let server =
        "S|ann|shop|none|new|10.0.1.2|5432|-|-|2026-11-22 03:21:42 UTC|-|0|0|1|S3|C7|4711||psql|0|3|east|primary";
    let columns = "type:25|user:25|database:25|replication:25|state:25|addr:25|port:23|local_addr:25|local_port:23|\
        connect_time:25|request_time:25|wait:23|wait_us:23|close_needed:23|ptr:25|link:25|remote_pid:23|tls:25|\
        application_name:25|prepared_statements:23|id:20";
    check("SHOW CLIENTS", &[&format!("{columns}|pinned_by:25|channels:23"), client, "SHOW"]).await;
    check("SHOW SERVERS", &[&format!("{columns}|shard:25|role:25"), server, "SHOW"]).await;
}

#[tokio::test]
async fn databases_count_their_connections() {
    check(
        "SHOW DATABASES",
        &[
            "name:25|host:25|port:23|database:25|force_user:25|pool_size:23|server_lifetime:23|pool_mode:25|\
             current_connections:23|max_client_connections:23|current_client_connections:23|read_write_split:25|\
             shards:23|epoch:20",
            "shop|10.0.1.1|5432|shop_west|-|20|3600|transaction|9|1000|3|on|2|5",
            "SHOW",
        ],
    )
    .await;
}

#[tokio::test]
async fn stats_are_per_database() {
    check(
        "SHOW STATS",
        &[
            "database:25|total_xact_count:20|total_query_count:20|total_server_assignment_count:20|total_received:20|\
             total_sent:20|total_xact_time:20|total_query_time:20|total_wait_time:20|avg_xact_count:20|\
             avg_query_count:20|avg_server_assignment_count:20|avg_recv:20|avg_sent:20|avg_xact_time:20|\
             avg_query_time:20|avg_wait_time:20|p50_query_time:20|p99_query_time:20",
            "shop|4|4|4|400|4000|8000|4000|80|4|4|4|400|4000|2000|1000|20|1024|1024",
            "SHOW",
        ],
    )
    .await;
}

#[tokio::test]
async fn shards_show_their_share() {
    check(
        "SHOW SHARDS",
        &[
            "database:25|shard:25|primary:25|replicas:25|servers:23|total_query_count:20|total_query_time:20|\
             query_percent:1700|time_percent:1700|recent_query_percent:1700|recent_time_percent:1700",
            "shop|west|10.0.1.1:5432|10.0.1.1:5433|6|3|3000|75.0|75.0|75.0|75.0",
            "shop|east|10.0.1.2:5432|10.0.1.2:5433|3|1|1000|25.0|25.0|25.0|25.0",
            "SHOW",
        ],
    )
    .await;
}

#[tokio::test]
async fn small_commands() {
    let version = format!("Weir {}", env!("CARGO_PKG_VERSION"));
    let two_phase = "gid:25|database:25|shards:25|started_at:25|age:1700|decision:25";
    check("SHOW VERSION", &["version:25", &version, "SHOW"]).await;
    check("SHOW TWO_PHASE", &[two_phase, "weir_42|shop|west,east|2026-11-22 03:21:43 UTC|7.5|commit", "SHOW"]).await;
    let listeners = "database:25|clients:23|channels:23|notifications:20|connects:20|losses:20";
    check("SHOW LISTENERS", &[listeners, "shop|2|5|40|3|1", "SHOW"]).await;
    check("", &["empty"]).await;
    check("show version; show version", &["version:25", &version, "SHOW", "version:25", &version, "SHOW"]).await;
}

#[tokio::test]
async fn a_mistake_anywhere_runs_nothing() {
    check("SHOW VERSION; SHOW VERSIONS", &["ERROR 42601"]).await;
    check("RELOAD", &["ERROR 0A000"]).await;
}

#[tokio::test]
async fn help_has_a_line_for_each_command() {
    let lines = ask("HELP").await;
    assert_eq!(lines.len(), Subject::ALL.len() + command::MAP_COMMANDS.len() + 2);
    assert_eq!(lines[1], format!("SHOW CLIENTS|{}", Subject::Clients.description()));
}
