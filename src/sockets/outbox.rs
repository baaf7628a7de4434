//! What waits for one client until its transport took it: bounded in bytes, and in the time in which it takes nothing.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::frame::{LONGEST_HEADER, text_header};
use super::{Cut, Link, Packet};
use crate::clock::Clock;
use crate::memory::{Account, Budget, Holder, Of};
use crate::ration::Ration;

/// A client over its bound that takes nothing for this long is cut.
const PATIENCE: Duration = Duration::from_secs(1);
/// A client that takes nothing for that long is gone, however little waits for it.
const SILENT: Duration = Duration::from_secs(60);
/// Log lines a minute about clients that were cut for it.
const A_MINUTE: u64 = 5;
/// Frames that are written with one call.
const AT_ONCE: usize = 16;

/// Bounds of outboxes, and what all of them hold together.
pub(crate) struct Bounds {
    /// Bytes of one (`socket.buffer`).
    pub(crate) one: u64,
    /// Bytes of all (`socket.buffer_total`).
    pub(crate) all: u64,
    held: AtomicU64,
    ration: Ration,
    clock: Clock,
    /// What all of it is part of.
    pub(crate) budget: Arc<Budget>,
}

impl Bounds {
    pub(crate) fn new(one: u64, all: u64, budget: Arc<Budget>) -> Arc<Self> {
        let (held, ration) = (AtomicU64::new(0), Ration::new(A_MINUTE));
        Arc::new(Self { one, all, held, ration, clock: Clock::default(), budget })
    }
}

/// Cuts the connection of a client that holds most.
struct Heavy(Weak<dyn Link>);

impl Holder for Heavy {
    fn shed(&self) {
        if let Some(link) = self.0.upgrade() {
            link.cut(Cut::Heavy);
        }
    }
}

/// How events are put into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `42["event",data]`
    SocketIo,
    /// `{"event":"…","data":…}`
    Plain,
}

impl Dialect {
    const fn around(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::SocketIo => (r#"42[""#, r#"","#, "]"),
            Self::Plain => (r#"{"event":""#, r#"","data":"#, "}"),
        }
    }
}

/// Something for the client.
pub(crate) enum Out {
    Event(Packet),
    /// An ack, in the client's dialect.
    Ack(Box<str>),
}

impl Out {
    fn serial(&self) -> Option<u64> {
        match self {
            Self::Event(packet) => packet.serial,
            Self::Ack(_) => None,
        }
    }

    fn body(&self) -> &str {
        match self {
            Self::Event(packet) => packet.data.get(),
            Self::Ack(text) => text,
        }
    }

    /// What stands before and after the body.
    fn around(&self, dialect: Dialect) -> (Prefix, &'static str) {
        match self {
            Self::Event(packet) => {
                let (begin, middle, end) = dialect.around();
                (Prefix::of([begin, packet.event, middle]), end)
            }
            Self::Ack(_) => (Prefix::of([]), ""),
        }
    }

    fn weight(&self) -> u64 {
        u64::try_from(self.body().len() + 96).unwrap_or(u64::MAX)
    }
}

/// The first bytes of a frame, its header before them.
#[derive(Clone, Copy)]
struct Prefix {
    bytes: [u8; 80],
    begin: usize,
    end: usize,
}

impl Prefix {
    const EMPTY: Self = Self { bytes: [0; 80], begin: LONGEST_HEADER, end: LONGEST_HEADER };

    /// Event names are short and the bridge's own.
    fn of<const N: usize>(parts: [&str; N]) -> Self {
        let mut prefix = Self::EMPTY;
        for part in parts {
            let end = prefix.end + part.len();
            prefix.bytes[prefix.end..end].copy_from_slice(part.as_bytes());
            prefix.end = end;
        }
        prefix
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[LONGEST_HEADER..self.end]).unwrap_or_default()
    }

