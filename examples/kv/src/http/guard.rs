//! Who may take data or change something by the http port: whoever may do everything as a client.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::{Guard, PATIENCE, Pages};
use crate::credentials::Login;

/// What a node says to somebody who wants to do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// He may.
    Admitted,
    /// He did not log in, or by a wrong password.
    LoginNeeded,
    /// The user may not do everything.
    Denied,
    /// The node has not learnt the users yet.
    NotKnown,
}

/// What the connection of a request has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Enough: a certificate, or none was needed.
    Enough,
    /// No certificate, although clients need one.
    NoCertificate,
}

impl Pages {
    /// The answer to somebody who may not do what he asks for.
    pub(super) async fn refuse(&self, shown: Shown, headers: &HeaderMap) -> Option<Response> {
        let text = |status: StatusCode, text: &'static str| Some((status, text).into_response());
        if shown == Shown::NoCertificate {
            return text(StatusCode::FORBIDDEN, "a certificate is needed\n");
        }
        let guard: &Guard = self.guard.as_ref()?;
        let login = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let asked = Arc::clone(guard)(login.and_then(Login::of_header));
        match timeout(PATIENCE, asked).await.unwrap_or(Admission::NotKnown) {
            Admission::Admitted => None,
            Admission::NotKnown => text(StatusCode::SERVICE_UNAVAILABLE, "the node does not know the users yet\n"),
            Admission::Denied => text(StatusCode::FORBIDDEN, "the user may not do everything\n"),
            Admission::LoginNeeded => {
                let asks = [(header::WWW_AUTHENTICATE, "Basic realm=\"kv\"")];
                Some((StatusCode::UNAUTHORIZED, asks, "log in as a user who may do everything\n").into_response())
            }
        }
    }
}
