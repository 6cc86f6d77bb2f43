//! LISTEN and NOTIFY in transaction pooling: one connection listens for all clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir::cli::cluster::{PASSWORD, SUPERUSER};
use weir::wire::backend::{Notification, tag};
use weir::wire::frontend::Target;
use weir::wire::{frontend, startup};

use super::{Front, eventually, rows, sqlstate, status, tags};
use crate::harness::{
    Database, Endpoint, Message, RawClient, Setup, Weir, endpoint_of, servers, start_primary, unique,
};

/// A client of the database.
fn client(endpoint: &Endpoint) -> RawClient {
    endpoint.raw()
}

/// The notifications among messages, as `channel:payload`.
fn heard(messages: &[Message]) -> Vec<String> {
    let notifications = messages.iter().filter(|message| message.tag == tag::NOTIFICATION_RESPONSE);
    notifications.map(|message| text_of(&read(message))).collect()
}

fn read(message: &Message) -> Notification<'_> {
    Notification::read(&message.body).expect("a NotificationResponse")
}

fn text_of(notification: &Notification<'_>) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}:{}", text(notification.channel), text(notification.payload))
}

impl RawClient {
    /// The next message, which must be a notification: `channel:payload`.
    fn hears(&mut self) -> String {
        text_of(&read(&self.expect(tag::NOTIFICATION_RESPONSE)))
    }

    /// What came up to now: notifications in front of a query's answer, of a client that has nothing else to read.
    fn heard(&mut self) -> Vec<String> {
        let mut messages = self.query("NOTIFY the_end");
        if !messages.iter().any(|message| heard(std::slice::from_ref(message)) == ["the_end:"]) {
            messages.push(self.expect(tag::NOTIFICATION_RESPONSE));
        }
        let mut all = heard(&messages);
        assert_eq!(all.pop().as_deref(), Some("the_end:"));
        all
    }

    /// The process id that the client was told.
    fn process_id(&self) -> i32 {
        self.cancel_key.as_ref().expect("a client that is logged in").process_id
    }

    fn channels(&mut self) -> Vec<String> {
        let mut channels = rows(&self.query("SELECT pg_listening_channels()"));
        channels.sort();
        channels
    }
}

#[test]
fn two_clients_listen_over_one_server() {
    let front = Front::new(1);
    let [mut a, mut b, mut other] = [(); 3].map(|()| client(&front.app));
    a.run("LISTEN news");
    b.run("LISTEN news");
    b.run("LISTEN \"Weather\"");
    other.run("NOTIFY news, 'one'");
    other.run("SELECT pg_notify('Weather', 'rain')");
    other.run("NOTIFY nobody");
    other.run("NOTIFY news, 'two'");
    assert_eq!([a.hears(), a.hears()], ["news:one", "news:two"]);
    assert_eq!([b.hears(), b.hears(), b.hears()], ["news:one", "Weather:rain", "news:two"]);
    assert_eq!(front.shown("SHOW CLIENTS", "pinned_by"), ["", "", ""]);
    assert_eq!(front.sessions("true"), 1);
    // Directly from a session that Weir does not know.
    front.direct.execute("NOTIFY news, 'three'");
    assert_eq!([a.hears(), b.hears()], ["news:three", "news:three"]);
    assert_eq!((a.channels(), b.channels()), (vec!["news".to_owned()], vec!["Weather".to_owned(), "news".to_owned()]));
    assert_eq!(other.channels(), [""; 0]);
}

#[test]
fn own_notifications_come_before_ready_for_query_from_the_own_process() {
    let front = Front::new(1);
    front.direct.execute(
        "CREATE TABLE t (i int);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN PERFORM pg_notify('c', NEW.i::text); RETURN NEW; END$$;
         CREATE TRIGGER tell AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tell();
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION tell();
         CREATE FUNCTION say(text) RETURNS void LANGUAGE sql AS $$SELECT pg_notify('c', $1)$$",
    );
    let front = Front::before(&crate::harness::servers().app.primary, &front.direct.database, 1, |setup| setup);
    let [mut own, mut other] = [(); 2].map(|()| client(&front.app));
    own.run("LISTEN c");
    let process_id = own.process_id();
    for round in 0..20 {
        // The same server notified before, for somebody else.
        other.run(&format!("NOTIFY c, 'other {round}'"));
        let cases = [
            ("NOTIFY c, 'plain'", "plain"),
            ("SELECT pg_notify('c', 'called')", "called"),
            ("SELECT say('said')", "said"),
            ("INSERT INTO t VALUES (7)", "7"),
            ("BEGIN; UPDATE t SET i = 8 WHERE ctid = (SELECT max(ctid) FROM t); COMMIT", "8"),
            ("DO $$BEGIN NOTIFY c, 'done'; END$$", "done"),
        ];
        let mut of_others = Vec::new();
        for (sql, expected) in cases {
            let messages = own.query(sql);
            let mut of_own = Vec::new();
            for message in messages.iter().filter(|message| message.tag == tag::NOTIFICATION_RESPONSE) {
                let list = if read(message).process_id == process_id { &mut of_own } else { &mut of_others };
                list.push(text_of(&read(message)));
            }
            assert_eq!(of_own, [format!("c:{expected}")], "{sql}: {messages:?}");
            assert_eq!(messages.last().unwrap().tag, tag::READY_FOR_QUERY);
        }
        assert_eq!(of_others, [format!("c:other {round}")]);
    }
}

