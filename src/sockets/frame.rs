//! WebSocket frames, as far as they are looked at outside the library (RFC 6455, section 5.2).

/// Longest header of a frame that a server sends.
pub(crate) const LONGEST_HEADER: usize = 10;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The message ends with this frame.
    pub(crate) is_final: bool,
    pub(crate) opcode: u8,
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    pub(crate) length: usize,
    /// Bytes that follow it.
    pub(crate) payload: usize,
}

impl Header {
    /// The header at the beginning of `bytes`, once it is there as a whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = bytes else { return None };
        let (extended, payload) = match second & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?))),
            127 => (8, u64::from_be_bytes(rest.get(..8)?.try_into().ok()?)),
            short => (0, u64::from(short)),
        };
        let (masked, mask) = if second & MASKED == 0 {
            (0, None)
        } else {
            (4, Some(rest.get(extended..extended + 4)?.try_into().ok()?))
        };
        Some(Self {
            is_final: first & FINAL != 0,
            opcode: first & 0x0f,
            mask,
            length: 2 + extended + masked,
            payload: usize::try_from(payload).unwrap_or(usize::MAX),
        })
    }

    pub(crate) fn is_text(self) -> bool {
        self.opcode == TEXT
    }

    /// Header and payload.
    pub(crate) fn total(self) -> usize {
        self.length.saturating_add(self.payload)
    }
}

/// The header of a server's text of `payload` bytes, and its length.
pub(crate) fn text_header(payload: usize) -> ([u8; LONGEST_HEADER], usize) {
    let mut header = [0; LONGEST_HEADER];
    header[0] = FINAL | TEXT;
    let length = if let Ok(short @ ..126) = u8::try_from(payload) {
        header[1] = short;
        2
    } else if let Ok(middle) = u16::try_from(payload) {
        header[1] = 126;
        header[2..4].copy_from_slice(&middle.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&u64::try_from(payload).unwrap_or(u64::MAX).to_be_bytes());
        LONGEST_HEADER
    };
    (header, length)
}

/// A short text as a client would send it; with a mask of zeros, which changes nothing.
pub(crate) fn client_text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(125).min(125);
    let mut frame = vec![FINAL | TEXT, MASKED | length, 0, 0, 0, 0];
    frame.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
    frame
}

/// A short frame as a server sends it.
pub(crate) fn server_short(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(125).min(125);
    let mut frame = vec![FINAL | opcode, length];
    frame.extend_from_slice(&payload[..usize::from(length)]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_are_written() {
        for payload in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
            let (header, length) = text_header(payload);
            let read = Header::read(&header[..length]).expect("whole");
            assert_eq!((read.length, read.payload, read.mask), (length, payload, None));
            assert!(read.is_text() && read.is_final);
            for part in 0..length {
                assert_eq!(Header::read(&header[..part]), None, "{part} of {length} bytes");
            }
        }
        let read = Header::read(&client_text("2probe")).expect("whole");
        assert_eq!((read.total(), read.payload, read.mask), (12, 6, Some([0; 4])));
    }
}
