//! One HTTP connection: how long it may idle, and how slow a head may be.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tower::ServiceExt as _;

/// [`Limits::head`] where nobody sets it.
const HEAD: Duration = Duration::from_secs(15);
/// Most bytes of a connection that wait to be read by a handler; a head has to fit (Node allows as much).
const READ_BUFFER: usize = 16 * 1024;

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Between two requests.
    pub keep_alive: Duration,
    /// For the head of a request, from its first byte; on a new connection, from its beginning.
    pub head: Duration,
}

impl Limits {
    /// With the usual limit for heads.
    #[must_use]
    pub const fn new(keep_alive: Duration) -> Self {
        Self { keep_alive, head: HEAD }
    }
}

/// Serves `io` until its client leaves, idles for too long, or sends a head too slowly. When `stop` is ready, the
/// request in progress is the last.
///
/// hyper has one time limit for a slow head and an idle connection alike, hence this one: a balancer that finds its
/// connection closed when it sends a request on it answers 502.
///
/// # Errors
/// What hyper says of the connection.
pub async fn serve<I>(
    io: I,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = Arc::new(Phase(Mutex::new(Now::Head(Instant::now()))));
    let io = Watched { io, phase: Arc::clone(&phase) };
    let serving = Arc::clone(&phase);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (router, phase) = (router.clone(), Arc::clone(&serving));
        phase.set(Now::Busy);
        async move {
            let response = router.oneshot(request.map(Body::new)).await?;
            let (parts, body) = response.into_parts();
            Ok::<_, std::convert::Infallible>(Response::from_parts(parts, Answer { body, phase }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let (mut connection, mut stop) = (pin!(connection), pin!(stop));
    tokio::select! {
        served = connection.as_mut() => return served,
        () = stop.as_mut() => {}
        over = phase.over(limits) => match over {
            Over::Idle => {}
            Over::Slow => {
                metrics::counter!("bridge_limit_refusals_total", "limit" => "head").increment(1);
                return Ok(());
            }
        },
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// What a connection is doing.
#[derive(Clone, Copy)]
enum Now {
    /// Nothing, since the last answer.
    Idle(Instant),
    /// A head is coming, since then.
    Head(Instant),
    /// A request is served.
    Busy,
}

enum Over {
    Idle,
    Slow,
}

struct Phase(Mutex<Now>);

impl Phase {
    fn set(&self, now: Now) {
        *self.0.lock() = now;
    }

    /// Bytes came: the beginning of a head, where there was none.
    fn read(&self) {
        let mut now = self.0.lock();
        if let Now::Idle(_) = *now {
            *now = Now::Head(Instant::now());
        }
    }

    /// Waits until a limit is over. It looks again within the shorter limit, so that a head or a pause which begins
    /// meanwhile is not given longer, and nobody has to tell it of every request.
    async fn over(&self, Limits { keep_alive, head }: Limits) -> Over {
        loop {
            let (now, at) = (*self.0.lock(), Instant::now());
            let due = match now {
                Now::Idle(since) if at >= since + keep_alive => return Over::Idle,
                Now::Head(since) if at >= since + head => return Over::Slow,
                Now::Idle(since) => since + keep_alive,
                Now::Head(since) => since + head,
                Now::Busy => at + keep_alive,
            };
            tokio::time::sleep_until(due.min(at + head.min(keep_alive))).await;
        }
    }
}

/// The stream that [`serve`] was given, and what was read of it beyond the request, once a request ended HTTP on it.
/// `None`: it was served by somebody else.
pub(crate) fn upgraded<I: AsyncRead + AsyncWrite + Unpin + 'static>(
    upgraded: hyper::upgrade::Upgraded,
) -> Option<(I, bytes::Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Watched<I>>>().ok()?;
    Some((parts.io.into_inner().io, parts.read_buf))
}

/// Notes that bytes came.
struct Watched<I> {
    io: I,
    phase: Arc<Phase>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, into))?;
        if into.filled().len() > before {
            self.phase.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// An answer's body; the connection idles from its end.
struct Answer {
    body: Body,
    phase: Arc<Phase>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.phase.set(Now::Idle(Instant::now()));
    }
}

impl HttpBody for Answer {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_secs(1);
    const GET: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

    fn begin(keep_alive: Duration, head: Duration) -> DuplexStream {
        let slow = || async {
            tokio::time::sleep(SHORT * 3).await;
            "done"
        };
        let router = Router::new().route("/", get(|| async { "ok" })).route("/slow", post(slow));
        let (client, server) = duplex(64 * 1024);
        tokio::spawn(serve(server, router, Limits { keep_alive, head }, std::future::pending()));
        client
    }

    async fn ask(client: &mut DuplexStream, request: &str, last: &str) {
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with(last) {
            let mut chunk = [0; 1024];
            let count = client.read(&mut chunk).await.unwrap();
            assert!(count > 0, "closed after {answer:?}");
            answer.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        }
    }

    /// Waits until the other end closes.
    async fn closed(client: &mut DuplexStream) -> Duration {
        let (begun, mut byte) = (Instant::now(), [0]);
        let read = tokio::time::timeout(LONG / 10, client.read(&mut byte)).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
        begun.elapsed()
    }

    #[tokio::test]
    async fn a_connection_idles_longer_than_a_head_may_take() {
        let mut client = begin(LONG, SHORT);
        for _ in 0..2 {
            ask(&mut client, GET, "ok").await;
            tokio::time::sleep(SHORT * 3).await;
        }
        ask(&mut client, "POST /slow HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n", "done").await;
        ask(&mut client, GET, "ok").await;
        let mut client = begin(SHORT, LONG);
        ask(&mut client, GET, "ok").await;
        assert!(closed(&mut client).await >= SHORT / 2, "it is not kept for ever");
    }

    #[tokio::test]
    async fn a_slow_head_is_cut_on_a_new_connection_and_on_an_old_one() {
        closed(&mut begin(LONG, SHORT)).await;
        let mut client = begin(LONG, SHORT);
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        closed(&mut client).await;
        let mut client = begin(LONG, SHORT);
        ask(&mut client, GET, "ok").await;
        tokio::time::sleep(SHORT * 2).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
        closed(&mut client).await;
    }
}