#[test]
fn a_notification_comes_when_its_transaction_commits_and_not_before() {
    let front = Front::new(2);
    let [mut a, mut other] = [(); 2].map(|()| client(&front.app));
    a.run("LISTEN c");
    a.run("LISTEN the_end");
    for sql in ["BEGIN", "NOTIFY c, 'one'", "NOTIFY c, 'one'", "SAVEPOINT s", "NOTIFY c, 'undone'", "ROLLBACK TO s"] {
        other.run(sql);
    }
    assert_eq!(a.heard(), [""; 0]);
    other.run("NOTIFY c, 'two'");
    other.run("COMMIT");
    assert_eq!([a.hears(), a.hears()], ["c:one", "c:two"]);
    other.run("BEGIN; NOTIFY c, 'never'; ROLLBACK");
    assert_eq!(other.failure("BEGIN; NOTIFY c, 'never'; SELECT 1 / 0; COMMIT"), "22012");
    other.run("ROLLBACK");
    assert_eq!(a.heard(), [""; 0]);
}

#[test]
fn a_client_in_a_transaction_hears_when_it_is_over() {
    let front = Front::new(2);
    let [mut a, mut other] = [(); 2].map(|()| client(&front.app));
    a.run("LISTEN c");
    for end in ["COMMIT", "ROLLBACK"] {
        a.run("BEGIN");
        other.run("NOTIFY c, 'x'");
        for sql in ["SELECT 1", "NOTIFY elsewhere", "SELECT 2"] {
            assert_eq!(heard(&a.query(sql)), [""; 0]);
        }
        other.run("NOTIFY c, 'y'");
        let mut messages = a.query(end);
        while heard(&messages).len() < 2 {
            messages.push(a.next().unwrap());
        }
        assert_eq!(heard(&messages), ["c:x", "c:y"]);
    }
}

#[test]
fn transactions_and_savepoints_decide_what_is_listened_to() {
    let front = Front::new(1);
    let mut direct = client(&front.direct);
    let [mut a, mut b] = [(); 2].map(|()| client(&front.app));
    b.run("LISTEN others");
    let units = [
        "BEGIN; LISTEN a; ROLLBACK",
        "LISTEN a",
        "BEGIN",
        "LISTEN b",
        "SAVEPOINT s",
        "UNLISTEN a",
        "LISTEN c",
        "ROLLBACK TO s",
        "LISTEN d",
        "COMMIT",
        "BEGIN",
        "UNLISTEN *",
        "LISTEN e",
        "ROLLBACK",
        "BEGIN",
        "UNLISTEN b",
        "SELECT 1 / 0",
        "COMMIT",
        "BEGIN; UNLISTEN b; COMMIT; LISTEN f; SELECT 1",
        "LISTEN g; SELECT 1 / 0",
        "LISTEN h; COMMIT; LISTEN i; SELECT 1 / 0",
        "DO $$BEGIN LISTEN j; END$$",
        "DO $$BEGIN UNLISTEN a; END$$",
        "BEGIN",
        "UNLISTEN *",
        "LISTEN k",
        "COMMIT",
        "LISTEN k",
        "UNLISTEN nothing",
        "UNLISTEN k",
        "LISTEN l",
        "BEGIN",
        "DISCARD ALL",
        "ROLLBACK",
        "DISCARD ALL",
    ];
    for unit in units {
        let (through, expected) = (a.query(unit), direct.query(unit));
        assert_eq!((tags(&through), sqlstate(&through)), (tags(&expected), sqlstate(&expected)), "{unit}");
        if status(&expected) == 'I' {
            assert_eq!(b.query("SELECT 1").len(), 4);
        }
        if status(&expected) != 'E' {
            assert_eq!(a.channels(), direct.channels(), "{unit}");
        }
    }
    assert_eq!(b.channels(), ["others"]);
}

