//! What one channel has still to tell the broker about its deliveries.

use bytes::BytesMut;

use super::frame;
use crate::broker::Disposition;

/// Deliveries that were handled and not acknowledged yet. Tags of a channel count up in the order of delivery, and are
/// handled in that order.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// The last that is acknowledged with all before it; 0 is none.
    up_to: u64,
    rejected: Vec<u64>,
}

impl Acks {
    pub(super) fn handled(&mut self, tag: u64, disposition: Disposition) {
        match disposition {
            Disposition::Ack => self.up_to = tag,
            Disposition::Reject => self.rejected.push(tag),
        }
    }

    /// Writes it. Rejects come first: an acknowledgement of all up to a later one would take them with it.
    pub(super) fn write(&mut self, channel: u16, to: &mut BytesMut) {
        for tag in self.rejected.drain(..) {
            frame::reject(channel, tag, to);
        }
        if self.up_to > 0 {
            frame::ack(channel, std::mem::take(&mut self.up_to), to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{AROUND, Frame};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against the broker's own rules: a tag that is named must be outstanding, and `multiple` takes all before it.
        #[test]
        fn every_delivery_is_settled_once_and_as_it_was_disposed(
            fates in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..60),
        ) {
            let (mut acks, mut bytes) = (Acks::default(), BytesMut::new());
            let (mut acked, mut rejected) = (BTreeSet::new(), BTreeSet::new());
            let (mut outstanding, mut wanted) = (BTreeSet::new(), BTreeSet::new());
            let last = fates.len() - 1;
            for (n, (good, ends)) in fates.iter().enumerate() {
                let tag = u64::try_from(n).unwrap() + 1;
                outstanding.insert(tag);
                acks.handled(tag, if *good { Disposition::Ack } else { Disposition::Reject });
                wanted.extend((!good).then_some(tag));
                if *ends || n == last {
                    acks.write(1, &mut bytes);
                }
            }
            let mut rest = &bytes[..];
            while let Some(frame) = Frame::first(rest, 100).unwrap() {
                let tag = u64::from_be_bytes(frame.payload[4..12].try_into().unwrap());
                prop_assert!(outstanding.contains(&tag));
                if frame.payload[3] == 80 {
                    let settled: Vec<u64> = outstanding.range(..=tag).copied().collect();
                    for tag in settled {
                        outstanding.remove(&tag);
                        acked.insert(tag);
                    }
                } else {
                    outstanding.remove(&tag);
                    rejected.insert(tag);
                }
                rest = &rest[frame.payload.len() + AROUND..];
            }
            prop_assert!(outstanding.is_empty());
            prop_assert_eq!(rejected, wanted);
        }
    }
}
