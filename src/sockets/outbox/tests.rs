use serde_json::value::RawValue;

use super::*;

struct NoLink;

impl Link for NoLink {
    fn emit(&self, _packet: Packet) {}
    fn flush(&self) {}
    fn skip(&self, _serial: u64) {}
    fn handed(&self) -> u64 {
        0
    }
    fn close(&self) -> u64 {
        0
    }
    fn cut(&self, _why: Cut) {}
    fn is_idle(&self) -> bool {
        true
    }
    fn is_full(&self) -> bool {
        false
    }
    fn transport(&self) -> &'static str {
        "none"
    }
}

fn outbox(dialect: Dialect) -> Outbox {
    let link: Weak<dyn Link> = Weak::<NoLink>::new();
    Outbox::new(Bounds::new(1_000, 10_000, Budget::endless()), dialect, 0, link)
}

fn event(event: &'static str, text: &str) -> Out {
    numbered(event, text, None)
}

fn numbered(event: &'static str, text: &str, serial: Option<u64>) -> Out {
    let data = RawValue::from_string(format!("\"{text}\"")).expect("JSON");
    Out::Event(Packet { event, data: data.into(), serial })
}

/// Reads the texts of whole frames.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(header) = super::super::frame::Header::read(bytes) {
        let Some(payload) = bytes.get(header.length..header.total()) else { break };
        texts.push(String::from_utf8(payload.to_vec()).expect("UTF-8"));
        bytes = &bytes[header.total()..];
    }
    texts
}

#[test]
fn frames_are_whole_and_in_order_wherever_the_connection_stops() {
    for most in 1..200 {
        let mut outbox = outbox(Dialect::SocketIo);
        for n in 0..20 {
            let text = "x".repeat(n * 20);
            outbox.push(event("update", &text));
            outbox.push(Out::Ack(format!("43{n}[{{\"ok\":true}}]").into()));
        }
        let mut written = Vec::new();
        let mut budget = 0;
        while !outbox.is_empty() {
            budget += most;
            let before = 40 - outbox.waiting.len();
            let result = outbox.write_to(false, |slices| {
                let mut count = 0;
                for byte in slices.iter().flat_map(|slice| slice.iter()).take(budget) {
                    written.push(*byte);
                    count += 1;
                }
                budget -= count;
                if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
            });
            assert!(result.is_ok() || result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
            let taken = texts(&written).len();
            assert!(taken >= before && taken == 40 - outbox.waiting.len(), "known to the frame");
        }
        let texts = texts(&written);
        assert_eq!(texts.len(), 40);
        for (n, pair) in texts.chunks(2).enumerate() {
            assert_eq!(pair[0], format!("42[\"update\",\"{}\"]", "x".repeat(n * 20)));
            assert_eq!(pair[1], format!("43{n}[{{\"ok\":true}}]"), "an ack keeps its place");
        }
    }
}

#[test]
fn what_was_taken_whole_is_known_and_nothing_is_after_the_end() {
    let mut outbox = outbox(Dialect::Plain);
    for n in 1..=3 {
        outbox.push(numbered("update", "x", Some(2 * n - 1)));
        outbox.push(event("error", "an answer"));
        outbox.skip(2 * n);
    }
    let mut left = 90;
    let blocked = outbox.write_to(false, |slices| {
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let count = all.min(left);
        left -= count;
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    });
    assert!(
        blocked.is_err() && outbox.begun > 0,
        "the first frame of 32 bytes, the answer, and a part of the third"
    );
    assert_eq!(outbox.handed(), 2);
    outbox.close();
    assert!(outbox.write_to(true, |_| Ok(0)).is_err(), "nothing may follow half a frame");
    assert!(!outbox.push(event("update", "late")) && outbox.is_empty());
    outbox.skip(9);
    assert_eq!((outbox.handed(), outbox.bytes, outbox.bounds.held.load(Ordering::Relaxed)), (2, 0, 0));
}

#[test]
fn a_polls_answer_is_bounded_and_waits_until_it_was_taken() {
    let mut outbox = outbox(Dialect::SocketIo);
    for n in 0..5 {
        outbox.push(event("update", &format!("{n}{}", "x".repeat(20))));
    }
    let mut answer = String::from("2");
    let count = outbox.append_to(&mut answer, '|', 80);
    assert_eq!((count, answer.matches('|').count()), (2, 2), "{answer}");
    let mut again = String::new();
    assert_eq!(outbox.append_to(&mut again, '|', 1), 1, "at least one");
    outbox.answered(count);
    let mut rest = String::new();
    assert_eq!(outbox.append_to(&mut rest, '|', 1_000), 3);
    assert!(rest.starts_with("42[\"update\",\"2x"), "{rest}");
}
