//! Accepts connections from a listener, in spite of errors.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// The next connection.
///
/// Errors of a working listener pass: file descriptors or memory ran out, or the next connection alone has failed
/// (`accept(2)` names a dozen such errors). None of them ends a server.
pub(super) async fn accept(listener: &TcpListener) -> TcpStream {
    first(|context| listener.poll_accept(context)).await.0
}

/// Returns the first result that is not an error.
async fn first<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>) -> T {
    loop {
        match poll_fn(&mut poll).await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Trying again at once would only waste processor time.
                sleep(PAUSE).await;
            }
        }
    }
}

const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// Error numbers of Linux: no room for buffers, and refused by a firewall.
    #[test]
    fn no_error_ends_it() {
        let mut errors = vec![105, 1];
        let poll = |_: &mut Context<'_>| {
            Poll::Ready(errors.pop().map_or(Ok("a connection"), |error| Err(io::Error::from_raw_os_error(error))))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert_eq!(runtime.block_on(first(poll)), "a connection");
        assert!(errors.is_empty());
    }
}
