//! From bytes to an [`Update`].

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Object, ReadError, Update, repair};
use crate::key::{Key, MessageId};

impl Update {
    /// Reads a body as any Chat3 version publishes it. `number` makes an update that carries no identity at all
    /// unique, so that nothing is taken for its copy.
    ///
    /// # Errors
    /// [`ReadError`] when it is not UTF-8 JSON, not an object, or lacks `tenantId`, `userId` or `data`.
    pub fn read(body: &[u8], number: u64) -> Result<Self, ReadError> {
        let text = std::str::from_utf8(body).map_err(|_| ReadError::NotUtf8)?;
        let text = repair(text.trim_matches([' ', '\t', '\r', '\n']));
        let repaired = matches!(text, Cow::Owned(_));
        let body: Arc<RawValue> = RawValue::from_string(text.into_owned()).map_err(|_| ReadError::NotJson)?.into();
        let fields = Fields::read(&body)?;
        let (key, message) = fields.identity(number);
        Ok(Self {
            key,
            message,
            tenant: fields.tenant.as_ref().into(),
            user: fields.user.as_ref().into(),
            event: fields.event.as_deref().unwrap_or_default().into(),
            update_type: shared(fields.update_type.as_deref()),
            event_id: shared(fields.event_id.as_deref()),
            entity: shared(fields.entity.as_deref()),
            dialog: shared(fields.dialog.as_deref()),
            dialog_mongo: shared(fields.dialog_mongo.as_deref()),
            sender: shared(fields.sender.as_deref()),
            repaired,
            body: Arc::clone(&body),
        })
    }

    /// The created or changed message: `data.message`, or `data` where there is none.
    #[must_use]
    pub fn message_part(&self) -> Option<&RawValue> {
        let data = Object::read(self.body.get())?.raw("data")?;
        Some(Object::read(data.get()).and_then(|data| data.raw("message")).unwrap_or(data))
    }

    /// `data`.
    #[must_use]
    pub fn data(&self) -> Option<&RawValue> {
        Object::read(self.body.get())?.raw("data")
    }
}

fn shared(text: Option<&str>) -> Option<Arc<str>> {
    text.map(Into::into)
}

/// What is needed of a body, borrowed from it.
struct Fields<'a> {
    tenant: Cow<'a, str>,
    user: Cow<'a, str>,
    event: Option<Cow<'a, str>>,
    update_type: Option<Cow<'a, str>>,
    event_id: Option<Cow<'a, str>>,
    entity: Option<Cow<'a, str>>,
    dialog: Option<Cow<'a, str>>,
    dialog_mongo: Option<Cow<'a, str>>,
    sender: Option<Cow<'a, str>>,
    /// `messageId` and `_id` of the message.
    names: [Option<Cow<'a, str>>; 2],
}

impl<'a> Fields<'a> {
    fn read(body: &'a RawValue) -> Result<Self, ReadError> {
        if !body.get().starts_with('{') {
            return Err(ReadError::NotAnObject);
        }
        let top = Object::read(body.get()).ok_or(ReadError::NotJson)?;
        let tenant = top.text("tenantId").ok_or(ReadError::Missing("tenantId"))?;
        let user = top.text("userId").ok_or(ReadError::Missing("userId"))?;
        let data = top.raw("data").ok_or(ReadError::Missing("data"))?;
        let data = Object::read(data.get()).unwrap_or_default();
        let message = data.object("message");
        let part = message.as_ref().unwrap_or(&data);
        let entity = top.text("entityId");
        let nested = |name: &str| data.object(name).and_then(|part| part.text("dialogId"));
        let dialogs = [
            // The message's own comes first: it is what clients go by, and what is compared.
            part.text("dialogId"),
            top.text("dialogId"),
            data.text("dialogId"),
            nested("dialog"),
            nested("context"),
        ];
        let (mongo, dlg): (Vec<_>, Vec<_>) = dialogs.into_iter().flatten().partition(|id| is_mongo(id));
        Ok(Self {
            tenant,
            user,
            event: top.text("eventType").or_else(|| top.text("sourceEventType")),
            update_type: top.text("updateType"),
            event_id: top.text("eventId"),
            entity,
            dialog: dlg.into_iter().next(),
            dialog_mongo: mongo.into_iter().next(),
            sender: part.text("senderId"),
            names: [part.text("messageId"), part.text("_id")],
        })
    }

    /// Only the update of a creation has a message key. The newest Chat3 publishes up to three updates for a
    /// message, with one `eventId`: two of them are about the dialog and the user.
    fn identity(&self, number: u64) -> (Key, Option<MessageId>) {
        let creation = self.event.as_deref() == Some("message.create")
            && self.update_type.as_deref().is_none_or(|kind| kind == "update.message");
        if creation {
            let [message, mongo] = &self.names;
            let (entity_mongo, entity_message) = match self.entity.as_deref() {
                Some(id) if is_mongo(id) => (Some(id), None),
                other => (None, other),
            };
            let id = MessageId {
                message: shared(message.as_deref().or(entity_message)),
                mongo: shared(mongo.as_deref().or(entity_mongo)),
            };
            if let Some(key) = id.key(&self.tenant) {
                return (key, Some(id));
            }
        }
        let [event_id, entity] = [&self.event_id, &self.entity].map(Option::as_deref);
        if event_id.is_none() && entity.is_none() {
            return (Key::unique(number), None);
        }
        let kind = self.update_type.as_deref().unwrap_or_default();
        let key =
            Key::update(&self.tenant, event_id.unwrap_or_default(), &self.user, kind, entity.unwrap_or_default());
        (key, None)
    }
}

/// Mongo's ids are 24 hex digits.
fn is_mongo(id: &str) -> bool {
    id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}
