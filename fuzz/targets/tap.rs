//! What a broker sends, frame by frame, as the tap cuts it out and puts it together: whatever it is, it is taken, refused
//! or passed on; what is written back are whole frames, which settle each delivery once; no body is longer than announced.
//!
//! The first byte says whether the rest is a stream as it came, or payloads that are made frames first.
#![no_main]
#![expect(dead_code, reason = "the gateway's own files, of which this is a part")]

use std::collections::{HashMap, HashSet};

use libfuzzer_sys::fuzz_target;

#[path = "../../src/broker/amqp/tap/acks.rs"]
mod acks;
#[path = "../../src/broker/amqp/tap/fields.rs"]
mod fields;
#[path = "../../src/broker/amqp/tap/frame.rs"]
mod frame;
#[path = "../../src/broker/amqp/tap/header.rs"]
mod header;
#[path = "../../src/broker/amqp/tap/inbound.rs"]
mod inbound;

/// As the gateway has them.
mod broker {
    use std::borrow::Cow;

    use bridge_core::{Millis, UserId};

    #[derive(Debug)]
    pub struct Delivery<'a> {
        pub queue_of: Option<&'a UserId>,
        pub routing_key: &'a str,
        pub redelivered: bool,
        pub header_user: Option<Cow<'a, str>>,
        pub header_entity: Option<Cow<'a, str>>,
        pub published: Option<Millis>,
        pub body: &'a [u8],
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Disposition {
        Ack,
        Reject,
    }
}

use broker::Disposition;
use frame::{AROUND, Frame};
use inbound::{Inbound, Step};

const FRAME_MAX: usize = 4_096;

/// Frames of payloads: kind, channel, length, payload, one after the other.
fn framed(mut rest: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [kind, channel, length, more @ ..] = rest {
        let payload = &more[..more.len().min((*length).into())];
        stream.extend([1 + kind % 4, 0, channel % 4]);
        stream.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
        stream.extend(payload);
        stream.push(0xCE);
        rest = &more[payload.len()..];
    }
    stream
}

fuzz_target!(|input: &[u8]| {
    let Some((how, rest)) = input.split_first() else { return };
    let stream = if how & 1 == 0 { rest.to_vec() } else { framed(rest) };
    let mut inbound = Inbound::default();
    inbound.own(1);
    inbound.own(2);
    let (mut at, mut settled) = (0, HashMap::<u16, Vec<u64>>::new());
    while let Ok(Some(frame)) = Frame::first(&stream[at..], FRAME_MAX) {
        assert_eq!(frame.whole.len(), frame.payload.len() + AROUND);
        // Nothing shorter is the same frame.
        assert_eq!(Frame::first(&stream[at..at + frame.whole.len() - 1], FRAME_MAX), Ok(None));
        at += frame.whole.len();
        let owned = inbound.owns(frame.channel);
        let taken = match inbound.step(&frame) {
            Err(_) => return,
            Ok(Step::Delivery(taken)) => {
                assert!(owned, "only our channels deliver");
                let good = taken.delivery.as_ref().is_some_and(|delivery| delivery.body.len() % 3 != 0);
                (taken.channel, taken.tag, if good { Disposition::Ack } else { Disposition::Reject })
            }
            Ok(_) => continue,
        };
        let (channel, tag, disposition) = taken;
        inbound.settle(channel, tag, disposition);
        settled.entry(channel).or_default().push(tag);
    }
    let mut written = bytes::BytesMut::new();
    inbound.acknowledge(&mut written);
    let (mut rest, mut rejected) = (&written[..], HashSet::new());
    while let Some(frame) = Frame::first(rest, FRAME_MAX).expect("what is written are frames") {
        let tag = u64::from_be_bytes(frame.payload[4..12].try_into().expect("a tag"));
        assert!(settled[&frame.channel].contains(&tag), "only what came is settled");
        let tags = settled[&frame.channel].iter().collect::<HashSet<_>>().len();
        if tags == settled[&frame.channel].len() && frame.payload[3] == 90 {
            assert!(rejected.insert((frame.channel, tag)), "each once");
        }
        rest = &rest[frame.whole.len()..];
    }
    assert!(rest.is_empty());
});
