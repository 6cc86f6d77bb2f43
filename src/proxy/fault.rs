//! Named places at which a test can stop Weir, to kill it or a server just there. There are none in release builds.

/// Waits here for as long as the directory that `WEIR_FAULT_POINTS` names has a file of this name; a file `NAME.reached`
/// says meanwhile that somebody waits.
#[cfg(debug_assertions)]
pub async fn point(name: &str) {
    use std::path::PathBuf;
    use std::time::Duration;

    let Some(directory) = std::env::var_os("WEIR_FAULT_POINTS").map(PathBuf::from) else { return };
    let armed = directory.join(name);
    while armed.exists() {
        // A test that waits for the file in vain says so itself.
        let _told = std::fs::write(directory.join(format!("{name}.reached")), "");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[cfg(not(debug_assertions))]
pub async fn point(_name: &str) {}
