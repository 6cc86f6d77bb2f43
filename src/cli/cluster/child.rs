//! A child process that ends with its parent, also when the parent is killed.
//!
//! Linux sends the parent-death signal when the *thread* that forked the child ends. So each child is forked by a
//! thread of its own, which then does nothing but wait for it: while the child runs, that thread lives.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long a child may take to end after its farewell signal, before SIGKILL.
const FAREWELL_MAX: Duration = Duration::from_secs(10);

/// A running or ended child process. Dropping it ends the process and waits for that.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    /// What ends it on drop.
    farewell: libc::c_int,
    life: Arc<Life>,
}

/// The signals that end a child.
#[derive(Clone, Copy, Debug)]
pub struct Endings {
    /// When its [`Child`] is dropped.
    pub dropped: libc::c_int,
    /// From the kernel, when this process dies first.
    pub orphaned: libc::c_int,
}

/// `None` while the process runs. It is reaped under the lock, so a signal never meets a stranger with a reused pid.
#[derive(Debug, Default)]
struct Life {
    status: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

impl Child {
    /// Starts `command`.
    ///
    /// The child gets a process group of its own, so that Ctrl-C on a terminal reaches only its parent, who knows the
    /// right order of ending things.
    pub fn spawn(mut command: Command, endings: Endings) -> io::Result<Self> {
        command.process_group(0);
        die_with_parent(&mut command, endings.orphaned);
        let (report, started) = mpsc::sync_channel(1);
        thread::Builder::new().name("child".to_owned()).spawn(move || keep(command, &report))?;
        let (pid, life) = started.recv().map_err(io::Error::other)??;
        Ok(Self { pid, farewell: endings.dropped, life })
    }

    /// The process id. It may be reused once the process has ended.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Sends a signal. Nothing happens when the process has ended.
    pub fn signal(&self, signal: libc::c_int) {
        let status = self.life.lock();
        if status.is_none() {
            send(self.pid, signal);
        }
    }

    /// Sends a signal to the process and to its children of this moment.
    ///
    /// The process is stopped first, so that it cannot fork while its children are listed. Gives the children.
    pub fn signal_family(&self, signal: libc::c_int) -> Vec<libc::pid_t> {
        let status = self.life.lock();
        if status.is_some() {
            return Vec::new();
        }
        send(self.pid, libc::SIGSTOP);
        let family = children(self.pid);
        family.iter().for_each(|child| send(*child, signal));
        send(self.pid, signal);
        family
    }

    /// The exit status, or `None` while the process runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.life.lock()
    }

    /// Waits for the end of the process for `limit` at most; `None` when it still runs.
    pub fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let running = |status: &mut Option<ExitStatus>| status.is_none();
        let waited = self.life.ended.wait_timeout_while(self.life.lock(), limit, running);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(self.farewell);
        self.signal(libc::SIGCONT);
        if self.wait(FAREWELL_MAX).is_none() {
            self.signal_family(libc::SIGKILL);
            self.wait(FAREWELL_MAX);
        }
    }
}

impl Life {
    fn lock(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a child's thread: forks it, says so, waits for its end.
fn keep(mut command: Command, report: &mpsc::SyncSender<io::Result<(libc::pid_t, Arc<Life>)>>) {
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(error) => return drop(report.send(Err(error))),
    };
    let pid = process.id().cast_signed();
    let life = Arc::new(Life::default());
    // Nobody listens only if the spawning thread died; then there is nothing to tell.
    let _ = report.send(Ok((pid, Arc::clone(&life))));
    wait_unreaped(pid);
    let mut status = life.lock();
    *status = process.wait().ok();
    life.ended.notify_all();
}

/// Waits until the process has ended, and leaves its pid taken.
fn wait_unreaped(pid: libc::pid_t) {
    loop {
        // SAFETY: a zeroed siginfo_t is a valid value of that plain C struct, and waitid only writes into it.
        let outcome = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, pid.cast_unsigned(), &raw mut info, libc::WEXITED | libc::WNOWAIT)
        };
        if outcome == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Has the kernel send `signal` to the command's process when this process dies.
fn die_with_parent(command: &mut Command, signal: libc::c_int) {
    let parent = std::process::id().cast_signed();
    let arm = move || {
        // SAFETY: both are plain system calls, allowed between fork and exec.
        let (armed, orphaned) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, signal), libc::getppid() != parent) };
        match armed {
            0 if !orphaned => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    };
    // A change of user clears the signal; the standard library runs this hook after it has changed the user.
    // SAFETY: the hook allocates nothing and takes no lock.
    unsafe { command.pre_exec(arm) };
}

/// The direct children of a process; none when the kernel does not tell.
fn children(pid: libc::pid_t) -> Vec<libc::pid_t> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Waits until processes that were killed have let go of what they had, for `limit` at most.
pub fn await_ends(killed: &[libc::pid_t], limit: Duration) {
    let began = Instant::now();
    let runs = |pid: &libc::pid_t| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state stands behind the command's name in parentheses. A zombie has nothing any more.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    while killed.iter().any(runs) && began.elapsed() < limit {
        thread::sleep(Duration::from_millis(1));
    }
}

fn send(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: a plain system call; the caller knows that the pid is not reaped.
    unsafe { libc::kill(pid, signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDINGS: Endings = Endings { dropped: libc::SIGTERM, orphaned: libc::SIGKILL };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn an_ended_child_tells_its_status() {
        let child = Child::spawn(shell("exit 7"), ENDINGS).unwrap();
        assert_eq!(child.wait(Duration::from_secs(10)).unwrap().code(), Some(7));
        child.signal(libc::SIGTERM);
        assert_eq!(child.ended().unwrap().code(), Some(7));
    }

    #[test]
    fn a_running_child_has_no_status_and_dies_on_drop() {
        let child = Child::spawn(shell("exec sleep 600"), ENDINGS).unwrap();
        assert_eq!(child.wait(Duration::from_millis(10)), None);
        let pid = child.pid();
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert!(Child::spawn(Command::new("/nonexistent/program"), ENDINGS).is_err());
    }
}
