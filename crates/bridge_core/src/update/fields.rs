//! What is needed of a body, found in one walk over it.
//!
//! Of a repeated key the last one counts, as in JavaScript; a field of another type than it should have is as if
//! absent, and costs nothing else.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::object::{Word, text};

/// Text, where there is some.
type Found<'a> = Option<Cow<'a, str>>;

/// Fields of the body itself.
#[derive(Default)]
pub(super) struct Top<'a> {
    pub(super) tenant: Found<'a>,
    pub(super) user: Found<'a>,
    pub(super) event_type: Found<'a>,
    pub(super) source_event: Found<'a>,
    pub(super) update_type: Found<'a>,
    pub(super) event_id: Found<'a>,
    pub(super) entity: Found<'a>,
    pub(super) dialog: Found<'a>,
    pub(super) data: Nested<Data<'a>>,
}

/// Fields of `data`.
#[derive(Default)]
pub(super) struct Data<'a> {
    pub(super) own: Part<'a>,
    pub(super) message: Nested<Part<'a>>,
    pub(super) dialog: Nested<Part<'a>>,
    pub(super) context: Nested<Part<'a>>,
}

/// Fields of a message, or of what stands beside one.
#[derive(Default)]
pub(super) struct Part<'a> {
    pub(super) dialog: Found<'a>,
    pub(super) sender: Found<'a>,
    pub(super) message: Found<'a>,
    pub(super) mongo: Found<'a>,
}

/// What stands in the place of an object.
#[derive(Default)]
pub(super) enum Nested<T> {
    /// Nothing, or `null`.
    #[default]
    Absent,
    /// Something else.
    Other,
    Object(T),
}

impl<T> Nested<T> {
    pub(super) fn object(self) -> Option<T> {
        match self {
            Self::Object(object) => Some(object),
            Self::Absent | Self::Other => None,
        }
    }
}

impl<'a> Top<'a> {
    /// `None` when `body` is no JSON.
    pub(super) fn read(body: &'a str) -> Option<Nested<Self>> {
        let mut deserializer = serde_json::Deserializer::from_str(body);
        let top = Walk(PhantomData).deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(top)
    }
}

/// An object whose members are looked at one after the other.
trait Members<'a>: Default {
    fn member<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

impl<'a> Members<'a> for Top<'a> {
    fn member<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            "tenantId" => &mut self.tenant,
            "userId" => &mut self.user,
            "eventType" => &mut self.event_type,
            "sourceEventType" => &mut self.source_event,
            "updateType" => &mut self.update_type,
            "eventId" => &mut self.event_id,
            "entityId" => &mut self.entity,
            "dialogId" => &mut self.dialog,
            "data" => {
                self.data = map.next_value_seed(Walk(PhantomData))?;
                return Ok(());
            }
            _ => return skip(map),
        };
        *field = text(map.next_value::<&RawValue>()?.get());
        Ok(())
    }
}

impl<'a> Members<'a> for Data<'a> {
    fn member<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let part = match key {
            "message" => &mut self.message,
            "dialog" => &mut self.dialog,
            "context" => &mut self.context,
            _ => return self.own.member(key, map),
        };
        *part = map.next_value_seed(Walk(PhantomData))?;
        Ok(())
    }
}

impl<'a> Members<'a> for Part<'a> {
    fn member<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            "dialogId" => &mut self.dialog,
            "senderId" => &mut self.sender,
            "messageId" => &mut self.message,
            "_id" => &mut self.mongo,
            _ => return skip(map),
        };
        *field = text(map.next_value::<&RawValue>()?.get());
        Ok(())
    }
}

fn skip<'a, A: MapAccess<'a>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// Walks over one value.
struct Walk<T>(PhantomData<T>);

impl<'de, T: Members<'de>> DeserializeSeed<'de> for Walk<T> {
    type Value = Nested<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Members<'de>> Visitor<'de> for Walk<T> {
    type Value = Nested<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = T::default();
        while let Some(Word(key)) = map.next_key()? {
            members.member(&key, &mut map)?;
        }
        Ok(Nested::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Nested::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Nested::Absent)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Self::Value, E> {
        Ok(Nested::Other)
    }

    fn visit_i64<E>(self, _value: i64) -> Result<Self::Value, E> {
        Ok(Nested::Other)
    }

    fn visit_u64<E>(self, _value: u64) -> Result<Self::Value, E> {
        Ok(Nested::Other)
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Self::Value, E> {
        Ok(Nested::Other)
    }

    fn visit_str<E>(self, _text: &str) -> Result<Self::Value, E> {
        Ok(Nested::Other)
    }
}
