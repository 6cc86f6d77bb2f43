use std::sync::Arc;

use super::*;
use crate::session::notifiers::{Moment, Notifiers};
use crate::wire::backend::Severity;

/// What came of a server's bytes: what the client saw, and what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    seen: Vec<u8>,
    events: Vec<Event>,
}

/// Feeds the server's bytes in pieces of these lengths, the rest at once.
fn feed(ledger: &mut Ledger, bytes: &[u8], pieces: &[usize]) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let (mut input, mut rest) = (Vec::new(), bytes);
    for len in pieces.iter().copied().chain([usize::MAX]) {
        let (piece, later) = rest.split_at(len.min(rest.len()));
        input.extend_from_slice(piece);
        rest = later;
        let mut out = BytesMut::new();
        let scanned = ledger.scan(&input, &mut out)?;
        match scanned.verbatim {
            Some(range) => {
                assert!(out.is_empty(), "bytes both as they are and copied");
                outcome.seen.extend_from_slice(&input[range]);
            }
            None => outcome.seen.extend_from_slice(&out),
        }
        outcome.events.extend(ledger.take_events());
        input.drain(..scanned.consumed);
    }
    assert!(input.is_empty(), "left over: {input:?}");
    Ok(outcome)
}

fn ledger(entries: &[Entry]) -> Ledger {
    let mut ledger = Ledger::default();
    entries.iter().for_each(|entry| assert!(ledger.enter(entry.clone())));
    ledger
}

/// A server's message of that type, with a body where one is needed.
fn reply(kind: char) -> BytesMut {
    let mut out = BytesMut::new();
    match kind {
        'Z' => backend::ready_for_query(&mut out, TransactionStatus::Idle),
        'F' => backend::ready_for_query(&mut out, TransactionStatus::Failed),
        'E' => backend::error_response(&mut out, Severity::Error, &Error::internal("wrong")),
        'X' => backend::error_response(&mut out, Severity::Fatal, &Error::internal("the end")),
        'S' => backend::parameter_status(&mut out, b"TimeZone", b"UTC"),
        'C' => backend::command_complete(&mut out, "SELECT 1"),
        'D' => backend::data_row(&mut out, [Some(b"some value".as_slice())].into_iter()),
        'd' => backend::message(&mut out, b'd', |body| body.extend_from_slice(b"1\tone\n")),
        kind => backend::bare(&mut out, u8::try_from(kind).unwrap()),
    }
    out
}

fn replies(kinds: &str) -> Vec<u8> {
    kinds.chars().flat_map(reply).collect()
}

fn gives(id: u64) -> Gives {
    Gives { statement: Some(StatementId(id)), name: Some(b"s".as_slice().into()) }
}

fn anonymous(id: u64) -> Gives {
    Gives { statement: Some(StatementId(id)), name: None }
}

fn bind() -> Entry {
    Entry::Bind(StatementId(1))
}

fn describe() -> Entry {
    Entry::Describe(Asker::Client, None)
}

fn own_parameter() -> Event {
    Event::OwnParameter { name: b"TimeZone".to_vec(), value: b"UTC".to_vec() }
}

fn parameter() -> Event {
    Event::Parameter { name: b"TimeZone".to_vec(), value: b"UTC".to_vec() }
}

fn wrong() -> Event {
    Event::OwnError(Bytes::copy_from_slice(&reply('E')[frame::HEADER_LEN..]))
}

fn not_taken() -> Event {
    Event::PrepareError(Bytes::copy_from_slice(&reply('E')[frame::HEADER_LEN..]))
}

/// Entries, the server's replies, what the client sees of them, and the events.
type Case = (Vec<Entry>, &'static str, &'static str, Vec<Event>);

