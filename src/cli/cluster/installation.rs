//! Finding PostgreSQL's programs, and the account that may run them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::failure;
use crate::types::{Error, Kind, Origin, Result};

/// Names a directory of PostgreSQL programs, before all other places.
const BIN_VARIABLE: &str = "WEIR_PG_BIN";
/// Where Debian and Ubuntu keep one directory per major version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";
/// Who runs the servers when Weir is root (PostgreSQL refuses to be): the first of these that exists.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// PostgreSQL's programs and the account under which they run.
#[derive(Clone, Debug)]
pub struct Installation {
    bin: PathBuf,
    /// `None`: the account of this process.
    account: Option<Account>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Installation {
    /// Looks in `$WEIR_PG_BIN`, then takes the newest version under `/usr/lib/postgresql`, then looks in `$PATH`.
    pub fn find() -> Result<Self> {
        let bin = find_bin().ok_or_else(|| {
            Error::new(Origin::Weir, Kind::UnknownObject, "PostgreSQL's server programs were not found")
                .detail(format!("No initdb in ${BIN_VARIABLE}, under {DEBIAN_ROOT}, or in $PATH."))
                .hint("On Debian or Ubuntu, `make setup` installs them.")
        })?;
        Ok(Self { bin, account: unprivileged_account()? })
    }

    /// A command for one of PostgreSQL's programs, under the right account, without input.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        self.demote(&mut command);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a program to its end; its error output becomes the error's detail.
    pub fn run(&self, program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
        finish(program, self.command(program).args(arguments))
    }

    /// Copies a data directory that no server uses.
    pub fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let mut command = Command::new("cp");
        self.demote(&mut command);
        finish("cp", command.args(["-a", "--reflink=auto"]).arg(from).arg(to))
    }

    /// Creates a directory (and those above it) that the servers' account owns.
    pub fn create_dir(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path)
            .and_then(|()| self.give(path))
            .map_err(|error| failure(format!("could not create directory {}", path.display()), error))
    }

    /// Writes a small file that the servers' account owns.
    pub fn write(&self, path: &Path, text: &str) -> Result<()> {
        fs::write(path, text)
            .and_then(|()| self.give(path))
            .map_err(|error| failure(format!("could not write {}", path.display()), error))
    }

    fn give(&self, path: &Path) -> std::io::Result<()> {
        self.account.map_or(Ok(()), |account| chown(path, Some(account.uid), Some(account.gid)))
    }

    fn demote(&self, command: &mut Command) {
        if let Some(account) = self.account {
            // The standard library also drops the supplementary groups of root.
            command.uid(account.uid).gid(account.gid);
        }
        // The working directory of root is often closed to others, and PostgreSQL's programs want one that they may enter.
        command.current_dir("/");
    }
}

fn finish(program: &str, command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|error| failure(format!("could not run {program}"), error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failure(format!("{program} failed"), String::from_utf8_lossy(&output.stderr).trim()))
}

fn find_bin() -> Option<PathBuf> {
    let named = std::env::var_os(BIN_VARIABLE).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = named.into_iter().chain(debian_bins()).chain(std::env::split_paths(&path));
    candidates.into_iter().find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

/// The `bin` directories of Debian's layout, newest version first.
fn debian_bins() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_ROOT)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

fn unprivileged_account() -> Result<Option<Account>> {
    // SAFETY: a plain system call that cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").map_err(|error| failure("could not read /etc/passwd", error))?;
    let found = UNPRIVILEGED.iter().find_map(|name| account_named(&passwd, name));
    found.map(Some).ok_or_else(|| failure("no account to run PostgreSQL", "root may not, and there is no other"))
}

/// Finds an account in the text of `/etc/passwd` (`name:password:uid:gid:...`).
fn account_named(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        Some(Account { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_passwd() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\npostgres2:x:1:1::/:/bin/sh\npostgres:x:105:113:PostgreSQL,,,:/:/bin/sh\n";
        assert_eq!(account_named(passwd, "postgres"), Some(Account { uid: 105, gid: 113 }));
        assert_eq!(account_named(passwd, "nobody"), None);
    }
}
