//! A proxy between clients and the bridge that treats WebSockets as some proxies and antiviruses do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::bridge::Bridge;
use super::runtime;

/// What happens to a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Habit {
    /// The upgrade is answered; then the connection is closed.
    Closes,
    /// The upgrade is answered; then nothing passes any more, either way.
    Swallows,
    /// What the client sends passes, what the bridge sends does not.
    Mutes,
    /// Everything passes, each piece so much later.
    Delays(Duration),
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    /// Polls that passed.
    pub(crate) polls: Arc<AtomicUsize>,
    /// WebSockets that were asked for.
    pub(crate) upgrades: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) fn start(bridge: &Bridge, habit: Habit) -> Self {
        let to: SocketAddr = bridge.http.strip_prefix("http://").expect("a URL").parse().expect("an address");
        let (polls, upgrades) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&polls), Arc::clone(&upgrades));
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let task = runtime().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (polls, upgrades) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
                tokio::spawn(async move { serve(client, to, habit, &polls, &upgrades).await });
            }
        });
        Self { url, polls, upgrades, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    client: TcpStream,
    to: SocketAddr,
    habit: Habit,
    polls: &AtomicUsize,
    upgrades: &AtomicUsize,
) -> Option<()> {
    let server = TcpStream::connect(to).await.ok()?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let mut first = vec![0; 16 * 1024];
    let count = from_client.read(&mut first).await.ok()?;
    let head = String::from_utf8_lossy(&first[..count]).into_owned();
    to_server.write_all(&first[..count]).await.ok()?;
    if !head.contains("transport=websocket") {
        let poll = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches("GET /socket.io").count();
        polls.fetch_add(poll(&first[..count]), Ordering::Relaxed);
        let up = async {
            let mut piece = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = from_client.read(&mut piece).await {
                polls.fetch_add(poll(&piece[..count]), Ordering::Relaxed);
                to_server.write_all(&piece[..count]).await.ok()?;
            }
            to_server.shutdown().await.ok()
        };
        let down = tokio::io::copy(&mut from_server, &mut to_client);
        tokio::select! { _ = up => {}, _ = down => {} }
        return Some(());
    }
    upgrades.fetch_add(1, Ordering::Relaxed);
    let mut answer = vec![0; 16 * 1024];
    let count = from_server.read(&mut answer).await.ok()?;
    to_client.write_all(&answer[..count]).await.ok()?;
    match habit {
        Habit::Closes => {}
        Habit::Swallows => drain(&mut from_client).await,
        Habit::Mutes => {
            let mut unheard = tokio::io::sink();
            let (up, down) = (
                tokio::io::copy(&mut from_client, &mut to_server),
                tokio::io::copy(&mut from_server, &mut unheard),
            );
            tokio::select! { _ = up => {}, _ = down => {} }
        }
        Habit::Delays(delay) => {
            let up = late(from_client, to_server, delay);
            let down = late(from_server, to_client, delay);
            tokio::select! { () = up => {}, () = down => {} }
        }
    }
    Some(())
}

async fn drain(from: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut piece = vec![0; 4_096];
    while let Ok(1..) = from.read(&mut piece).await {}
}

async fn late(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    delay: Duration,
) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}
