//! Weir's program. The commands are in `weir::cli`, one module each.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::cli::run()
}
