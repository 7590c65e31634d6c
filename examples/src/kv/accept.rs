//! Takes connections from a listener, whatever goes wrong with some of them.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// The next connection.
///
/// What a listener says while it is sound passes: file descriptors or memory ran out, or something is wrong with the
/// one connection that was next (`accept(2)` names a dozen such errors). None of it ends a server.
pub(super) async fn accept(listener: &TcpListener) -> TcpStream {
    first(|context| listener.poll_accept(context)).await.0
}

/// The first that is not an error.
async fn first<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>) -> T {
    loop {
        match poll_fn(&mut poll).await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // To try at once would only burn the processor.
                sleep(PAUSE).await;
            }
        }
    }
}

const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of Linux: no room for buffers, and a firewall.
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
