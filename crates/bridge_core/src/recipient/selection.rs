//! Which update types a socket wants.

use std::collections::BTreeSet;

/// The types a user's sockets want: last words of routing keys. `None` wants all.
pub type Types = Option<BTreeSet<String>>;

/// Not `[a-z]{1,40}`, or too many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid type")]
pub struct InvalidType;

/// Most types one socket may name.
const MOST: usize = 100;
/// Most types for which a user's queue is bound one by one. Each costs bindings in every format, on channels that
/// users share, and what no socket wants is filtered here anyway: above this, everything is bound.
const MOST_BOUND: usize = 32;

/// What a socket subscribed to. Types are compared without a trailing `update`, and shown as the client spelled them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything, except what was unsubscribed by name.
    All {
        /// As spelled.
        except: Vec<String>,
    },
    /// Only these, as spelled.
    Only(Vec<String>),
}

impl Default for Selection {
    fn default() -> Self {
        Self::All { except: Vec::new() }
    }
}

/// The type without the suffix that November's Chat3 still had.
pub(super) fn plain(kind: &str) -> &str {
    match kind.strip_suffix("update") {
        Some("") | None => kind,
        Some(plain) => plain,
    }
}

fn check(types: &[String]) -> Result<(), InvalidType> {
    let good = |kind: &String| (1..=40).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_lowercase());
    if types.len() <= MOST && types.iter().all(good) { Ok(()) } else { Err(InvalidType) }
}

fn has(list: &[String], kind: &str) -> bool {
    list.iter().any(|other| plain(other) == plain(kind))
}

/// `list` with those of `types` that it lacks, in every spelling that the client used.
fn joined(list: &[String], types: Vec<String>) -> Result<Vec<String>, InvalidType> {
    let mut next = list.to_vec();
    for kind in types {
        if !next.contains(&kind) {
            next.push(kind);
        }
    }
    if next.len() <= MOST { Ok(next) } else { Err(InvalidType) }
}

impl Selection {
    /// What `authenticate` may carry: absent or empty wants all.
    pub fn declared(types: Option<Vec<String>>) -> Result<Self, InvalidType> {
        let mut selection = Self::default();
        if let Some(types) = types {
            selection.add(types)?;
        }
        Ok(selection)
    }

    /// Adds `types`; a socket that has all narrows to them. Empty: all.
    pub fn add(&mut self, types: Vec<String>) -> Result<(), InvalidType> {
        check(&types)?;
        if types.is_empty() {
            *self = Self::default();
            return Ok(());
        }
        if let Self::All { .. } = self {
            *self = Self::Only(Vec::new());
        }
        if let Self::Only(list) = self {
            *list = joined(list, types)?;
        }
        Ok(())
    }

    /// Removes `types`. Empty: all of them.
    pub fn remove(&mut self, types: Vec<String>) -> Result<(), InvalidType> {
        check(&types)?;
        if types.is_empty() {
            *self = Self::Only(Vec::new());
            return Ok(());
        }
        match self {
            Self::Only(list) => list.retain(|kind| !has(&types, kind)),
            Self::All { except } => *except = joined(except, types)?,
        }
        Ok(())
    }

    /// Whether an update whose routing key ends in `kind` is wanted.
    pub fn wants(&self, kind: &str) -> bool {
        match self {
            Self::All { except } => !has(except, kind),
            Self::Only(list) => has(list, kind),
        }
    }

    /// What a user's queue has to be bound to: the union over the sockets, or everything where that is too many types.
    pub fn union<'a>(selections: impl Iterator<Item = &'a Self>) -> Types {
        let mut types = BTreeSet::new();
        for selection in selections {
            match selection {
                Self::All { .. } => return None,
                Self::Only(list) => types.extend(list.iter().map(|kind| plain(kind).to_owned())),
            }
        }
        (types.len() <= MOST_BOUND).then_some(types)
    }

    /// As told to the client; `*` stands for all, and `-typing` for what was taken out of all.
    pub fn shown(&self) -> Vec<String> {
        match self {
            Self::All { except } => {
                std::iter::once("*".into()).chain(except.iter().map(|kind| format!("-{kind}"))).collect()
            }
            Self::Only(list) => list.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_narrows_to_the_named_and_both_spellings_are_one() {
        let mut selection = Selection::default();
        assert!(selection.wants("messageupdate"));
        selection.add(types(&["messageupdate"])).unwrap();
        assert_eq!(selection.shown(), ["messageupdate"]);
        assert!(
            selection.wants("message") && selection.wants("messageupdate") && !selection.wants("dialogupdate")
        );
        selection.add(types(&["message", "typing"])).unwrap();
        assert_eq!(selection.shown(), ["messageupdate", "message", "typing"]);
        selection.remove(types(&["message"])).unwrap();
        assert_eq!(selection.shown(), ["typing"]);
        selection.add(Vec::new()).unwrap();
        assert!(selection.wants("anything"));
        selection.remove(types(&["typingupdate"])).unwrap();
        assert!(selection.wants("message") && !selection.wants("typing"));
        assert_eq!(selection.shown(), ["*", "-typingupdate"]);
        selection.remove(Vec::new()).unwrap();
        assert!(!selection.wants("message"));
    }

    #[test]
    fn a_bad_type_changes_nothing() {
        let mut selection = Selection::default();
        for bad in ["", "Message", "a.b", "*", "#", &"x".repeat(41)] {
            assert_eq!(selection.add(types(&["ok", bad])), Err(InvalidType));
            assert_eq!(selection, Selection::default());
        }
    }

    #[test]
    fn the_union_of_all_and_some_is_all() {
        let some = Selection::Only(types(&["messageupdate"]));
        assert_eq!(Selection::union([&some].into_iter()), Some(["message".to_owned()].into()));
        assert_eq!(Selection::union([&some, &Selection::default()].into_iter()), None);
        assert_eq!(plain("update"), "update");
    }

    #[test]
    fn a_union_of_many_types_is_bound_as_all() {
        let kind = |n: usize| format!("t{}", char::from(b'a' + u8::try_from(n).unwrap())).repeat(n + 1);
        let most = Selection::Only((0..MOST_BOUND - 7).map(kind).collect());
        let other = Selection::Only((MOST_BOUND - 9..MOST_BOUND).map(kind).collect());
        assert_eq!(Selection::union([&most, &other].into_iter()).map(|types| types.len()), Some(MOST_BOUND));
        let more = Selection::Only(types(&["one"]));
        assert_eq!(Selection::union([&most, &other, &more].into_iter()), None);
        assert!(!more.wants("ta"), "a socket still gets only what it wants");
    }
}
