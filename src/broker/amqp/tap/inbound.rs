//! What comes from the broker, frame by frame: the tap's own deliveries are put together, the rest is the library's.

use bridge_core::Millis;
use bytes::BytesMut;
use foldhash::HashMap;

use super::acks::Acks;
use super::fields::Fields;
use super::frame::{Frame, Kind};
use super::header::Header;
use crate::broker::{Delivery, Disposition};

/// A larger body is not kept, but rejected: no update comes near it.
const LARGEST: u64 = 16 << 20;
/// Room for a body is made in steps of this: what it says of its size may not be so.
const STEP: usize = 64 << 10;

/// What a frame amounts to.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// It is the library's.
    Pass,
    /// It is ours, and nothing more.
    Taken,
    /// It ends a delivery: settle it with [`Inbound::settle`].
    Delivery(Taken<'a>),
    /// The consumer with this number is confirmed.
    Consumed(u64),
    /// The broker has ended the consumer with this number.
    Cancelled(u64),
    /// The broker has closed one of our channels, for this reason, or confirmed that it is closed. The library is to
    /// know it too.
    Closed(u16, String),
    /// The connection is open. The library is to know it too.
    Open,
}

/// A delivery that is whole.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pub(super) channel: u16,
    pub(super) tag: u64,
    /// Number of the consumer, where its tag is one of ours.
    pub(super) consumer: Option<u64>,
    /// `None`: it was too large to be kept.
    pub(super) delivery: Option<Delivery<'a>>,
}

/// The channels that are ours.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    lanes: HashMap<u16, Lane>,
}

/// One of them.
#[derive(Debug, Default)]
struct Lane {
    partial: Option<Partial>,
    /// What was read of it; the room is used again for the next.
    routing_key: String,
    header: Vec<u8>,
    body: Vec<u8>,
    acks: Acks,
    /// The library has closed it: what comes yet is nobody's, and not to be acknowledged.
    closing: bool,
}

/// A delivery that is not whole.
#[derive(Debug)]
struct Partial {
    consumer: Option<u64>,
    tag: u64,
    redelivered: bool,
    /// Bytes of its body, once its header has come.
    size: Option<u64>,
    received: u64,
}

impl Inbound {
    /// From now on, deliveries on this channel are ours.
    pub(super) fn own(&mut self, channel: u16) {
        self.lanes.insert(channel, Lane::default());
    }

    /// Whether it is ours and open.
    pub(super) fn owns(&self, channel: u16) -> bool {
        self.lanes.get(&channel).is_some_and(|lane| !lane.closing)
    }

    /// The library closes the channel, or (0) all.
    pub(super) fn closing(&mut self, channel: u16) {
        for (number, lane) in &mut self.lanes {
            lane.closing |= channel == 0 || *number == channel;
        }
    }

    /// The delivery was handled: it will be acknowledged, or rejected.
    pub(super) fn settle(&mut self, channel: u16, tag: u64, disposition: Disposition) {
        if let Some(lane) = self.lanes.get_mut(&channel) {
            lane.acks.handled(tag, disposition);
        }
    }

