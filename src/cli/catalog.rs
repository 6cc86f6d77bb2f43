//! `weir catalog`: what the catalog holds as text, and back.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::report;
use crate::catalog::Catalog;
use crate::config::{self, Config};
use crate::types::{Error, Result};

#[derive(Debug, Args)]
pub struct CatalogArgs {
    #[command(subcommand)]
    command: CatalogCommand,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Print every shard map and every undecided transaction as TOML
    Dump {
        /// The configuration, which says where the catalog is
        #[arg(long, value_name = "FILE", default_value = "weir.toml")]
        config: PathBuf,
    },
    /// Make what a dump holds the catalog's. Running Weirs follow at once
    Restore {
        /// The configuration, which says where the catalog is
        #[arg(long, value_name = "FILE", default_value = "weir.toml")]
        config: PathBuf,
        /// A dump
        file: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: CatalogArgs) -> ExitCode {
    let path = match &args.command {
        CatalogCommand::Dump { config } | CatalogCommand::Restore { config, .. } => config,
    };
    let config = match config::load(path, |path| std::fs::read_to_string(path)) {
        Ok(config) => config,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            return ExitCode::FAILURE;
        }
    };
    let done = match &args.command {
        CatalogCommand::Dump { .. } => with_runtime(dump(&config)),
        CatalogCommand::Restore { file, .. } => with_runtime(restore(&config, file)),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => report(&error),
    }
}

fn with_runtime(work: impl Future<Output = Result<String>>) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::internal("the runtime cannot be started").source(error))?.block_on(work)
}

async fn dump(config: &Config) -> Result<String> {
    match Catalog::open_configured_existing(&config.general).await? {
        Some(catalog) => catalog.dump().await,
        None => Err(Error::internal("there is no catalog yet").hint("`weir serve` makes it.")),
    }
}

async fn restore(config: &Config, file: &std::path::Path) -> Result<String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::internal(format!("{} cannot be read", file.display())).detail(error.to_string()))?;
    let restored = Catalog::open_configured(&config.general).await?.restore(&text).await?;
    Ok(restored.iter().map(|database| format!("restored the shard map of {database}\n")).collect())
}
