//! The command line: one module per command.

mod catalog;
mod check;
pub mod cluster;
mod demo;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::types::Error;

/// A sharded database router and connection-pooling proxy for PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients as the configuration says
    Serve(serve::ServeArgs),
    /// Name every mistake in a configuration and its shard maps
    Check(check::CheckArgs),
    /// Write the catalog as text, or make such a text the catalog
    Catalog(catalog::CatalogArgs),
    /// Start a sharded shop on this machine: PostgreSQL servers, replicas, data, and Weir in front
    Demo(demo::DemoArgs),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Catalog(arguments) => catalog::run(arguments),
        Command::Demo(arguments) => demo::run(arguments).map_or_else(|error| report(&error), |()| ExitCode::SUCCESS),
    }
}

/// Tells an error on stderr and gives the exit code of failure. The reason stands on the last line.
fn report(error: &Error) -> ExitCode {
    let detail = error.detail.as_deref().unwrap_or_default();
    let (block, line) = if detail.contains('\n') { (detail, "") } else { ("", detail) };
    if !block.is_empty() {
        eprintln!("{block}");
    }
    if let Some(hint) = &error.hint {
        eprintln!("hint: {hint}");
    }
    let separator = if line.is_empty() { "" } else { ": " };
    eprintln!("weir: {}{separator}{line}", error.message);
    ExitCode::FAILURE
}
