//! Several Weirs behind one address: a cancel finds the one that has its client.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

use weir::cli::cluster::free_port;
use weir::wire::backend::ClientKey;
use weir::wire::frontend;

use super::cancel::{SLEEP, SLEEPING, cancel, key};
use super::{Front, eventually, sqlstate};
use crate::harness::{Endpoint, RawClient};

/// Where a peer's id stands in a process id.
const PEER_SHIFT: u32 = 23;

/// A Weir of that number in front of the database that `front` has, too. `peers` are `(id, port)`.
fn peer(id: u8, port: u16, peers: &[(u8, u16)]) -> Front {
    Front::with(2, |setup| {
        let setup = setup.weir(&format!("peer_id = {id}")).listening_on(port);
        peers.iter().fold(setup, |setup, (id, port)| setup.peer(*id, SocketAddr::from(([127, 0, 0, 1], *port))))
    })
}

/// Two Weirs that know each other.
fn pair() -> [Front; 2] {
    let ports = [free_port().unwrap(), free_port().unwrap()];
    let peers = [(1, ports[0]), (2, ports[1])];
    peers.map(|(id, port)| peer(id, port, &peers))
}

fn sleeping(front: &Front) -> RawClient {
    let mut client = front.app.raw();
    client.send_with(|out| frontend::query(out, SLEEP));
    front.await_sessions(SLEEPING, 1);
    client
}

#[test]
fn a_cancel_that_reaches_another_weir_is_forwarded() {
    let fleet = pair();
    for (own, other) in [(0, 1), (1, 0)] {
        let mut client = sleeping(&fleet[own]);
        let mut bystander = sleeping(&fleet[other]);
        cancel(&fleet[other].app, &key(&client));
        assert_eq!(sqlstate(&client.until_ready()).as_deref(), Some("57014"));
        assert_eq!(fleet[other].sessions(SLEEPING), 1);
        cancel(&fleet[other].app, &key(&bystander));
        assert_eq!(sqlstate(&bystander.until_ready()).as_deref(), Some("57014"));
    }
}

#[test]
fn a_forwarded_cancel_needs_the_right_key() {
    let fleet = pair();
    let mut client = sleeping(&fleet[0]);
    let right = key(&client);
    let mut secret = right.secret.clone();
    secret[0] ^= 1;
    cancel(&fleet[1].app, &ClientKey { secret, ..right.clone() });
    assert_eq!(fleet[0].sessions(SLEEPING), 1);
    cancel(&fleet[1].app, &right);
    assert_eq!(sqlstate(&client.until_ready()).as_deref(), Some("57014"));
}

#[test]
fn a_cancel_for_nobody_is_dropped() {
    let lost = 9;
    let (own, gone) = (free_port().unwrap(), free_port().unwrap());
    // Peer 2 is wrongly said to be where this Weir is; nobody listens for peer 3.
    let front = peer(1, own, &[(1, own), (2, own), (3, gone)]);
    let mut client = sleeping(&front);
    for peer in [2, 3, lost] {
        cancel(&front.app, &ClientKey { process_id: peer << PEER_SHIFT | 1, secret: (*b"abcd").into() });
    }
    assert_eq!(front.sessions(SLEEPING), 1);
    let said = |text: &str| front.weir.log().matches(text).count();
    eventually("the log says what is wrong", || {
        said("was forwarded to this Weir") == 1 && said("does not name") == 1 && said("did not reach the peer") == 1
    });
    cancel(&front.app, &key(&client));
    assert_eq!(sqlstate(&client.until_ready()).as_deref(), Some("57014"));
}

/// A load balancer: gives connections to the Weirs in turn. Ends with the test's process.
fn balance(targets: [SocketAddr; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (client, target) in listener.incoming().zip(targets.into_iter().cycle()) {
            let (client, server) = (client.unwrap(), TcpStream::connect(target).unwrap());
            let (back, forth) = ((server.try_clone().unwrap(), client.try_clone().unwrap()), (client, server));
            for (mut from, mut to) in [back, forth] {
                thread::spawn(move || {
                    let _cut = io::copy(&mut from, &mut to);
                    let _closed = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    address
}

#[test]
fn ctrl_c_works_behind_a_load_balancer() {
    let fleet = pair();
    let address = balance([fleet[0].app.address, fleet[1].app.address]);
    let mut command = Endpoint { address, ..fleet[0].app.clone() }.command("psql");
    command.args(["-X", "-c", SLEEP]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let psql = command.spawn().unwrap();
    fleet[0].await_sessions(SLEEPING, 1);
    // SAFETY: a signal to a process that this test started and has not waited for.
    unsafe { libc::kill(libc::pid_t::try_from(psql.id()).unwrap(), libc::SIGINT) };
    let output = psql.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("canceling statement due to user request"), "{stderr}");
}
