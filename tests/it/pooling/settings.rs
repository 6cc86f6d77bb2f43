//! What a client asks for in its StartupMessage follows it over servers.

use weir::cli::cluster::{PASSWORD, SUPERUSER};
use weir::wire::backend::tag;

use super::{Front, rows};
use crate::harness::RawClient;

fn log_in(front: &Front, parameters: &[(&str, &str)]) -> (RawClient, Vec<(String, String)>) {
    let mut client = RawClient::connect(front.app.address);
    let reported = client.log_in_with(SUPERUSER, PASSWORD, "app", parameters);
    (client, reported)
}

#[test]
fn two_clients_with_different_settings_share_one_server() {
    let front = Front::new(1);
    let (mut german, _) = log_in(&front, &[("DateStyle", "German"), ("application_name", "it's german")]);
    let (mut iso, _) = log_in(
        &front,
        &[("options", r"-c search_path=a,public --application-name=a\ b --work-mem=7MB -cDateStyle=ISO")],
    );
    let (mut plain, _) = log_in(&front, &[]);
    for _ in 0..3 {
        assert_eq!(german.value("SELECT date '2024-12-31'"), "31.12.2024");
        assert_eq!(german.value("SHOW application_name"), "it's german");
        assert_eq!(german.value("SHOW work_mem"), "4MB");
        assert_eq!(iso.value("SELECT date '2024-12-31'"), "2024-12-31");
        assert_eq!(iso.value("SHOW search_path"), "a,public");
        assert_eq!(iso.value("SHOW work_mem"), "7MB");
        assert_eq!(iso.value("SHOW application_name"), "a b");
        assert_eq!(plain.value("SHOW search_path"), "\"$user\", public");
        assert_eq!(plain.value("SELECT date '2024-12-31'"), "2024-12-31");
    }
    assert_eq!(front.sessions("true"), 1);
}

#[test]
fn a_login_reports_what_a_server_would() {
    let front = Front::new(1);
    for parameters in [&[][..], &[("DateStyle", "SQL, DMY"), ("TimeZone", "Asia/Tokyo"), ("application_name", "x")]] {
        let mut direct = RawClient::connect(front.direct.address);
        let mut wanted = direct.log_in_with(SUPERUSER, PASSWORD, &front.direct.database, parameters);
        // The first login asks a server, the second one is answered from memory.
        for _ in 0..2 {
            let (_, mut reported) = log_in(&front, parameters);
            wanted.sort();
            reported.sort();
            assert_eq!(reported, wanted);
        }
    }
}

#[test]
fn a_setting_that_no_server_accepts_ends_the_login() {
    let front = Front::new(1);
    let cases = [
        ("DateStyle", "nonsense", "22023"),
        ("no_such_setting", "1", "42704"),
        ("options", "-c work_mem=much", "22023"),
        ("options", "--shared-buffers=1MB", "55P02"),
        ("client_encoding", "KLINGON", "22023"),
    ];
    for (name, value, sqlstate) in cases {
        let mut client = RawClient::connect(front.app.address);
        let names = [("user", SUPERUSER), ("database", "app"), (name, value)];
        client.send_with(|out| weir::wire::startup::startup_message(out, names));
        client.authenticate(PASSWORD);
        let error = client.expect(tag::ERROR_RESPONSE);
        assert_eq!(
            [error.field(b'V').as_deref(), error.field(b'C').as_deref()],
            [Some("FATAL"), Some(sqlstate)],
            "{name}"
        );
        assert_eq!(client.until_end(), []);
        assert_eq!(front.app.value("SELECT 1"), "1");
    }
}

#[test]
fn reset_goes_back_to_what_the_client_asked_for() {
    let front = Front::new(1);
    for reset in ["RESET ALL", "DISCARD ALL", "RESET DateStyle"] {
        let (mut german, _) = log_in(&front, &[("DateStyle", "German")]);
        german.run("SET DateStyle = 'SQL, MDY'");
        assert_eq!(german.value("SELECT date '2024-12-31'"), "12/31/2024");
        german.run(reset);
        assert_eq!(german.value("SELECT date '2024-12-31'"), "31.12.2024", "{reset}");
    }
}

/// A driver reads dates as the last ParameterStatus says: after a reset it must be told the truth.
#[test]
fn the_last_report_is_true() {
    let front = Front::new(1);
    for reset in ["RESET ALL", "DISCARD ALL", "RESET DateStyle"] {
        let (mut client, mut reported) = log_in(&front, &[("DateStyle", "German")]);
        let mut messages = client.query("SET DateStyle = 'SQL, MDY'");
        messages.extend(client.query(reset));
        messages.extend(client.query("SHOW DateStyle"));
        let updates = messages.iter().filter(|message| message.tag == tag::PARAMETER_STATUS);
        reported.extend(updates.map(|message| message.parameter()));
        let last = reported.iter().rev().find(|(name, _)| name == "DateStyle").unwrap();
        assert_eq!([&last.1], rows(&messages).iter().collect::<Vec<_>>()[..], "{reset}");
    }
}

#[test]
fn a_custom_setting_of_the_startup_is_unknown_to_others() {
    let front = Front::new(1);
    let question = "SELECT current_setting('app.tenant', true)";
    let (mut tenant, _) = log_in(&front, &[("options", "-c app.tenant=7")]);
    let (mut other, _) = log_in(&front, &[]);
    for _ in 0..3 {
        assert_eq!(tenant.value(question), "7");
        assert_eq!(other.value(question), "-");
    }
}

#[test]
fn an_encoding_follows_its_client() {
    let front = Front::new(2);
    let (mut latin, reported) = log_in(&front, &[("client_encoding", "LATIN1")]);
    assert!(reported.contains(&("client_encoding".to_owned(), "LATIN1".to_owned())));
    let (mut utf8, _) = log_in(&front, &[]);
    for _ in 0..2 {
        latin.send_with(|out| {
            weir::wire::frontend::message(out, b'Q', |body| body.extend_from_slice(b"SELECT '\xe4'\0"));
        });
        let messages = latin.until_ready();
        assert!(messages[1].body.ends_with(b"\xe4"), "{messages:?}");
        assert_eq!(utf8.value("SELECT 'ä'"), "ä");
    }
}
