//! The directory of a demo: its lock, the list of its nodes, and what is remembered between runs.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{failure, progress};
use crate::types::Result;

/// Held while a demo runs, holding its pid; also the mark by which `clean` knows a demo's directory.
const LOCK_FILE: &str = "demo.lock";
/// Holds the pid of a demo in which everything answers.
const READY_FILE: &str = "ready";
/// The list of nodes, written once all of them exist.
const NODES_FILE: &str = "nodes.json";

/// How long a demo may take to stop.
const STOP_MAX: Duration = Duration::from_secs(120);
/// Between two looks at a demo that stops.
const GLANCE: Duration = Duration::from_millis(50);

/// A demo's directory. It need not exist yet.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
}

/// Proof that no other demo runs in the directory, while it is kept.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    ready_file: PathBuf,
}

/// One database of one PostgreSQL server, as `nodes.json` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The database's name in Weir.
    pub database: String,
    pub shard: String,
    pub role: Role,
    pub host: String,
    pub port: u16,
    /// The database's name on the server.
    pub dbname: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Primary,
    Replica,
}

impl Place {
    /// Names the directory; nothing is touched.
    pub fn new(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir).map_err(|error| failure("not a directory's name").source(error))?;
        Ok(Self { dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the directory and takes it for this process.
    pub fn lock(&self) -> Result<Lock> {
        self.make()?;
        let mut file = self.open_lock(true)?;
        if !try_lock(&file)? {
            let message = format!("a demo already runs in {}", self.dir.display());
            return Err(failure(message).hint("`weir demo stop` stops it, and --dir names another directory."));
        }
        let pid = std::process::id();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{pid}"))
            .map_err(self.unwritable())?;
        let ready_file = self.path(READY_FILE);
        remove_if_there(&ready_file).map_err(self.unwritable())?;
        Ok(Lock { _file: file, ready_file })
    }

    /// Says that everything answers.
    pub fn mark_ready(&self) -> Result<()> {
        self.write(READY_FILE, &std::process::id().to_string())
    }

    /// Whether everything answers in the demo of that process.
    pub fn is_ready(&self, pid: u32) -> bool {
        fs::read_to_string(self.path(READY_FILE)).is_ok_and(|text| text == pid.to_string())
    }

    /// Writes a file of the demo.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        let parent = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).map_err(self.unwritable())
    }

    /// Remembers the nodes for the next run, and tells them to whoever wants to know.
    pub fn write_nodes(&self, nodes: &[NodeEntry]) -> Result<()> {
        let text = serde_json::to_string_pretty(nodes).map_err(|error| failure("no JSON").source(error))?;
        self.write(NODES_FILE, &(text + "\n"))
    }

    /// The nodes of the last run; `None` if there was none that got as far as having nodes.
    pub fn read_nodes(&self) -> Result<Option<Vec<NodeEntry>>> {
        let path = self.path(NODES_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failure(format!("could not read {}", path.display())).source(error)),
        };
        let unreadable = |error| {
            let message = format!("{} is not what an earlier demo wrote ({error})", path.display());
            failure(message).hint("`weir demo clean` removes that demo.")
        };
        serde_json::from_str(&text).map(Some).map_err(unreadable)
    }

    /// Stops the demo that runs here, and waits until it has.
    pub fn stop(&self) -> Result<()> {
        let Some(pid) = self.running()? else {
            progress(&format!("none runs in {}", self.dir.display()));
            return Ok(());
        };
        // SAFETY: a plain system call. The lock says that the demo lives, so the pid is its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let deadline = Instant::now() + STOP_MAX;
        while self.running()?.is_some() {
            if Instant::now() > deadline {
                return Err(failure(format!("the demo (process {pid}) does not stop")));
            }
            std::thread::sleep(GLANCE);
        }
        progress("stopped");
        Ok(())
    }

