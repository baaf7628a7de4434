//! A JSON object as the list of its members, values unread.
//!
//! `serde`'s derived structs refuse a repeated key and a field of the wrong type; JavaScript takes the last one, and
//! a field nobody needs must not cost the message.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

/// The members of one object, in order; the last one of a repeated key counts.
#[derive(Clone, Debug, Default)]
pub struct Object<'a>(SmallVec<[(Cow<'a, str>, &'a RawValue); 16]>);

impl<'a> Object<'a> {
    /// Reads `json`; `None` when it is not an object.
    #[must_use]
    pub fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The member `key`, unread; `None` when absent or `null`.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().rev().find(|(name, _)| name == key)?;
        (value.get() != "null").then_some(*value)
    }

    /// The member `key` as text; `None` when it is anything else.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        text(self.raw(key)?.get())
    }

    /// The member `key` as an object; `None` when it is anything else.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Self> {
        Self::read(self.raw(key)?.get())
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = SmallVec<[(Cow<'de, str>, &'de RawValue); 16]>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = SmallVec::new();
                while let Some(Word(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Object)
    }
}

/// A JSON value's text; `None` when it is anything else.
pub(super) fn text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<Word<'_>>(json).ok().map(|word| word.0);
    }
    Some(Cow::Borrowed(inner))
}

/// Text that is borrowed where it has no escapes.
pub(super) struct Word<'a>(pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Word<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Letters;
        impl<'de> Visitor<'de> for Letters {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Letters).map(Word)
    }
}
