//! A line between the bridge and its broker that fails as networks do.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::runtime;

/// What the line does to what is connected, and to what connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    /// Everything passes.
    Good,
    /// Everything passes, each piece so much later.
    Late(Duration),
    /// Both sides are closed; who connects is closed at once.
    Cut,
    /// The bridge's side is closed and the broker's side stays open without a word; who connects is closed at once.
    Zombie,
    /// Nothing passes any more, and nobody is told.
    Blackhole,
}

pub(crate) struct Line {
    pub(crate) port: u16,
    quality: watch::Sender<Quality>,
    task: tokio::task::JoinHandle<()>,
}

impl Line {
    /// To the AMQP port of `url`.
    pub(crate) fn to(url: &str) -> Self {
        Self::at("127.0.0.1", 0, url)
    }

    /// The same, at this address of ours.
    pub(crate) fn at(host: &str, port: u16, url: &str) -> Self {
        let address = url.rsplit('@').next().expect("an address").split('/').next().expect("an address");
        let node: SocketAddr = address.parse().expect("an address");
        let listener = runtime().block_on(TcpListener::bind((host, port))).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (quality, seen) = watch::channel(Quality::Good);
        let task = runtime().spawn(async move {
            while let Ok((bridge, _)) = listener.accept().await {
                tokio::spawn(carry(bridge, node, seen.clone()));
            }
        });
        Self { port, quality, task }
    }

    pub(crate) fn becomes(&self, quality: Quality) {
        self.quality.send_replace(quality);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(bridge: TcpStream, node: SocketAddr, mut quality: watch::Receiver<Quality>) -> Option<()> {
    if matches!(*quality.borrow(), Quality::Cut | Quality::Zombie) {
        return None;
    }
    let node = TcpStream::connect(node).await.ok()?;
    let ((mut from_bridge, to_bridge), (from_node, to_node)) = (bridge.into_split(), node.into_split());
    let (mut to_bridge, mut from_node, mut to_node) = (to_bridge, from_node, to_node);
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let now = *quality.borrow_and_update();
        match now {
            Quality::Good | Quality::Late(_) => {
                let (count, upwards) = tokio::select! {
                    changed = quality.changed() => { changed.ok()?; continue }
                    count = from_bridge.read(&mut up) => (count.ok().filter(|count| *count > 0)?, true),
                    count = from_node.read(&mut down) => (count.ok().filter(|count| *count > 0)?, false),
                };
                if let Quality::Late(delay) = now {
                    tokio::time::sleep(delay).await;
                }
                if upwards {
                    to_node.write_all(&up[..count]).await.ok()?;
                } else {
                    to_bridge.write_all(&down[..count]).await.ok()?;
                }
            }
            Quality::Cut => return None,
            Quality::Blackhole => quality.changed().await.ok()?,
            Quality::Zombie => {
                drop((from_bridge, to_bridge));
                // The broker's side stays until the line is gone.
                while quality.changed().await.is_ok() {}
                return None;
            }
        }
    }
}
