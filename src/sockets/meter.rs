//! A TCP stream that tells how much of it was taken, and that can be cut from outside.
//!
//! Socket.IO's library neither says how full a client's outbound buffer is nor closes one client's transport; its
//! clients reconnect by themselves only when the transport breaks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What is known of one connection.
#[derive(Default)]
pub(crate) struct Meter {
    written: AtomicU64,
    /// Bytes were written, or the connection was cut.
    pub(crate) progress: Notify,
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Meter {
    /// Bytes that the system has taken since the connection began.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Breaks the connection: whoever reads or writes gets an error.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
        self.progress.notify_waiters();
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// A stream with its meter.
pub(crate) struct MeteredIo<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl<S> MeteredIo<S> {
    pub(crate) fn new(stream: S) -> (Self, Arc<Meter>) {
        let meter = Arc::<Meter>::default();
        (Self { stream, meter: Arc::clone(&meter) }, meter)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.meter.reader.register(cx.waker());
        self.meter.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> MeteredIo<S> {
    fn count(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.meter.writer.register(cx.waker());
        self.meter.check()?;
        let result = write(Pin::new(&mut self.stream), cx);
        if let Poll::Ready(Ok(count)) = &result {
            self.meter.written.fetch_add(u64::try_from(*count).unwrap_or(0), Ordering::AcqRel);
            self.meter.progress.notify_waiters();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.count(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.count(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.meter.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