    /// Puts the header of a frame before it that carries `rest` bytes more.
    fn framed(mut self, rest: usize) -> Self {
        let (header, length) = text_header(self.end - LONGEST_HEADER + rest);
        self.begin = LONGEST_HEADER - length;
        self.bytes[self.begin..LONGEST_HEADER].copy_from_slice(&header[..length]);
        self
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.begin..self.end]
    }
}

/// What waits for one client, in order.
pub(crate) struct Outbox {
    bounds: Arc<Bounds>,
    /// What the connection holds.
    pub(crate) account: Arc<Account>,
    dialect: Dialect,
    /// With the serial up to which everything was taken when it is.
    waiting: VecDeque<(Out, Option<u64>)>,
    bytes: u64,
    /// Bytes of the first one's frame that the connection has taken.
    begun: usize,
    /// Grows with all that the client takes.
    taken: u64,
    /// What it had taken when it was last looked at, and since when that is so.
    seen: u64,
    since: Instant,
    /// Somebody looks after a client that does not take everything at once.
    pub(crate) attended: bool,
    closed: bool,
    /// It was closed within a frame: the connection can't carry anything any more.
    torn: bool,
    /// Everything up to this serial was taken.
    handed: u64,
    /// Nothing goes out before the Engine.IO session answered so many CONNECTs.
    pub(crate) opens_at: u64,
    /// Whose it is.
    pub(crate) link: Weak<dyn Link>,
}

