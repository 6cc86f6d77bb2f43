//! `weir serve`: reads the configuration, proves it, serves, and stops on SIGTERM or Ctrl-C.

use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::Console;
use crate::config::{self, Config};
use crate::http;
use crate::net::listen;
use crate::proxy::console::Operator;
use crate::proxy::{self, Running};
use crate::telemetry::{Inspect, Telemetry};
use crate::types::{Error, Result};

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration file
    #[arg(long, default_value = "weir.toml")]
    config: PathBuf,
}

/// Serves until it is told to stop.
pub fn run(arguments: &ServeArgs) -> ExitCode {
    let config = match config::load(&arguments.config, |path| std::fs::read_to_string(path)) {
        Ok(config) => config,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            eprintln!("weir: {} has {} mistake(s); nothing was started", arguments.config.display(), mistakes.len());
            return ExitCode::FAILURE;
        }
    };
    log_to_stderr(&config);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::report(&error),
    }
}

fn log_to_stderr(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(config.general.log_level.as_str()));
    // A second subscriber in one process changes nothing.
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}

fn serve(config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("the runtime cannot be started").source(error))?;
    let served = runtime.block_on(async {
        let http_address = config.general.http_listen;
        let telemetry = Arc::new(Telemetry::new(Instant::now()));
        let running = proxy::serve(config, Arc::clone(&telemetry)).await?;
        let inspect: Arc<dyn Inspect> = running.instance.clone();
        let console = Console::new(telemetry.clone(), inspect.clone(), running.instance.clone());
        running.instance.set_operator(Arc::new(OperatorConsole(console)));
        let (stopping, _) = watch::channel(false);
        if let Some(address) = http_address {
            serve_http(address, telemetry, inspect, &stopping)?;
        }
        announce(&running, http_address);
        wait_for_signal().await?;
        eprintln!("stopping");
        let _nobody_listens = stopping.send(true);
        running.stop().await;
        Ok(())
    });
    // Workers that still have clients are inside its context. It ends with the process, which ends now.
    std::mem::forget(runtime);
    served
}

fn serve_http(
    address: std::net::SocketAddr,
    telemetry: Arc<Telemetry>,
    inspect: Arc<dyn Inspect>,
    stopping: &watch::Sender<bool>,
) -> Result<()> {
    let listener = listen::bind(address)
        .and_then(TcpListener::from_std)
        .map_err(|error| Error::internal(format!("cannot listen on {address} for HTTP")).detail(format!("{error}.")))?;
    let mut stopped = stopping.subscribe();
    let shutdown = async move { drop(stopped.wait_for(|stopping| *stopping).await) };
    tokio::spawn(async move {
        if let Err(error) = http::serve(listener, telemetry, inspect, shutdown).await {
            tracing::error!(%error, "the HTTP server stopped");
        }
    });
    Ok(())
}

/// Says where clients connect: scripts wait for these lines.
fn announce(running: &Running, http: Option<std::net::SocketAddr>) {
    for address in &running.addresses {
        eprintln!("listening on {address}");
    }
    if let Some(address) = http {
        eprintln!("metrics on http://{address}/metrics");
    }
}

async fn wait_for_signal() -> Result<()> {
    let failed = |error| Error::internal("signals cannot be awaited").source(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The console, for clients that connect to the database `weir`.
struct OperatorConsole(Console);

impl Operator for OperatorConsole {
    fn answer<'a>(&'a self, sql: &'a str) -> Pin<Box<dyn Future<Output = BytesMut> + 'a>> {
        Box::pin(async move {
            let mut out = BytesMut::new();
            self.0.execute(sql, &mut out).await;
            out
        })
    }
}
