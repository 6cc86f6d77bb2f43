//! Large rows and slow peers: what is not read is not kept.

use std::io::Write;
use std::thread;

use weir::wire::backend::tag;
use weir::wire::frontend;

use super::Front;

/// What Weir may use more than before while it streams; the buffers' limits come to well below that.
pub const MORE_MAX_KIB: usize = 64 * 1024;

/// Resident memory of Weir, in KiB.
pub fn resident_kib(front: &Front) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", front.weir.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_large_result_streams_to_a_slow_reader() {
    let front = Front::new(2);
    let mut slow = front.app.raw();
    let before = resident_kib(&front);
    slow.send_with(|out| frontend::query(out, "SELECT repeat('x', 1000) FROM generate_series(1, 300000)"));
    slow.expect(tag::ROW_DESCRIPTION);
    // The server waits for its reader, who waits; another client is served meanwhile.
    front.await_sessions("wait_event = 'ClientWrite'", 1);
    assert_eq!(front.app.value("SELECT 'others go on'"), "others go on");
    let (mut rows, mut most) = (0, 0);
    while slow.next().unwrap().tag != tag::READY_FOR_QUERY {
        rows += 1;
        if rows % 10_000 == 0 {
            most = most.max(resident_kib(&front));
        }
    }
    assert_eq!(rows, 300_001, "rows and CommandComplete");
    assert!(most < before + MORE_MAX_KIB, "{before} KiB before, {most} KiB at most");
}

#[test]
fn a_row_larger_than_all_buffers_passes_in_parts() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let before = resident_kib(&front);
    client.send_with(|out| frontend::query(out, "SELECT repeat('x', 200000000)"));
    client.expect(tag::ROW_DESCRIPTION);
    front.await_sessions("wait_event = 'ClientWrite'", 1);
    let waiting = resident_kib(&front);
    assert_eq!(client.expect(tag::DATA_ROW).body.len(), 200_000_000 + 6);
    client.until_ready();
    assert!(waiting < before + MORE_MAX_KIB, "{before} KiB before, {waiting} KiB");
}

#[test]
fn a_large_copy_streams_in() {
    let front = Front::new(1);
    front.direct.execute("CREATE UNLOGGED TABLE t (s text); ALTER TABLE t ALTER s SET STORAGE PLAIN");
    let mut client = front.app.raw();
    let before = resident_kib(&front);
    client.send_with(|out| frontend::query(out, "COPY t FROM STDIN WHERE length(s) < 10"));
    client.expect(tag::COPY_IN_RESPONSE);
    let mut message = bytes::BytesMut::new();
    frontend::message(&mut message, tag::COPY_DATA, |body| {
        (0..64).for_each(|_| body.extend_from_slice(&[[b'x'; 15_999].as_slice(), b"\n"].concat()));
    });
    let mut most = 0;
    for _ in 0..300 {
        client.send(&message);
        most = most.max(resident_kib(&front));
    }
    client.send_with(|out| frontend::message(out, frontend::tag::COPY_DONE, |_| {}));
    assert_eq!(super::tags(&client.until_ready()), "CZ");
    assert!(most < before + MORE_MAX_KIB, "{before} KiB before, {most} KiB at most");
}

#[test]
fn large_texts_and_parameters_pass_and_are_not_kept() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let before = resident_kib(&front);
    let text = "x".repeat(50_000_000);
    assert_eq!(client.value(&format!("SELECT length('{text}')")), "50000000");
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition("SELECT length($1::text)", &[]));
        let mut arguments = vec![0, 0, 0, 1];
        arguments.extend_from_slice(&50_000_000_u32.to_be_bytes());
        arguments.extend_from_slice(text.as_bytes());
        arguments.extend_from_slice(&[0, 0]);
        frontend::bind(out, b"", b"", &arguments);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    assert_eq!(super::rows(&client.until_ready()), ["50000000"]);
    assert_eq!(client.value("SELECT 1"), "1");
    let after = resident_kib(&front);
    assert!(after < before + MORE_MAX_KIB, "{before} KiB before, {after} KiB after");
}

#[test]
fn a_client_that_sends_ahead_is_read_only_as_far_as_needed() {
    const QUERIES: usize = 40_000;
    let front = Front::new(2);
    front.direct.execute("CREATE TABLE gate ()");
    let mut gatekeeper = front.direct.raw();
    gatekeeper.run("BEGIN; LOCK TABLE gate");
    let mut client = front.app.raw();
    let before = resident_kib(&front);
    client.send_with(|out| frontend::query(out, "SELECT * FROM gate"));
    front.await_sessions("wait_event_type = 'Lock'", 1);
    let mut ahead = bytes::BytesMut::new();
    frontend::query(&mut ahead, &format!("SELECT 1 -- {}", "x".repeat(1_000)));
    let mut sender = client.sender();
    thread::scope(|scope| {
        // 40 MB that nobody reads yet: the writer gets stuck when the sockets' buffers are full.
        let writer = scope.spawn(move || (0..QUERIES).for_each(|_| sender.write_all(&ahead).unwrap()));
        (0..20).for_each(|_| front.app.raw().run("SELECT 1"));
        let meanwhile = resident_kib(&front);
        assert!(!writer.is_finished());
        assert!(meanwhile < before + MORE_MAX_KIB / 4, "{before} KiB before, {meanwhile} KiB");
        gatekeeper.run("ROLLBACK");
        assert_eq!(super::tags(&client.until_ready()), "TCZ");
        (0..QUERIES).for_each(|_| assert_eq!(super::rows(&client.until_ready()), ["1"]));
    });
}
