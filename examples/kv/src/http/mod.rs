//! The port for people and their tools: the page `/`, and `/livez`, `/readyz`, `/metrics`, `/status`, `/overview`,
//! `/members`, `/layout`, `/backup`. Runs on a thread of its own, so that no scrape delays a client.
//!
//! A connection carries one request and has a time limit (a backup has one for each of its parts), and the number of
//! connections is bounded ([`HttpLimits`]). So a client that sends no request, or takes no answer, does not keep a
//! descriptor.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use quorate_runtime::metrics::as_gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::accept::accept;
use super::backup;
use super::credentials::Login;
use super::exposition::{self, Measures};
use super::logging;
use super::members::{MemberAnswer, MemberRequest};
use super::moves::{LayoutAnswer, LayoutRequest, LayoutStatus};
use super::process::Process;
use super::status::NodeStatus;
use super::store::Cut;
use super::tls::NodeTls;
use deadline::Deadline;

mod deadline;
mod guard;
mod overview;
mod page;

pub use guard::Admission;
use guard::Shown;
pub use overview::NodeAddresses;
use overview::Overview;

/// The sources of the pages.
#[derive(Clone)]
pub struct Pages {
    status: Arc<dyn Fn() -> StatusFuture + Send + Sync>,
    serves: Arc<dyn Fn() -> ServesFuture + Send + Sync>,
    change: Arc<dyn Fn(MemberRequest) -> ChangeFuture + Send + Sync>,
    layout: Option<LayoutPage>,
    backup: Option<BackupPage>,
    overview: Option<OverviewPage>,
    measures: Option<MeasuresPage>,
    guard: Option<Guard>,
    metrics: PrometheusHandle,
}

/// Says whether somebody may do everything.
type Guard = Arc<dyn Fn(Option<Login>) -> AdmissionFuture + Send + Sync>;
type AdmissionFuture = Pin<Box<dyn Future<Output = Admission> + Send>>;
/// What the node has measured of its clients.
type MeasuresPage = Arc<dyn Fn() -> MeasuresFuture + Send + Sync>;
type MeasuresFuture = Pin<Box<dyn Future<Output = Option<Measures>> + Send>>;
type StatusFuture = Pin<Box<dyn Future<Output = Option<NodeStatus>> + Send>>;
type ServesFuture = Pin<Box<dyn Future<Output = bool> + Send>>;
type ChangeFuture = Pin<Box<dyn Future<Output = MemberAnswer> + Send>>;

/// Limits of connections to the http port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Maximum number of open connections. A further one takes the place of the oldest, which probably sends no request
    /// or takes no answer, since pages are short. A backup, of which there is one at a time, stays.
    pub connections_max: usize,
    /// Maximum duration of a connection, from its acceptance to the last byte of the answer.
    pub connection_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { connections_max: 64, connection_timeout: Duration::from_secs(10) }
    }
}

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
    let handle = PrometheusBuilder::new().install_recorder()?;
    exposition::describe();
    Ok(handle)
}

/// The layout, and changes of it, of a store with several shards.
#[derive(Clone)]
struct LayoutPage {
    show: Arc<dyn Fn() -> LayoutFuture + Send + Sync>,
    change: Arc<dyn Fn(LayoutRequest) -> LayoutChangeFuture + Send + Sync>,
}

type LayoutFuture = Pin<Box<dyn Future<Output = Option<LayoutStatus>> + Send>>;
type LayoutChangeFuture = Pin<Box<dyn Future<Output = LayoutAnswer> + Send>>;

/// The cluster as this node sees it.
#[derive(Clone)]
struct OverviewPage {
    node: u64,
    nodes: Arc<BTreeMap<u64, NodeAddresses>>,
    /// What the other nodes are shown. `None`: they do not encrypt.
    tls: Option<Arc<NodeTls>>,
    /// The last look, which is shown to all who ask soon after.
    last: Arc<Mutex<Option<Look>>>,
}

/// An overview, and when it was made.
struct Look {
    at: Instant,
    overview: Overview,
}

/// Backups, one at a time.
#[derive(Clone)]
struct BackupPage {
    cluster: String,
    cut: Arc<dyn Fn() -> CutFuture + Send + Sync>,
    turn: Arc<Semaphore>,
}

type CutFuture = Pin<Box<dyn Future<Output = Result<Vec<Cut>, String>> + Send>>;