impl Outbox {
    pub(crate) fn new(bounds: Arc<Bounds>, dialect: Dialect, opens_at: u64, link: Weak<dyn Link>) -> Self {
        let account = bounds.budget.open(Box::new(Heavy(Weak::clone(&link))));
        Self {
            bounds,
            account,
            dialect,
            waiting: VecDeque::new(),
            bytes: 0,
            begun: 0,
            taken: 0,
            seen: 0,
            since: Instant::now(),
            attended: false,
            closed: false,
            torn: false,
            handed: 0,
            opens_at,
            link,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// More waits than may wait for one client.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > self.bounds.one
    }

    /// Says whether it waits now; on a closed link it never will.
    pub(crate) fn push(&mut self, out: Out) -> bool {
        if self.closed {
            return false;
        }
        let bytes = out.weight();
        self.bytes += bytes;
        self.bounds.held.fetch_add(bytes, Ordering::Relaxed);
        self.account.add(Of::Outboxes, bytes);
        let serial = out.serial();
        self.waiting.push_back((out, serial));
        true
    }

    /// There is nothing to send for `serial`: it was taken when all before it was.
    pub(crate) fn skip(&mut self, serial: u64) {
        match self.waiting.back_mut() {
            Some((_, last)) => *last = Some(serial),
            None if !self.closed => self.handed = serial,
            None => {}
        }
    }

    /// The first was taken.
    fn pop(&mut self) {
        let Some(serial) = self.drop_first() else { return };
        self.handed = serial.unwrap_or(self.handed);
    }

    fn drop_first(&mut self) -> Option<Option<u64>> {
        let (out, serial) = self.waiting.pop_front()?;
        let bytes = out.weight();
        self.bytes -= bytes;
        self.bounds.held.fetch_sub(bytes, Ordering::Relaxed);
        self.account.sub(Of::Outboxes, bytes);
        if self.waiting.is_empty() {
            // What a burst needed is not kept for the next.
            self.waiting.shrink_to(AT_ONCE);
        }
        Some(serial)
    }

    /// Writes frames as long as `write` takes them; `only_begun`: no new one. An error of `write` is the caller's,
    /// `WouldBlock` too.
    pub(crate) fn write_to(
        &mut self,
        only_begun: bool,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        if self.torn {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        while !self.waiting.is_empty() && (!only_begun || self.begun > 0) {
            let most = if only_begun { 1 } else { AT_ONCE };
            let mut prefixes = [Prefix::EMPTY; AT_ONCE];
            let mut ends = [""; AT_ONCE];
            let count = self.waiting.len().min(most);
            for (((out, _), prefix), end) in self.waiting.iter().zip(&mut prefixes).zip(&mut ends).take(count) {
                let (text, tail) = out.around(self.dialect);
                *prefix = text.framed(out.body().len() + tail.len());
                *end = tail;
            }
            let mut slices = [IoSlice::new(&[]); 3 * AT_ONCE];
            for (n, (out, _)) in self.waiting.iter().take(count).enumerate() {
                slices[3 * n] = IoSlice::new(prefixes[n].as_bytes());
                slices[3 * n + 1] = IoSlice::new(out.body().as_bytes());
                slices[3 * n + 2] = IoSlice::new(ends[n].as_bytes());
            }
            let mut slices = &mut slices[..3 * count];
            IoSlice::advance_slices(&mut slices, self.begun);
            let written = write(slices)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.taken += u64::try_from(written).unwrap_or(u64::MAX);
            let mut done = self.begun + written;
            for n in 0..count {
                let length = prefixes[n].as_bytes().len() + self.waiting[0].0.body().len() + ends[n].len();
                if done < length {
                    break;
                }
                done -= length;
                self.pop();
            }
            self.begun = done;
        }
        Ok(())
    }

    /// Adds the first texts to a poll's answer, separated by `separator`, as long as it has fewer than `most` bytes;
    /// says how many. They wait until they were [taken](Self::answered).
    pub(crate) fn append_to(&self, answer: &mut String, separator: char, most: usize) -> usize {
        for (n, (out, _)) in self.waiting.iter().enumerate() {
            let (prefix, end) = out.around(self.dialect);
            let parts = [prefix.text(), out.body(), end];
            if !answer.is_empty() {
                if answer.len() + parts.iter().map(|part| part.len()).sum::<usize>() > most {
                    return n;
                }
                answer.push(separator);
            }
            parts.iter().for_each(|part| answer.push_str(part));
        }
        self.waiting.len()
    }

    /// A poll's answer with the first `count` was written.
    pub(crate) fn answered(&mut self, count: usize) {
        self.taken += 1;
        for _ in 0..count.min(self.waiting.len()) {
            self.pop();
        }
    }

    /// The connection is over: nothing goes out any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.torn |= self.begun > 0;
        while self.drop_first().is_some() {}
        self.begun = 0;
    }

    /// Everything up to this serial was taken whole.
    pub(crate) const fn handed(&self) -> u64 {
        self.handed
    }

    /// Whether the client has to be cut: it is over its bound and took nothing for a second, or everybody's bound is
    /// reached and it is one of those who wait; or it took nothing for so long that it is gone.
    pub(crate) fn is_slow(&mut self) -> bool {
        if self.taken != self.seen || self.waiting.is_empty() {
            self.seen = self.taken;
            self.since = Instant::now();
        }
        let stuck = self.since.elapsed();
        let all_over = self.bounds.held.load(Ordering::Relaxed) > self.bounds.all;
        self.is_full() && (stuck >= PATIENCE || all_over) || stuck >= SILENT
    }

    /// Counts that its connection is ended, and says whose it is where its client does not read.
    pub(crate) fn note_cut(&self, why: Cut) {
        metrics::counter!("bridge_sockets_cut_total", "reason" => why.reason()).increment(1);
        if why == Cut::Slow
            && let Some(left_out) = self.bounds.ration.take("slow", self.bounds.clock.now())
        {
            let (user, waiting, stuck) = (self.account.user(), self.bytes, self.since.elapsed());
            let stuck_ms = u64::try_from(stuck.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(
                user,
                waiting,
                stuck_ms,
                left_out,
                "socket.buffer: a client that does not read was cut"
            );
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.bounds.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.sub(Of::Outboxes, self.bytes);
    }
}

#[cfg(test)]
mod tests;
