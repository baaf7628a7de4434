//! The admin side's listener.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::listener::Limits;

/// Every further part of a request's body has to come within this time.
const SILENT: Duration = Duration::from_secs(15);

/// Serves until `stop`; then ends every connection, streams of records too. One that idles is kept for `keep_alive`.
pub async fn serve(listener: TcpListener, router: Router, keep_alive: Duration, stop: CancellationToken) {
    let router = router.layer(RequestBodyTimeoutLayer::new(SILENT));
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors: the next one may find a free one.
                tracing::warn!(%error, "a connection to the admin side could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            let connection =
                crate::listener::serve(stream, router, Limits::new(keep_alive), std::future::pending());
            if let Some(Err(error)) = stop.run_until_cancelled(connection).await {
                tracing::debug!(%error, "a connection to the admin side ended early");
            }
        });
    }
    connections.close();
    connections.wait().await;
}
