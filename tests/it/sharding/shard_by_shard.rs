//! Commands that cannot run in a transaction block, table locks, and transactions that a client prepares itself.

use weir::wire::backend::tag;

use super::answer::{extended, story};
use super::shop::{Shop, must};
use crate::harness::RawClient;

/// The texts of the notices that a statement brings.
fn notices(client: &mut RawClient, sql: &str) -> Vec<String> {
    let answer = client.query(sql).into_iter();
    answer.filter(|message| message.tag == tag::NOTICE_RESPONSE).filter_map(|notice| notice.field(b'M')).collect()
}

/// An index's definition on each shard.
fn on_shards(shop: &Shop, index: &str) -> [String; 2] {
    let definition = format!("SELECT pg_get_indexdef(to_regclass('{index}'))");
    [shop.shard(0).value(&definition), shop.shard(1).value(&definition)]
}

#[test]
fn each_shard_does_it_and_is_named() {
    let shop = Shop::small();
    let mut client = shop.client();
    let told = notices(&mut client, "CREATE INDEX CONCURRENTLY by_name ON customers (name)");
    assert_eq!(told, ["done on shard \"one\" (1 of 2)", "done on shard \"two\" (2 of 2)"]);
    let definitions = on_shards(&shop, "by_name");
    assert!(definitions[0].contains("(name)") && definitions[0] == definitions[1], "{definitions:?}");
    story(
        &mut client,
        &[
            ("VACUUM customers", "VACUUM"),
            ("VACUUM (ANALYZE)", "VACUUM"),
            ("REINDEX TABLE CONCURRENTLY customers", "REINDEX"),
            ("CHECKPOINT", "CHECKPOINT"),
            ("DROP INDEX CONCURRENTLY by_name", "DROP INDEX"),
            ("DROP INDEX CONCURRENTLY by_name", "42704"),
            ("VACUUM nowhere", "42P01"),
        ],
    );
    assert_eq!(on_shards(&shop, "by_name"), ["", ""]);
    assert_eq!(extended(&mut client, "VACUUM orders", &[]).brief(), "VACUUM");
    assert_eq!(
        shop.shard(1).value("SELECT last_vacuum IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'orders'"),
        "t"
    );
    for sql in ["VACUUM customers", "CREATE INDEX CONCURRENTLY ON customers (name)"] {
        story(&mut client, &[("BEGIN", "BEGIN"), (sql, "25001"), ("SELECT 1", "25P02"), ("ROLLBACK", "ROLLBACK")]);
    }
}

