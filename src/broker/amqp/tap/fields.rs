//! Fields of AMQP methods and properties, read one after the other.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn octet(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn long_long(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// At most 255 bytes.
    pub(super) fn short_string(&mut self) -> Option<&'a [u8]> {
        let length = self.octet()?;
        self.bytes(length.into())
    }

    /// A long string, or a table, which is as long as it says.
    pub(super) fn long_string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.bytes(length)
    }

    /// The value of a table's field: a string's bytes, nothing of all else.
    pub(super) fn value(&mut self) -> Option<Option<&'a [u8]>> {
        let size = match self.octet()? {
            b'S' => return self.long_string().map(Some),
            // Arrays, tables and bytes say how long they are.
            b'A' | b'F' | b'x' => return self.long_string().map(|_| None),
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            _ => return None,
        };
        self.bytes(size).map(|_| None)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
}
