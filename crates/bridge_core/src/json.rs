//! JSON that was read whole, on its way to many.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// One JSON value as text, as cheap to clone as a pointer. It is only made of what was read, or written, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// `value` as JSON; `null` where it can't be put into it (a map with other keys than text).
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        to_raw_value(value).unwrap_or_default().into()
    }

    /// What the caller has just read as JSON, to its end.
    pub(crate) const fn read(text: Arc<str>) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }

    /// The same for `serde_json`.
    #[must_use]
    pub fn to_raw(&self) -> Box<RawValue> {
        RawValue::from_string(self.0.to_string()).unwrap_or_default()
    }

    /// Where it is: clones are at one place.
    #[must_use]
    pub fn place(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl From<Box<RawValue>> for Json {
    fn from(value: Box<RawValue>) -> Self {
        Self(Box::<str>::from(value).into())
    }
}

impl From<&RawValue> for Json {
    fn from(value: &RawValue) -> Self {
        Self(value.get().into())
    }
}