fn cases() -> Vec<Case> {
    use Asker::{Client, Weir};
    use Entry::*;
    let inserted = || Insert(reply('3').freeze());
    let refused = || Refuse(reply('N').freeze());
    let ran = Event::ClientError(Attempt::Ran);
    vec![
        (vec![Query(Client)], "TDDDCZ", "TDDDCZ", vec![]),
        (vec![Query(Client)], "TDCSNATDCIEZ", "TDCSNTDCIEZ", vec![parameter(), ran.clone()]),
        (vec![Query(Client)], "GCZ", "GCZ", vec![]),
        (vec![Query(Client)], "HdddcCZ", "HdddcCZ", vec![]),
        (vec![Query(Client)], "VZ", "VZ", vec![]),
        // Weir's own queries stay hidden, but for the parameters that they set.
        (vec![Query(Weir), Query(Client)], "CTDCSZTDCZ", "TDCZ", vec![own_parameter()]),
        (vec![Query(Weir)], "TDNEZ", "", vec![wrong()]),
        (vec![Step, Step, Query(Client)], "CZCZCZ", "CCCZ", vec![]),
        // Notices between requests.
        (vec![], "NAS", "NS", vec![parameter()]),
        (
            vec![Parse(Client, gives(1)), bind(), describe(), Execute(None), Sync(Client)],
            "12TDDCZ",
            "12TDDCZ",
            vec![Event::Prepared(gives(1))],
        ),
        (vec![describe(), Sync(Client)], "tnZ", "tnZ", vec![]),
        (vec![bind(), Execute(None), bind(), Execute(None), Close(Client), Sync(Client)], "2Ds2I3Z", "2Ds2I3Z", vec![]),
        // Statements that the server has, or gets on the way.
        (vec![ParseElided(gives(1)), bind(), Execute(None), Sync(Client)], "2DCZ", "12DCZ", vec![]),
        (vec![bind(), Execute(None), ParseElided(gives(1)), Sync(Client)], "2DCZ", "2DC1Z", vec![]),
        (
            vec![Evict(StatementId(9)), Parse(Weir, anonymous(1)), bind(), Execute(None), Sync(Client)],
            "312DCZ",
            "2DCZ",
            vec![],
        ),
        (vec![inserted(), bind(), inserted(), inserted(), Sync(Client)], "2Z", "3233Z", vec![]),
        (vec![inserted(), ParseElided(gives(1)), Sync(Client)], "Z", "31Z", vec![]),
        // Errors void what follows, up to Sync.
        (
            vec![Parse(Client, gives(1)), bind(), Execute(None), Sync(Client)],
            "EZ",
            "EZ",
            vec![ran.clone(), Event::NotPrepared(gives(1))],
        ),
        (
            vec![
                bind(),
                Execute(None),
                ParseElided(gives(1)),
                inserted(),
                Parse(Weir, anonymous(2)),
                bind(),
                Sync(Client),
            ],
            "2DEZ",
            "2DEZ",
            vec![
                ran.clone(),
                Event::NotPrepared(anonymous(2)),
                Event::NotPrepared(Gives { statement: None, ..gives(1) }),
            ],
        ),
        // Put in and taken out again, or the other way round: the last one is undone first.
        (
            vec![bind(), Evict(StatementId(1)), Parse(Weir, anonymous(1)), Evict(StatementId(2)), Sync(Client)],
            "EZ",
            "EZ",
            vec![
                ran.clone(),
                Event::NotEvicted(StatementId(2)),
                Event::NotPrepared(anonymous(1)),
                Event::NotEvicted(StatementId(1)),
            ],
        ),
        // A statement that Weir prepares for the client's bind() fails for the client.
        (
            vec![Parse(Weir, anonymous(1)), bind(), Execute(None), Sync(Client)],
            "EZ",
            "EZ",
            vec![not_taken(), Event::NotPrepared(anonymous(1))],
        ),
        (vec![bind(), refused(), Execute(None), Sync(Client)], "2EF", "2NF", vec![ran.clone()]),
        (vec![bind(), Execute(None), GiveUp, Sync(Weir)], "2DCEF", "2DC", vec![]),
        (vec![Sync(Client), Sync(Client), Query(Client)], "ZZCZ", "ZZCZ", vec![]),
        (
            vec![Query(Client)],
            "TDX",
            "TD",
            vec![Event::Fatal(Bytes::copy_from_slice(&reply('X')[frame::HEADER_LEN..]))],
        ),
    ]
}

