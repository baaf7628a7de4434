//! What is told of a message or another update, in one piece of memory: there is one for each unit.

use crate::key::MessageId;
use crate::update::Update;

const EVENT: usize = 0;
const EVENT_ID: usize = 1;
const SENDER: usize = 2;
const DIALOG_MONGO: usize = 3;
const MESSAGE: usize = 4;
const MONGO: usize = 5;
const PARTS: usize = 6;

/// Texts of which any may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// One after the other.
    text: Box<str>,
    /// Where each ends; one that is absent ends nowhere.
    ends: [Option<u32>; PARTS],
}

impl Told {
    /// Of a unit: its event, the name of its message, and `eventId`.
    #[must_use]
    pub fn new(event: &str, message: Option<&str>, event_id: Option<&str>) -> Self {
        let mut parts = [None; PARTS];
        parts[EVENT] = Some(event);
        parts[EVENT_ID] = event_id;
        parts[MESSAGE] = message;
        Self::of_parts(parts)
    }

    /// Of an update.
    pub(super) fn of(update: &Update) -> Self {
        let mut parts = [None; PARTS];
        parts[EVENT] = Some(update.event());
        parts[EVENT_ID] = update.event_id();
        parts[SENDER] = update.sender();
        parts[DIALOG_MONGO] = update.dialog_mongo();
        [parts[MESSAGE], parts[MONGO]] = update.names();
        Self::of_parts(parts)
    }

    fn of_parts(parts: [Option<&str>; PARTS]) -> Self {
        let mut text = String::with_capacity(parts.iter().flatten().map(|part| part.len()).sum());
        let ends = parts.map(|part| {
            text.push_str(part?);
            u32::try_from(text.len()).ok()
        });
        Self { text: text.into(), ends }
    }

    /// Event type; empty where nobody told one.
    #[must_use]
    pub fn event(&self) -> &str {
        self.part(EVENT).unwrap_or_default()
    }

    /// `eventId`.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.part(EVENT_ID)
    }

    /// `senderId` of the message.
    #[must_use]
    pub fn sender(&self) -> Option<&str> {
        self.part(SENDER)
    }

    /// The dialog's Mongo id.
    #[must_use]
    pub fn dialog_mongo(&self) -> Option<&str> {
        self.part(DIALOG_MONGO)
    }

    /// `messageId`, else `_id`, of a created message.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.part(MESSAGE).or_else(|| self.part(MONGO))
    }

    /// The names of the created message.
    pub(super) fn names(&self) -> Option<MessageId> {
        let [message, mongo] = [MESSAGE, MONGO].map(|part| self.part(part).map(Into::into));
        (message.is_some() || mongo.is_some()).then_some(MessageId { message, mongo })
    }

    /// Whether the created message goes by a name for which `holds`.
    pub(super) fn is_named(&self, holds: impl Fn(&str) -> bool) -> bool {
        [MESSAGE, MONGO].into_iter().any(|part| self.part(part).is_some_and(&holds))
    }

    /// Bytes of the texts.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    fn part(&self, part: usize) -> Option<&str> {
        let place = |end: u32| usize::try_from(end).ok();
        let end = self.ends[part].and_then(place)?;
        let start = self.ends[..part].iter().rev().find_map(|end| *end).map_or(Some(0), place)?;
        self.text.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_found_and_absent_ones_are_not() {
        let told = Told::new("message.create", Some("msg_1"), None);
        assert_eq!((told.event(), told.message(), told.event_id()), ("message.create", Some("msg_1"), None));
        let body = r#"{"tenantId":"t","userId":"u","eventType":"message.create","eventId":"","entityId":"msg_1",
            "data":{"message":{"_id":"0123456789abcdef01234567","messageId":"msg_1","senderId":"имя"}}}"#;
        let told = Told::of(&Update::read(body.as_bytes(), 0).unwrap());
        let parts = (told.event(), told.event_id(), told.sender(), told.dialog_mongo(), told.message());
        assert_eq!(parts, ("message.create", Some(""), Some("имя"), None, Some("msg_1")));
        assert!(told.is_named(|name| name == "0123456789abcdef01234567") && !told.is_named(|name| name == "имя"));
        assert_eq!(Told::default().names(), None);
    }
}