/// What failed on one shard is sent again: the others have done it already.
#[test]
fn what_was_left_half_done_is_completed() {
    let shop = Shop::small();
    let mut client = shop.client();
    let create = "CREATE UNIQUE INDEX CONCURRENTLY by_region ON customers (customer_id, (region IS NULL))";
    // A name that is taken on the second shard.
    shop.shard(1).execute("CREATE TABLE by_region (a int)");
    story(&mut client, &[(create, "42P07")]);
    assert_ne!(on_shards(&shop, "by_region")[0], "");
    shop.shard(1).execute("DROP TABLE by_region");
    let told = notices(&mut client, create);
    assert_eq!(told, ["was done before on shard \"one\" (1 of 2)", "done on shard \"two\" (2 of 2)"]);
    let definitions = on_shards(&shop, "by_region");
    assert_eq!(definitions[0], definitions[1]);
    story(&mut client, &[(create, "42P07")]);
    // An attempt that failed leaves an invalid index.
    must(&mut client, "DROP INDEX by_region");
    let remade = "CREATE INDEX CONCURRENTLY by_email ON customers (email)";
    must(&mut client, remade);
    shop.shard(1).execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_email'::regclass");
    shop.shard(0).execute("DROP INDEX by_email");
    let told = notices(&mut client, remade);
    assert_eq!(told, ["done on shard \"one\" (1 of 2)", "done anew on shard \"two\" (2 of 2)"]);
    assert_eq!(shop.shard(1).value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_email'::regclass"), "t");
    // Something else of that name is not what the statement makes.
    shop.shard(0).execute("DROP INDEX by_email; CREATE INDEX by_email ON customers (credit)");
    shop.shard(1).execute("DROP INDEX by_email");
    story(&mut client, &[(remade, "42P07")]);
    let drop = "DROP INDEX CONCURRENTLY by_email";
    shop.shard(0).execute("DROP INDEX by_email");
    let told = notices(&mut client, drop);
    assert_eq!(told, ["was done before on shard \"one\" (1 of 2)", "done on shard \"two\" (2 of 2)"]);
}

#[test]
fn a_table_is_locked_on_every_shard() {
    let shop = Shop::small();
    let (mut client, mut other) = (shop.client(), shop.client());
    story(&mut client, &[("LOCK TABLE customers", "25P01"), ("BEGIN", "BEGIN")]);
    story(&mut client, &[("LOCK TABLE customers IN SHARE MODE", "LOCK TABLE"), ("SAVEPOINT s", "SAVEPOINT")]);
    for id in [1, 11] {
        let update = format!("UPDATE customers SET name = 'x' WHERE customer_id = {id}");
        story(&mut other, &[("BEGIN", "BEGIN"), ("SET LOCAL lock_timeout = '50ms'", "SET")]);
        story(&mut other, &[(&update, "55P03"), ("ROLLBACK", "ROLLBACK")]);
    }
    story(&mut client, &[("LOCK TABLE nowhere", "0A000"), ("ROLLBACK TO s", "ROLLBACK"), ("COMMIT", "COMMIT")]);
    story(&mut other, &[("UPDATE customers SET name = 'x' WHERE customer_id = 11", "UPDATE 1")]);
}

#[test]
fn a_client_prepares_what_one_shard_did() {
    let shop = Shop::small();
    let mut client = shop.client();
    let (name_1, name_11) =
        ("SELECT name FROM customers WHERE customer_id = 1", "SELECT name FROM customers WHERE customer_id = 11");
    let rename = "UPDATE customers SET name = 'Gus' WHERE customer_id = 11";
    story(&mut client, &[("BEGIN", "BEGIN"), (name_1, "Ada"), (rename, "UPDATE 1")]);
    story(&mut client, &[("PREPARE TRANSACTION 'my own'", "PREPARE TRANSACTION"), (name_11, "Cid")]);
    assert_eq!(shop.shard(1).value("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"), "my own");
    story(&mut client, &[("BEGIN", "BEGIN"), ("COMMIT PREPARED 'my own'", "25001"), ("ROLLBACK", "ROLLBACK")]);
    story(&mut client, &[("COMMIT PREPARED 'my own'", "COMMIT PREPARED"), (name_11, "Gus")]);
    story(&mut client, &[("COMMIT PREPARED 'my own'", "42704"), ("PREPARE TRANSACTION 'x'", "ROLLBACK")]);
    story(&mut client, &[("BEGIN", "BEGIN"), ("DELETE FROM customers WHERE customer_id = 12", "DELETE 1")]);
    story(&mut client, &[("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"), ("SELECT count(*) FROM customers", "4")]);
    story(&mut client, &[("ROLLBACK PREPARED 'x'", "ROLLBACK PREPARED"), ("SELECT count(*) FROM customers", "4")]);
    story(&mut client, &[("BEGIN", "BEGIN"), ("UPDATE customers SET name = 'Eva' WHERE customer_id = 1", "UPDATE 1")]);
    story(&mut client, &[(rename, "UPDATE 1"), ("PREPARE TRANSACTION 'both'", "0A000"), (name_1, "Ada")]);
    story(&mut client, &[("BEGIN", "BEGIN"), ("SELECT 1/0", "22012"), ("PREPARE TRANSACTION 'x'", "ROLLBACK")]);
    // As in PostgreSQL, one that cannot be prepared is over.
    story(&mut client, &[("BEGIN", "BEGIN"), ("NOTIFY a", "NOTIFY"), ("PREPARE TRANSACTION 'x'", "0A000")]);
    story(&mut client, &[("ROLLBACK", "ROLLBACK"), (name_1, "Ada")]);
}
