//! From bytes to an [`Update`].

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::fields::{Data, Nested, Part, Top};
use super::text::Text;
use super::{Object, ReadError, Update, repair};
use crate::Json;
use crate::key::{Key, message_key};

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
        let body: Arc<str> = text.into();
        let read = Top::read(&body).ok_or(ReadError::NotJson)?;
        let top = read.object().ok_or(ReadError::NotAnObject)?;
        let tenant = top.tenant.ok_or(ReadError::Missing("tenantId"))?;
        let user = top.user.ok_or(ReadError::Missing("userId"))?;
        let data = match top.data {
            Nested::Absent => return Err(ReadError::Missing("data")),
            Nested::Other => Data::default(),
            Nested::Object(data) => data,
        };
        let event = top.event_type.or(top.source_event);
        let Data { own, message, dialog, context } = data;
        let beside = [dialog, context].map(|part| part.object().and_then(|part| part.dialog));
        let (part, outer) = match message {
            Nested::Object(part) => (part, own.dialog),
            Nested::Absent | Nested::Other => (Part { dialog: own.dialog.clone(), ..own }, own.dialog),
        };
        // The message's own dialog comes first: it is what clients go by, and what is compared.
        let named = [part.dialog, top.dialog, outer].into_iter().chain(beside).flatten();
        let (mut dlg, mut mongo) = (None, None);
        for id in named {
            let of_its_kind = if is_mongo(&id) { &mut mongo } else { &mut dlg };
            of_its_kind.get_or_insert(id);
        }
        // Only the update of a creation has a message key. The newest Chat3 publishes up to three updates for a
        // message, with one `eventId`: two of them are about the dialog and the user.
        let is_creation = event.as_deref() == Some("message.create")
            && top.update_type.as_deref().is_none_or(|kind| kind == "update.message");
        let names = if is_creation { names(part.message, part.mongo, top.entity.as_ref()) } else { [None, None] };
        let key = match message_key(&tenant, [names[0].as_deref(), names[1].as_deref()]) {
            Some(key) => key,
            None if top.event_id.is_none() && top.entity.is_none() => Key::unique(number),
            None => {
                let [event_id, kind, entity] =
                    [&top.event_id, &top.update_type, &top.entity].map(|part| part.as_deref().unwrap_or_default());
                Key::update(&tenant, event_id, &user, kind, entity)
            }
        };
        let kept = |word: Option<Cow<'_, str>>| Text::of(word, &body);
        Ok(Self {
            tenant: kept(Some(tenant)),
            user: kept(Some(user)),
            event: kept(event),
            update_type: kept(top.update_type),
            event_id: kept(top.event_id),
            entity: kept(top.entity),
            dialog: kept(dlg),
            dialog_mongo: kept(mongo),
            sender: kept(part.sender),
            names: names.map(kept),
            key,
            repaired,
            body: Json::read(Arc::clone(&body)),
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

/// `messageId` and `_id` of a created message; either may stand in `entityId`.
fn names<'a>(
    message: Option<Cow<'a, str>>,
    mongo: Option<Cow<'a, str>>,
    entity: Option<&Cow<'a, str>>,
) -> [Option<Cow<'a, str>>; 2] {
    match entity {
        Some(id) if is_mongo(id) => [message, mongo.or_else(|| Some(id.clone()))],
        other => [message.or_else(|| other.cloned()), mongo],
    }
}

/// Mongo's ids are 24 hex digits.
fn is_mongo(id: &str) -> bool {
    id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// JSON with the names that are looked for in every place, repeated and of every type.
    fn json() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "tenantId",
            "userId",
            "data",
            "message",
            "dialog",
            "context",
            "dialogId",
            "senderId",
            "messageId",
            "_id",
            "entityId",
            "eventId",
            "eventType",
            "sourceEventType",
            "updateType",
            "other",
            "te\\u006eantId",
        ]);
        let leaf = prop::sample::select(vec![
            r#""a""#,
            r#""message.create""#,
            r#""update.message""#,
            r#""65f0c0ffee65f0c0ffee65f0""#,
            r#""q\"\u00e9\n""#,
            r#""dlg_1""#,
            "null",
            "true",
            "-1.5e3",
            "18446744073709551616",
            "[]",
            "[1,{\"a\":2}]",
            "{}",
            r#""""#,
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(4, 60, 8, move |inner| {
            let members = prop::collection::vec((name.clone(), inner), 0..10);
            members.prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!(" \"{name}\" : {value}")).collect();
                format!("{{{}}}", members.join(","))
            })
        })
    }

    fn text(value: &Value, path: &[&str]) -> Option<String> {
        path.iter().try_fold(value, |value, name| value.as_object()?.get(*name))?.as_str().map(str::to_owned)
    }

    proptest! {
        #[test]
        fn one_walk_finds_what_a_look_at_each_field_finds(
            members in json(),
            tenant in any::<bool>(),
        ) {
            let required = if tenant { r#""tenantId":"t","userId":"u","data":{"#.to_owned() + "}," } else { String::new() };
            let body = match members.strip_prefix('{') {
                Some(rest) if rest != "}" => format!("{{{required}{rest}"),
                _ => members,
            };
            let whole: Value = serde_json::from_str(&body).unwrap();
            let read = Update::read(body.as_bytes(), 7);
            let [tenant, user] = ["tenantId", "userId"].map(|name| text(&whole, &[name]));
            let data = whole.get("data").filter(|data| !data.is_null());
            prop_assert_eq!(read.is_ok(), whole.is_object() && tenant.is_some() && user.is_some() && data.is_some());
            let Ok(update) = read else { return Ok(()) };
            prop_assert_eq!((Some(update.tenant()), Some(update.user())), (tenant.as_deref(), user.as_deref()));
            let event = text(&whole, &["eventType"]).or_else(|| text(&whole, &["sourceEventType"]));
            prop_assert_eq!(update.event(), event.unwrap_or_default());
            prop_assert_eq!(update.update_type().map(str::to_owned), text(&whole, &["updateType"]));
            prop_assert_eq!(update.event_id().map(str::to_owned), text(&whole, &["eventId"]));
            prop_assert_eq!(update.entity().map(str::to_owned), text(&whole, &["entityId"]));
            let message = whole["data"]["message"].is_object();
            let part = |name: &str| {
                if message { text(&whole, &["data", "message", name]) } else { text(&whole, &["data", name]) }
            };
            prop_assert_eq!(update.sender().map(str::to_owned), part("senderId"));
            let dialogs = [
                part("dialogId"),
                text(&whole, &["dialogId"]),
                text(&whole, &["data", "dialogId"]),
                text(&whole, &["data", "dialog", "dialogId"]),
                text(&whole, &["data", "context", "dialogId"]),
            ];
            let first = |mongo: bool| dialogs.iter().flatten().find(|id| is_mongo(id) == mongo).map(String::as_str);
            prop_assert_eq!((update.dialog(), update.dialog_mongo()), (first(false), first(true)));
            if update.is_creation() {
                for id in [part("messageId"), part("_id")].iter().flatten() {
                    prop_assert!(update.is_message(id));
                }
            }
            prop_assert_eq!(update.body.get(), body.as_str());
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(body in any::<Vec<u8>>(), json in json(), cut in 0_usize..400) {
            let _whatever = Update::read(&body, 0);
            let _cut_off = Update::read(&json.as_bytes()[..cut.min(json.len())], 0);
        }
    }
}
