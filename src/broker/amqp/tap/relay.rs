//! The task that owns the broker's socket.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use foldhash::HashMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Sleep, sleep, sleep_until, timeout};
use tokio_util::io::{poll_read_buf, poll_write_buf};
use tracing::{debug, warn};

use super::beat::Beat;
use super::frame::{self, AROUND, Frame, HEARTBEAT};
use super::inbound::{Inbound, Step, Taken};
use super::lag::{Due, Lag, Share};
use super::outbound::Outbound;
use super::{Command, Consumer, Outlet};
use crate::broker::Disposition;
use crate::broker::amqp::pace::{Count, Pace};

/// Read at once, at most.
const CHUNK: usize = 64 << 10;
/// One side is read no further while so much waits for the other.
const WAITING: usize = 256 << 10;
/// How long the end of one side may hold up that of the other, and a goodbye be without an answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// How it ended.
enum End {
    /// The broker closed, or can't be written to.
    Broker(String),
    /// One side sent what it must not.
    Violation(&'static str),
    /// The library is done with the connection.
    Library,
}

/// Both sides, and what is on its way between them.
pub(super) struct Relay<S> {
    socket: S,
    pipe: DuplexStream,
    commands: Option<mpsc::Receiver<Command>>,
    frame_max: usize,
    inbound: Inbound,
    outbound: Outbound,
    from_broker: BytesMut,
    to_broker: BytesMut,
    from_library: BytesMut,
    to_library: BytesMut,
    /// Something was written to the socket and not flushed.
    unflushed: bool,
    consumers: HashMap<u64, Consuming>,
    lag: Lag,
    /// Wakes when what waits to be acknowledged is due.
    alarm: Option<Pin<Box<Sleep>>>,
    count: Count,
    asked: HashMap<u64, oneshot::Sender<Result<(), String>>>,
    outlet: Option<Box<dyn Outlet>>,
    beat: Option<Beat>,
    /// The library has said goodbye: it waits for the answer, and looks no more whether the broker lives.
    goodbye: Option<Pin<Box<Sleep>>>,
}

/// A consumer, its channel, and what of it waits to be acknowledged.
struct Consuming {
    channel: u16,
    consumer: Consumer,
    share: Share,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Relay<S> {
    pub(super) fn new(
        (socket, pipe): (S, DuplexStream),
        commands: mpsc::Receiver<Command>,
        frame_max: usize,
        heartbeat: Duration,
        pace: Arc<Pace>,
    ) -> Self {
        Self {
            socket,
            pipe,
            commands: Some(commands),
            frame_max,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            from_broker: BytesMut::with_capacity(CHUNK),
            to_broker: BytesMut::new(),
            from_library: BytesMut::new(),
            to_library: BytesMut::new(),
            unflushed: false,
            consumers: HashMap::default(),
            lag: Lag::default(),
            alarm: None,
            count: Count::new(pace, Instant::now()),
            asked: HashMap::default(),
            outlet: None,
            beat: (!heartbeat.is_zero()).then(|| Beat::new(heartbeat / 4)),
            goodbye: None,
        }
    }

    /// Until one side ends; the other gets what is on its way to it.
    pub(super) async fn run(mut self) {
        let end = loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(end) => break end,
            }
        };
        match &end {
            End::Violation(reason) => warn!(%reason, "the broker's connection is given up: what came is no AMQP"),
            End::Broker(reason) => debug!(%reason, "the broker's connection has ended"),
            End::Library => {}
        }
        let farewell = async {
            match &end {
                End::Broker(_) | End::Violation(_) => {
                    self.pipe.write_all(&self.to_library).await?;
                    self.pipe.shutdown().await
                }
                End::Library => {
                    self.socket.write_all(&self.to_broker).await?;
                    self.socket.shutdown().await
                }
            }
        };
        let _nobody_is_left_to_care = timeout(FAREWELL, farewell).await;
    }

