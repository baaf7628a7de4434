//! A connection that tells when the answer to a poll was written whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Receipt;

/// The answer that one connection is writing. HTTP/1 writes one at a time.
#[derive(Clone, Default)]
pub(crate) struct Receipts(Arc<Mutex<Option<Receipt>>>);

/// The body of an answer to a poll: its receipt goes to the connection with its bytes.
pub(crate) struct ReceiptBody {
    pub(crate) bytes: Option<Bytes>,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) receipts: Receipts,
}

impl HttpBody for ReceiptBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = self.bytes.take();
        if bytes.is_some() {
            let receipt = self.receipt.take();
            *self.receipts.0.lock() = receipt;
        }
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

/// A stream under HTTP.
pub(crate) struct ReceiptIo<S> {
    stream: S,
    receipts: Receipts,
}

impl<S> ReceiptIo<S> {
    pub(crate) fn new(stream: S) -> (Self, Receipts) {
        let receipts = Receipts::default();
        (Self { stream, receipts: receipts.clone() }, receipts)
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReceiptIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> ReceiptIo<S> {
    /// HTTP offers everything that it still has to write, head and body.
    fn note(
        &mut self,
        offered: usize,
        write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut receipt = self.receipts.0.lock();
        let Some(own) = receipt.as_ref() else { return write(Pin::new(&mut self.stream)) };
        let (result, whole) = own.write(offered, || write(Pin::new(&mut self.stream)));
        if whole {
            *receipt = None;
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReceiptIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.note(buf.len(), |stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        self.note(offered, |stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // HTTP flushes when it has nothing left to write.
        if let Some(receipt) = self.receipts.0.lock().take() {
            receipt.taken();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
