use std::collections::VecDeque;

use bytes::BytesMut;
use lapin::BasicProperties;
use proptest::prelude::*;

use super::super::frame::{Frame, tests::frame};
use super::super::header::tests::written;
use super::*;

const MAX: usize = 4_096;

/// `basic.deliver` to the consumer `tag`.
fn deliver(consumer: &str, tag: u64, redelivered: bool, key: &str) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 60];
    let text = |payload: &mut Vec<u8>, text: &str| {
        payload.push(u8::try_from(text.len()).unwrap());
        payload.extend(text.as_bytes());
    };
    text(&mut payload, consumer);
    payload.extend(tag.to_be_bytes());
    payload.push(u8::from(redelivered));
    text(&mut payload, "chat3_updates");
    text(&mut payload, key);
    payload
}

/// A delivery in frames of at most `MAX`.
pub(in super::super) fn message(channel: u16, consumer: &str, tag: u64, body: &[u8]) -> Vec<u8> {
    let size = u64::try_from(body.len()).unwrap();
    let properties = BasicProperties::default().with_timestamp(tag);
    let mut bytes =
        frame(1, channel, &deliver(consumer, tag, tag.is_multiple_of(2), &format!("user.{consumer}.x")));
    bytes.extend(frame(2, channel, &written(size, &properties)));
    body.chunks(MAX - 8).for_each(|chunk| bytes.extend(frame(3, channel, chunk)));
    bytes
}

/// Bodies that are text.
pub(in super::super) fn messages_of(bodies: &[Vec<u8>]) -> Vec<String> {
    bodies.iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect()
}

/// A delivery as it was taken.
#[derive(Debug)]
struct Copied {
    channel: u16,
    tag: u64,
    consumer: Option<u64>,
    routing_key: String,
    redelivered: bool,
    published: Option<Millis>,
    body: Option<Vec<u8>>,
}

impl Copied {
    fn of(taken: Taken<'_>) -> Self {
        let Taken { channel, tag, consumer, delivery } = taken;
        let routing_key = delivery.as_ref().map(|delivery| delivery.routing_key.to_owned()).unwrap_or_default();
        let redelivered = delivery.as_ref().is_some_and(|delivery| delivery.redelivered);
        let published = delivery.as_ref().and_then(|delivery| delivery.published);
        let body = delivery.map(|delivery| delivery.body.to_vec());
        Self { channel, tag, consumer, routing_key, redelivered, published, body }
    }
}

/// Feeds `stream` in pieces; returns what is passed on, and the deliveries.
fn feed(inbound: &mut Inbound, stream: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Vec<Copied>), &'static str> {
    let (mut buffer, mut passed, mut taken) = (BytesMut::new(), Vec::new(), Vec::new());
    let mut cuts: VecDeque<usize> = cuts.iter().copied().collect();
    let mut rest = stream;
    while !rest.is_empty() {
        let count = cuts.pop_front().unwrap_or(rest.len()).clamp(1, rest.len());
        buffer.extend_from_slice(&rest[..count]);
        rest = &rest[count..];
        let mut done = 0;
        while let Some(frame) = Frame::first(&buffer[done..], MAX)? {
            match inbound.step(&frame)? {
                Step::Pass | Step::Open | Step::Closed(..) => passed.extend(frame.whole),
                Step::Delivery(delivery) => taken.push(Copied::of(delivery)),
                Step::Taken | Step::Consumed(_) | Step::Cancelled(_) => {}
            }
            done += frame.whole.len();
        }
        let _seen = buffer.split_to(done);
        assert!(buffer.len() < MAX + 8, "never more than a frame is kept");
    }
    Ok((passed, taken))
}

