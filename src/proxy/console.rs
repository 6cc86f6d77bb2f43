//! The console's end of the wire: simple queries only, like PgBouncer's.

use std::future::Future;
use std::pin::Pin;

use bytes::BytesMut;

use super::worker::Worker;
use crate::net::Conn;
use crate::types::{Error, Result};
use crate::wire::TransactionStatus;
use crate::wire::backend::{self, Severity};
use crate::wire::frame::{self, Sender};
use crate::wire::frontend::{self, tag};

/// Who answers on the console. The layer above gives it to the instance.
pub trait Operator: Send + Sync {
    /// Runs the text of a simple Query and gives the whole answer, ReadyForQuery apart.
    fn answer<'a>(&'a self, sql: &'a str) -> Pin<Box<dyn Future<Output = BytesMut> + 'a>>;
}

/// What the console reports at login; drivers want to see a version and an encoding.
const PARAMETERS: [(&str, &str); 5] = [
    ("server_version", "15.0 (Weir)"),
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("standard_conforming_strings", "on"),
];

/// Nothing on the console can be cancelled.
const NO_SECRET: [u8; 4] = [0; 4];

/// Serves the console on a connection until it is closed.
pub async fn run(worker: &Worker, mut conn: Conn) {
    for (name, value) in PARAMETERS {
        backend::parameter_status(conn.queue(), name.as_bytes(), value.as_bytes());
    }
    backend::backend_key_data(conn.queue(), 0, &NO_SECRET);
    backend::ready_for_query(conn.queue(), TransactionStatus::Idle);
    if let Err(error) = serve(worker, &mut conn).await {
        backend::error_response(conn.queue(), Severity::Fatal, &error);
    }
    let _peer_left = conn.flush_now().await;
}

async fn serve(worker: &Worker, conn: &mut Conn) -> Result<()> {
    let mut skipping = false;
    loop {
        let Some(message) = next_message(conn).await? else { return Ok(()) };
        match message[0] {
            tag::QUERY => query(worker, conn, &message[frame::HEADER_LEN..]).await?,
            tag::TERMINATE => return Ok(()),
            tag::SYNC => {
                skipping = false;
                backend::ready_for_query(conn.queue(), TransactionStatus::Idle);
            }
            tag::FLUSH => {}
            _ if skipping => {}
            _ => {
                skipping = true;
                backend::error_response(conn.queue(), Severity::Error, &extended());
            }
        }
    }
}

async fn query(worker: &Worker, conn: &mut Conn, body: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(frontend::query_text(body)?);
    match worker.instance.operator() {
        Some(operator) => conn.queue().extend_from_slice(&operator.answer(&text).await),
        None => {
            backend::error_response(conn.queue(), Severity::Error, &Error::internal("the console is not ready yet"))
        }
    }
    backend::ready_for_query(conn.queue(), TransactionStatus::Idle);
    Ok(())
}

/// The next message; `None` when the connection ended.
async fn next_message(conn: &mut Conn) -> Result<Option<BytesMut>> {
    if conn.flush().await.is_err() {
        return Ok(None);
    }
    loop {
        if let Some(frame) = frame::first(&conn.input, Sender::Client)? {
            let len = frame.raw.len();
            return Ok(Some(conn.input.split_to(len)));
        }
        if !matches!(conn.fill().await, Ok(1..)) {
            return Ok(None);
        }
    }
}

fn extended() -> Error {
    Error::refuse("the console speaks the simple query protocol only", "The client sent an extended protocol message.")
        .hint("Use psql, or a driver's simple query mode.")
}
