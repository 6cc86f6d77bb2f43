//! What a running demo prints: where everything is, and what to try.

use std::fmt::Write;

use super::front::{CONSOLE, Front};
use super::place::Place;
use super::servers::{APP, SHOP, Shard};
use crate::cli::cluster::{HOST, PASSWORD, SUPERUSER};

/// Queries to try on the shop, each with what it shows.
const QUERIES: [(&str, &str); 5] = [
    (
        "one customer: goes to the shard that owns the key",
        "SELECT name, email, city, country FROM customers WHERE customer_id = 42;",
    ),
    (
        "a join by key: one shard again",
        "SELECT c.name, o.order_id, o.status, sum(l.quantity * l.unit_price) AS total\n\
         FROM customers c\n\
         JOIN orders o ON o.customer_id = c.customer_id\n\
         JOIN order_lines l ON l.customer_id = o.customer_id AND l.order_id = o.order_id\n\
         WHERE c.customer_id = 42\n\
         GROUP BY c.name, o.order_id, o.status ORDER BY o.order_id;",
    ),
    (
        "all shards, aggregated",
        "SELECT o.status, count(*) AS lines, sum(l.quantity) AS pieces\n\
         FROM orders o JOIN order_lines l ON l.customer_id = o.customer_id AND l.order_id = o.order_id\n\
         GROUP BY o.status ORDER BY lines DESC;",
    ),
    (
        "all shards, merged in order",
        "SELECT ordered_at, customer_id, order_id, status FROM orders ORDER BY ordered_at DESC, order_id DESC LIMIT 5;",
    ),
    (
        "a reference table, joined on every shard",
        "SELECT p.category, sum(l.quantity * l.unit_price) AS revenue, max(l.unit_price) AS dearest\n\
         FROM order_lines l JOIN products p ON p.product_id = l.product_id\n\
         GROUP BY p.category ORDER BY revenue DESC;",
    ),
];

/// The whole text.
pub fn text(place: &Place, front: &Front, shards: &[Shard]) -> String {
    let psql = format!("PGPASSWORD={PASSWORD} psql -h {HOST} -p {} -U {SUPERUSER}", front.address.port);
    let mut text = String::from("\nWeir is ready. Try:\n\n");
    // Writing into a String cannot fail.
    let _ = writeln!(text, "  the sharded shop        {psql} {SHOP}");
    let _ = writeln!(text, "  an unsharded database   {psql} {APP}");
    let _ = writeln!(text, "  the console             {psql} {CONSOLE} -c 'SHOW SHARDS'");
    let _ = writeln!(text, "  metrics                 curl http://{HOST}:{}/metrics", front.http_port);
    text.push_str("\nFive queries for the shop:\n");
    for (what, query) in QUERIES {
        let _ = writeln!(text, "\n  -- {what}\n  {}", query.replace('\n', "\n  "));
    }
    text.push_str("\nThe servers behind it (compare with what one shard alone answers):\n\n");
    for shard in shards {
        let _ = writeln!(text, "  {:<10} primary {}", shard.name, shard.primary.address());
        for replica in &shard.replicas {
            let _ = writeln!(text, "  {:<10} replica {}", "", replica.address());
        }
    }
    let dir = place.dir().display();
    let _ = write!(
        text,
        "\nAll addresses are in {dir}/nodes.json, Weir's configuration in {dir}/weir.toml.\n\
         Ctrl-C or `weir demo stop --dir {dir}` stops everything; the data stays for the next run.\n"
    );
    text
}