proptest! {
    #[test]
    fn wherever_the_stream_is_cut_deliveries_are_whole_and_the_rest_is_passed_on(
        messages in proptest::collection::vec((0_u16..3, proptest::collection::vec(any::<u8>(), 0..9_000)), 1..8),
        cuts in proptest::collection::vec(1_usize..3_000, 0..40),
    ) {
        let mut inbound = Inbound::default();
        inbound.own(1);
        inbound.own(2);
        let (mut stream, mut others, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        for (n, (channel, body)) in messages.iter().enumerate() {
            let tag = u64::try_from(n).unwrap() + 1;
            // The third channel is the library's.
            let bytes = message(channel + 1, "7", tag, body);
            stream.extend(&bytes);
            stream.extend(super::super::frame::HEARTBEAT);
            if *channel == 2 {
                others.extend(bytes);
            } else {
                wanted.push((channel + 1, tag, body.clone()));
            }
            others.extend(super::super::frame::HEARTBEAT);
        }
        let (passed, taken) = feed(&mut inbound, &stream, &cuts).unwrap();
        prop_assert_eq!(passed, others);
        let seen: Vec<_> = taken.into_iter().map(|taken| {
            assert_eq!(taken.consumer, Some(7));
            assert_eq!((&*taken.routing_key, taken.published), ("user.7.x", Some(Millis(taken.tag))));
            assert_eq!(taken.redelivered, taken.tag.is_multiple_of(2));
            (taken.channel, taken.tag, taken.body.unwrap())
        }).collect();
        prop_assert_eq!(seen, wanted);
    }

    #[test]
    fn any_frames_are_refused_or_taken_without_a_panic(
        frames in proptest::collection::vec(
            (prop_oneof![Just(1_u8), Just(2), Just(3), Just(8)], 0_u16..3, proptest::collection::vec(any::<u8>(), 0..60)),
            0..40,
        ),
        methods in proptest::collection::vec(prop_oneof![Just([0, 60, 0, 60]), Just([0, 60, 0, 21]), Just([0, 20, 0, 40])], 40),
    ) {
        let mut inbound = Inbound::default();
        inbound.own(1);
        inbound.own(2);
        let mut stream = Vec::new();
        for ((kind, channel, payload), method) in frames.iter().zip(methods) {
            let start: &[u8] = if *kind == 1 { &method } else { &[] };
            stream.extend(frame(*kind, *channel, &[start, payload].concat()));
        }
        let _refused_or_taken = feed(&mut inbound, &stream, &[]);
    }
}

#[test]
fn an_empty_body_is_whole_with_its_header_and_one_that_is_too_large_is_not_kept() {
    let mut inbound = Inbound::default();
    inbound.own(1);
    let (_, taken) = feed(&mut inbound, &message(1, "someone else's", 1, b""), &[]).unwrap();
    assert_eq!((taken[0].consumer, taken[0].body.as_ref().unwrap().len()), (None, 0));
    let mut stream = frame(1, 1, &deliver("7", 2, false, "user.a.x"));
    stream.extend(frame(2, 1, &written(LARGEST + 1, &BasicProperties::default())));
    for _ in 0..LARGEST / 4_000 {
        stream.extend(frame(3, 1, &[b'x'; 4_000]));
    }
    stream.extend(frame(3, 1, &vec![b'x'; usize::try_from(LARGEST % 4_000 + 1).unwrap()]));
    let (_, taken) = feed(&mut inbound, &stream, &[]).unwrap();
    assert!(taken[0].tag == 2 && taken[0].body.is_none());
}

#[test]
fn what_the_broker_must_not_send_is_refused() {
    let header = written(5, &BasicProperties::default());
    let whole = frame(1, 1, &deliver("7", 1, false, "k"));
    for (stream, why) in [
        (frame(3, 1, b"x"), "a body that belongs to no delivery"),
        (frame(2, 1, &header), "a header that belongs to no delivery"),
        ([whole.clone(), whole.clone()].concat(), "a delivery within another"),
        ([whole.clone(), frame(3, 1, b"x")].concat(), "a body before its header"),
        (
            [whole.clone(), frame(2, 1, &header), frame(3, 1, b"123456")].concat(),
            "a body is longer than was announced",
        ),
        (frame(1, 1, &[0, 60, 0, 60, 9]), "a delivery that can't be read"),
        (frame(3, 1, &[0; MAX + 1]), "a frame is larger than was agreed"),
    ] {
        let mut inbound = Inbound::default();
        inbound.own(1);
        assert_eq!(feed(&mut inbound, &stream, &[]).err(), Some(why));
    }
}

#[test]
fn a_channel_that_is_closed_is_forgotten_and_one_that_closes_is_not_acknowledged() {
    let mut inbound = Inbound::default();
    inbound.own(1);
    inbound.own(2);
    for channel in [1, 2] {
        inbound.settle(channel, 5, Disposition::Ack);
    }
    let mut close = vec![0, 20, 0, 40, 1, 0x94];
    close.extend(b"\x09NOT_FOUND\0\0\0\0");
    let frames = frame(1, 1, &close);
    let step = inbound.step(&Frame::first(&frames, MAX).unwrap().unwrap()).unwrap();
    assert!(matches!(&step, Step::Closed(1, reason) if reason == "NOT_FOUND"), "{step:?}");
    inbound.closing(2);
    assert!(!inbound.owns(1) && !inbound.owns(2));
    let mut bytes = BytesMut::new();
    inbound.acknowledge(&mut bytes);
    assert!(bytes.is_empty());
    // What comes on it yet is nobody's, and does not reach the library.
    let (passed, taken) = feed(&mut inbound, &message(2, "7", 6, b"late"), &[]).unwrap();
    assert!(passed.is_empty() && taken.is_empty());
    let (passed, _) = feed(&mut inbound, &frame(1, 2, &[0, 20, 0, 41]), &[]).unwrap();
    assert!(!passed.is_empty() && inbound.lanes.is_empty());
}
