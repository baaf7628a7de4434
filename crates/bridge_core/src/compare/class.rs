//! Classes, causes and modifiers.

use serde::{Deserialize, Serialize};

/// What became of a unit. Every one closes in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the contract's table says what each means")]
pub enum Class {
    Match,
    PayloadMismatch,
    MissingInRabbitmq,
    MissingInRabbitmqExpected,
    MissingInLegacyExpected,
    MissingInLegacyUnexpected,
    Duplicate,
    AudienceMismatch,
    Leak,
    Indeterminate,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Match,
        Self::PayloadMismatch,
        Self::MissingInRabbitmq,
        Self::MissingInRabbitmqExpected,
        Self::MissingInLegacyExpected,
        Self::MissingInLegacyUnexpected,
        Self::Duplicate,
        Self::AudienceMismatch,
        Self::Leak,
        Self::Indeterminate,
    ];

    /// Speaks against switching.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(
            self,
            Self::PayloadMismatch
                | Self::MissingInRabbitmq
                | Self::MissingInLegacyUnexpected
                | Self::Duplicate
                | Self::AudienceMismatch
                | Self::Leak
        )
    }

    /// The causes that it has; none where it needs none.
    #[must_use]
    pub const fn causes(self) -> &'static [Cause] {
        match self {
            Self::MissingInRabbitmq => {
                &[Cause::BrokerDown, Cause::QueueNotReady, Cause::Dropped, Cause::PartialFanout, Cause::NoUpdate]
            }
            Self::MissingInRabbitmqExpected => &[Cause::NotMember, Cause::NotSubscribed],
            Self::MissingInLegacyExpected => &[Cause::EventNotInLegacy, Cause::PostedElsewhere, Cause::NotJoined],
            Self::Indeterminate => {
                &[Cause::Startup, Cause::Shed, Cause::Reconnected, Cause::StageChanged, Cause::PostUnknown]
            }
            Self::Match
            | Self::PayloadMismatch
            | Self::MissingInLegacyUnexpected
            | Self::Duplicate
            | Self::AudienceMismatch
            | Self::Leak => &[],
        }
    }

    /// The name in records and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::PayloadMismatch => "payload_mismatch",
            Self::MissingInRabbitmq => "missing_in_rabbitmq",
            Self::MissingInRabbitmqExpected => "missing_in_rabbitmq_expected",
            Self::MissingInLegacyExpected => "missing_in_legacy_expected",
            Self::MissingInLegacyUnexpected => "missing_in_legacy_unexpected",
            Self::Duplicate => "duplicate",
            Self::AudienceMismatch => "audience_mismatch",
            Self::Leak => "leak",
            Self::Indeterminate => "indeterminate",
        }
    }
}

/// Why a copy is absent, or why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the contract's table says what each means")]
pub enum Cause {
    BrokerDown,
    QueueNotReady,
    Dropped,
    PartialFanout,
    NoUpdate,
    NotMember,
    NotSubscribed,
    EventNotInLegacy,
    PostedElsewhere,
    NotJoined,
    Startup,
    Shed,
    Reconnected,
    StageChanged,
    PostUnknown,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::BrokerDown,
        Self::QueueNotReady,
        Self::Dropped,
        Self::PartialFanout,
        Self::NoUpdate,
        Self::NotMember,
        Self::NotSubscribed,
        Self::EventNotInLegacy,
        Self::PostedElsewhere,
        Self::NotJoined,
        Self::Startup,
        Self::Shed,
        Self::Reconnected,
        Self::StageChanged,
        Self::PostUnknown,
    ];

    /// The name in records and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokerDown => "broker_down",
            Self::QueueNotReady => "queue_not_ready",
            Self::Dropped => "dropped",
            Self::PartialFanout => "partial_fanout",
            Self::NoUpdate => "no_update",
            Self::NotMember => "not_member",
            Self::NotSubscribed => "not_subscribed",
            Self::EventNotInLegacy => "event_not_in_legacy",
            Self::PostedElsewhere => "posted_elsewhere",
            Self::NotJoined => "not_joined",
            Self::Startup => "startup",
            Self::Shed => "shed",
            Self::Reconnected => "reconnected",
            Self::StageChanged => "stage_changed",
            Self::PostUnknown => "post_unknown",
        }
    }
}

/// What else is to be known of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modifier {
    /// The twin came after the window.
    Late,
    /// The two paths brought it in another order than its neighbours of the same user and dialog.
    Reordered,
    /// AMQP flagged it as redelivered.
    Redelivered,
    /// A flip delivered it from the ring.
    Flushed,
    /// It was delivered from the ring because its update did not come.
    Rescued,
    /// A drill planted it.
    Drill,
    /// The authoritative path changed while it was open.
    InFlip,
    /// A socket of the user came or went within the window.
    InChurn,
}

impl Modifier {
    /// The name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Reordered => "reordered",
            Self::Redelivered => "redelivered",
            Self::Flushed => "flushed",
            Self::Rescued => "rescued",
            Self::Drill => "drill",
            Self::InFlip => "in_flip",
            Self::InChurn => "in_churn",
        }
    }
}
