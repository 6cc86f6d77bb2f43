//! `weir demo`, as its user meets it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use weir::cli::cluster::free_port;

use crate::harness::{Endpoint, Run, fresh_dir, users_of};

/// Runs `weir demo` to its end.
fn demo(dir: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("demo").args(arguments).arg("--dir").arg(dir);
    Run::of(command.output().unwrap())
}

fn last_line(run: &Run) -> &str {
    run.stderr.lines().last().unwrap_or_default()
}

#[test]
fn a_detached_demo_answers_stops_and_keeps_its_data() {
    let dir = fresh_dir("demo");
    let port = free_port().unwrap();
    let arguments = ["--detach", &format!("--port={port}"), "--replicas=0"];
    let shop = Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)), "shop");
    for first in [true, false] {
        let run = demo(&dir, &arguments);
        assert_eq!(run.status, 0, "{run:?}");
        assert_eq!(run.stdout.contains("loading the shop"), first, "{run:?}");
        assert_eq!(shop.value("SELECT count(*) FROM order_lines"), "99135");
        assert!(last_line(&demo(&dir, &arguments)).contains("a demo already runs"));
        assert_eq!(demo(&dir, &["stop"]).status, 0);
        assert_eq!(users_of(&dir), Vec::<String>::new());
    }
    assert_eq!(demo(&dir, &["clean"]).status, 0);
    assert!(!dir.exists());
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = fresh_dir("thesis");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("thesis.tex"), "years of work").unwrap();
    for arguments in [&[][..], &["--detach"]] {
        let run = demo(&dir, arguments);
        assert_eq!(run.status, 1);
        assert!(last_line(&run).contains("is not empty and holds no demo"), "{run:?}");
    }
    assert_eq!(demo(&dir, &["clean"]).status, 0);
    assert!(dir.join("thesis.tex").exists());
}

#[test]
fn nothing_to_stop_or_clean_is_no_error() {
    let dir = fresh_dir("nothing");
    assert_eq!([demo(&dir, &["stop"]).status, demo(&dir, &["clean"]).status], [0, 0]);
    assert!(!dir.exists());
}

#[test]
fn a_detached_demo_that_cannot_start_says_why_on_its_last_line() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = format!("--port={}", taken.local_addr().unwrap().port());
    let dir = fresh_dir("taken");
    let run = demo(&dir, &["--detach", &port]);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(last_line(&run).starts_with("weir: cannot listen on 127.0.0.1:"), "{run:?}");
    assert_eq!(demo(&dir, &["clean"]).status, 0);
    assert!(!dir.exists());
}

#[test]
fn the_configuration_for_docker_is_one_that_weir_accepts() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The Dockerfile puts the shard maps beside it.
    let read = |path: &Path| {
        let is_map = path.ends_with("shardmaps/shop.toml");
        fs::read_to_string(project.join(if is_map { "shardmaps/shop.toml" } else { "docker/weir.toml" }))
    };
    let config = weir::config::load(Path::new("docker/weir.toml"), read).unwrap();
    assert_eq!(config.database("shop").unwrap().shards.len(), 2);
}
