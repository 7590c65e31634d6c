//! The port for people and their tools: `/healthz`, `/metrics`, `/status`. Runs on a thread of its own, so that no scrape
//! delays a client.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tokio::sync::oneshot;

use super::status::{NodeStatus, STOPPED};

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    status: Arc<dyn Fn() -> StatusFuture + Send + Sync>,
    metrics: PrometheusHandle,
}

type StatusFuture = Pin<Box<dyn Future<Output = Option<NodeStatus>> + Send>>;

/// A server of pages, stopped when dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Installs the process's recorder of metrics. To be called once, before anything is measured.
///
/// # Errors
/// When there is one already.
pub fn record_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().install_recorder()
}

impl Pages {
    /// Pages that ask `status` each time; it gives nothing when the node has stopped.
    pub fn new<F>(metrics: PrometheusHandle, status: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<NodeStatus>> + Send + 'static,
    {
        Self { status: Arc::new(move || Box::pin(status())), metrics }
    }

    /// The status, unless the node has stopped or its loop does not turn.
    async fn status(&self) -> Option<NodeStatus> {
        tokio::time::timeout(PATIENCE, (self.status)()).await.ok().flatten()
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pages")
    }
}

impl HttpServer {
    /// Serves the pages on a listener until it is dropped.
    ///
    /// # Errors
    /// When the listener or the thread cannot be set up.
    pub fn start(listener: TcpListener, pages: Pages) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || {
            runtime.block_on(async {
                let served = async {
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    axum::serve(listener, router(pages)).await
                };
                tokio::select! {
                    _ = stopped => {}
                    result = served => {
                        if let Err(error) = result {
                            tracing::error!(%error, "the http port stopped");
                        }
                    }
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread itself; there is nobody else to tell.
            let _ = thread.join();
        }
    }
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(pages)
}

/// 200 while the node's groups run; a node without a quorum is healthy, for restarting it would not help.
async fn health(State(pages): State<Pages>) -> impl IntoResponse {
    let Some(status) = pages.status().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node does not answer\n".to_owned());
    };
    match status.groups.iter().find(|group| group.role == STOPPED) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(group) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", group.trouble)),
    }
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    pages.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], pages.metrics.render())
}

async fn status(State(pages): State<Pages>) -> impl IntoResponse {
    pages.status().await.map(axum::Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

const PATIENCE: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests;
