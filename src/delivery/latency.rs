//! How long deliveries take, of one in [`EVERY`]: from Chat3's own time to their arrival here, and from there until the
//! client's transport took them.
//!
//! The sample is taken off the delivery's back: what has to be waited for, a task of its own looks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bridge_core::{Json, Millis, Path};
use metrics::{Histogram, histogram};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Clock;
use crate::sockets::Link;

/// One delivery in so many is measured, the first one too.
const EVERY: u64 = 64;
/// A transport that took nothing for so long has taken it at least so late.
const LONGEST: Duration = Duration::from_secs(10);
/// Samples whose transport is waited for.
const WAITING: usize = 64;

pub(super) struct Latency {
    legacy: Side,
    rabbitmq: Side,
    waiting: Arc<AtomicUsize>,
}

struct Side {
    arrival: Histogram,
    handover: Histogram,
}

/// One that is measured.
pub(super) struct Sample<'a> {
    latency: &'a Latency,
    side: &'a Side,
    began: Instant,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            legacy: Side {
                arrival: histogram!("bridge_delivery_arrival_seconds", "path" => "legacy"),
                handover: histogram!("bridge_delivery_handover_seconds", "path" => "legacy"),
            },
            rabbitmq: Side {
                arrival: histogram!("bridge_delivery_arrival_seconds", "path" => "rabbitmq"),
                handover: histogram!("bridge_delivery_handover_seconds", "path" => "rabbitmq"),
            },
            waiting: Arc::default(),
        }
    }
}

impl Latency {
    /// A sample of `path`, whose delivery is the `number`th; `None` for most.
    pub(super) fn sample(&self, path: Path, number: u64) -> Option<Sample<'_>> {
        if !number.is_multiple_of(EVERY) {
            return None;
        }
        let side = match path {
            Path::Legacy => &self.legacy,
            Path::Rabbitmq => &self.rabbitmq,
        };
        Some(Sample { latency: self, side, began: Instant::now() })
    }
}

impl Sample<'_> {
    /// It arrived at `now`; `body` says when Chat3 made it, else `published` does.
    pub(super) fn arrived(&self, body: &Json, published: Option<Millis>, now: Millis) {
        if let Some(created) = created(body).map(Clock::from_wall).or(published) {
            // Clocks of two machines differ.
            self.side.arrival.record(Duration::from_millis(now.since(created)));
        }
    }

    /// It was given to `link` under this serial.
    pub(super) fn emitted(&self, link: Arc<dyn Link>, serial: u64) {
        let (handover, began) = (self.side.handover.clone(), self.began);
        if link.handed() >= serial {
            handover.record(began.elapsed());
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let waiting = Arc::clone(&self.latency.waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        runtime.spawn(async move {
            let mut pause = Duration::from_millis(1);
            while link.handed() < serial && began.elapsed() < LONGEST {
                tokio::time::sleep(pause).await;
                pause = (pause * 5 / 4).min(Duration::from_millis(500));
            }
            handover.record(began.elapsed());
            waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// `createdAt`: ISO-8601, or milliseconds as a text or a number.
fn created(body: &Json) -> Option<Millis> {
    #[derive(Deserialize)]
    struct Created {
        #[serde(rename = "createdAt")]
        at: Value,
    }
    let Created { at } = serde_json::from_str(body.get()).ok()?;
    let ms = match &at {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.parse::<f64>() {
            Ok(ms) => ms,
            Err(_) => {
                return u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok().map(Millis);
            }
        },
        _ => return None,
    };
    let is_time = (0.0..1e15).contains(&ms);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    is_time.then_some(Millis(ms as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat3s_own_time_is_read_in_all_its_spellings() {
        let read = |text: &str| {
            created(&serde_json::value::RawValue::from_string(text.into()).unwrap().into()).map(|at| at.0)
        };
        for text in
            ["\"2026-11-23T12:06:30.744Z\"", "\"1795435590744.529053\"", "1795435590744", "1795435590744.5"]
        {
            assert_eq!(
                read(&format!("{{\"a\":1,\"createdAt\":{text},\"b\":{{}}}}")),
                Some(1_795_435_590_744),
                "{text}"
            );
        }
        for text in [
            "{}",
            "[]",
            "{\"createdAt\":null}",
            "{\"createdAt\":\"soon\"}",
            "{\"createdAt\":-1}",
            "{\"createdAt\":1e300}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