#[test]
fn the_client_sees_what_it_asked_for_however_the_bytes_are_split() {
    for (entries, server, client, events) in cases() {
        let bytes = replies(server);
        let wanted = Outcome { seen: replies(client), events };
        let one_by_one = vec![1; bytes.len()];
        let cuts = (0..=bytes.len()).map(|at| vec![at]).chain([one_by_one]);
        for pieces in cuts {
            let mut ledger = ledger(&entries);
            let outcome = feed(&mut ledger, &bytes, &pieces).unwrap();
            assert_eq!(outcome, wanted, "{entries:?} answered by {server} in {pieces:?}");
        }
    }
}

#[test]
fn a_ready_for_query_is_kept_back_when_weir_has_a_question_first() {
    for (entries, server, client) in [
        (vec![Entry::Query(Asker::Client)], "TDCZ", "TDC"),
        (vec![bind(), Entry::Execute(None), Entry::Sync(Asker::Client)], "2CZ", "2C"),
        (vec![Entry::Query(Asker::Weir), Entry::Query(Asker::Client)], "CZEF", "E"),
    ] {
        let mut ledger = ledger(&entries);
        ledger.hold_ready(true);
        let outcome = feed(&mut ledger, &replies(server), &[1; 7]).unwrap();
        assert_eq!(outcome.seen, replies(client), "{server}");
        assert_eq!(ledger.take_held_ready(), Some(ledger.status()), "{server}");
        assert_eq!(ledger.take_held_ready(), None, "{server}");
        assert!(ledger.enter(Entry::Query(Asker::Client)));
        assert_eq!(feed(&mut ledger, &replies("CZ"), &[]).unwrap().seen, replies("CZ"), "it is held back once");
    }
}

#[test]
fn several_answers_packed_together() {
    let answered = |case: &Case| !case.1.contains('X');
    let all: Vec<Case> = cases().into_iter().filter(answered).collect();
    let mut ledger = Ledger::default();
    let (mut bytes, mut wanted) = (Vec::new(), Outcome::default());
    for (entries, server, client, events) in all {
        entries.into_iter().for_each(|entry| assert!(ledger.enter(entry)));
        bytes.extend(replies(server));
        wanted.seen.extend(replies(client));
        wanted.events.extend(events);
    }
    assert_eq!(feed(&mut ledger, &bytes, &[]).unwrap(), wanted);
    assert!(ledger.is_settled());
}

#[test]
fn what_is_shown_whole_is_not_copied() {
    let mut ledger = ledger(&[Entry::Query(Asker::Weir), Entry::Query(Asker::Client)]);
    let (own, shown) = (replies("CZ"), replies("TDDCZ"));
    let mut out = BytesMut::new();
    let scanned = ledger.scan(&[own.clone(), shown.clone()].concat(), &mut out).unwrap();
    assert_eq!(scanned.verbatim, Some(own.len()..own.len() + shown.len()));
    assert!(out.is_empty());
}

#[test]
fn a_reply_that_was_not_asked_for_is_an_error() {
    let cases: [(Vec<Entry>, &str); 7] = [
        (vec![], "Z"),
        (vec![], "1"),
        (vec![Entry::Execute(None)], "2"),
        (vec![Entry::Query(Asker::Client)], "3"),
        (vec![bind()], "Z"),
        (vec![Entry::Query(Asker::Client)], "R"),
        (vec![Entry::Query(Asker::Client)], "!"),
    ];
    for (entries, server) in cases {
        let error = feed(&mut ledger(&entries), &replies(server), &[]).unwrap_err();
        assert_eq!(error.kind, Kind::ServerLost, "{entries:?} answered by {server}");
    }
}

