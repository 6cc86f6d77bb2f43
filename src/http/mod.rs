//! What Weir tells over HTTP: `GET /metrics` for Prometheus, `GET /` for people, `GET /health` for load balancers.

mod metrics;
mod page;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::telemetry::{Inspect, Reading, Scope, Snapshot, Telemetry};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Source {
    telemetry: Arc<Telemetry>,
    inspect: Arc<dyn Inspect>,
}

impl Source {
    async fn read(&self) -> (Snapshot, Reading) {
        let snapshot = self.inspect.snapshot(Scope::Pools).await;
        (snapshot, self.telemetry.read(Instant::now()))
    }
}

/// Answers requests on `listener` until `shutdown` is done, and then those that have begun.
pub async fn serve(
    listener: TcpListener,
    telemetry: Arc<Telemetry>,
    inspect: Arc<dyn Inspect>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/", get(status_page))
        .route("/health", get(|| async { "ok\n" }))
        .route("/metrics", get(exposition))
        .with_state(Arc::new(Source { telemetry, inspect }));
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn status_page(State(source): State<Arc<Source>>) -> Html<String> {
    let (snapshot, reading) = source.read().await;
    Html(page::render(&snapshot, &reading))
}

async fn exposition(State(source): State<Arc<Source>>) -> Response {
    let (snapshot, reading) = source.read().await;
    match metrics::exposition(&snapshot, &reading) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;
    use crate::telemetry::sample::{self, Sample};

    /// Starts a server, sends one request and gives the whole answer.
    async fn request(line: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, sample::telemetry(), Arc::new(Sample), async move {
            let _ = stopped.await;
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("{line} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn each_path_answers() {
        let cases = [
            ("GET /health", "HTTP/1.1 200 OK", "\r\n\r\nok\n"),
            ("GET /metrics", "HTTP/1.1 200 OK", "content-type: application/openmetrics-text; version=1.0.0"),
            ("GET /metrics", "HTTP/1.1 200 OK", "# EOF\n"),
            ("GET /", "HTTP/1.1 200 OK", "<h1>Weir"),
            ("GET /nothing", "HTTP/1.1 404 Not Found", ""),
            ("POST /metrics", "HTTP/1.1 405 Method Not Allowed", ""),
        ];
        for (line, status, part) in cases {
            let answer = request(line).await;
            assert!(answer.starts_with(status) && answer.contains(part), "{line}: {answer}");
        }
    }
}
