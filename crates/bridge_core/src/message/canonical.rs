//! The canonical form, field by field. A rule is named only when it was needed.

use serde_json::{Map, Value};

use super::diff::{Look, same};
use super::{Comparison, DiffKind, Difference, IgnoreRule, Rule};
use crate::Json;
use crate::update::Update;

/// Chat3 cuts an update's content at this many UTF-16 units.
const CUT: usize = 4_096;

/// Compares Chat3's createMessage `data`, posted to dialog `dialog`, with an update of the same message. Fields that
/// the canonical form does not name are not compared. A side that can't be read, because it is no object or is nested
/// deeper than the parser goes, equals nothing: it differs at the root. What `ignore` covers is no difference.
#[must_use]
pub fn compare_raw(legacy: &Json, dialog: &str, update: &Update, ignore: &[&IgnoreRule]) -> Comparison {
    let legacy = read(Some(legacy.get()));
    let part = read(update.message_part().map(serde_json::value::RawValue::get));
    match (&legacy, part) {
        (Some(legacy), Some(part)) => canonical(legacy, dialog, Side { update, part: &part }, ignore),
        (legacy, part) => {
            let told = |read: bool| Value::from(if read { "readable" } else { "unreadable" });
            let (legacy, rabbitmq) = (told(legacy.is_some()), told(part.is_some()));
            let root = Difference { path: String::new(), kind: DiffKind::Value, legacy, rabbitmq };
            Comparison { diff: vec![root], ..Comparison::default() }
        }
    }
}

/// As [`compare_raw`], of an answer that was read already.
#[must_use]
pub fn compare(legacy: &Value, dialog: &str, update: &Update) -> Comparison {
    compare_raw(&Json::of(legacy), dialog, update, &[])
}

fn read(side: Option<&str>) -> Option<Map<String, Value>> {
    serde_json::from_str(side?).ok()
}

fn canonical(legacy: &Map<String, Value>, dialog: &str, update: Side<'_>, ignore: &[&IgnoreRule]) -> Comparison {
    let mut look = Look::new(ignore);
    id(&mut look, legacy, &update);
    dialog_id(&mut look, legacy, dialog, &update);
    for field in ["senderId", "type"] {
        look.difference(&format!("/{field}"), legacy.get(field), update.part.get(field));
    }
    content(&mut look, legacy.get("content"), update.part.get("content"));
    created_at(&mut look, legacy.get("createdAt"), update.part.get("createdAt"));
    meta(&mut look, legacy.get("meta"), &update);
    quoted(&mut look, legacy.get("quotedMessage"), &update);
    look.found
}

struct Side<'a> {
    update: &'a Update,
    part: &'a Map<String, Value>,
}

impl Side<'_> {
    /// November 5: a flat message that still carries Mongo's `_id`. Only those versions read meta under another key
    /// than they write it.
    fn loses_meta(&self) -> bool {
        self.part.contains_key("_id") && self.update.update_type().is_none()
    }

    /// 2026: the only shape with `updateType`.
    fn loses_quoted(&self) -> bool {
        self.update.update_type().is_some()
    }
}

fn id(look: &mut Look<'_>, legacy: &Map<String, Value>, update: &Side<'_>) {
    let text = |id: &Option<std::sync::Arc<str>>| id.as_deref().map(Value::from);
    let named = update.update.message().unwrap_or_default();
    let (ours, theirs) = match (legacy.get("messageId"), text(&named.message)) {
        (Some(ours), Some(theirs)) => (Some(ours), Some(theirs)),
        _ => (legacy.get("_id"), text(&named.mongo)),
    };
    look.difference("/id", ours, theirs.as_ref());
}

fn dialog_id(look: &mut Look<'_>, legacy: &Map<String, Value>, dialog: &str, update: &Side<'_>) {
    let ours = Value::from(dialog);
    let mapped = legacy.get("dialogId").and_then(|id| id.get("_id")).and_then(Value::as_str);
    let theirs = match (update.update.dialog(), update.update.dialog_mongo()) {
        (Some(dlg), _) => Some(Value::from(dlg)),
        (None, Some(mongo)) if mapped == Some(mongo) => Some(ours.clone()),
        (None, mongo) => mongo.map(Value::from),
    };
    let equal = look.difference("/dialog", Some(&ours), theirs.as_ref());
    let plain = legacy.get("dialogId") == Some(&ours) && update.update.dialog().is_some();
    if equal && !plain {
        look.found.rule(Rule::DialogIdShape);
    }
}

fn content(look: &mut Look<'_>, legacy: Option<&Value>, update: Option<&Value>) {
    if let (Some(Value::String(ours)), Some(Value::String(theirs))) = (legacy, update)
        && ours != theirs
        && cut(ours) == cut(theirs)
    {
        look.found.rule(Rule::ContentTruncated4096);
        return;
    }
    look.difference("/content", legacy, update);
}

/// The text as JavaScript's `substring(0, 4096)` leaves it; half a surrogate pair is U+FFFD.
fn cut(text: &str) -> String {
    let units: Vec<u16> = text.encode_utf16().take(CUT).collect();
    String::from_utf16_lossy(&units)
}

fn created_at(look: &mut Look<'_>, legacy: Option<&Value>, update: Option<&Value>) {
    match (legacy, update) {
        (Some(_), Some(_)) => {
            look.difference("/createdAt", legacy, update);
        }
        (None, None) => {}
        _ => look.found.rule(Rule::CreatedAtAbsent),
    }
}

fn meta(look: &mut Look<'_>, legacy: Option<&Value>, update: &Side<'_>) {
    let theirs = update.part.get("meta");
    if full(legacy).is_some() && theirs.is_none() && update.loses_meta() {
        look.found.rule(Rule::MetaMissingUpstreamBug);
        return;
    }
    without_empty(look, "/meta", legacy, theirs);
}

fn quoted(look: &mut Look<'_>, legacy: Option<&Value>, update: &Side<'_>) {
    let theirs = update.part.get("quotedMessage");
    if full(legacy).is_some() && theirs.is_none() && update.loses_quoted() {
        look.found.rule(Rule::QuotedAbsent);
        return;
    }
    without_empty(look, "/quotedMessage", legacy, theirs);
}

/// Compares with `null`, `{}` and absent taken for one, at any depth.
fn without_empty(look: &mut Look<'_>, path: &str, legacy: Option<&Value>, update: Option<&Value>) {
    let equal = look.difference(path, full(legacy).as_ref(), full(update).as_ref());
    let plain = match (legacy, update) {
        (Some(ours), Some(theirs)) => same(ours, theirs),
        (None, None) => true,
        _ => false,
    };
    if equal && !plain {
        look.found.rule(Rule::EmptyDropped);
    }
}

/// The value without empty members; `None` when nothing is left. Elements of arrays keep their places.
fn full(value: Option<&Value>) -> Option<Value> {
    match value? {
        Value::Null => None,
        Value::Object(map) => {
            let left: Map<String, Value> =
                map.iter().filter_map(|(key, value)| Some((key.clone(), full(Some(value))?))).collect();
            (!left.is_empty()).then_some(Value::Object(left))
        }
        Value::Array(items) => {
            Some(Value::Array(items.iter().map(|item| full(Some(item)).unwrap_or(Value::Null)).collect()))
        }
        other => Some(other.clone()),
    }
}