#[test]
fn a_row_passes_in_parts() {
    let mut ledger = ledger(&[Entry::Query(Asker::Client)]);
    let row = reply('D');
    let outcome = ledger.scan(&row[..6], &mut BytesMut::new()).unwrap();
    assert_eq!(outcome, Scanned { consumed: 6, verbatim: Some(0..6) });
    assert!(ledger.is_inside_message());
    assert!(!ledger.is_settled());
    feed(&mut ledger, &[&row[6..], &replies("CZ")].concat(), &[]).unwrap();
    assert!(!ledger.is_inside_message());
    assert!(ledger.is_settled());
}

#[test]
fn an_end_behind_an_answer_is_told_apart() {
    let mut ledger = ledger(&[Entry::Query(Asker::Client)]);
    let (answer, end) = (replies("TDCZ"), replies("X"));
    let outcome = ledger.scan(&[answer.clone(), end.clone()].concat(), &mut BytesMut::new()).unwrap();
    assert_eq!(outcome, Scanned { consumed: answer.len(), verbatim: Some(0..answer.len()) });
    assert_eq!((ledger.is_settled(), ledger.take_events()), (true, vec![]));
    let outcome = feed(&mut ledger, &end, &[]).unwrap();
    assert!(matches!(outcome.events.as_slice(), [Event::Fatal(_)]) && outcome.seen.is_empty(), "{outcome:?}");
}

#[test]
fn a_server_is_settled_when_nothing_is_open() {
    let mut ledger = ledger(&[bind(), Entry::Execute(None)]);
    assert!(!ledger.owes_nothing());
    feed(&mut ledger, &replies("2DC"), &[]).unwrap();
    assert_eq!((ledger.owes_nothing(), ledger.is_settled()), (true, false), "Sync is missing");
    assert!(ledger.enter(Entry::Sync(Asker::Client)));
    feed(&mut ledger, &replies("F"), &[]).unwrap();
    assert_eq!((ledger.is_settled(), ledger.status()), (true, TransactionStatus::Failed));
    ledger.begin_own_exchange();
    assert!(!ledger.owes_nothing());
    ledger.end_own_exchange(TransactionStatus::Idle);
    assert_eq!((ledger.is_settled(), ledger.status()), (true, TransactionStatus::Idle));
}

#[test]
fn after_an_error_nothing_is_owed_before_sync() {
    let mut ledger = ledger(&[bind()]);
    feed(&mut ledger, &replies("E"), &[]).unwrap();
    assert!(!ledger.enter(Entry::Execute(None)));
    assert!(!ledger.enter(Entry::Parse(Asker::Client, gives(1))));
    assert!(!ledger.enter(Entry::ParseElided(gives(2))));
    let lost = [gives(1), Gives { statement: None, ..gives(2) }].map(Event::NotPrepared);
    assert_eq!(ledger.take_events(), lost);
    assert!(!ledger.owes_nothing());
    assert!(ledger.enter(Entry::Sync(Asker::Client)));
    feed(&mut ledger, &replies("Z"), &[]).unwrap();
    assert!(ledger.is_settled());
}

/// An ErrorResponse with these fields.
fn error(fields: &[(u8, &str)]) -> BytesMut {
    let mut out = BytesMut::new();
    backend::message(&mut out, tag::ERROR_RESPONSE, |body| {
        for (code, text) in [(b'S', "ERROR"), (b'V', "ERROR"), (b'M', "wrong")].iter().chain(fields) {
            body.extend_from_slice(&[&[*code], text.as_bytes(), &[0]].concat());
        }
        body.extend_from_slice(&[0]);
    });
    out
}

/// What the server sent before an error, the error's fields, and what they say of the attempt.
type Failure<'c> = (&'c str, &'c [(u8, &'c str)], Attempt);

