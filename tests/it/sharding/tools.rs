//! Programs that ask the catalogs: the home shard speaks for them. What cannot be done is refused at once.

use std::process::Output;

use super::answer::story;
use super::shop::{Shop, must};

const OBJECTS: &[&str] = &[
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE VIEW rich AS SELECT * FROM customers WHERE credit > 5",
    "CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'",
    "COMMENT ON TABLE customers IS 'who buys'",
];

#[test]
fn psql_shows_what_it_shows_of_the_home_shard() {
    let shop = Shop::small();
    let mut client = shop.client();
    OBJECTS.iter().for_each(|sql| must(&mut client, sql));
    for command in [
        "\\d",
        "\\d customers",
        "\\d+ orders",
        "\\d rich",
        "\\dt",
        "\\dt+",
        "\\di",
        "\\dv",
        "\\ds",
        "\\df",
        "\\df+ twice",
        "\\dT+",
        "\\dn",
        "\\dn+",
        "\\du",
        "\\dp",
        "\\dx",
        "\\dC",
        "\\do",
        "\\dd",
        "\\l",
        "\\sf twice",
        "\\sv rich",
        "\\dconfig work_mem",
    ] {
        let (ours, theirs) = (shop.endpoint().psql(["-c", command]), shop.shard(0).psql(["-c", command]));
        assert_eq!((ours.stdout, ours.stderr), (theirs.stdout, theirs.stderr), "{command}");
        assert_eq!(ours.status, theirs.status, "{command}");
    }
}

#[test]
fn the_information_schema_speaks_for_the_home_shard() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            (
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
                "customers,lines,orders,products,visits",
            ),
            (
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'visits' ORDER BY ordinal_position",
                "token,customer_id,hits,seconds",
            ),
            ("SELECT current_schema(), current_database() = current_catalog", "public|t"),
        ],
    );
}

#[test]
fn pg_dump_is_told_where_to_go() {
    let shop = Shop::small();
    let Output { status, stderr, stdout } = shop.endpoint().command("pg_dump").arg("shop").output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && stdout.is_empty(), "{stderr}");
    assert!(stderr.contains("setting \"search_path\" cannot be changed"), "{stderr}");
    assert!(stderr.contains("the shards themselves"), "{stderr}");
}
