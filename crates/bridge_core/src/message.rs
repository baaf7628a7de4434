//! The canonical form of a message, and what differs between a legacy copy and an update.

mod canonical;
mod diff;
mod redact;

pub use canonical::{compare, compare_raw};
pub(crate) use diff::weight;
pub(crate) use redact::is_below;
pub use redact::redact;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Millis;

/// A difference that the canonical form smooths, or that is known of a Chat3 version as real; named in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Non-empty meta is lost by Chat3 of 2025-11-05.
    MetaMissingUpstreamBug,
    /// The update's content is cut at 4,096 UTF-16 units.
    #[serde(rename = "content_truncated_4096")]
    ContentTruncated4096,
    /// `null`, `{}` and absent are one.
    EmptyDropped,
    /// The update has no `createdAt`.
    CreatedAtAbsent,
    /// The newest Chat3 leaves the quoted message out of the update.
    QuotedAbsent,
    /// The dialog stands as an object, a Mongo id or a `dlg_` id.
    DialogIdShape,
    /// Another tab of the user had not joined.
    TabNotJoined,
}

/// How two values differ at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffKind {
    /// Only legacy has it.
    MissingInRabbitmq,
    /// Only rabbitmq has it.
    MissingInLegacy,
    /// Both have it, of different JSON types.
    Type,
    /// Both have it, of one type, with different values.
    Value,
}

/// One difference that no rule explains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// JSON Pointer into the canonical form, e.g. `/meta/channelType`.
    pub path: String,
    /// How they differ.
    pub kind: DiffKind,
    /// Legacy's value, `null` where it has none.
    pub legacy: Value,
    /// Rabbitmq's value, `null` where it has none.
    pub rabbitmq: Value,
}

/// A difference that somebody answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreRule {
    /// Name in records.
    pub name: String,
    /// JSON Pointer; also everything below it. Identity, recipient and order can't be ignored.
    pub path: String,
    /// Until when it holds.
    pub until: Millis,
}

/// What a comparison of two payloads found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The rules that were needed, in order, each once.
    pub rules: Vec<Rule>,
    /// Names of the settings' own ignore rules that were needed.
    pub ignored: Vec<String>,
    /// What is left, at most 32 differences; empty means equal.
    pub diff: Vec<Difference>,
}

impl Rule {
    /// The name in records and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetaMissingUpstreamBug => "meta_missing_upstream_bug",
            Self::ContentTruncated4096 => "content_truncated_4096",
            Self::EmptyDropped => "empty_dropped",
            Self::CreatedAtAbsent => "created_at_absent",
            Self::QuotedAbsent => "quoted_absent",
            Self::DialogIdShape => "dialog_id_shape",
            Self::TabNotJoined => "tab_not_joined",
        }
    }
}

impl Comparison {
    fn rule(&mut self, rule: Rule) {
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }
}