#[test]
fn an_error_about_the_text_says_that_nothing_ran() {
    let cases: [Failure<'_>; 7] = [
        ("", &[(b'C', "42601"), (b'P', "1")], Attempt::Refused),
        ("", &[(b'C', "42P01"), (b'P', "15")], Attempt::Refused),
        ("", &[(b'C', "42P01")], Attempt::Ran),
        ("", &[(b'C', "22012"), (b'P', "1")], Attempt::Ran),
        ("", &[(b'C', "42601"), (b'P', "1"), (b'W', "PL/pgSQL function f()")], Attempt::Ran),
        ("", &[(b'C', "42601"), (b'p', "1"), (b'q', "SELEKT")], Attempt::Ran),
        ("TDC", &[(b'C', "42601"), (b'P', "1")], Attempt::Ran),
    ];
    for (before, fields, wanted) in cases {
        let mut ledger = ledger(&[Entry::Query(Asker::Client)]);
        let outcome = feed(&mut ledger, &[&replies(before)[..], &error(fields)].concat(), &[]).unwrap();
        assert_eq!(outcome.events, [Event::ClientError(wanted)], "{before} {fields:?}");
    }
}

mod descriptions {
    use super::*;
    use crate::session::shape::Shape;
    use crate::session::statements::Described;

    fn look(expected: Option<Shape>) -> Look {
        Look { asker: Asker::Weir, statement: StatementId(1), name: b"s".as_slice().into(), expected }
    }

    fn columns(names: &[&str]) -> BytesMut {
        let mut out = BytesMut::new();
        backend::parameter_description(&mut out, &[23]);
        backend::row_description(
            &mut out,
            &names.iter().map(|name| backend::Column::of_text(name)).collect::<Vec<_>>(),
        );
        out
    }

    /// What a ledger learns from a description.
    fn learned(asker: Asker, expected: Option<Shape>, names: &[&str]) -> Outcome {
        let mut ledger = ledger(&[Entry::Describe(asker, Some(look(expected))), Entry::Sync(Asker::Client)]);
        feed(&mut ledger, &[columns(names), reply('Z')].concat(), &[7]).unwrap()
    }

    #[test]
    fn a_description_is_told_when_it_is_new_or_another() {
        let outcome = learned(Asker::Client, None, &["a"]);
        assert_eq!(outcome.seen, [columns(&["a"]), reply('Z')].concat());
        let [Event::Described(told, described)] = &outcome.events[..] else { panic!("{outcome:?}") };
        assert_eq!((told, &*described.parameter_types), (&look(None), &[23][..]));
        let known = Some(described.shape);
        assert_eq!(learned(Asker::Client, known, &["a"]).events, []);
        let outcome = learned(Asker::Weir, known, &["a", "b"]);
        assert_eq!(outcome.seen, replies("Z"), "Weir's own question stays hidden");
        assert!(matches!(&outcome.events[..], [Event::Described(_, Described { shape, .. })] if Some(*shape) != known));
    }

    #[test]
    fn a_statement_that_the_schema_has_left_behind_is_doubted() {
        let describe = Entry::Describe(Asker::Client, Some(look(None)));
        for (entry, sqlstate, doubted) in [
            (bind(), "0A000", true),
            (bind(), "42703", true),
            (describe, "42P01", true),
            (bind(), "22P02", false),
            (Entry::Execute(None), "42P01", false),
        ] {
            let mut ledger = ledger(std::slice::from_ref(&entry));
            let events = feed(&mut ledger, &error(&[(b'C', sqlstate)]), &[]).unwrap().events;
            assert_eq!(events.contains(&Event::Doubted(StatementId(1))), doubted, "{entry:?} {sqlstate}");
        }
    }
}

