//! What the library sends: cut into frames, so that the tap's own can go between them.

use bytes::BytesMut;

use super::frame::{Frame, Kind};
use super::inbound::method;

/// A connection begins with this instead of a frame.
const GREETING: usize = 8;

/// How far the library has come.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    greeted: bool,
}

impl Outbound {
    /// Moves what is whole from `from` to `to`. Returns the channels that the library closes; 0 is the connection.
    ///
    /// # Errors
    /// What it wrote is no frame.
    pub(super) fn pass(
        &mut self,
        from: &mut BytesMut,
        to: &mut BytesMut,
        frame_max: usize,
    ) -> Result<Vec<u16>, &'static str> {
        let mut closed = Vec::new();
        if !self.greeted {
            if from.len() < GREETING {
                return Ok(closed);
            }
            to.extend_from_slice(&from.split_to(GREETING));
            self.greeted = true;
        }
        let mut whole = 0;
        while let Some(frame) = Frame::first(&from[whole..], frame_max)? {
            whole += frame.whole.len();
            let method = if frame.kind == Kind::Method { method(frame.payload) } else { None };
            if matches!(method, Some((20, 40) | (10, 50 | 51))) {
                closed.push(frame.channel);
            }
        }
        to.extend_from_slice(&from.split_to(whole));
        Ok(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frame;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_whole_frames_go_on(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10),
            cut in 1_usize..30,
        ) {
            let mut stream = b"AMQP\0\0\x09\x01".to_vec();
            payloads.iter().for_each(|payload| stream.extend(frame(3, 1, payload)));
            let mut ends = vec![0, GREETING];
            payloads.iter().for_each(|payload| ends.push(ends[ends.len() - 1] + payload.len() + 8));
            let (mut outbound, mut from, mut to) = (Outbound::default(), BytesMut::new(), BytesMut::new());
            for piece in stream.chunks(cut) {
                from.extend_from_slice(piece);
                prop_assert!(outbound.pass(&mut from, &mut to, 40).unwrap().is_empty());
                prop_assert!(ends.contains(&to.len()));
            }
            prop_assert_eq!(&to[..], &stream[..]);
        }
    }

    #[test]
    fn channels_that_the_library_closes_are_told() {
        let mut from = BytesMut::from(&b"AMQP\0\0\x09\x01"[..]);
        from.extend_from_slice(&frame(1, 3, &[0, 20, 0, 40, 0, 0]));
        from.extend_from_slice(&frame(1, 4, &[0, 60, 0, 80]));
        from.extend_from_slice(&frame(1, 0, &[0, 10, 0, 50, 0, 0]));
        assert_eq!(Outbound::default().pass(&mut from, &mut BytesMut::new(), 40).unwrap(), [3, 0]);
    }
}