#[test]
fn what_is_not_listened_to_any_more_does_not_come() {
    let front = Front::new(1);
    let [mut a, mut b] = [(); 2].map(|()| client(&front.app));
    let ends: [fn(&mut RawClient); 4] = [
        |a| a.run("UNLISTEN c"),
        |a| a.run("UNLISTEN *"),
        |a| a.run("DISCARD ALL"),
        |a| a.run("BEGIN; UNLISTEN c; COMMIT"),
    ];
    for end in ends {
        a.run("LISTEN c");
        b.run("NOTIFY c, 'x'");
        assert_eq!(a.hears(), "c:x");
        end(&mut a);
        b.run("NOTIFY c, 'y'");
        a.run("LISTEN the_end");
        assert_eq!(a.heard(), [""; 0]);
        a.run("UNLISTEN *");
    }
    a.run("LISTEN c");
    drop(a);
    eventually("nobody listens", || front.shown("SHOW LISTENERS", "channels") == ["0"]);
}

/// What a listener reads up to a ReadyForQuery or a notification with this text, as `channel:payload`, own ones with `*`.
fn read_up_to(client: &mut RawClient, end: &str, all: &mut Vec<String>) {
    let own = client.process_id();
    loop {
        let message = client.next().expect("a message, not the end of the connection");
        match message.tag {
            tag::NOTIFICATION_RESPONSE => {
                let text = text_of(&read(&message));
                let is_own = read(&message).process_id == own;
                let ends = text == end;
                all.push(if is_own { format!("{text}*") } else { text });
                if ends {
                    return;
                }
            }
            tag::READY_FOR_QUERY if end.is_empty() => return,
            tag::ERROR_RESPONSE => panic!("{:?}", message.field(b'M')),
            _ => {}
        }
    }
}

/// Many clients and channels: each hears exactly what its twin hears, which is connected directly.
#[test]
fn many_clients_hear_what_direct_sessions_hear() {
    const CLIENTS: usize = 24;
    const SENDERS: usize = 6;
    const ROUNDS: usize = 150;
    let front = Front::new(3);
    let mut random = SmallRng::seed_from_u64(7);
    let mut listeners: Vec<(RawClient, RawClient)> = Vec::new();
    for number in 0..CLIENTS {
        let (mut through, mut direct) = (client(&front.app), client(&front.direct));
        let channels = (0..20).filter(|_| random.random_bool(0.3)).chain([20]);
        for channel in channels {
            direct.run(&format!("LISTEN c{channel}"));
            let listen = if number % 2 == 0 { "LISTEN" } else { "BEGIN; LISTEN" };
            through.run(&format!("{listen} c{channel}{}", if number % 2 == 0 { "" } else { "; COMMIT" }));
        }
        listeners.push((through, direct));
    }
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let endpoint = if sender % 3 == 0 { &front.direct } else { &front.app };
            scope.spawn(move || {
                let (mut client, mut random) = (client(endpoint), SmallRng::seed_from_u64(sender as u64));
                for round in 0..ROUNDS {
                    let mut notify = |part: usize| {
                        let channel = random.random_range(0..20);
                        format!(
                            "NOTIFY c{channel}, '{sender}.{round}.{part}{}'",
                            "x".repeat(random.random_range(0..50))
                        )
                    };
                    let [one, two] = [notify(1), notify(2)];
                    match round % 3 {
                        0 => client.run(&one),
                        1 => client.run(&format!("BEGIN; {one}; {two}; {one}; COMMIT")),
                        _ => client.run(&format!("BEGIN; {one}; SAVEPOINT s; {two}; ROLLBACK TO s; COMMIT")),
                    }
                }
            });
        }
    });
    client(&front.direct).run("NOTIFY c20, 'end'");
    let mut sum = 0;
    for (mut through, mut direct) in listeners {
        let (mut got, mut expected) = (Vec::new(), Vec::new());
        read_up_to(&mut through, "c20:end", &mut got);
        read_up_to(&mut direct, "c20:end", &mut expected);
        assert_eq!(got, expected);
        sum += got.len();
    }
    assert!(sum > CLIENTS * SENDERS * ROUNDS / 5, "{sum} notifications are no stress");
}

