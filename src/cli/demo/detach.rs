//! A demo in the background: the same program again in a session of its own, watched until everything answers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::place::Place;
use super::{StartArgs, failure};
use crate::types::Result;

/// Holds what the demo in the background prints.
const LOG_FILE: &str = "demo.log";
/// Between two looks at the demo.
const GLANCE: Duration = Duration::from_millis(50);

/// Starts the demo in the background. Returns when everything answers, or with the reason why not.
pub fn run(arguments: &StartArgs) -> Result<()> {
    let place = Place::new(&arguments.place.dir)?;
    // Whether the directory may be used is found out here, in front of the user.
    drop(place.lock()?);
    let log_path = place.path(LOG_FILE);
    let unable = |error: io::Error| failure("could not start the demo in the background").source(error);
    let log = File::create(&log_path).map_err(unable)?;
    let mut demo = spawn(arguments, log).map_err(unable)?;
    let mut shown = 0;
    loop {
        let ready = place.is_ready(demo.id());
        let ended = demo.try_wait().map_err(unable)?;
        let printed = fs::read_to_string(&log_path).unwrap_or_default();
        let (news, reason) = news(printed.get(shown..).unwrap_or_default(), ended.is_some());
        // A terminal that has gone away does not keep the demo from starting.
        let _ = io::stdout().write_all(news.as_bytes());
        shown += news.len();
        match ended {
            _ if ready => return Ok(()),
            Some(_) => return Err(failure(reason.trim().trim_start_matches("weir: ").to_owned())),
            None => std::thread::sleep(GLANCE),
        }
    }
}

/// Whole lines, and what follows them; of a demo that has ended, the last line is the reason.
fn news(text: &str, ended: bool) -> (&str, &str) {
    let lines = if ended { text.trim_end() } else { text };
    text.split_at(lines.rfind('\n').map_or(0, |end| end + 1))
}

fn spawn(arguments: &StartArgs, log: File) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("demo").arg("--dir").arg(&arguments.place.dir);
    command.arg(format!("--port={}", arguments.port));
    command.arg(format!("--shards={}", arguments.shards)).arg(format!("--replicas={}", arguments.replicas));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: setsid is a plain system call, allowed between fork and exec.
    unsafe { command.pre_exec(|| if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }) };
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_an_ended_demo_is_its_reason() {
        assert_eq!(news("one\ntwo\nthr", false), ("one\ntwo\n", "thr"));
        assert_eq!(news("one\nhint: x\nweir: y\n", true), ("one\nhint: x\n", "weir: y\n"));
        assert_eq!(news("weir: y\n", true), ("", "weir: y\n"));
        assert_eq!(news("", true), ("", ""));
    }
}