    /// Writes what is to be acknowledged.
    pub(super) fn acknowledge(&mut self, to: &mut BytesMut) {
        for (channel, lane) in &mut self.lanes {
            if !lane.closing {
                lane.acks.write(*channel, to);
            }
        }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// What the broker must not send: the connection is of no more use.
    pub(super) fn step<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Step<'a>, &'static str> {
        let method = if frame.kind == Kind::Method { method(frame.payload) } else { None };
        if frame.channel == 0 {
            return Ok(if method == Some((10, 41)) { Step::Open } else { Step::Pass });
        }
        if let (Kind::Method, Some((20, 40 | 41))) = (frame.kind, method) {
            let ours = self.lanes.remove(&frame.channel).is_some();
            return Ok(if ours { Step::Closed(frame.channel, reason(frame.payload)) } else { Step::Pass });
        }
        let Some(lane) = self.lanes.get_mut(&frame.channel) else { return Ok(Step::Pass) };
        match (frame.kind, method) {
            (Kind::Method, Some((60, 60))) => lane.deliver(frame.payload).map(|()| Step::Taken),
            (Kind::Method, Some((60, method @ (21 | 30)))) => {
                let number = Fields(&frame.payload[4..]).short_string().and_then(number);
                match (method, number) {
                    (21, Some(number)) => Ok(Step::Consumed(number)),
                    (30, Some(number)) => Ok(Step::Cancelled(number)),
                    _ => Ok(Step::Pass),
                }
            }
            (Kind::Method, _) | (Kind::Heartbeat, _) => Ok(Step::Pass),
            (Kind::Header, _) => {
                let partial = lane.partial.as_mut().filter(|partial| partial.size.is_none());
                let partial = partial.ok_or("a header that belongs to no delivery")?;
                partial.size = Some(Header::size(frame.payload).ok_or("a header that can't be read")?);
                lane.header.clear();
                lane.header.extend_from_slice(frame.payload);
                Ok(lane.whole(frame.channel, &[]))
            }
            (Kind::Body, _) => {
                lane.body(frame.payload)?;
                Ok(lane.whole(frame.channel, frame.payload))
            }
        }
    }
}

impl Lane {
    fn deliver(&mut self, payload: &[u8]) -> Result<(), &'static str> {
        if self.partial.is_some() {
            return Err("a delivery within another");
        }
        self.body.clear();
        self.body.shrink_to(STEP);
        let mut fields = Fields(&payload[4..]);
        let mut read = || {
            let consumer = fields.short_string().map(number)?;
            let (tag, bits) = (fields.long_long()?, fields.octet()?);
            let _exchange = fields.short_string()?;
            self.routing_key.clear();
            self.routing_key.push_str(&String::from_utf8_lossy(fields.short_string()?));
            Some(Partial { consumer, tag, redelivered: bits & 1 == 1, size: None, received: 0 })
        };
        self.partial = Some(read().ok_or("a delivery that can't be read")?);
        Ok(())
    }

    fn body(&mut self, payload: &[u8]) -> Result<(), &'static str> {
        let partial = self.partial.as_mut().ok_or("a body that belongs to no delivery")?;
        let size = partial.size.ok_or("a body before its header")?;
        let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        partial.received += length;
        if partial.received > size {
            return Err("a body is longer than was announced");
        }
        // One that comes in one piece is handed on where it stands.
        if size <= LARGEST && length < size {
            if self.body.is_empty() {
                self.body.reserve(usize::try_from(size).unwrap_or(STEP).min(STEP));
            }
            self.body.extend_from_slice(payload);
        }
        Ok(())
    }

    /// Whether the delivery is whole with this frame, which brought `payload` of its body.
    fn whole<'a>(&'a mut self, channel: u16, payload: &'a [u8]) -> Step<'a> {
        let whole = |partial: &mut Partial| partial.size == Some(partial.received);
        let Some(partial) = self.partial.take_if(whole).filter(|_| !self.closing) else { return Step::Taken };
        let Partial { consumer, tag, redelivered, size, .. } = partial;
        let size = size.unwrap_or_default();
        let in_one = usize::try_from(size).is_ok_and(|size| size == payload.len());
        let header = Header::read(&self.header).unwrap_or_default();
        let delivery = (size <= LARGEST).then_some(Delivery {
            queue_of: None,
            routing_key: &self.routing_key,
            redelivered,
            header_user: header.user,
            header_entity: header.entity,
            published: header.timestamp.map(Millis),
            body: if in_one { payload } else { &self.body },
        });
        Step::Delivery(Taken { channel, tag, consumer, delivery })
    }
}

/// Class and method.
pub(super) fn method(payload: &[u8]) -> Option<(u16, u16)> {
    let mut fields = Fields(payload);
    Some((fields.short()?, fields.short()?))
}

/// Our consumers' tags are numbers.
fn number(tag: &[u8]) -> Option<u64> {
    std::str::from_utf8(tag).ok()?.parse().ok()
}

/// Why a channel was closed.
fn reason(payload: &[u8]) -> String {
    let mut fields = Fields(&payload[4..]);
    let text = fields.short().and_then(|_code| fields.short_string());
    text.map_or_else(|| "the channel is closed".into(), |text| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
pub(super) mod tests;
