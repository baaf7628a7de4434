//! Text of a body, where it stands there.

use std::borrow::Cow;

/// A piece of a body, kept as the place where it stands.
#[derive(Clone, Debug, Default)]
pub(super) enum Text {
    /// There is none.
    #[default]
    Absent,
    /// Without escapes.
    Within { at: u32, length: u32 },
    /// It had escapes.
    Apart(Box<str>),
}

impl Text {
    /// `word` was read of `body`.
    pub(super) fn of(word: Option<Cow<'_, str>>, body: &str) -> Self {
        match word {
            None => Self::Absent,
            Some(Cow::Owned(word)) => Self::Apart(word.into()),
            Some(Cow::Borrowed(word)) => {
                let at = word.as_ptr().addr().checked_sub(body.as_ptr().addr());
                let place = at.filter(|at| body.get(*at..).is_some_and(|rest| rest.starts_with(word)));
                match (place.map(u32::try_from), u32::try_from(word.len())) {
                    (Some(Ok(at)), Ok(length)) => Self::Within { at, length },
                    _ => Self::Apart(word.into()),
                }
            }
        }
    }

    pub(super) fn get<'a>(&'a self, body: &'a str) -> Option<&'a str> {
        match self {
            Self::Absent => None,
            Self::Within { at, length } => body.get(*at as usize..)?.get(..*length as usize),
            Self::Apart(text) => Some(text),
        }
    }
}