/// Clients that begin and end to listen while notifications pour in. A session that hears everything says what each of
/// them has to hear: everything from the moment at which it listens to a channel, and nothing twice.
#[test]
fn what_is_taken_over_is_neither_lost_nor_repeated() {
    const ROUNDS: usize = 40;
    let front = Front::new(2);
    let mut control = client(&front.direct);
    (0..4).for_each(|channel| control.run(&format!("LISTEN c{channel}")));
    let over = AtomicBool::new(false);
    let forms =
        ["LISTEN c$", "BEGIN; LISTEN c$; COMMIT", "DO $x$BEGIN LISTEN c$; END$x$", "LISTEN c$; NOTIFY c$, 'in'"];
    let heard: Vec<Vec<String>> = thread::scope(|scope| {
        for sender in 0..3 {
            let (over, endpoint) = (&over, &front.direct);
            scope.spawn(move || {
                let mut client = client(endpoint);
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    client.run(&format!("NOTIFY c{}, '{sender}.{number}'", number % 4));
                }
            });
        }
        let listen = |number: usize| {
            let (mut client, mut all) = (client(&front.app), Vec::new());
            client.run("LISTEN c0");
            for round in 0..ROUNDS {
                let channel = (1 + (round + number) % 3).to_string();
                let mut step = |sql: &str| {
                    client.send_with(|out| frontend::query(out, &sql.replace('$', &channel).replace("xx", "$x$")));
                    read_up_to(&mut client, "", &mut all);
                };
                step(&forms[round % forms.len()].replace("$x$", "xx"));
                step(&format!("NOTIFY c$, 'from {number}.{round}'"));
                step("SELECT pg_sleep(0.002)");
                step(&format!("SELECT pg_notify('c$', 'to {number}.{round}')"));
                step("UNLISTEN c$");
            }
            all
        };
        let listeners: Vec<_> = (0..4).map(|number| scope.spawn(move || listen(number))).collect();
        let heard = listeners.into_iter().map(|listener| listener.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        heard
    });
    client(&front.direct).run("NOTIFY c0, 'the end'");
    let mut everything = Vec::new();
    read_up_to(&mut control, "c0:the end", &mut everything);
    for (number, heard) in heard.iter().enumerate() {
        let plain: Vec<&str> = heard.iter().map(|text| text.trim_end_matches('*')).collect();
        let first = |list: &[&str]| {
            list.iter().filter(|text| text.starts_with("c0:")).map(|text| text.to_string()).collect::<Vec<_>>()
        };
        let of_all: Vec<&str> = everything.iter().map(String::as_str).collect();
        assert_contiguous(&first(&plain), &first(&of_all));
        for round in 0..ROUNDS {
            let channel = 1 + (round + number) % 3;
            let (from, to) = (format!("c{channel}:from {number}.{round}"), format!("c{channel}:to {number}.{round}"));
            assert!(heard.contains(&format!("{from}*")) && heard.contains(&format!("{to}*")), "{from} is its own");
            let wanted = [format!("c{channel}:"), "c0:".to_owned()];
            let between = |list: &[&str]| -> Vec<String> {
                let place =
                    |text: &String| list.iter().position(|own| own == text).unwrap_or_else(|| panic!("no {text}"));
                let part = &list[place(&from)..=place(&to)];
                let is_wanted = |text: &&&str| wanted.iter().any(|start| text.starts_with(start));
                part.iter().filter(is_wanted).map(ToString::to_string).collect()
            };
            assert_eq!(between(&plain), between(&of_all), "client {number}, round {round}");
        }
        let others = heard.iter().filter(|text| text.ends_with('*')).count();
        let of_own = ROUNDS * 2 + ROUNDS / forms.len();
        assert_eq!(others, of_own, "only what it sent itself is its own");
    }
    assert!(everything.len() > 1000, "{} notifications are no stress", everything.len());
}

/// Whether `part` stands in `whole` without a gap.
fn assert_contiguous(part: &[String], whole: &[String]) {
    let start = whole.iter().position(|text| *text == part[0]).expect("the first one");
    assert_eq!(part, &whole[start..start + part.len()]);
}

/// Ends the connection that listens for the database's clients.
fn end_listener(front: &Front) {
    let Endpoint { database, .. } = &front.direct;
    let ended = front.direct.value(&format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = '{database}' AND application_name = 'weir' AND pid <> pg_backend_pid()"
    ));
    // The schema may be read at the same time.
    assert_ne!(ended, "0");
}

/// A client that must have been told that notifications may be missing.
fn is_told_of_the_loss(mut client: RawClient) {
    let messages = client.until_end();
    let error = messages.last().expect("an error");
    assert_eq!((error.field(b'S'), error.field(b'C')), (Some("FATAL".to_owned()), Some("08006".to_owned())));
    assert!(error.field(b'M').unwrap().contains("notifications may have been missed"), "{error:?}");
}

#[test]
fn who_may_have_missed_something_is_told() {
    let front = Front::new(2);
    let [mut idle, mut busy, mut left, mut other] = [(); 4].map(|()| client(&front.app));
    idle.run("LISTEN c");
    busy.run("LISTEN c");
    left.run("LISTEN c");
    left.run("UNLISTEN c");
    busy.run("BEGIN");
    end_listener(&front);
    is_told_of_the_loss(idle);
    // A transaction is no victim.
    busy.run("CREATE TABLE t ()");
    busy.send_with(|out| frontend::query(out, "COMMIT"));
    is_told_of_the_loss(busy);
    assert_eq!(front.direct.value("SELECT count(*) FROM t"), "0");
    left.run("SELECT 1");
    // Who comes now gets another connection.
    left.run("LISTEN c");
    other.run("NOTIFY c, 'x'");
    assert_eq!(left.hears(), "c:x");
    assert_eq!(front.shown("SHOW LISTENERS", "connects"), ["2"]);
    assert_eq!(front.shown("SHOW LISTENERS", "losses"), ["1"]);
}