    /// Removes the directory of a demo that does not run.
    pub fn clean(&self) -> Result<()> {
        if self.running()?.is_some() {
            let message = format!("the demo in {} is still running", self.dir.display());
            return Err(failure(message).hint("`weir demo stop` stops it."));
        }
        if !self.path(LOCK_FILE).exists() {
            progress(&format!("there is none in {}", self.dir.display()));
            return Ok(());
        }
        fs::remove_dir_all(&self.dir).map_err(self.unwritable())?;
        progress(&format!("removed {}", self.dir.display()));
        Ok(())
    }

    /// The pid of the demo that runs here.
    fn running(&self) -> Result<Option<libc::pid_t>> {
        if !self.path(LOCK_FILE).exists() {
            return Ok(None);
        }
        let file = self.open_lock(false)?;
        if try_lock(&file)? {
            return Ok(None);
        }
        let text = fs::read_to_string(self.path(LOCK_FILE)).map_err(self.unwritable())?;
        text.trim()
            .parse()
            .map(Some)
            .map_err(|_| failure("a demo is just starting here").hint("Try again in a moment."))
    }

    /// An existing directory must be a demo's, or empty.
    fn make(&self) -> Result<()> {
        let foreign = || fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_some());
        if !self.path(LOCK_FILE).exists() && foreign() {
            let message = format!("{} is not empty and holds no demo", self.dir.display());
            return Err(failure(message).hint("--dir names another directory."));
        }
        // The servers may run under another account, which must get through.
        fs::create_dir_all(&self.dir)
            .and_then(|()| fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o755)))
            .map_err(self.unwritable())
    }

    fn open_lock(&self, create: bool) -> Result<File> {
        let options = File::options().read(true).write(true).create(create).truncate(false).to_owned();
        options.open(self.path(LOCK_FILE)).map_err(self.unwritable())
    }

    fn unwritable(&self) -> impl Fn(io::Error) -> crate::types::Error {
        |error| failure(format!("could not use the directory {}", self.dir.display())).detail(error.to_string())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays names a pid that is gone, and says nothing.
        let _ = remove_if_there(&self.ready_file);
    }
}

/// False when another process has the lock.
fn try_lock(file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(failure("could not lock the demo's directory").source(error)),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(&dir.path().join("demo")).unwrap();
        (dir, place)
    }

    #[test]
    fn one_demo_at_a_time() {
        let (_dir, place) = place();
        assert_eq!(place.running().unwrap(), None);
        let lock = place.lock().unwrap();
        assert_eq!(place.running().unwrap(), Some(std::process::id().cast_signed()));
        assert!(place.lock().unwrap_err().message.contains("already runs"));
        assert!(place.clean().unwrap_err().message.contains("still running"));
        place.mark_ready().unwrap();
        assert!(place.is_ready(std::process::id()) && !place.is_ready(1));
        drop(lock);
        assert_eq!(place.running().unwrap(), None);
        assert!(!place.is_ready(std::process::id()));
        place.clean().unwrap();
        assert!(!place.dir().exists());
    }

    #[test]
    fn a_foreign_directory_is_left_alone() {
        let (_dir, place) = place();
        fs::create_dir_all(place.dir()).unwrap();
        fs::write(place.path("thesis.tex"), "years of work").unwrap();
        assert!(place.lock().unwrap_err().message.contains("holds no demo"));
        place.clean().unwrap();
        assert!(place.path("thesis.tex").exists());
    }

    #[test]
    fn nodes_are_remembered() {
        let (_dir, place) = place();
        assert_eq!(place.read_nodes().unwrap(), None);
        let node = NodeEntry {
            database: "shop".to_owned(),
            shard: "shard0".to_owned(),
            role: Role::Primary,
            host: "127.0.0.1".to_owned(),
            port: 25_000,
            dbname: "shop".to_owned(),
        };
        place.write_nodes(std::slice::from_ref(&node)).unwrap();
        assert!(fs::read_to_string(place.path(NODES_FILE)).unwrap().contains("\"role\": \"primary\""));
        assert_eq!(place.read_nodes().unwrap(), Some(vec![node]));
    }
}