#[test]
fn what_a_client_does_not_learn_is_kept_from_it() {
    let gone = error(&[(b'C', "0A000")]);
    let client = [Entry::Sync(Asker::Client)];
    let describe = Entry::Describe(Asker::Client, None);
    let bind_again: [(&[Entry], BytesMut, &str); 2] =
        [(&[bind(), Entry::Execute(None)], gone.clone(), ""), (&[bind(), describe, Entry::Execute(None)], gone, "")];
    for (entries, failure, seen) in bind_again {
        let mut ledger = ledger(&[entries, &client].concat());
        ledger.withhold();
        let bytes = [failure, reply('Z')].concat();
        let outcome = feed(&mut ledger, &bytes, &vec![1; bytes.len()]).unwrap();
        assert_eq!((outcome.seen, ledger.is_settled()), (replies(seen), true));
        assert!(
            outcome.events.contains(&Event::Withheld) && !outcome.events.contains(&Event::ClientError(Attempt::Ran))
        );
    }
    // Another error, or a later one, is told.
    for (server, code) in [("", "22P02"), ("2", "0A000")] {
        let mut ledger = ledger(&[&[bind(), bind(), Entry::Execute(None)][..], &client].concat());
        ledger.withhold();
        let bytes = [&replies(server)[..], &error(&[(b'C', code)]), &reply('Z')].concat();
        assert_eq!(feed(&mut ledger, &bytes, &[]).unwrap().seen, bytes, "{code}");
    }
}

mod copy {
    use super::*;

    /// A COPY from the client whose Sync was sent with it.
    fn begun() -> Ledger {
        let mut ledger = ledger(&[Entry::Execute(None), Entry::Sync(Asker::Client)]);
        let outcome = feed(&mut ledger, &replies("G"), &[]).unwrap();
        assert_eq!(outcome.events, [Event::SyncIgnored]);
        assert_eq!(ledger.copying(), Copying::In);
        ledger
    }

    #[test]
    fn a_copy_that_succeeds_swallows_its_sync() {
        let mut ledger = begun();
        ledger.copy_ended_by_client();
        feed(&mut ledger, &replies("C"), &[]).unwrap();
        assert_eq!((ledger.owes_nothing(), ledger.is_settled()), (true, false));
        assert!(ledger.enter(Entry::Sync(Asker::Client)));
        feed(&mut ledger, &replies("Z"), &[]).unwrap();
        assert!(ledger.is_settled());
    }

    #[test]
    fn a_copy_that_fails_at_a_line_swallows_its_sync() {
        let mut ledger = begun();
        feed(&mut ledger, &error(&[(b'C', "22P02"), (b'W', "COPY t, line 1")]), &[]).unwrap();
        assert!(ledger.enter(Entry::Sync(Asker::Client)));
        feed(&mut ledger, &replies("Z"), &[]).unwrap();
        assert!(ledger.is_settled());
    }

    #[test]
    fn a_copy_that_fails_before_it_reads_does_not() {
        let mut ledger = begun();
        let outcome = feed(&mut ledger, &[error(&[(b'C', "P0001")]), reply('Z')].concat(), &[]).unwrap();
        assert_eq!(outcome.events, [Event::ClientError(Attempt::Ran), Event::SyncCounted]);
        assert!(ledger.is_settled());
    }

    /// Which of two Syncs a ReadyForQuery belongs to cannot be known: another one may follow.
    #[test]
    fn a_server_in_doubt_is_not_settled() {
        let mut ledger = begun();
        feed(&mut ledger, &error(&[(b'C', "P0001")]), &[]).unwrap();
        assert!(ledger.enter(Entry::Sync(Asker::Client)));
        feed(&mut ledger, &replies("Z"), &[]).unwrap();
        assert_eq!((ledger.owes_nothing(), ledger.is_settled()), (true, false));
    }

    #[test]
    fn a_half_sent_message_belongs_to_its_server() {
        let mut ledger = ledger(&[Entry::Query(Asker::Client)]);
        feed(&mut ledger, &replies("G"), &[]).unwrap();
        ledger.begin_copy_data(100);
        ledger.pass_copy_data(60);
        feed(&mut ledger, &replies("EZ"), &[]).unwrap();
        assert_eq!((ledger.owes_nothing(), ledger.takes_copy_data(), ledger.copy_data_left()), (false, true, 40));
        ledger.pass_copy_data(40);
        assert_eq!((ledger.is_settled(), ledger.takes_copy_data()), (true, false));
    }
}

