//! The shapes of three Chat3 versions, as captured.

use serde_json::{Map, Value, json};

use super::publish::Publication;
use super::{Dialog, Version, hex, letters};

/// A message that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) dialog_id: String,
    pub(super) dialog: Dialog,
    pub(super) tenant: String,
    pub(super) sender: String,
    pub(super) content: String,
    pub(super) kind: String,
    pub(super) meta: Map<String, Value>,
    pub(super) quoted: Option<String>,
    mongo: String,
    id: String,
    event_id: String,
    /// ms since the epoch.
    at: u64,
}

/// Updates carry at most this many UTF-16 units of content, in the versions that cut.
const CUT: usize = 4_096;

impl Message {
    #[expect(clippy::too_many_arguments, reason = "the fields of one request")]
    pub(super) fn new(
        version: Version,
        dialog_id: &str,
        dialog: Dialog,
        tenant: &str,
        sender: &str,
        content: &str,
        kind: &str,
        meta: Map<String, Value>,
        quoted: Option<String>,
        at: u64,
    ) -> Self {
        let event_id = if version == Version::June { format!("evt_{}", hex(32)) } else { hex(24) };
        Self {
            dialog_id: dialog_id.into(),
            dialog,
            tenant: tenant.into(),
            sender: sender.into(),
            content: content.into(),
            kind: kind.into(),
            meta,
            quoted,
            mongo: hex(24),
            id: format!("msg_{}", letters(20)),
            event_id,
            at,
        }
    }

    /// `createdAt` as the version writes it.
    fn time(&self, version: Version) -> Value {
        match version {
            Version::November5 => crate::clock::iso(bridge_core::Millis(self.at)).into(),
            Version::November26 | Version::June => format!("{}.529053", self.at).into(),
        }
    }

    fn sender_info(&self, with_name: bool) -> Value {
        let mut info = json!({"userId": self.sender});
        if with_name {
            info["name"] = self.sender.as_str().into();
            info["lastActiveAt"] = Value::Null;
        }
        info["meta"] = json!({"name": self.sender});
        info
    }

    /// `data` of the answer to createMessage.
    pub(super) fn answer(&self, version: Version) -> Value {
        let time = self.time(version);
        match version {
            Version::November5 => json!({
                "tenantId": self.tenant,
                "dialogId": {"name": self.dialog.name, "_id": self.dialog.mongo, "id": self.dialog.mongo},
                "senderId": self.sender, "content": self.content, "type": self.kind, "_id": self.mongo,
                "messageId": self.id, "createdAt": time, "updatedAt": time, "id": self.mongo, "meta": self.meta}),
            Version::November26 => json!({
                "tenantId": self.tenant, "dialogId": self.dialog_id, "senderId": self.sender,
                "content": self.content, "type": self.kind, "quotedMessage": self.quoted_message(),
                "messageId": self.id, "createdAt": time, "updatedAt": time, "meta": self.meta,
                "senderInfo": self.sender_info(true)}),
            Version::June => {
                let mut data = json!({"tenantId": self.tenant, "dialogId": self.dialog_id,
                    "senderId": self.sender, "content": self.content, "type": self.kind, "messageId": self.id,
                    "createdAt": time, "meta": self.meta, "senderInfo": self.sender_info(false)});
                if self.quoted.is_some() {
                    data["quotedMessage"] = self.quoted_message();
                }
                data
            }
        }
    }

    fn quoted_message(&self) -> Value {
        self.quoted.as_ref().map_or(Value::Null, |id| json!({"messageId": id, "dialogId": self.dialog_id}))
    }

    /// The updates for `user`, in the order in which they are published.
    pub(super) fn updates(&self, version: Version, user: &str, now: u64) -> Vec<Publication> {
        match version {
            Version::November5 => vec![self.november5(user, now)],
            Version::November26 => vec![self.november26(user, now)],
            Version::June if user == self.sender => vec![self.june_message(user, now)],
            Version::June => {
                vec![self.june_message(user, now), self.june_user(user, now), self.june_dialog(user, now)]
            }
        }
    }

    fn november5(&self, user: &str, now: u64) -> Publication {
        let time = self.time(Version::November5);
        // Meta is saved under one key and read under another: it is never there.
        let body = json!({
            "tenantId": self.tenant, "userId": user, "dialogId": self.dialog.mongo, "entityId": self.mongo,
            "eventId": self.event_id, "eventType": "message.create",
            "data": {"_id": self.mongo, "tenantId": self.tenant, "dialogId": self.dialog.mongo,
                "senderId": self.sender, "content": self.cut(), "type": self.kind, "createdAt": time, "updatedAt": time},
            "published": false, "_id": hex(24), "createdAt": time, "__v": 0, "updatedAt": time});
        let headers = vec![
            ("userId", user.to_owned()),
            ("dialogId", self.dialog.mongo.clone()),
            ("entityId", self.mongo.clone()),
            ("eventType", "message.create".to_owned()),
        ];
        publication(format!("user.{user}.messageupdate"), headers, now, &body)
    }