#[test]
fn after_a_restart_of_the_server_clients_listen_anew() {
    let mut node = start_primary("notifying");
    let front = Front::before(&node, "postgres", 2, |setup| setup);
    for round in 0..2 {
        let [mut a, mut other] = [(); 2].map(|()| client(&front.app));
        a.run("LISTEN c");
        other.run(&format!("NOTIFY c, '{round}'"));
        assert_eq!(a.hears(), format!("c:{round}"));
        node.stop().unwrap();
        is_told_of_the_loss(a);
        assert!(["57P03", "57P01", "08006"].contains(&other.failure("LISTEN c").as_str()));
        node.start().unwrap();
        other.run("LISTEN c");
        other.run("NOTIFY c, 'again'");
    }
    assert_eq!(front.shown("SHOW LISTENERS", "losses").len(), 1);
}

#[test]
fn listen_fails_when_nobody_can_listen() {
    let name = unique("app");
    let primary = &servers().app.primary;
    let admin = endpoint_of(primary, "postgres");
    let role = unique("ear");
    admin.execute(&format!("CREATE DATABASE {name}; CREATE ROLE {role} LOGIN PASSWORD 'ear'"));
    let user = |name: &str, password: &str| format!("name = {name:?}\npassword = {password:?}");
    let setup =
        Setup::default().weir("listen = \"127.0.0.1:0\"").user(&user(&role, "ear")).user(&user(SUPERUSER, PASSWORD));
    let database = Database::new("app").option("pool_size = 1").nodes("main", primary, &[], &name);
    let weir = Weir::start(&setup.database(database));
    let mut a = client(&weir.endpoint("app"));
    admin.execute(&format!("ALTER ROLE {role} NOLOGIN"));
    assert_eq!(a.failure("LISTEN c"), "57P03");
    a.run("NOTIFY c");
    assert_eq!(a.channels(), [""; 0]);
    // In a block it fails the block, as any error does.
    a.run("BEGIN");
    a.run("CREATE TABLE t ()");
    assert_eq!(status(&a.query("LISTEN c")), 'E');
    assert_eq!(a.failure("SELECT 1"), "25P02");
    a.run("COMMIT");
    assert_eq!(a.value("SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");
    a.send_with(|out| {
        for sql in ["CREATE TABLE t ()", "LISTEN c", "SELECT 1"] {
            frontend::parse(out, b"", &frontend::definition(sql, &[]));
            frontend::bind(out, b"", b"", &[0; 6]);
            frontend::execute(out, b"", 0);
        }
        frontend::sync(out);
    });
    let messages = a.until_ready();
    assert_eq!((sqlstate(&messages).as_deref(), status(&messages)), (Some("57P03"), 'I'), "{messages:?}");
    assert_eq!(a.value("SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");
    // Code that listens unseen: its effect cannot be undone any more, so the session ends.
    let mut hidden = client(&weir.endpoint("app"));
    drop(a);
    hidden.send_with(|out| frontend::query(out, "DO $$BEGIN LISTEN c; END$$"));
    let messages = hidden.until_end();
    assert_eq!(messages.last().unwrap().field(b'C').as_deref(), Some("57P03"), "{messages:?}");
    admin.execute(&format!("ALTER ROLE {role} LOGIN"));
    let mut a = client(&weir.endpoint("app"));
    a.run("LISTEN c");
    assert_eq!(heard(&a.query("NOTIFY c, 'x'")), ["c:x"]);
}

/// More than may wait for a client, and more than sockets hold.
const FLOOD_BYTES: usize = 48 * 1024 * 1024;

fn flood(client: &mut RawClient, bytes: usize) {
    client.run(&format!("SELECT pg_notify('c', n || repeat('x', 7900)) FROM generate_series(1, {}) n", bytes / 7900));
}

#[test]
fn a_client_in_a_long_transaction_is_sent_away_when_too_much_waits() {
    let front = Front::new(2);
    let [mut slow, mut other] = [(); 2].map(|()| client(&front.app));
    slow.run("LISTEN c");
    slow.run("BEGIN");
    slow.run("CREATE TABLE t ()");
    flood(&mut other, 12 * 1024 * 1024);
    eventually("too much waits", || front.shown("SHOW LISTENERS", "clients") == ["0"]);
    slow.run("SELECT 1");
    slow.send_with(|out| frontend::query(out, "COMMIT"));
    let messages = slow.until_end();
    let error = messages.last().unwrap();
    assert_eq!((error.field(b'S'), error.field(b'C')), (Some("FATAL".to_owned()), Some("53400".to_owned())));
    assert_eq!(front.direct.value("SELECT count(*) FROM t"), "0");
    other.run("SELECT 1");
}

#[test]
fn a_client_that_does_not_read_is_sent_away_and_the_others_hear_on() {
    let front = Front::new(2);
    let [mut deaf, mut good, mut other] = [(); 3].map(|()| client(&front.app));
    deaf.run("LISTEN c");
    good.run("LISTEN c");
    let mut count = 0;
    for _ in 0..FLOOD_BYTES / (1024 * 1024) {
        flood(&mut other, 1024 * 1024);
        for _ in 0..1024 * 1024 / 7900 {
            good.hears();
            count += 1;
        }
    }
    assert!(count > 1000);
    eventually("the client that does not read is gone", || front.shown("SHOW CLIENTS", "channels").len() == 2);
    assert_eq!(front.shown("SHOW LISTENERS", "clients"), ["1"]);
    other.run("NOTIFY c, 'after'");
    assert_eq!(good.hears(), "c:after");
    drop(deaf);
}

#[test]
fn payloads_of_every_size_and_encoding() {
    let front = Front::new(1);
    let [mut a, mut other] = [(); 2].map(|()| client(&front.app));
    a.run("LISTEN \"Grüße\"");
    for len in [0, 1, 7999] {
        other.run(&format!("SELECT pg_notify('Grüße', repeat('x', {len}))"));
        assert_eq!(a.hears(), format!("Grüße:{}", "x".repeat(len)));
    }
    assert_eq!(other.failure("SELECT pg_notify('Grüße', repeat('x', 8000))"), "22023");
    assert_eq!(other.failure("SELECT pg_notify('', 'x')"), "22023");
    other.run("NOTIFY \"Grüße\", '→ \"quoted\" ''text'' \\ ✓'");
    assert_eq!(a.hears(), "Grüße:→ \"quoted\" 'text' \\ ✓");
    let long = "n".repeat(63);
    a.run(&format!("LISTEN {long}; LISTEN \"a\"\"b\""));
    other.run(&format!("NOTIFY {long}; NOTIFY \"a\"\"b\""));
    assert_eq!([a.hears(), a.hears()], [format!("{long}:"), "a\"b:".to_owned()]);
    let mut latin = RawClient::connect(front.app.address);
    latin.log_in_with(&front.app.user, &front.app.password, "app", &[("client_encoding", "LATIN1")]);
    latin.run("LISTEN c");
    other.run("NOTIFY c, 'plain'");
    assert_eq!(latin.hears(), "c:plain");
    other.run("NOTIFY c, 'Grüße'");
    let messages = latin.until_end();
    assert_eq!(messages.last().unwrap().field(b'C').as_deref(), Some("0A000"));
}

#[test]
fn in_session_pooling_the_own_server_sends_and_processes_are_known() {
    let front = Front::with_option(3, "pool_mode = \"session\"");
    let [mut a, mut other] = [(); 2].map(|()| client(&front.app));
    a.run("LISTEN c");
    for _ in 0..3 {
        let messages = a.query("NOTIFY c, 'own'");
        let own =
            messages.iter().find(|message| message.tag == tag::NOTIFICATION_RESPONSE).expect("before ReadyForQuery");
        assert_eq!((read(own).process_id, text_of(&read(own))), (a.process_id(), "c:own".to_owned()));
        other.run("NOTIFY c, 'other'");
        let message = a.expect(tag::NOTIFICATION_RESPONSE);
        assert_eq!((read(&message).process_id, text_of(&read(&message))), (other.process_id(), "c:other".to_owned()));
    }
    assert_eq!(front.shown("SHOW LISTENERS", "connects"), ["0"]);
}

#[test]
fn in_statement_pooling_clients_listen_too() {
    let front = Front::with_option(1, "pool_mode = \"statement\"");
    let [mut a, mut b] = [(); 2].map(|()| client(&front.app));
    a.run("LISTEN c");
    b.run("LISTEN c");
    assert_eq!(heard(&a.query("NOTIFY c, 'x'")), ["c:x"]);
    assert_eq!(b.hears(), "c:x");
}

#[test]
fn batches_and_pipelines_listen_and_notify() {
    let front = Front::new(1);
    let [mut a, mut other] = [(); 2].map(|()| client(&front.app));
    let batch = |client: &mut RawClient, texts: &[&str], flush: bool| {
        client.send_with(|out| {
            for text in texts {
                frontend::parse(out, b"", &frontend::definition(text, &[]));
                frontend::bind(out, b"", b"", &[0; 6]);
                frontend::execute(out, b"", 0);
                if flush {
                    frontend::flush(out);
                }
            }
            frontend::sync(out);
        });
    };
    for flush in [false, true] {
        batch(&mut a, &["LISTEN c"], flush);
        assert_eq!(tags(&a.until_ready()), "12CZ");
        batch(&mut a, &["SELECT 1", "NOTIFY c, 'x'"], flush);
        assert_eq!(tags(&a.until_ready()), "12DC12CAZ");
        // Several at once: each is a transaction.
        batch(&mut a, &["NOTIFY c, 'y'"], flush);
        batch(&mut a, &["UNLISTEN c", "NOTIFY c, 'y'"], flush);
        batch(&mut a, &["SELECT 1/0", "LISTEN c"], flush);
        batch(&mut a, &["LISTEN c", "SELECT 1/0"], flush);
        batch(&mut a, &["LISTEN d", "NOTIFY d", "NOTIFY c"], flush);
        assert_eq!(heard(&a.until_ready()), ["c:y"]);
        assert_eq!(heard(&a.until_ready()), [""; 0]);
        assert_eq!(sqlstate(&a.until_ready()).as_deref(), Some("22012"));
        assert_eq!(sqlstate(&a.until_ready()).as_deref(), Some("22012"));
        assert_eq!(heard(&a.until_ready()), ["d:"]);
        assert_eq!(a.channels(), ["d"]);
        other.run("NOTIFY c, 'z'; NOTIFY d, 'z'");
        assert_eq!(a.hears(), "d:z");
        a.run("UNLISTEN *");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_no_server_listening() {
    let front = Front::new(1);
    let mut a = client(&front.app);
    a.run("LISTEN c");
    a.run("BEGIN");
    a.run("LISTEN d");
    drop(a);
    let mut b = client(&front.app);
    b.run("LISTEN d");
    drop(b);
    let mut c = client(&front.app);
    let backend = c.backend();
    assert_eq!(c.channels(), [""; 0]);
    c.run("NOTIFY c; NOTIFY d");
    assert_eq!(c.backend(), backend);
    eventually("nobody listens", || front.shown("SHOW LISTENERS", "clients") == ["0"]);
}

#[test]
fn cancels_do_not_make_listen_uncertain() {
    let front = Front::new(1);
    let mut a = client(&front.app);
    let key = a.cancel_key.clone().unwrap();
    for _ in 0..50 {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut canceler = RawClient::connect(front.app.address);
                canceler.send_with(|out| startup::cancel_request_for_client(out, &key));
                assert_eq!(canceler.next(), None);
            });
            let messages = a.query("LISTEN c");
            let expected = if sqlstate(&messages).is_some() { vec![] } else { vec!["c".to_owned()] };
            let mut channels = a.query("SELECT pg_listening_channels()");
            while sqlstate(&channels).is_some() {
                channels = a.query("SELECT pg_listening_channels()");
            }
            assert_eq!(rows(&channels), expected);
        });
        while sqlstate(&a.query("UNLISTEN c")).is_some() {}
    }
}

