//! The broker's socket: read as soon as something comes, and at the ticks of a clock while much does.
//!
//! RabbitMQ writes each delivery by itself, and each write wakes who waits for the socket, also one that only waits for
//! time to pass meanwhile: its socket is watched all the same. At 10,000 deliveries a second a third of what one cost was
//! being woken for it. So while much comes the socket is not watched: what has come is read every one to two milliseconds.

use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, interval_at};

use crate::broker::amqp::pace::Pace;

/// The runtime's timers are no finer.
const TICK: Duration = Duration::from_millis(1);
/// Read at a tick, at most; where there is more it is read at once.
const AT_ONCE: usize = 16 << 10;
/// Reads one after the other without a tick; then others have their turn.
const RUN: u8 = 64;
/// Ticks without anything, after which whoever waits is woken by the socket again.
const EMPTY: u8 = 8;

/// See the module's text.
pub(in crate::broker::amqp) struct Paced {
    pace: Arc<Pace>,
    /// `None` within a change from one to the other, and after one that failed.
    socket: Option<Socket>,
    /// The broker takes nothing more at the moment, and somebody waits until it does.
    blocked: bool,
    /// Who waits for a tick.
    reader: Option<Waker>,
}

enum Socket {
    /// Whoever waits is woken by it.
    Watched(TcpStream),
    /// Nobody is.
    Ticking(Ticking),
}

struct Ticking {
    stream: std::net::TcpStream,
    ticks: Interval,
    /// Reads since the last tick that left something over.
    more: u8,
    /// Ticks since anything came.
    empty: u8,
}

impl Paced {
    pub(super) const fn new(stream: TcpStream, pace: Arc<Pace>) -> Self {
        Self { pace, socket: Some(Socket::Watched(stream)), blocked: false, reader: None }
    }

    /// As it is; for who reads, as it is to be.
    fn socket(&mut self, reads: bool) -> io::Result<&mut Socket> {
        let ticks = self.pace.is_much() && !self.blocked;
        let socket = match self.socket.take().ok_or(io::ErrorKind::NotConnected)? {
            // Only by who reads: who waits for the socket is forgotten with it.
            Socket::Watched(stream) if reads && ticks => {
                let stream = stream.into_std()?;
                let ticks = interval_at(Instant::now() + TICK, TICK);
                Socket::Ticking(Ticking { stream, ticks, more: 0, empty: 0 })
            }
            Socket::Ticking(Ticking { stream, .. }) if !ticks => {
                self.reader.take().into_iter().for_each(Waker::wake);
                Socket::Watched(TcpStream::from_std(stream)?)
            }
            socket => socket,
        };
        Ok(self.socket.insert(socket))
    }
}

impl AsyncRead for Paced {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let Ticking { stream, ticks, more, empty } = match this.socket(true)? {
                Socket::Watched(stream) => return Pin::new(stream).poll_read(cx, buf),
                Socket::Ticking(ticking) => ticking,
            };
            if *more == 0 {
                if ticks.poll_tick(cx).is_pending() {
                    this.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                // From now: ticks that were missed are not to come one after the other.
                ticks.reset();
            } else if *more >= RUN {
                *more = 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let room = buf.initialize_unfilled_to(buf.remaining().min(AT_ONCE));
            match stream.read(room) {
                Ok(count) => {
                    (*more, *empty) = (if count == room.len() { *more + 1 } else { 0 }, 0);
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (*more, *empty) = (0, *empty + u8::from(*more == 0));
                    if *empty >= EMPTY {
                        this.pace.is_over();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Paced {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match this.socket(false)? {
                Socket::Watched(stream) => {
                    let written = Pin::new(stream).poll_write(cx, bytes);
                    this.blocked = written.is_pending();
                    return written;
                }
                Socket::Ticking(Ticking { stream, .. }) => match stream.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        this.blocked = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    written => return Poll::Ready(written),
                },
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Some(Socket::Watched(stream)) => Pin::new(stream).poll_shutdown(cx),
            Some(Socket::Ticking(Ticking { stream, .. })) => {
                Poll::Ready(stream.shutdown(std::net::Shutdown::Write))
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests;
