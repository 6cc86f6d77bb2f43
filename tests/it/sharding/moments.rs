//! Writes on several shards that read the time: one time for all rows, as in one PostgreSQL.

use super::answer::{ask, extended, story};
use super::shop::{Shop, must};

const TIMES: &str = "SELECT count(DISTINCT joined) FROM customers";

#[test]
fn all_shards_write_one_time() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(&mut client, &[("UPDATE customers SET joined = now()", "UPDATE 4"), (TIMES, "1")]);
    story(
        &mut client,
        &[("SELECT count(*) FROM customers WHERE joined BETWEEN now() - interval '1 min' AND now()", "4")],
    );
    let insert = "INSERT INTO customers (customer_id, joined, born) VALUES (3, now(), CURRENT_DATE), (13, current_timestamp, $1)";
    assert_eq!(extended(&mut client, insert, &[Some("2000-01-01")]).brief(), "INSERT 0 2");
    story(&mut client, &[(TIMES, "2"), ("SELECT born = CURRENT_DATE FROM customers WHERE customer_id = 3", "t")]);
    story(&mut client, &[("DELETE FROM customers WHERE joined < now() - interval '1 day'", "DELETE 0")]);
    // In a block the time is that of its beginning, which the home shard knows.
    must(&mut client, "BEGIN");
    let before = ask(&mut client, "SELECT now()").brief();
    must(&mut client, "SELECT pg_sleep(0.01)");
    must(&mut client, "UPDATE customers SET joined = transaction_timestamp() WHERE customer_id IN (1, 11)");
    assert_eq!(ask(&mut client, "SELECT DISTINCT joined FROM customers WHERE customer_id IN (1, 11)").brief(), before);
    must(&mut client, "COMMIT");
}

#[test]
fn what_would_show_the_change_is_refused() {
    let shop = Shop::small();
    let mut client = shop.client();
    for sql in
        ["UPDATE customers SET joined = now() RETURNING now()", "UPDATE customers SET joined = current_timestamp(3)"]
    {
        let answer = ask(&mut client, sql);
        assert!(answer.refusal().is_some_and(|refusal| !refusal.detail.is_empty()), "{sql}: {answer:?}");
    }
    story(&mut client, &[(TIMES, "0")]);
}
