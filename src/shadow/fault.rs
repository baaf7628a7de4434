//! What a drill plants, where it has to be found, and what became of it.

use serde::Serialize;

/// A fault, and where it has to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    /// None: both copies, equal.
    None,
    ContentAltered,
    UpdateLost,
    UpdateLostForOne,
    UpdateRejected,
    QueueNotReady,
    NotSubscribed,
    BroadcastLost,
    NotJoined,
    PostedElsewhere,
    EventNotInLegacy,
    UpdateTwice,
    TabUnreached,
    WrongRecipient,
    QueueRenewed,
    PostUnknown,
}

impl Fault {
    pub(super) const ALL: [Self; 16] = [
        Self::None,
        Self::ContentAltered,
        Self::UpdateLost,
        Self::UpdateLostForOne,
        Self::UpdateRejected,
        Self::QueueNotReady,
        Self::NotSubscribed,
        Self::BroadcastLost,
        Self::NotJoined,
        Self::PostedElsewhere,
        Self::EventNotInLegacy,
        Self::UpdateTwice,
        Self::TabUnreached,
        Self::WrongRecipient,
        Self::QueueRenewed,
        Self::PostUnknown,
    ];

    /// Class and cause in which it has to be found; no cause where the class has none.
    pub(super) const fn expected(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::None => ("match", None),
            Self::ContentAltered => ("payload_mismatch", None),
            Self::UpdateLost => ("missing_in_rabbitmq", Some("no_update")),
            Self::UpdateLostForOne => ("missing_in_rabbitmq", Some("partial_fanout")),
            Self::UpdateRejected => ("missing_in_rabbitmq", Some("dropped")),
            Self::QueueNotReady => ("missing_in_rabbitmq", Some("queue_not_ready")),
            Self::NotSubscribed => ("missing_in_rabbitmq_expected", Some("not_subscribed")),
            Self::BroadcastLost => ("missing_in_legacy_unexpected", None),
            Self::NotJoined => ("missing_in_legacy_expected", Some("not_joined")),
            Self::PostedElsewhere => ("missing_in_legacy_expected", Some("posted_elsewhere")),
            Self::EventNotInLegacy => ("missing_in_legacy_expected", Some("event_not_in_legacy")),
            Self::UpdateTwice => ("duplicate", None),
            Self::TabUnreached => ("audience_mismatch", None),
            Self::WrongRecipient => ("leak", None),
            Self::QueueRenewed => ("indeterminate", Some("reconnected")),
            Self::PostUnknown => ("indeterminate", Some("post_unknown")),
        }
    }
}

/// What became of one planted fault.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    pub(super) fault: Fault,
    pub(super) expected_class: &'static str,
    pub(super) expected_cause: Option<&'static str>,
    pub(super) user: String,
    /// Classes in which units of this user closed, with their causes.
    pub(super) found: Vec<String>,
    pub(super) ok: bool,
}

/// What a drill found.
#[derive(Clone, Debug, Serialize)]
pub struct DrillReport {
    /// Every planted fault was found, in its class and with its cause, and nothing else was.
    pub ok: bool,
    /// When it ended, ISO-8601.
    pub at: String,
    /// Each fault.
    pub faults: Vec<Found>,
}
