//! Frames of AMQP 0-9-1: cutting them out of a stream, and writing the few that are not left to the library.

use bytes::{BufMut as _, BytesMut};

/// The last byte of every frame.
const END: u8 = 0xCE;
/// Bytes of a frame beside its payload.
pub(super) const AROUND: usize = 8;
/// A heartbeat.
pub(super) const HEARTBEAT: [u8; AROUND] = [8, 0, 0, 0, 0, 0, 0, END];

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Method,
    Header,
    Body,
    Heartbeat,
}

/// One frame in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) channel: u16,
    pub(super) payload: &'a [u8],
    /// All of it, as it came.
    pub(super) whole: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of `bytes`; `None` when it is not whole yet.
    ///
    /// # Errors
    /// What is there is no frame, or one larger than `frame_max`.
    pub(super) fn first(bytes: &'a [u8], frame_max: usize) -> Result<Option<Self>, &'static str> {
        let Some((&[kind, c0, c1, s0, s1, s2, s3], rest)) = bytes.split_first_chunk() else {
            return match bytes.first() {
                Some(&kind) => Self::kind(kind).map(|_| None),
                None => Ok(None),
            };
        };
        let kind = Self::kind(kind)?;
        let size = usize::try_from(u32::from_be_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        if size > frame_max {
            return Err("a frame is larger than was agreed");
        }
        let (Some(payload), Some(end)) = (rest.get(..size), rest.get(size)) else { return Ok(None) };
        if *end != END {
            return Err("a frame does not end where it should");
        }
        Ok(Some(Self { kind, channel: u16::from_be_bytes([c0, c1]), payload, whole: &bytes[..size + AROUND] }))
    }

    fn kind(kind: u8) -> Result<Kind, &'static str> {
        match kind {
            1 => Ok(Kind::Method),
            2 => Ok(Kind::Header),
            3 => Ok(Kind::Body),
            8 => Ok(Kind::Heartbeat),
            _ => Err("a frame of no known kind"),
        }
    }
}

/// `basic.ack` of all up to `tag`.
pub(super) fn ack(channel: u16, tag: u64, to: &mut BytesMut) {
    method(channel, (60, 80), to, |payload| {
        payload.put_u64(tag);
        payload.put_u8(1);
    });
}

/// `basic.reject` of `tag` alone, which does not come back.
pub(super) fn reject(channel: u16, tag: u64, to: &mut BytesMut) {
    method(channel, (60, 90), to, |payload| {
        payload.put_u64(tag);
        payload.put_u8(0);
    });
}

/// `basic.consume` with acknowledgements. Names are of at most 255 bytes: what is longer is cut off.
pub(super) fn consume(channel: u16, queue: &str, consumer: &str, to: &mut BytesMut) {
    method(channel, (60, 20), to, |payload| {
        payload.put_u16(0);
        for name in [queue, consumer] {
            let name = &name.as_bytes()[..name.len().min(255)];
            payload.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            payload.put_slice(name);
        }
        // no-local, no-ack, exclusive, no-wait; no arguments.
        payload.put_u8(0);
        payload.put_u32(0);
    });
}

fn method(channel: u16, (class, method): (u16, u16), to: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    to.put_u8(1);
    to.put_u16(channel);
    let size = to.len();
    to.put_u32(0);
    to.put_u16(class);
    to.put_u16(method);
    write(to);
    let payload = u32::try_from(to.len() - size - 4).unwrap_or(u32::MAX);
    to[size..size + 4].copy_from_slice(&payload.to_be_bytes());
    to.put_u8(END);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame of this kind, for tests.
    pub(in super::super) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload);
        frame.push(END);
        frame
    }

    #[test]
    fn what_is_written_is_a_frame() {
        let mut bytes = BytesMut::new();
        ack(3, 7, &mut bytes);
        reject(3, 8, &mut bytes);
        consume(3, "queue", "c1", &mut bytes);
        bytes.put_slice(&HEARTBEAT);
        let mut rest = &bytes[..];
        let mut kinds = Vec::new();
        while let Some(frame) = Frame::first(rest, 100).unwrap() {
            kinds.push((frame.kind, frame.channel, frame.payload.to_vec()));
            rest = &rest[frame.whole.len()..];
        }
        assert!(rest.is_empty());
        assert_eq!(kinds[0], (Kind::Method, 3, vec![0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 7, 1]));
        assert_eq!(kinds[1], (Kind::Method, 3, vec![0, 60, 0, 90, 0, 0, 0, 0, 0, 0, 0, 8, 0]));
        assert_eq!(kinds[2].2, b"\0\x3c\0\x14\0\0\x05queue\x02c1\0\0\0\0\0");
        assert_eq!(kinds[3], (Kind::Heartbeat, 0, vec![]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_not_yet_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some(frame)) = Frame::first(&bytes, 16) {
                prop_assert!(frame.payload.len() <= 16 && bytes.starts_with(frame.whole));
            }
        }

        #[test]
        fn a_frame_is_whole_with_its_last_byte(payload in proptest::collection::vec(any::<u8>(), 0..64), channel in any::<u16>()) {
            let bytes = frame(3, channel, &payload);
            for cut in 0..bytes.len() {
                prop_assert_eq!(Frame::first(&bytes[..cut], 64), Ok(None));
            }
            let whole = Frame::first(&bytes, 64).unwrap().unwrap();
            prop_assert_eq!((whole.payload, whole.channel), (&payload[..], channel));
            let smaller = Frame::first(&bytes, payload.len().saturating_sub(1));
            prop_assert!(payload.is_empty() || smaller.is_err());
        }
    }
}
