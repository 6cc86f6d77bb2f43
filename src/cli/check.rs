//! `weir check`: every mistake in a configuration and its shard maps, and with `--connect` on its servers.

mod servers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::catalog::Catalog;
use crate::config::{self, Config, Mistake};
use crate::types::{Error, Result};

/// What `weir check` is asked to look at.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration, whose shard maps are checked with it
    #[arg(long, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,
    /// Also ask every server whether it is what the configuration says and has what it needs
    #[arg(long)]
    connect: bool,
    /// Check a shard map on its own instead of a configuration; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "connect"])]
    shard_map: Vec<PathBuf>,
}

/// Prints what is wrong on stderr, a line each, and what was checked on stdout. Succeeds when nothing is wrong.
pub fn run(args: CheckArgs) -> ExitCode {
    let outcome = if args.shard_map.is_empty() { check_config(&args) } else { check_shard_maps(&args.shard_map) };
    match outcome {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(found) => {
            found.iter().for_each(|line| eprintln!("{line}"));
            ExitCode::FAILURE
        }
    }
}

fn check_shard_maps(paths: &[PathBuf]) -> Result<String, Vec<String>> {
    let found: Vec<Mistake> = paths
        .iter()
        .filter_map(|path| config::load_shard_map(path, |path| std::fs::read_to_string(path)).err())
        .flatten()
        .collect();
    if found.is_empty() {
        Ok(format!("no mistakes in {}", counted(paths.len(), "shard map")))
    } else {
        Err(lines(&found))
    }
}

fn check_config(args: &CheckArgs) -> Result<String, Vec<String>> {
    let config = config::load(&args.config, |path| std::fs::read_to_string(path)).map_err(|found| lines(&found))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| vec![format!("cannot start: {error}")])?;
    runtime.block_on(async {
        let mut config = config;
        let mut notes = take_stored_maps(&mut config).await.map_err(|error| vec![described(&error)])?;
        let mut nodes = None;
        if args.connect {
            let answers = servers::check(&config).await;
            notes.extend(answers.notes);
            if !answers.wrong.is_empty() {
                notes.iter().for_each(|line| println!("note: {line}"));
                return Err(answers.wrong);
            }
            nodes = Some(answers.nodes);
        }
        notes.iter().for_each(|line| println!("note: {line}"));
        Ok(summary(&args.config, &config, nodes))
    })
}

/// Puts the catalog's maps, where it has some, in the place of the files': the catalog is the truth. Gives where they
/// differ, which is no mistake.
async fn take_stored_maps(config: &mut Config) -> Result<Vec<String>, Error> {
    let Some(catalog) = Catalog::open_configured_existing(&config.general).await? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for database in &mut config.databases {
        let Some(declared) = &database.shard_map else { continue };
        // A map without anything in it comes from no file.
        if !declared.keyspaces().is_empty() || declared.tables().next().is_some() {
            let drift = catalog.drift(&database.name, declared).await?;
            found.extend(drift.into_iter().map(|difference| format!("database {}: {difference}", database.name)));
        }
        if let Some(stored) = catalog.load(&database.name).await? {
            database.shard_map = Some(stored.numbered_by(declared.shards())?);
        }
    }
    Ok(found)
}

fn described(error: &Error) -> String {
    match &error.detail {
        Some(detail) => format!("{error}: {detail}"),
        None => error.to_string(),
    }
}

fn summary(path: &Path, config: &Config, nodes: Option<usize>) -> String {
    let maps = config.databases.iter().filter(|database| database.is_sharded()).count();
    let checked = [
        Some(counted(config.databases.len(), "database")),
        Some(counted(maps, "shard map")),
        Some(counted(config.users.len(), "user")),
        nodes.map(|nodes| counted(nodes, "server")),
    ];
    format!("{}: no mistakes in {}", path.display(), checked.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn lines(mistakes: &[Mistake]) -> Vec<String> {
    mistakes.iter().map(Mistake::to_string).collect()
}
