//! Message keys and update keys: what makes two copies the same thing.

use std::hash::Hash as _;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use smallvec::SmallVec;

/// The names under which one side knows a created message.
///
/// Chat3 of 2025-11-05 answers a POST with both `messageId` and `_id` but publishes only the `_id` (as `entityId`);
/// later versions have `messageId` on both sides. A unit is found under either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageId {
    /// `messageId`, or an `entityId` that is one (`msg_…`).
    pub message: Option<Arc<str>>,
    /// Mongo's `_id`, or an `entityId` that is one (24 hex digits).
    pub mongo: Option<Arc<str>>,
}

impl MessageId {
    /// The name that a record shows: `messageId` if known, else `_id`.
    #[must_use]
    pub fn shown(&self) -> Option<&Arc<str>> {
        self.message.as_ref().or(self.mongo.as_ref())
    }

    /// With the names of both, its own first.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { message: self.message.or(other.message), mongo: self.mongo.or(other.mongo) }
    }

    /// Whether it goes by `id`.
    #[must_use]
    pub fn is(&self, id: &str) -> bool {
        self.message.as_deref() == Some(id) || self.mongo.as_deref() == Some(id)
    }

    /// Whether both name the same message, as far as they share an id.
    #[must_use]
    pub fn names(&self, other: &Self) -> bool {
        [&other.message, &other.mongo].into_iter().flatten().any(|id| self.is(id))
    }

    /// The key of this message within `tenant`; `None` when the side names no id at all.
    #[must_use]
    pub fn key(&self, tenant: &str) -> Option<Key> {
        message_key(tenant, [self.message.as_deref(), self.mongo.as_deref()])
    }
}

/// The key of a message with these names within `tenant`; `None` when it has none.
pub(crate) fn message_key(tenant: &str, names: [Option<&str>; 2]) -> Option<Key> {
    let ids: SmallVec<[u128; 2]> = names.into_iter().flatten().map(|id| digest(&["m", tenant, id])).collect();
    (!ids.is_empty()).then_some(Key { ids, creation: true })
}

/// Identity of a delivery: one or two 128-bit digests of its names. Two keys are the same when they share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    ids: SmallVec<[u128; 2]>,
    creation: bool,
}

impl Key {
    /// The update key (`tenantId`, `eventId`, `userId`, `updateType`, `entityId`); absent parts are empty strings.
    #[must_use]
    pub fn update(tenant: &str, event_id: &str, user: &str, update_type: &str, entity: &str) -> Self {
        let id = digest(&["u", tenant, event_id, user, update_type, entity]);
        Self { ids: SmallVec::from_slice(&[id]), creation: false }
    }

    /// A key whose updates carry no identity at all is unique by its number, so that nothing is taken for its copy.
    #[must_use]
    pub fn unique(number: u64) -> Self {
        Self { ids: SmallVec::from_slice(&[digest(&["x", &number.to_string()])]), creation: false }
    }

    /// A key made of plain numbers, for tests and simulations.
    #[must_use]
    pub fn of_numbers(ids: &[u128], creation: bool) -> Self {
        Self { ids: SmallVec::from_slice(ids), creation }
    }

    /// The digests.
    #[must_use]
    pub fn ids(&self) -> &[u128] {
        &self.ids
    }

    /// The digest that names the unit in records and decides about sampling: the same on both sides wherever both
    /// sides know the `messageId` or both know only the `_id`.
    #[must_use]
    pub fn first(&self) -> u128 {
        self.ids[0]
    }

    /// Whether this is a message key, the only kind that has a twin on the other path.
    #[must_use]
    pub const fn is_creation(&self) -> bool {
        self.creation
    }

    /// Under all names of both, those of `self` first.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for id in &other.ids {
            if !both.ids.contains(id) {
                both.ids.push(*id);
            }
        }
        both
    }

    /// The digests of its ids as those of one recipient: none of them is another recipient's.
    pub(crate) fn of_recipient(&self, user: &str) -> SmallVec<[u128; 2]> {
        let user = digest(&["r", user]);
        self.ids.iter().map(|id| id ^ user).collect()
    }

    /// Whether both name the same thing.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.ids.iter().any(|id| other.ids.contains(id))
    }
}

/// SipHash with fixed keys: 128 bits, the same everywhere. Parts can't run into each other because `str`'s hash ends each
/// with a byte that UTF-8 never has.
fn digest(parts: &[&str]) -> u128 {
    let mut hasher = SipHasher13::new();
    parts.iter().for_each(|part| part.hash(&mut hasher));
    hasher.finish128().as_u128()
}
