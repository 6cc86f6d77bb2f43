//! The settings of a node, as text for its configuration file.

use std::fmt::Write;
use std::path::Path;

use super::{HOST, PASSWORD, SUPERUSER};

/// The longest path of a Unix socket, without its terminating zero (`sun_path` of unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// Whether commits survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// PostgreSQL's defaults.
    Kept,
    /// No fsync: quick, and safe only against the end of processes.
    Thrown,
}

/// The primary that a standby follows, and its replication slot there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub port: u16,
    pub slot: String,
}

/// The settings that every node shares, of primaries and standbys alike (a standby refuses to start with less).
const COMMON: &str = "\
wal_level = logical
hot_standby = on
max_connections = 300
max_prepared_transactions = 100
max_replication_slots = 20
max_wal_senders = 20
max_worker_processes = 40
max_logical_replication_workers = 20
max_slot_wal_keep_size = 2GB
log_line_prefix = '%m [%p] '
";

/// Everything that one node's file says beyond [`COMMON`].
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    pub port: u16,
    pub socket_dir: &'a Path,
    pub durability: Durability,
    pub upstream: Option<&'a Upstream>,
}

impl Settings<'_> {
    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = COMMON.to_owned();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "listen_addresses = '{HOST}'\nport = {}", self.port);
        let _ = writeln!(text, "unix_socket_directories = {}", quoted(&self.socket_dir()));
        if self.durability == Durability::Thrown {
            text.push_str("fsync = off\nfull_page_writes = off\n");
        }
        if let Some(Upstream { port, slot }) = self.upstream {
            let conninfo = format!("host={HOST} port={port} user={SUPERUSER} password={PASSWORD}");
            let _ = writeln!(text, "primary_conninfo = {}\nprimary_slot_name = {}", quoted(&conninfo), quoted(slot));
        }
        text
    }

    /// Empty, that is no Unix socket, where its path would be too long.
    fn socket_dir(&self) -> String {
        let dir = self.socket_dir.display().to_string();
        let path_len = dir.len() + format!("/.s.PGSQL.{}", self.port).len();
        if path_len <= SOCKET_PATH_MAX { dir } else { String::new() }
    }
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(socket_dir: &str, durability: Durability, upstream: Option<&Upstream>) -> String {
        Settings { port: 25_000, socket_dir: Path::new(socket_dir), durability, upstream }.render()
    }

    #[test]
    fn a_primary_has_no_upstream_and_keeps_its_commits() {
        let text = render("/tmp/it's", Durability::Kept, None);
        assert!(text.contains("unix_socket_directories = '/tmp/it''s'\n"));
        assert!(!text.contains("primary_conninfo") && !text.contains("fsync"));
    }

    #[test]
    fn a_standby_names_its_primary_and_slot() {
        let upstream = Upstream { port: 25_001, slot: "r1".to_owned() };
        let text = render("/tmp", Durability::Thrown, Some(&upstream));
        assert!(text.contains("primary_conninfo = 'host=127.0.0.1 port=25001 user=weir password=weir'\n"));
        assert!(text.contains("primary_slot_name = 'r1'\n") && text.contains("fsync = off\n"));
    }

    #[test]
    fn a_socket_path_that_is_too_long_is_left_out() {
        let longest = "/".to_owned() + &"d".repeat(SOCKET_PATH_MAX - "//.s.PGSQL.25000".len());
        assert!(render(&longest, Durability::Kept, None).contains(&longest));
        assert!(render(&(longest + "d"), Durability::Kept, None).contains("unix_socket_directories = ''\n"));
    }
}