fn notification(process_id: i32) -> BytesMut {
    let mut out = BytesMut::new();
    backend::Notification { process_id, channel: b"c", payload: b"x" }.write(&mut out);
    out
}

#[test]
fn notifications_go_where_the_rule_says() {
    let (own, other, ready) = (notification(7), notification(8), reply('Z'));
    let bytes = [&own[..], &other, &ready].concat();
    for at in 0..bytes.len() {
        let mut ledger = ledger(&[Entry::Query(Asker::Client)]);
        assert_eq!(feed(&mut ledger, &bytes, &[at]).unwrap().seen, &ready[..]);
        assert!(ledger.notifications.take().messages.is_empty());
        let mut ledger = self::ledger(&[Entry::Query(Asker::Weir)]);
        ledger.notifications.keep(Moment::default());
        assert_eq!(feed(&mut ledger, &bytes, &[at]).unwrap().seen, [0; 0]);
        assert_eq!(ledger.notifications.take().messages, [own.clone(), other.clone()]);
        let mut ledger = self::ledger(&[Entry::Query(Asker::Weir)]);
        ledger.notifications.set(Rule::Show { own: 7, told: 70 });
        assert_eq!(feed(&mut ledger, &bytes, &[at]).unwrap().seen, [&notification(70)[..], &other].concat());
    }
}

#[test]
fn others_are_named_as_far_as_they_are_known() {
    let notifiers = Arc::new(Notifiers::default());
    let mut ledger = Ledger::default();
    let (mut server, message) = (notifiers.register(8), notification(8));
    ledger.notifications.show(7, 70, &notifiers);
    server.claim(80);
    assert_eq!(feed(&mut ledger, &message, &[]).unwrap().seen, notification(80));
    server.end();
    server.claim(90);
    assert_eq!(feed(&mut ledger, &message, &[]).unwrap().seen, message, "80's or 90's");
    assert!(ledger.enter(Entry::Query(Asker::Client)));
    assert_eq!(feed(&mut ledger, &message, &[]).unwrap().seen, message, "it may have been committed before");
    feed(&mut ledger, &replies("CF"), &[]).unwrap();
    assert_eq!(feed(&mut ledger, &message, &[]).unwrap().seen, message, "nothing is sent in a transaction");
    assert!(ledger.enter(Entry::Query(Asker::Client)));
    feed(&mut ledger, &replies("CZ"), &[]).unwrap();
    assert_eq!(feed(&mut ledger, &message, &[]).unwrap().seen, notification(90));
}

#[test]
fn no_more_notifications_are_kept_than_there_is_room_for() {
    let mut ledger = Ledger::default();
    ledger.notifications.keep(Moment::default());
    let message = notification(7);
    for _ in 0..=KEPT_BYTES_MAX / message.len() {
        feed(&mut ledger, &message, &[]).unwrap();
    }
    let kept = ledger.notifications.take();
    assert!(kept.overflown && kept.messages.is_empty());
}

mod translated {
    use std::sync::Arc;

    use super::*;
    use crate::session::shape::Shape;
    use crate::wire::oids::{Form, Numbered, Translation, Type};

    const HOME: u32 = 20_000;
    const SHARD: u32 = 30_000;

    fn translation() -> Arc<Translation> {
        let numbered = |first| Numbered {
            types: vec![
                Type { name: "s.mood".into(), oid: first, form: Form::Plain },
                Type { name: "s.mood[]".into(), oid: first + 1, form: Form::Array(first) },
            ],
            relations: Vec::new(),
        };
        Arc::new(Translation::between(&numbered(HOME), &numbered(SHARD), "two").unwrap())
    }

    fn moods(element: u32) -> Vec<u8> {
        [1, 0, element, 1, 1, 2].into_iter().flat_map(u32::to_be_bytes).chain(*b"ok").collect()
    }

