//! The connection that the library gets: a pipe to the tap, which owns the socket.

mod paced;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use async_rs::{Runtime, Tokio};
use futures::Stream;
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use parking_lot::Mutex;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use tokio_util::either::Either;

use super::pace::Pace;
use crate::config::amqp_url::AmqpUrl;
use paced::Paced;

/// The socket of a broker, with or without TLS.
pub(super) async fn open(url: &AmqpUrl, pace: &Arc<Pace>) -> io::Result<Either<Paced, TlsStream<Paced>>> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    // Acknowledgements have no answer: the next request would wait for the broker's delayed one.
    stream.set_nodelay(true)?;
    let stream = Paced::new(stream, Arc::clone(pace));
    if !url.tls {
        return Ok(Either::Left(stream));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(io::Error::other)?
        .with_no_client_auth();
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(Either::Right)
}

/// Lets the library sign on over `pipe`.
pub(super) async fn sign_on(
    uri: AMQPUri,
    pipe: DuplexStream,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    let pipe = Mutex::new(Some(pipe));
    let connect = async move |_: AMQPUri, _: Runtime<Pipes>| {
        let pipe = pipe.lock().take();
        let pipe = pipe.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection is used up"))?;
        Ok(AsyncTcpStream::Plain(pipe.compat()))
    };
    Connection::connector(uri, Runtime::new(Pipes(Tokio::current())), connect, properties).await
}

/// Tokio as the library's runtime, but for its sockets, which are pipes.
#[derive(Clone, Debug)]
struct Pipes(Tokio);

impl RuntimeKit for Pipes {}

impl Executor for Pipes {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, f: F) -> T {
        self.0.block_on(f)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, f: F) -> Task<Self::Task<T>> {
        self.0.spawn(f)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(f)
    }
}

impl Reactor for Pipes {
    type TcpStream = Compat<DuplexStream>;
    type Sleep = <Tokio as Reactor>::Sleep;

    // The bound that the trait has is private; these two are what it stands for on Unix.
    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    fn tcp_connect_addr(
        &self,
        _addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::Error::new(io::ErrorKind::Unsupported, "sockets are the tap's")))
    }
}