impl Pages {
    /// Pages that call these functions for each request: `status` gives `None` if the node has stopped, `serves` gives
    /// true if a client would be answered now, and `change` changes the members.
    pub fn new<F, G, H>(
        metrics: PrometheusHandle,
        status: impl Fn() -> F + Send + Sync + 'static,
        serves: impl Fn() -> G + Send + Sync + 'static,
        change: impl Fn(MemberRequest) -> H + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<NodeStatus>> + Send + 'static,
        G: Future<Output = bool> + Send + 'static,
        H: Future<Output = MemberAnswer> + Send + 'static,
    {
        let status: Arc<dyn Fn() -> StatusFuture + Send + Sync> = Arc::new(move || Box::pin(status()));
        let serves: Arc<dyn Fn() -> ServesFuture + Send + Sync> = Arc::new(move || Box::pin(serves()));
        Self {
            status,
            serves,
            change: Arc::new(move |request| Box::pin(change(request))),
            layout: None,
            backup: None,
            overview: None,
            measures: None,
            guard: None,
            metrics,
        }
    }

    /// Adds the page of the layout: `show` gives it, and `change` changes it.
    #[must_use]
    pub fn with_layout<F, G>(
        self,
        show: impl Fn() -> F + Send + Sync + 'static,
        change: impl Fn(LayoutRequest) -> G + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<LayoutStatus>> + Send + 'static,
        G: Future<Output = LayoutAnswer> + Send + 'static,
    {
        let show: Arc<dyn Fn() -> LayoutFuture + Send + Sync> = Arc::new(move || Box::pin(show()));
        let page = LayoutPage { show, change: Arc::new(move |request| Box::pin(change(request))) };
        Self { layout: Some(page), ..self }
    }

    /// Adds the overview of these nodes, of which this is one. With `tls` the others encrypt.
    #[must_use]
    pub fn with_overview(self, node: u64, nodes: BTreeMap<u64, NodeAddresses>, tls: Option<Arc<NodeTls>>) -> Self {
        Self { overview: Some(OverviewPage { node, nodes: Arc::new(nodes), tls, last: Arc::default() }), ..self }
    }

    /// Gives data, and changes something, for those alone whom `guard` admits.
    #[must_use]
    pub fn guarded<F>(self, guard: impl Fn(Option<Login>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Admission> + Send + 'static,
    {
        let guard: Guard = Arc::new(move |login| Box::pin(guard(login)));
        Self { guard: Some(guard), ..self }
    }

    /// Adds the page of backups: `cut` gives the stores of all shards at one moment.
    #[must_use]
    pub fn with_backup<F>(self, cluster: String, cut: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<Cut>, String>> + Send + 'static,
    {
        let cut: Arc<dyn Fn() -> CutFuture + Send + Sync> = Arc::new(move || Box::pin(cut()));
        Self { backup: Some(BackupPage { cluster, cut, turn: Arc::new(Semaphore::new(1)) }), ..self }
    }

    /// Adds what the node has measured of its clients, which `measures` gives, to the page of metrics.
    #[must_use]
    pub fn with_measures<F>(self, measures: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Measures>> + Send + 'static,
    {
        let measures: MeasuresPage = Arc::new(move || Box::pin(measures()));
        Self { measures: Some(measures), ..self }
    }

    /// What the node has measured of its clients. `None` if its loop does not answer in time.
    async fn measured(&self) -> Option<Measures> {
        timeout(PATIENCE, self.measures.as_ref()?()).await.ok().flatten()
    }

    /// The status. `None` if the node has stopped or its loop does not answer in time.
    async fn status(&self) -> Option<NodeStatus> {
        timeout(PATIENCE, (self.status)()).await.ok().flatten()
    }

    /// Returns true if a client would be answered now.
    async fn serves(&self) -> bool {
        timeout(PATIENCE, (self.serves)()).await.unwrap_or(false)
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pages")
    }
}

impl HttpServer {
    /// Serves the pages on a listener until it is dropped, with `tls` to those who encrypt.
    ///
    /// # Errors
    /// When the listener or the thread cannot be set up.
    pub fn start(
        listener: TcpListener,
        pages: Pages,
        limits: HttpLimits,
        tls: Option<Arc<NodeTls>>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    result = serve(listener, router(pages), limits, tls) => {
                        if let Err(error) = result {
                            tracing::error!(%error, "the http port stopped");
                        }
                    }
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Accepts connections until it is dropped.
async fn serve(listener: TcpListener, router: Router, limits: HttpLimits, tls: Option<Arc<NodeTls>>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut open: VecDeque<(AbortHandle, Deadline)> = VecDeque::new();
    loop {
        let stream = accept(&listener).await;
        open.retain(|(connection, _)| !connection.is_finished());
        if open.len() >= limits.connections_max
            && let Some(oldest) = open.iter().position(|(_, deadline)| !deadline.is_extended())
            && let Some((oldest, _)) = open.remove(oldest)
        {
            oldest.abort();
        }
        let deadline = Deadline::after(limits.connection_timeout);
        let kept = deadline.clone();
        let (router, tls) = (router.clone().layer(Extension(deadline.clone())), tls.clone());
        let connection = tokio::spawn(async move {
            tokio::select! {
                () = answer(stream, router, tls) => {}
                () = deadline.over() => {}
            }
        });
        open.push_back((connection.abort_handle(), kept));
    }
}

/// Answers the request of a connection. An error of the connection concerns its client alone.
async fn answer(stream: TcpStream, router: Router, tls: Option<Arc<NodeTls>>) {
    let Some(tls) = tls else { return converse(stream, router, Shown::Enough).await };
    let Ok((stream, has_certificate)) = tls.accept_tool(stream).await else { return };
    let shown = if has_certificate || !tls.needs_certificate() { Shown::Enough } else { Shown::NoCertificate };
    converse(stream, router, shown).await;
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, router: Router, shown: Shown) {
    let service = TowerToHyperService::new(router.layer(Extension(shown)));
    let mut http = http1::Builder::new();
    let _ = http.keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/livez", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .route("/status", get(status))
        .route("/members", post(change_members))
        .route("/layout", get(show_layout).post(change_layout))
        .route("/backup", get(show_backup))
        .route("/overview", get(show_overview))
        .merge(page::routes())
        .with_state(pages)
}

/// 200 while the node's groups run. A node without a quorum is healthy, since restarting it would not help.
async fn health(State(pages): State<Pages>) -> impl IntoResponse {
    let Some(status) = pages.status().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node does not answer\n".to_owned());
    };
    match status.groups.iter().find(|group| group.is_stopped()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(group) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", group.trouble)),
    }
}

/// 200 while a client of this node would be answered: it reaches a leader that has a quorum. For load balancers.
async fn ready(State(pages): State<Pages>) -> impl IntoResponse {
    if pages.serves().await {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let status = pages.status().await;
    let trouble = status.and_then(|status| status.groups.into_iter().next()).map(|group| group.trouble);
    let trouble = trouble.filter(|trouble| !trouble.is_empty()).unwrap_or_else(|| "no answer in time".to_owned());
    (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n"))
}

async fn show_metrics(State(pages): State<Pages>) -> impl IntoResponse {
    metrics::gauge!("kv_log_lines_lost").set(as_gauge(logging::lines_lost() as u64));
    pages.metrics.run_upkeep();
    let (measures, status) = tokio::join!(pages.measured(), pages.status());
    let groups = status.as_ref().map(|status| &status.groups[..]);
    let page = pages.metrics.render() + &exposition::page(measures.as_ref(), groups, &Process::now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page)
}

async fn status(State(pages): State<Pages>) -> impl IntoResponse {
    pages.status().await.map(Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// Changes the members, on the node that leads. The time limit of connections ends a request that gets no answer.
async fn change_members(
    State(pages): State<Pages>,
    Extension(shown): Extension<Shown>,
    headers: HeaderMap,
    Json(request): Json<MemberRequest>,
) -> Response {
    match pages.refuse(shown, &headers).await {
        Some(refusal) => refusal,
        None => Json((pages.change)(request).await).into_response(),
    }
}

/// The layout. Nothing in the place of one for a store with one shard.
async fn show_layout(State(pages): State<Pages>) -> Response {
    let Some(page) = &pages.layout else { return Json(None::<LayoutStatus>).into_response() };
    match timeout(PATIENCE, (page.show)()).await.ok().flatten() {
        Some(layout) => Json(Some(layout)).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Changes the layout, on any node.
async fn change_layout(
    State(pages): State<Pages>,
    Extension(shown): Extension<Shown>,
    headers: HeaderMap,
    Json(request): Json<LayoutRequest>,
) -> Response {
    if let Some(refusal) = pages.refuse(shown, &headers).await {
        return refusal;
    }
    let Some(page) = &pages.layout else {
        return Json(LayoutAnswer::Refused { reason: "the store has one shard".to_owned() }).into_response();
    };
    Json((page.change)(request).await).into_response()
}

/// All nodes and shards. However many ask, the other nodes are asked once in a while.
async fn show_overview(State(pages): State<Pages>) -> Response {
    let Some(page) = &pages.overview else { return StatusCode::NOT_FOUND.into_response() };
    let mut last = page.last.lock().await;
    if let Some(look) = last.as_ref().filter(|look| look.at.elapsed() < OVERVIEW_AGE_MAX) {
        return Json(&look.overview).into_response();
    }
    let Some(own) = pages.status().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let overview = overview::gather(page.node, own, &page.nodes, page.tls.as_deref()).await;
    let answer = Json(&overview).into_response();
    *last = Some(Look { at: Instant::now(), overview });
    answer
}

/// All keys of all shards at one moment, as an RDB file.
async fn show_backup(
    State(pages): State<Pages>,
    Extension(deadline): Extension<Deadline>,
    Extension(shown): Extension<Shown>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = pages.refuse(shown, &headers).await {
        return refusal;
    }
    let refused = |reason: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response();
    let Some(BackupPage { cluster, cut, turn }) = pages.backup else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(turn) = turn.try_acquire_owned() else { return refused("another backup is being made here".to_owned()) };
    deadline.extend(BACKUP_PATIENCE);
    let cuts = match cut().await {
        Ok(cuts) => cuts,
        Err(reason) => return refused(reason),
    };
    let write = move |out: &mut dyn io::Write| {
        let _turn = turn;
        backup::write(&cuts, &cluster, out)
    };
    match backup::written(write, move || deadline.extend(BACKUP_PATIENCE)) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/octet-stream")], Body::new(body)).into_response(),
        Err(error) => refused(error.to_string()),
    }
}

/// Age up to which an overview is shown again.
const OVERVIEW_AGE_MAX: Duration = Duration::from_secs(1);
/// Time for the moment of a backup, and then for each part of it.
const BACKUP_PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests;