    fn row(element: u32) -> BytesMut {
        let mut out = BytesMut::new();
        backend::data_row(&mut out, [Some(b"a".as_slice()), Some(&moods(element))].into_iter());
        out
    }

    fn described(first: u32) -> Vec<u8> {
        let mut out = BytesMut::new();
        backend::parameter_description(&mut out, &[23, first]);
        let column = |type_oid| backend::Column { type_oid, ..backend::Column::of_text("c") };
        backend::row_description(&mut out, &[column(25), column(first + 1)]);
        out.to_vec()
    }

    /// What a client sees of a server that has numbers of its own, however the bytes are split.
    fn seen(entries: &[Entry], bytes: &[u8]) -> Vec<Outcome> {
        let one_by_one = vec![1; bytes.len()];
        let cuts = (0..=bytes.len()).map(|at| vec![at]).chain([one_by_one]);
        let outcome = |pieces: Vec<usize>| {
            let mut ledger = ledger(entries);
            ledger.set_translation(Some(&translation()));
            feed(&mut ledger, bytes, &pieces).unwrap()
        };
        cuts.map(outcome).collect()
    }

    fn numbered_columns() -> Entry {
        Entry::Execute(Some([(1, SHARD + 1)].into()))
    }

    #[test]
    fn rows_that_have_numbers_are_translated_and_others_pass() {
        let bytes = [&replies("2")[..], &row(SHARD), &row(SHARD), &replies("CZ")].concat();
        let translated = [&replies("2")[..], &row(HOME), &row(HOME), &replies("CZ")].concat();
        for (execute, expected) in [(numbered_columns(), &translated), (Entry::Execute(None), &bytes)] {
            for outcome in seen(&[bind(), execute, Entry::Sync(Asker::Client)], &bytes) {
                assert_eq!(outcome.seen, *expected);
            }
        }
    }

    #[test]
    fn descriptions_are_translated_for_the_client_and_for_weir() {
        for asker in [Asker::Client, Asker::Weir] {
            let look = Look { asker, statement: StatementId(1), name: b"s".as_slice().into(), expected: None };
            let entries = [Entry::Describe(asker, Some(look)), Entry::Sync(Asker::Client)];
            for outcome in seen(&entries, &[&described(SHARD)[..], &reply('Z')].concat()) {
                let shown = if asker == Asker::Client { described(HOME) } else { Vec::new() };
                assert_eq!(outcome.seen, [&shown[..], &reply('Z')].concat());
                let [Event::Described(_, told)] = &outcome.events[..] else { panic!("{outcome:?}") };
                assert_eq!((&*told.parameter_types, &*told.column_types), (&[23, HOME][..], &[25, HOME + 1][..]));
                let columns = described(HOME);
                let body = &columns[frame::HEADER_LEN + 10 + frame::HEADER_LEN..];
                assert_eq!(told.shape, Shape::read(&[23, HOME], Some(body)).unwrap());
            }
        }
    }

    #[test]
    fn what_cannot_be_translated_ends_the_server() {
        let strange = described(SHARD + 7);
        let entries = [Entry::Describe(Asker::Client, None), Entry::Sync(Asker::Client)];
        for (entries, bytes) in [
            (&entries[..], &strange[..]),
            (&[bind(), numbered_columns()], &[&replies("2")[..], &row(SHARD + 7)].concat()),
            (&[bind(), numbered_columns()], &replies("2D")),
        ] {
            let mut ledger = ledger(entries);
            ledger.set_translation(Some(&translation()));
            assert!(feed(&mut ledger, bytes, &[]).is_err());
        }
    }

    /// Weir's own questions are read by Weir itself.
    #[test]
    fn own_queries_pass_untranslated() {
        let bytes = [&described(SHARD + 7)[..], &replies("CZ")].concat();
        for outcome in seen(&[Entry::Query(Asker::Weir)], &bytes) {
            assert_eq!(outcome.seen, b"");
        }
    }
}