#[test]
fn psql_shows_notifications() {
    let front = Front::new(1);
    let run = front.app.psql(["-c", "LISTEN c", "-c", "NOTIFY c, 'x'", "-c", "SELECT 1"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.stdout.contains("Asynchronous notification \"c\" with payload \"x\" received from server process"),
        "{run:?}"
    );
}

/// What the listener's marks lean on: a notification whose commit was acknowledged comes before the answer to anything
/// that was asked afterwards.
#[test]
fn what_was_committed_has_come_when_a_later_statement_is_answered() {
    let front = Front::new(2);
    let (mut a, mut direct) = (client(&front.app), client(&front.direct));
    let over = AtomicBool::new(false);
    a.run("LISTEN c; LISTEN noise");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut noise = client(&front.direct);
            while !over.load(Ordering::Relaxed) {
                noise.run("BEGIN; NOTIFY noise; SELECT pg_sleep(0.0005); COMMIT");
            }
        });
        for round in 0..3000 {
            direct.run(&format!("NOTIFY c, '{round}'"));
            let mut all = heard(&a.query("NOTIFY nobody"));
            all.retain(|text| text != "noise:");
            assert_eq!(all, [format!("c:{round}")]);
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn reads_on_replicas_leave_listening_to_the_primary() {
    let shard = &servers().app;
    let name = unique("app");
    shard.create_database(&name);
    let database = Database::new("app").option("read_write_split = true").option("pool_size = 1");
    let weir = Weir::start(&Setup::new().database(database.shard("main", shard, &name)));
    let [mut a, mut b] = [(); 2].map(|()| client(&weir.endpoint("app")));
    a.run("LISTEN c");
    for round in 0..20 {
        a.value("SELECT 1");
        assert_eq!(a.channels(), ["c"]);
        b.run(&format!("NOTIFY c, '{round}'"));
        assert_eq!(a.hears(), format!("c:{round}"));
        assert_eq!(heard(&a.query("SELECT pg_notify('c', 'own')")), ["c:own"]);
    }
}

#[test]
fn prepared_statements_look_at_the_channels_and_notify() {
    let front = Front::new(1);
    let [mut a, mut other] = [(); 2].map(|()| client(&front.app));
    a.run("LISTEN c");
    a.run("PREPARE channels AS SELECT pg_listening_channels()");
    a.run("PREPARE tell AS SELECT pg_notify('c', 'told')");
    // What code prepares, Weir does not know.
    a.run("DO $$BEGIN EXECUTE 'PREPARE hidden AS SELECT pg_listening_channels()'; END$$");
    a.run("DO $$BEGIN EXECUTE 'PREPARE say AS SELECT pg_notify(''c'', ''said'')'; END$$");
    for sql in ["EXECUTE channels", "EXECUTE hidden", "PREPARE late AS SELECT pg_listening_channels(); EXECUTE late"] {
        assert_eq!(rows(&a.query(sql)), ["c"], "{sql}");
    }
    for (sql, expected) in [("EXECUTE tell", "c:told"), ("EXECUTE say", "c:said")] {
        assert_eq!(heard(&a.query(sql)), [expected], "{sql}");
    }
    a.run("DISCARD ALL");
    assert_eq!(other.channels(), [""; 0]);
}

/// The process id of the next message, which must be that notification.
fn sender_of(client: &mut RawClient, text: &str) -> i32 {
    let message = client.expect(tag::NOTIFICATION_RESPONSE);
    assert_eq!(text_of(&read(&message)), text);
    read(&message).process_id
}

/// Clients know each other by what they were told when they connected.
#[test]
fn others_are_named_by_their_own_process_ids() {
    for (mode, pool_size) in [("transaction", 1), ("session", 3)] {
        let front = Front::with(pool_size, |setup| setup.pool(&format!("pool_mode = \"{mode}\"")));
        let [mut a, mut b, mut c] = [(); 3].map(|()| client(&front.app));
        a.run("LISTEN c");
        for (round, other) in [&mut b, &mut c].into_iter().enumerate() {
            other.run(&format!("NOTIFY c, '{round}'"));
            let sender = sender_of(&mut a, &format!("c:{round}"));
            if round == 0 || mode == "session" {
                assert_eq!(sender, other.process_id(), "{mode}");
            }
            // What was sent from this server up to now has been heard then.
            eventually("the sender is known", || {
                other.run("BEGIN; NOTIFY c, 'again'; COMMIT");
                sender_of(&mut a, "c:again") == other.process_id()
            });
        }
        let mut direct = client(&front.direct);
        direct.run("NOTIFY c, 'direct'");
        assert_eq!(sender_of(&mut a, "c:direct"), direct.process_id(), "a session that Weir does not know");
    }
}

/// Clients that take turns on few servers as fast as they can: nobody is ever named for what another one sent.
#[test]
fn nobody_is_named_for_what_another_client_sent() {
    const SENDERS: usize = 5;
    const SESSIONS: usize = 40;
    const ROUNDS: usize = 5;
    for mode in ["transaction", "session"] {
        let more = |setup: Setup| setup.weir("workers = 2").pool(&format!("pool_mode = \"{mode}\""));
        let front = Front::with(3, more);
        let mut a = client(&front.app);
        a.run("LISTEN c");
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    for _ in 0..SESSIONS {
                        let mut client = client(&front.app);
                        let own = client.process_id();
                        for round in 0..ROUNDS {
                            client.run(&format!("BEGIN; NOTIFY c, '{own}.{round}'; COMMIT"));
                        }
                    }
                });
            }
        });
        let mut known = 0;
        for _ in 0..SENDERS * SESSIONS * ROUNDS {
            let message = a.expect(tag::NOTIFICATION_RESPONSE);
            let (text, sender) = (text_of(&read(&message)), read(&message).process_id);
            let is_named = text.starts_with(&format!("c:{sender}."));
            known += usize::from(is_named);
            // The ids that clients are told are above those of servers.
            assert!(is_named || sender < 1 << 22, "{mode}: {text} from {sender}");
        }
        assert!(known > 0, "{mode}");
    }
}

/// A server sends its notifications whenever it is outside of transactions, whoever asked for that.
#[test]
fn a_notification_that_meets_a_question_of_weirs_reaches_its_client() {
    let front = Front::with_option(2, "pool_mode = \"session\"");
    let [mut a, mut other] = [(); 2].map(|()| client(&front.app));
    a.run("LISTEN c");
    let prepare_and_flush = |client: &mut RawClient, name: &str, sql: &str| {
        client.send_with(|out| {
            frontend::parse(out, name.as_bytes(), &frontend::definition(sql, &[]));
            frontend::describe(out, Target::Statement(name.as_bytes()));
            frontend::flush(out);
        });
    };
    prepare_and_flush(&mut a, "foo", "SELECT 'foo'");
    assert_eq!(tags(&[a.next().unwrap(), a.next().unwrap(), a.next().unwrap()]), "1tT");
    other.run("NOTIFY c, 'meanwhile'");
    prepare_and_flush(&mut a, "s", "EXECUTE foo");
    assert_eq!(a.hears(), "c:meanwhile");
    a.send_with(|out| {
        frontend::bind(out, b"", b"s", &[0; 6]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    assert_eq!(rows(&a.until_ready()), ["foo"]);
}
