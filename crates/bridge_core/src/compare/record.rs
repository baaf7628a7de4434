//! Closed units, as they are written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::class::{Cause, Class, Modifier};
use super::event::Payload;
use super::told::Told;
use crate::message::{Difference, redact};
use crate::{Millis, Stage};

/// One side of a closed unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSide {
    /// When it was seen.
    pub at: Millis,
    /// Sockets that it reaches.
    pub sockets: usize,
    /// AMQP's flag.
    pub redelivered: bool,
}

/// A closed unit.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Names the unit; an amendment has the same.
    pub id: u128,
    /// When it closed, or was amended.
    pub at: Millis,
    /// Stage of the user when it was opened.
    pub stage: Stage,
    /// Its class.
    pub class: Class,
    /// Why, where the class has causes.
    pub cause: Option<Cause>,
    /// The class that this record amends.
    pub amends: Option<Class>,
    /// What else is to be known.
    pub modifiers: Vec<Modifier>,
    /// Tenant.
    pub tenant: Arc<str>,
    /// User.
    pub user: Arc<str>,
    /// The dialog's `dlg_` id wherever known.
    pub dialog: Option<Arc<str>>,
    /// Its event and message.
    pub told: Told,
    /// Legacy's side.
    pub legacy: Option<ClosedSide>,
    /// Rabbitmq's side.
    pub rabbitmq: Option<ClosedSide>,
    /// Rules that were needed.
    pub rules: Vec<String>,
    /// What no rule explains.
    pub diff: Vec<Difference>,
    /// It was redacted already, for want of memory.
    pub redacted: bool,
    /// Its copies, where they are shown: of bad units, while content is revealed.
    pub payloads: Vec<Payload>,
    /// AMQP routing key.
    pub routing_key: Option<Arc<str>>,
    /// The message's key, for sampling and for the verdict.
    pub key: u128,
    /// It is about a message, which has a twin.
    pub creation: bool,
}

/// One line of the shadow log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the page about the shadow log names the fields")]
pub struct Record {
    pub v: u8,
    pub id: String,
    pub at: String,
    pub instance: Arc<str>,
    pub stage: Stage,
    pub class: Class,
    pub cause: Option<Cause>,
    pub modifiers: Vec<Modifier>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub amends: bool,
    pub tenant: Arc<str>,
    pub user: Arc<str>,
    pub dialog: Option<Arc<str>>,
    pub event: Arc<str>,
    pub message: Option<Arc<str>>,
    pub event_id: Option<Arc<str>>,
    pub legacy: Option<SideRecord>,
    pub rabbitmq: Option<SideRecord>,
    pub skew_ms: Option<i64>,
    pub rules: Vec<String>,
    pub diff: Vec<Difference>,
    pub routing_key: Option<Arc<str>>,
    /// The copies of a bad unit while content is revealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payloads: Option<Payloads>,
    /// Only in a log that does not hold every unit: the share of good and neutral ones that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<f64>,
    /// Only there: how many units like this one it stands for, itself included, since the one before; absent: itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
}

/// Copies as they came; one is absent that did not come, or that is larger than 16 KiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payloads {
    /// Chat3's createMessage `data`.
    pub legacy: Option<Value>,
    /// The update.
    pub rabbitmq: Option<Value>,
}

/// The largest copy that a record shows, in bytes.
const SHOWN: usize = 16 * 1_024;

impl Payloads {
    fn of(payloads: &[Payload]) -> Option<Self> {
        let mut own = Self::default();
        for payload in payloads {
            let (place, body) = match payload {
                Payload::Legacy(data) => (&mut own.legacy, data),
                Payload::Update(update) => (&mut own.rabbitmq, &update.body),
                Payload::Gone(_) => continue,
            };
            *place = Some(body.get())
                .filter(|body| body.len() <= SHOWN)
                .and_then(|body| serde_json::from_str(body).ok());
        }
        (!payloads.is_empty()).then_some(own)
    }
}

/// One side in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the page about the shadow log names the fields")]
pub struct SideRecord {
    pub at: String,
    pub sockets: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redelivered: Option<bool>,
}

impl Closed {
    /// Event type.
    #[must_use]
    pub fn event(&self) -> &str {
        self.told.event()
    }

    /// `messageId`, else `_id`; `None` for update keys.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.told.message()
    }

    /// `eventId`.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.told.event_id()
    }

    /// Keeps no more than a record of it shows, or takes: text of people is redacted unless `reveal`.
    pub fn let_go(&mut self, reveal: bool) {
        if !reveal {
            self.payloads.clear();
        }
        self.payloads.iter_mut().filter(|payload| payload.bytes() > 2 * SHOWN).for_each(|payload| {
            *payload = Payload::Gone(Told::default());
        });
        if !reveal && !self.redacted {
            redact(&mut self.diff);
            self.redacted = true;
        }
    }

    /// When the first of its copies was seen.
    #[must_use]
    pub fn opened_at(&self) -> Millis {
        let sides = [&self.legacy, &self.rabbitmq];
        sides.into_iter().flatten().map(|side| side.at).min().unwrap_or(self.at)
    }

    /// Rabbitmq minus legacy, in ms.
    #[must_use]
    pub fn skew_ms(&self) -> Option<i64> {
        let ms = |at: Millis| i64::try_from(at.0).unwrap_or(i64::MAX);
        Some(ms(self.rabbitmq.as_ref()?.at) - ms(self.legacy.as_ref()?.at))
    }

    /// As it is written by `instance`; `iso` prints times. Text of people is redacted unless `reveal`.
    #[must_use]
    pub fn record(&self, instance: &Arc<str>, iso: impl Fn(Millis) -> String, reveal: bool) -> Record {
        let mut diff = self.diff.clone();
        if !reveal && !self.redacted {
            redact(&mut diff);
        }
        let side = |side: &ClosedSide, flag: bool| SideRecord {
            at: iso(side.at),
            sockets: side.sockets,
            redelivered: flag.then_some(side.redelivered),
        };
        Record {
            v: 1,
            id: format!("{:032x}", self.id),
            at: iso(self.at),
            instance: Arc::clone(instance),
            stage: self.stage,
            class: self.class,
            cause: self.cause,
            modifiers: self.modifiers.clone(),
            amends: self.amends.is_some(),
            tenant: Arc::clone(&self.tenant),
            user: Arc::clone(&self.user),
            dialog: self.dialog.clone(),
            event: self.event().into(),
            message: self.message().map(Into::into),
            event_id: self.event_id().map(Into::into),
            legacy: self.legacy.as_ref().map(|legacy| side(legacy, false)),
            rabbitmq: self.rabbitmq.as_ref().map(|rabbitmq| side(rabbitmq, true)),
            skew_ms: self.skew_ms(),
            rules: self.rules.clone(),
            diff,
            routing_key: self.routing_key.clone(),
            payloads: Payloads::of(&self.payloads).filter(|_| reveal),
            sample: None,
            weight: None,
        }
    }
}

impl Record {
    /// Whether some difference is at or below the JSON Pointer `field`.
    #[must_use]
    pub fn differs_at(&self, field: &str) -> bool {
        self.diff.iter().any(|difference| crate::message::is_below(&difference.path, field))
    }

    /// Both values of the first difference, for a line of a report.
    #[must_use]
    pub fn example(&self) -> Option<(&str, &Value, &Value)> {
        self.diff.first().map(|difference| (difference.path.as_str(), &difference.legacy, &difference.rabbitmq))
    }
}
