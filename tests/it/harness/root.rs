//! The one directory under which everything of a test run lives, and the guardian that removes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Waits until the test process is gone, however it ended, then ends what still works in the directory and removes it.
/// The kernel has told the servers to quit by then; this is for those that are paused, or slow.
const GUARDIAN: &str = r#"
trap '' HUP INT QUIT TERM
cat
while [ -e "$1" ]; do
    for cwd in /proc/[0-9]*/cwd; do
        case $(readlink "$cwd") in "$1"/*) pid=${cwd#/proc/}; kill -KILL "${pid%/cwd}";; esac
    done
    rm -rf "$1" || sleep 0.1
done
"#;

struct Root {
    path: PathBuf,
    /// Its standard input is the pipe whose end it waits for.
    _guardian: Child,
}

static ROOT: LazyLock<Root> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("weir-test-{}", std::process::id()));
    let guardian = start_guardian(&path);
    fs::create_dir_all(&path).expect("the test root can be made");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the test root is ours");
    Root { path, _guardian: guardian }
});

/// The directory of this test process.
pub fn root() -> &'static Path {
    &ROOT.path
}

/// A name that no other test of this process has: `stem` and a number.
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{stem}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A path under the root that does not exist yet.
pub fn fresh_dir(stem: &str) -> PathBuf {
    root().join(unique(stem))
}

/// The processes whose working directory is under `root`.
pub fn users_of(root: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let uses =
        |process: &fs::DirEntry| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(root));
    processes.filter(uses).map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}

fn start_guardian(path: &Path) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", GUARDIAN, "guardian"]).arg(path);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().expect("sh is there")
}
