//! The page for people: `/` and its two files, which are part of the program.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::Pages;

/// The routes of the page.
pub(super) fn routes() -> Router<Pages> {
    let file = |kind: &'static str, text: &'static str| get(move || async move { show(kind, text) });
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page/index.html")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page/page.css")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page/page.js")))
}

/// The page may load its own files alone, and no other page may hold it in a frame.
fn show(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let policy = "default-src 'self'; img-src data:; frame-ancestors 'none'";
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, policy)], text)
}