    fn november26(&self, user: &str, now: u64) -> Publication {
        let mut message = self.answer(Version::November26);
        drop_empty(&mut message, "meta");
        message["statuses"] = json!([]);
        let body = json!({
            "tenantId": self.tenant, "userId": user, "dialogId": self.dialog_id, "entityId": self.id,
            "eventId": self.event_id, "eventType": "message.create",
            "data": {
                "dialog": {"dialogId": self.dialog_id, "tenantId": self.tenant, "name": self.dialog.name},
                "member": {"userId": user, "state": {"unreadCount": null, "lastSeenAt": null,
                    "lastMessageAt": null, "isActive": null}},
                "message": message,
                "context": {"eventType": "message.create", "dialogId": self.dialog_id, "entityId": self.id,
                    "includedSections": ["dialog", "member", "message.full"], "updatedFields": ["message"],
                    "messageId": self.id}},
            "published": false, "createdAt": format!("{now}.206055")});
        let headers = vec![
            ("userId", user.to_owned()),
            ("dialogId", self.dialog_id.clone()),
            ("entityId", self.id.clone()),
            ("eventType", "message.create".to_owned()),
        ];
        publication(format!("user.user.{user}.messageupdate"), headers, now, &body)
    }

    fn june(&self, user: &str, now: u64, kind: &str, entity: &str, data: &Value) -> Publication {
        let body = json!({
            "tenantId": self.tenant, "userId": user, "entityId": entity, "eventId": self.event_id,
            "sourceEventType": "message.create", "updateType": format!("update.{kind}"), "data": data,
            "published": false, "createdAt": format!("{now}.884277")});
        let headers = vec![
            ("userId", user.to_owned()),
            ("entityId", entity.to_owned()),
            ("updateType", format!("update.{kind}")),
            ("sourceEventType", "message.create".to_owned()),
        ];
        let group = if kind == "user" { "user" } else { "dialog" };
        publication(format!("update.{group}.user.{user}.{kind}"), headers, now, &body)
    }

    fn june_message(&self, user: &str, now: u64) -> Publication {
        let mut message = json!({"messageId": self.id, "dialogId": self.dialog_id, "senderId": self.sender,
            "type": self.kind, "content": self.cut(), "meta": self.meta, "senderInfo": self.sender_info(false)});
        drop_empty(&mut message, "meta");
        let data = json!({
            "dialog": {"dialogId": self.dialog_id, "tenantId": self.tenant, "stats": {"unreadCount": 0}},
            "message": message,
            "context": {"version": 4, "dialogId": self.dialog_id, "entityId": self.id, "messageId": self.id,
                "includedSections": ["dialog", "message"], "updatedFields": ["message"], "uiTarget": "messages.list"}});
        self.june(user, now, "message", &self.id, &data)
    }

    fn june_user(&self, user: &str, now: u64) -> Publication {
        let data = json!({
            "user": {"userId": user, "type": "user", "stats": {"dialogCount": 1, "totalUnreadCount": 1}},
            "context": {"entityId": user, "includedSections": ["user"], "version": 4, "uiTarget": "users.list"}});
        self.june(user, now, "user", user, &data)
    }

    fn june_dialog(&self, user: &str, now: u64) -> Publication {
        let data = json!({
            "dialog": {"dialogId": self.dialog_id, "stats": {"unreadCount": 1}},
            "member": {"userId": user, "state": {"unreadCount": 1}},
            "context": {"dialogId": self.dialog_id, "userId": user, "includedSections": ["dialog", "member"],
                "version": 4, "uiTarget": "dialogs.list"}});
        self.june(user, now, "dialog", &self.dialog_id, &data)
    }

    /// JavaScript's `substring(0, 4096)`: it can halve an emoji, which is then an escape that is no character.
    fn cut(&self) -> String {
        let units: Vec<u16> = self.content.encode_utf16().take(CUT).collect();
        match units.last() {
            Some(0xD800..=0xDBFF) => {
                let whole = String::from_utf16_lossy(&units[..units.len() - 1]);
                format!("{whole}{HALF}")
            }
            _ => String::from_utf16_lossy(&units),
        }
    }
}

/// Stands for half a surrogate pair until the body is text.
const HALF: &str = "\u{E000}half\u{E000}";

fn publication(
    routing_key: String,
    headers: Vec<(&'static str, String)>,
    timestamp: u64,
    body: &Value,
) -> Publication {
    let body = body.to_string().replace(HALF, "\\ud83d");
    Publication { routing_key, headers, timestamp, body: body.into() }
}

/// Mongoose drops empty objects in updates.
fn drop_empty(message: &mut Value, key: &str) {
    if let Value::Object(fields) = message
        && fields.get(key).and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        fields.shift_remove(key);
    }
}
