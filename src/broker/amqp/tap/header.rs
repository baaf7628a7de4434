//! The header of a message's content: how long the body is, and the few properties that are of interest.

use std::borrow::Cow;

use super::fields::Fields;

/// What is read of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header<'a> {
    /// Bytes of the body.
    pub(super) size: u64,
    /// Header `userId`.
    pub(super) user: Option<Cow<'a, str>>,
    /// Header `entityId`.
    pub(super) entity: Option<Cow<'a, str>>,
    /// Property `timestamp`.
    pub(super) timestamp: Option<u64>,
}

impl<'a> Header<'a> {
    /// Bytes of the body; `None` when it does not even say that.
    pub(super) fn size(payload: &[u8]) -> Option<u64> {
        let mut fields = Fields(payload);
        let (_class, _weight) = (fields.short()?, fields.short()?);
        fields.long_long()
    }

    /// `None` when it does not even say how long the body is. Properties that can't be read are as if absent: the
    /// update itself is in the body.
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let (_class, _weight) = (fields.short()?, fields.short()?);
        let mut this = Self { size: fields.long_long()?, ..Self::default() };
        this.properties(fields);
        Some(this)
    }

    fn properties(&mut self, mut fields: Fields<'a>) -> Option<()> {
        let flags = fields.short()?;
        // The lowest bit announces more flags; no property has one there.
        let mut more = flags;
        while more & 1 == 1 {
            more = fields.short()?;
        }
        let has = |bit: u16| flags & (1 << bit) != 0;
        // Content type and encoding.
        for bit in [15, 14] {
            if has(bit) {
                fields.short_string()?;
            }
        }
        if has(13) {
            let table = fields.long_string()?;
            self.table(Fields(table));
        }
        // Delivery mode and priority.
        for bit in [12, 11] {
            if has(bit) {
                fields.octet()?;
            }
        }
        // Correlation id, reply to, expiration and message id.
        for bit in [10, 9, 8, 7] {
            if has(bit) {
                fields.short_string()?;
            }
        }
        if has(6) {
            self.timestamp = fields.long_long();
        }
        Some(())
    }

    fn table(&mut self, mut fields: Fields<'a>) -> Option<()> {
        while !fields.0.is_empty() {
            let name = fields.short_string()?;
            let value = fields.value()?;
            let text = || value.map(String::from_utf8_lossy);
            match name {
                b"userId" => self.user = text(),
                b"entityId" => self.entity = text(),
                _ => {}
            }
        }
        Some(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use lapin::BasicProperties;
    use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable};
    use proptest::prelude::*;

    /// The header that the library writes for these properties.
    pub(in super::super) fn written(size: u64, properties: &BasicProperties) -> Vec<u8> {
        let frame = amq_protocol::frame::AMQPFrame::Header(
            1,
            amq_protocol::frame::AMQPContentHeader {
                class_id: 60,
                body_size: size,
                properties: properties.clone(),
            },
        );
        let bytes = amq_protocol::frame::gen_frame(&frame)(Vec::new().into()).unwrap().into_inner().0;
        bytes[7..bytes.len() - 1].to_vec()
    }

    fn every_type() -> FieldTable {
        let mut inner = FieldTable::default();
        inner.insert("userId".into(), AMQPValue::LongString("not this one".into()));
        let mut table = FieldTable::default();
        for (name, value) in [
            ("boolean", AMQPValue::Boolean(true)),
            ("i8", AMQPValue::ShortShortInt(-1)),
            ("u8", AMQPValue::ShortShortUInt(1)),
            ("i16", AMQPValue::ShortInt(-1)),
            ("u16", AMQPValue::ShortUInt(1)),
            ("i32", AMQPValue::LongInt(-1)),
            ("u32", AMQPValue::LongUInt(1)),
            ("i64", AMQPValue::LongLongInt(-1)),
            ("f32", AMQPValue::Float(1.5)),
            ("f64", AMQPValue::Double(1.5)),
            ("decimal", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 7 })),
            ("array", AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Void, AMQPValue::LongInt(3)]))),
            ("time", AMQPValue::Timestamp(7)),
            ("table", AMQPValue::FieldTable(inner)),
            ("void", AMQPValue::Void),
            ("bytes", AMQPValue::ByteArray(b"\xce\xce".to_vec().into())),
            ("userId", AMQPValue::LongString("usr_a".into())),
            ("entityId", AMQPValue::LongString("msg_1".into())),
            ("zz", AMQPValue::LongString("last".into())),
        ] {
            table.insert(name.into(), value);
        }
        table
    }

    #[test]
    fn headers_of_every_type_are_passed_over() {
        let all = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_headers(every_type())
            .with_delivery_mode(2)
            .with_priority(1)
            .with_correlation_id("c".into())
            .with_reply_to("r".into())
            .with_expiration("1000".into())
            .with_message_id("m".into())
            .with_timestamp(1_700_000_000_123)
            .with_type("t".into())
            .with_user_id("u".into())
            .with_app_id("a".into());
        let bytes = written(77, &all);
        let header = Header::read(&bytes).unwrap();
        let expected = Header {
            size: 77,
            user: Some("usr_a".into()),
            entity: Some("msg_1".into()),
            timestamp: Some(1_700_000_000_123),
        };
        assert_eq!(header, expected);
        let few = BasicProperties::default().with_timestamp(5);
        let bytes = written(0, &few);
        assert_eq!(Header::read(&bytes).unwrap(), Header { timestamp: Some(5), ..Header::default() });
    }

    #[test]
    fn a_header_that_is_cut_off_keeps_its_size() {
        let whole = written(9, &BasicProperties::default().with_headers(every_type()));
        for cut in 0..whole.len() {
            assert_eq!(Header::read(&whole[..cut]).map(|header| header.size), (cut >= 12).then_some(9), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _whatever = Header::read(&bytes);
        }
    }
}
