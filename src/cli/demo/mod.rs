//! `weir demo`: a sharded shop on real PostgreSQL servers, from one command.
//!
//! The demo process owns the servers and Weir as its children; when it ends, however it ends, they end. The data
//! stays in its directory for the next run.

mod detach;
mod front;
mod guide;
mod load;
mod place;
mod servers;
mod shop;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::types::{Error, Kind, Origin, Result};

use front::{Address, Front};
use place::{Lock, Place};
use servers::Shard;

/// How often a running demo looks whether all its servers still run.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// `weir demo [stop|clean|load]`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    start: StartArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Stop the demo that runs in a directory; its data stays
    Stop(PlaceArgs),
    /// Remove a demo's directory with all its data
    Clean(PlaceArgs),
    /// Load the shop through a Weir that was started in another way
    Load(LoadArgs),
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// Where that Weir listens
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long, default_value_t = 6432)]
    port: u16,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// Where the servers keep their data
    #[arg(long, value_name = "DIR", default_value = "/var/tmp/weir-demo")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct StartArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The port of 127.0.0.1 on which Weir listens
    #[arg(long, default_value_t = 6432, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// How many shards the shop has
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    shards: u16,
    /// How many streaming replicas each shard has
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=4))]
    replicas: u16,
    /// Return once everything answers, and keep running in the background
    #[arg(long)]
    detach: bool,
}

/// Runs the command. A demo in the foreground returns after Ctrl-C.
pub fn run(arguments: DemoArgs) -> Result<()> {
    match arguments.action {
        Some(Action::Stop(place)) => Place::new(&place.dir)?.stop(),
        Some(Action::Clean(place)) => Place::new(&place.dir)?.clean(),
        Some(Action::Load(weir)) => block_on(load_into(&Address { host: weir.host, port: weir.port })),
        None if arguments.start.detach => detach::run(&arguments.start),
        None => block_on(run_until_stopped(&arguments.start)),
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| failure("could not start the runtime").source(error))?.block_on(work)
}

async fn load_into(weir: &Address) -> Result<()> {
    front::await_answers(weir, || Ok(())).await?;
    load::load(weir).await
}

async fn run_until_stopped(arguments: &StartArgs) -> Result<()> {
    let mut stop = StopSignals::listen()?;
    let place = Place::new(&arguments.place.dir)?;
    let lock = place.lock()?;
    let demo = Demo::start(&place, arguments, lock)?;
    let outcome = tokio::select! {
        outcome = demo.serve(&place) => outcome,
        () = stop.received() => Ok(()),
    };
    progress("stopping");
    outcome.and(demo.stop())
}

/// Tells what is going on, on a line of its own.
fn progress(what: &str) {
    say(&format!("weir demo: {what}"));
}

/// Prints lines. A terminal that has gone away does not stop the demo; its hangup signal does.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Everything that runs. Fields end in their order when dropped: Weir first.
struct Demo {
    front: Front,
    shards: Vec<Shard>,
    _lock: Lock,
}

impl Demo {
    /// Starts the servers, new ones or those of the last run, and Weir. Blocks while it does.
    fn start(place: &Place, arguments: &StartArgs, lock: Lock) -> Result<Self> {
        front::check_port(arguments.port)?;
        let shards = servers::start(place, usize::from(arguments.shards), usize::from(arguments.replicas))?;
        let nodes = servers::nodes(&shards);
        place.write_nodes(&nodes)?;
        let front = Front::start(place, arguments.port, &nodes)?;
        Ok(Self { front, shards, _lock: lock })
    }

    /// Loads the shop through Weir, says what to try, and watches until something fails.
    async fn serve(&self, place: &Place) -> Result<()> {
        front::await_answers(&self.front.address, || self.front.check()).await?;
        load::load(&self.front.address).await?;
        say(&guide::text(place, &self.front, &self.shards));
        place.mark_ready()?;
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            self.front.check()?;
            servers::check(&self.shards)?;
        }
    }

    /// Stops Weir, then the servers in good order.
    fn stop(self) -> Result<()> {
        drop(self.front);
        servers::stop(self.shards)
    }
}

/// The signals that end a demo: Ctrl-C, a polite kill, and a terminal that goes away.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| failure("could not listen for signals").source(error));
        Ok(Self([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]))
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// An error of the demo itself.
fn failure(message: impl Into<String>) -> Error {
    Error::new(Origin::Weir, Kind::ServerUnavailable, message.into())
}