    /// `Ok` after a batch: others are to have their turn.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.goodbye.as_mut().is_some_and(|limit| limit.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Err(End::Broker("a goodbye was not answered".into())));
        }
        loop {
            let mut more = self.poll_commands(cx);
            more |= self.poll_library(cx)?;
            more |= self.poll_beat(cx);
            let batch = self.poll_broker(cx)?;
            more |= self.poll_send(cx)?;
            if batch {
                return Poll::Ready(Ok(()));
            }
            if !more {
                return Poll::Pending;
            }
        }
    }

    fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        let mut more = false;
        while let Some(commands) = &mut self.commands {
            match commands.poll_recv(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.commands = None,
                Poll::Ready(Some(command)) => {
                    more = true;
                    self.obey(command);
                }
            }
        }
        more
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Serve(outlet) => self.outlet = Some(outlet),
            Command::Own(channel) => self.inbound.own(channel),
            Command::Consume { channel, number, consumer, answer } => {
                if self.inbound.owns(channel) {
                    frame::consume(channel, &consumer.queue, &number.to_string(), &mut self.to_broker);
                    let consuming = Consuming { channel, consumer, share: Share::default() };
                    self.consumers.insert(number, consuming);
                    self.asked.insert(number, answer);
                } else {
                    let _gave_up = answer.send(Err("the channel is closed".into()));
                }
            }
        }
    }

    fn poll_library(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut more = false;
        while self.to_broker.len() < WAITING {
            self.from_library.reserve(self.frame_max + AROUND);
            match poll_read_buf(Pin::new(&mut self.pipe), cx, &mut self.from_library) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::Library),
                Poll::Ready(Ok(_)) => {
                    more = true;
                    // Before anything that it writes: it may close what is to be acknowledged.
                    self.acknowledge();
                    let passed = self.outbound.pass(&mut self.from_library, &mut self.to_broker, self.frame_max);
                    for channel in passed.map_err(End::Violation)? {
                        self.inbound.closing(channel);
                        if channel == 0 {
                            let limit = self.goodbye.get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
                            // Wakes the task.
                            let _not_yet = limit.as_mut().poll(cx);
                        }
                    }
                }
            }
        }
        Ok(more)
    }

    /// Reads once, and hands over what is whole. Whether there was a delivery.
    fn poll_broker(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut batch = false;
        while self.to_library.len() < WAITING && !batch {
            self.from_broker.reserve(self.frame_max + AROUND);
            match poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.from_broker) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(End::Broker("closed".into())),
                Poll::Ready(Err(error)) => return Err(End::Broker(error.to_string())),
                Poll::Ready(Ok(_)) => batch = self.take()?,
            }
        }
        Ok(batch)
    }

    fn take(&mut self) -> Result<bool, End> {
        let mut deliveries = 0;
        let mut done = 0;
        let buffer = std::mem::take(&mut self.from_broker);
        let outcome = loop {
            let frame = match Frame::first(&buffer[done..], self.frame_max) {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(()),
                Err(reason) => break Err(reason),
            };
            done += frame.whole.len();
            match self.inbound.step(&frame) {
                Ok(Step::Taken) => {}
                Ok(Step::Pass) => self.pass(frame.whole),
                Ok(Step::Delivery(taken)) => {
                    deliveries += 1;
                    let (channel, tag) = (taken.channel, taken.tag);
                    if let Some(outlet) = self.outlet.as_deref_mut().filter(|outlet| !outlet.is_over()) {
                        let disposition = hand_over(outlet, &mut self.consumers, &mut self.lag, taken);
                        self.inbound.settle(channel, tag, disposition);
                    }
                }
                Ok(Step::Consumed(number)) => self.answer(number, Ok(())),
                Ok(Step::Cancelled(number)) => self.cancelled(number),
                Ok(Step::Closed(channel, reason)) => {
                    self.closed(channel, &reason);
                    self.pass(frame.whole);
                }
                Ok(Step::Open) => {
                    self.beat.iter_mut().for_each(|beat| beat.open = true);
                    self.pass(frame.whole);
                }
                Err(reason) => break Err(reason),
            }
        };
        self.from_broker = buffer;
        bytes::Buf::advance(&mut self.from_broker, done);
        self.beat.iter_mut().for_each(|beat| beat.heard = true);
        if deliveries > 0 {
            self.outlet.iter_mut().for_each(|outlet| outlet.batch_end());
        }
        self.count.took(deliveries, self.lag.is_exhausted(), Instant::now());
        outcome.map(|()| deliveries > 0).map_err(End::Violation)
    }

    fn pass(&mut self, frame: &[u8]) {
        self.to_library.extend_from_slice(frame);
        self.beat.iter_mut().for_each(|beat| beat.fed = true);
    }

    fn answer(&mut self, number: u64, answer: Result<(), String>) {
        if let Some(asked) = self.asked.remove(&number) {
            let _gave_up = asked.send(answer);
        }
    }

    fn cancelled(&mut self, number: u64) {
        self.answer(number, Err("the queue is gone".into()));
        if let Some(consuming) = self.consumers.remove(&number)
            && let Some(outlet) = &mut self.outlet
        {
            outlet.ended(consuming.consumer);
        }
    }

    /// Its consumers went with it, and the session notices by itself.
    fn closed(&mut self, channel: u16, reason: &str) {
        let gone: Vec<u64> =
            self.consumers.iter().filter(|(_, own)| own.channel == channel).map(|(number, _)| *number).collect();
        for number in gone {
            self.consumers.remove(&number);
            self.answer(number, Err(reason.to_owned()));
        }
    }

    /// Whether it is time to; if not, the task is woken when it is.
    fn acknowledges(&mut self, cx: &mut Context<'_>) -> bool {
        let until = match self.lag.due(tokio::time::Instant::now) {
            None => return false,
            Some(Due::Now) => return true,
            Some(Due::At(until)) => until,
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        alarm.as_mut().poll(cx).is_ready()
    }

    fn acknowledge(&mut self) {
        self.inbound.acknowledge(&mut self.to_broker);
        self.lag.written();
    }

    /// Writes what there is for either side. Whether that made room to read more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if !self.to_broker.is_empty() {
            self.lag.hurry();
        }
        if self.to_broker.len() < WAITING && self.acknowledges(cx) {
            self.acknowledge();
        }
        let mut more = false;
        while !self.to_broker.is_empty() {
            match poll_write_buf(Pin::new(&mut self.socket), cx, &mut self.to_broker) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(End::Broker("takes nothing more".into())),
                Poll::Ready(Err(error)) => return Err(End::Broker(error.to_string())),
                Poll::Ready(Ok(_)) => {
                    (more, self.unflushed) = (true, true);
                    self.beat.iter_mut().for_each(|beat| beat.wrote = true);
                }
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx)
        {
            flushed.map_err(|error| End::Broker(error.to_string()))?;
            self.unflushed = false;
        }
        while !self.to_library.is_empty() {
            match poll_write_buf(Pin::new(&mut self.pipe), cx, &mut self.to_library) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::Library),
                Poll::Ready(Ok(_)) => more = true,
            }
        }
        Ok(more)
    }

    /// Tells each side that the other lives: the library while only deliveries come, which it does not see; the broker
    /// while the library is silent, as it is when the broker has blocked it.
    fn poll_beat(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(beat) = &mut self.beat else { return false };
        if beat.poll_tick(cx).is_pending() {
            return false;
        }
        if beat.open {
            if beat.heard && !beat.fed && self.to_library.is_empty() {
                self.to_library.extend_from_slice(&HEARTBEAT);
            }
            beat.silent = if beat.wrote { 0 } else { beat.silent.saturating_add(1) };
            if beat.silent >= 2 && self.to_broker.is_empty() {
                self.to_broker.extend_from_slice(&HEARTBEAT);
            }
        }
        (beat.heard, beat.fed, beat.wrote) = (false, false, false);
        true
    }
}

fn hand_over(
    outlet: &mut dyn Outlet,
    consumers: &mut HashMap<u64, Consuming>,
    lag: &mut Lag,
    taken: Taken<'_>,
) -> Disposition {
    match taken.consumer.and_then(|number| consumers.get_mut(&number)) {
        Some(Consuming { consumer, share, .. }) => {
            lag.handled(share, consumer.prefetch);
            outlet.take(consumer, taken.delivery)
        }
        None => {
            lag.stray();
            outlet.stray();
            Disposition::Ack
        }
    }
}

#[cfg(test)]
mod tests;
