//! WebSocket frames as far as the gateway looks at them itself: a header is there as a whole or not at all, says what the
//! library says, and what is written reads again.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::frame::FrameHeader;

#[path = "../../src/sockets/frame.rs"]
mod frame;

use frame::{Header, client_text, server_short, text_header};

fuzz_target!(|bytes: &[u8]| {
    let own = Header::read(bytes);
    if let Some(header) = own {
        assert!(header.length <= bytes.len() && header.total() >= header.length);
        for part in 0..header.length {
            assert_eq!(Header::read(&bytes[..part]), None);
        }
        assert_eq!(Header::read(&bytes[..header.length]), own, "the payload does not matter");
        let (written, length) = text_header(header.payload);
        let again = Header::read(&written[..length]).expect("whole");
        assert_eq!((again.payload, again.length, again.mask), (header.payload, length, None));
        assert!(again.is_text() && again.is_final);
    }
    let mut cursor = Cursor::new(bytes);
    if let Ok(Some((theirs, payload))) = FrameHeader::parse(&mut cursor) {
        let own = own.expect("the library has it as a whole");
        assert_eq!((own.is_final, own.mask, own.opcode), (theirs.is_final, theirs.mask, u8::from(theirs.opcode)));
        assert_eq!((own.payload as u64, own.length as u64), (payload, cursor.position()));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let frame = client_text(text);
        let header = Header::read(&frame).expect("whole");
        assert_eq!(header.total(), frame.len());
        assert_eq!(&frame[header.length..], &bytes[..bytes.len().min(125)]);
    }
    let frame = server_short(9, bytes);
    assert_eq!(Header::read(&frame).map(Header::total), Some(frame.len()));
});
