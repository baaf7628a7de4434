//! Between the broker's socket and the AMQP library: updates are taken out and handed over in batches; everything else
//! goes both ways as it is.
//!
//! The library wakes a thread, a channel and a task for each delivery; that was three quarters of what one cost.
//! Here one read of the socket is one batch: every delivery in it is handed over. Acknowledgements wait a few milliseconds
//! for more of them, because each is a write here and wakes the reader of the connection and its channel there. The
//! handshake, channels, declarations, bindings and errors stay the library's, which sits behind a pipe in memory.
//! Consumers are the tap's own: the library would want to see their deliveries.

mod acks;
mod beat;
mod fields;
mod frame;
mod header;
mod inbound;
mod lag;
mod outbound;
mod relay;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_core::UserId;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::{mpsc, oneshot};

use super::pace::Pace;
use crate::broker::{Delivery, Disposition};
use relay::Relay;

/// What the library has not read yet, or has written and the tap has not: more than its largest frames.
const PIPE: usize = 64 << 10;
/// Requests of the session that wait for the tap.
const COMMANDS: usize = 256;

/// Where a consumer's deliveries belong.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    /// The queue.
    pub(super) queue: String,
    /// Whose it is; `None` where it serves many.
    pub(super) user: Option<UserId>,
    /// How many of its deliveries may be unacknowledged.
    pub(super) prefetch: u16,
}

/// Where deliveries go. Nothing of it may block.
pub(super) trait Outlet: Send + 'static {
    /// The session is over: what still comes is nobody's, and not to be acknowledged.
    fn is_over(&self) -> bool;
    /// One delivery of a consumer; `None`: it was too large to be kept.
    fn take(&mut self, consumer: &Consumer, delivery: Option<Delivery<'_>>) -> Disposition;
    /// All that was read at once is handed over.
    fn batch_end(&mut self);
    /// The broker has ended the consumer.
    fn ended(&mut self, consumer: Consumer);
    /// A delivery came whose consumer is not known any more: it is acknowledged.
    fn stray(&mut self);
}

/// What the session wants of the tap.
enum Command {
    Serve(Box<dyn Outlet>),
    Own(u16),
    Consume { channel: u16, number: u64, consumer: Consumer, answer: oneshot::Sender<Result<(), String>> },
}

/// The session's end of the tap. The tap itself lives as long as the connection.
pub(super) struct Tap {
    commands: mpsc::Sender<Command>,
    consumers: AtomicU64,
}

impl Tap {
    /// Puts itself between `socket` and what it returns for the library. Neither side sends frames larger than
    /// `frame_max`; without `heartbeat` (zero) nobody is told that the other lives. `pace` is set by what comes.
    pub(super) fn insert<S>(
        socket: S,
        frame_max: u32,
        heartbeat: Duration,
        pace: Arc<Pace>,
    ) -> (Self, DuplexStream)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (pipe, library) = tokio::io::duplex(PIPE);
        let (commands, requests) = mpsc::channel(COMMANDS);
        let frame_max = usize::try_from(frame_max).unwrap_or(usize::MAX);
        let relay = Relay::new((socket, pipe), requests, frame_max, heartbeat, pace);
        tokio::spawn(crate::vital::task("broker tap", relay.run()));
        (Self { commands, consumers: AtomicU64::new(0) }, library)
    }

    /// Deliveries go there.
    pub(super) async fn serve(&self, outlet: impl Outlet) {
        self.command(Command::Serve(Box::new(outlet))).await;
    }

    /// Deliveries on this channel are ours; nothing is consumed on it yet.
    pub(super) async fn own(&self, channel: u16) {
        self.command(Command::Own(channel)).await;
    }

    /// Consumes, and returns when the broker has confirmed it.
    ///
    /// # Errors
    /// Why the broker refused, which has closed the channel, or that the connection is gone.
    pub(super) async fn consume(&self, channel: u16, consumer: Consumer) -> Result<(), String> {
        let number = self.consumers.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.command(Command::Consume { channel, number, consumer, answer }).await;
        answered.await.unwrap_or_else(|_| Err("the connection is gone".into()))
    }

    /// A tap that is gone has told so by the connection's end.
    async fn command(&self, command: Command) {
        let _gone = self.commands.send(command).await;
    }
}
