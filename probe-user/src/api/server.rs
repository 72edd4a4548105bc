//! The accept loop. Ours rather than `axum::serve`, which has no limits on headers, on connections
//! or on the time that a client takes to send its request, and waits for slow clients at shutdown.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service as _, service_fn};

use super::{Source, beacon_router, router};

/// Connections at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 256;
/// Header lines per request.
const MAX_HEADERS: usize = 64;
/// Bytes of a request's head.
const MAX_HEAD: usize = 32 * 1024;
/// Time for a client to send a request's head, and to keep an idle connection open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for answers under way once the daemon stops.
const GRACE: Duration = Duration::from_millis(500);
/// Pause after a failed accept, which is mostly a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves all endpoints until `shutdown` is cancelled. Then no connection is accepted any more, and
/// answers under way have one second to finish.
pub async fn serve(listener: TcpListener, source: Arc<dyn Source>, shutdown: CancellationToken) {
    serve_router(listener, router(source), shutdown).await;
}

/// The same with what browsers need and nothing else. Connections here take no room from those of
/// [`serve`].
pub async fn serve_beacons(
    listener: TcpListener,
    source: Arc<dyn Source>,
    shutdown: CancellationToken,
) {
    serve_router(listener, beacon_router(source), shutdown).await;
}

async fn serve_router(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = shutdown.cancelled() => break,
        };
        if let Some((stream, peer, slot)) = accepted {
            let connection = connection(stream, peer, router.clone(), shutdown.clone(), slot);
            connections.spawn(connection);
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
    _slot: OwnedSemaphorePermit,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut router = router.clone();
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            Ok::<_, Infallible>(match router.call(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            })
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
    );
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        // A client that hangs up is no news.
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
