//! The comparator at work: what comes in, what closes, and what becomes of that.

use std::sync::Arc;

use bridge_core::Millis;
use bridge_core::compare::{Cause, Closed, Event, Record};
use bridge_core::verdict::{self, Verdict};
use metrics::{counter, histogram};
use serde_json::json;

use super::{Desk, GRACE, Inner, gauge_value};
use crate::clock::iso;
use crate::notice::Notice;

impl Desk {
    /// Takes what the recorder brings.
    pub(in crate::shadow) fn observe(&self, events: impl Iterator<Item = Event>) {
        let mut inner = self.inner.lock();
        events.for_each(|event| inner.comparator.observe(event));
    }

    /// Closes what is due, and has it written.
    pub(in crate::shadow) fn expire(&self, now: Millis) {
        let mut records = Vec::new();
        let (evidence, changed) = {
            let mut inner = self.inner.lock();
            if inner.reveal.as_ref().is_some_and(|reveal| reveal.until <= now) {
                inner.comparator.keep_payloads(false);
                let over = inner.reveal.take().map(|reveal| reveal.over());
                inner.notes.extend(over);
                tracing::info!("what people wrote is not shown in records any more: its time is over");
            }
            // What the gates release when a window closes is noted before the unit is judged.
            let closed = inner.comparator.expire(Millis(now.0.saturating_sub(GRACE)));
            records.extend(closed.into_iter().filter_map(|closed| self.record(&mut inner, closed, now)));
            let evidence = inner.evidence.tick(now);
            let (opened, open) = inner.comparator.units();
            self.opened.increment(opened - inner.seen_opened);
            inner.seen_opened = opened;
            self.open.set(gauge_value(open));
            let held = inner.comparator.bytes() + inner.comparator.facts();
            self.memory.set(gauge_value(u64::try_from(held).unwrap_or(u64::MAX)));
            self.forgotten.absolute(inner.comparator.forgotten());
            let holds = inner.evidence.value(now);
            for (value, gauge) in &self.verdicts {
                gauge.set(if *value == holds { 1.0 } else { 0.0 });
            }
            self.glance.store(Arc::new(inner.glance(now)));
            let held = std::mem::replace(&mut inner.held, holds);
            (evidence, (held != holds).then(|| (held, inner.evidence.copy())))
        };
        if let Some((held, (evidence, target))) = changed {
            self.settings.notifier.tell(of_verdict(held, &evidence.verdict(&target, now)));
        }
        records.iter().for_each(|record| self.writer.record(record));
        if let Some(text) = evidence {
            self.writer.evidence(text);
        }
    }

    /// Notes a closed unit; what is to be written of it is returned. To write every unit costs as much as to compare it:
    /// only what goes to the log or to a follower is written now.
    fn record(&self, inner: &mut Inner, closed: Closed, now: Millis) -> Option<Record> {
        let reveal = inner.reveal.is_some();
        let drill = closed.modifiers.contains(&bridge_core::compare::Modifier::Drill);
        if drill {
            let kind = closed.cause.map_or_else(
                || closed.class.name().to_owned(),
                |cause| format!("{}/{}", closed.class.name(), cause.name()),
            );
            inner.drill_units.entry(closed.user.to_string()).or_default().push(kind);
        } else {
            inner.evidence.closed(&closed, now);
            count(inner, &closed, now);
            if let Some(skew) = closed.skew_ms() {
                let side = if skew < 0 { &mut inner.ahead } else { &mut inner.behind };
                side.saturating_record(skew.unsigned_abs());
                #[expect(clippy::cast_precision_loss, reason = "a histogram takes floats")]
                histogram!("bridge_shadow_skew_seconds").record(skew.unsigned_abs() as f64 / 1_000.0);
            }
        }
        let line = inner.sampling.line(&closed);
        let followed = self.follow.receiver_count() > 0;
        let record = (followed || line.is_some()).then(|| closed.record(&self.instance, iso, reveal));
        let number = inner.shelf.put(closed, reveal);
        if followed && let Some(record) = &record {
            let _they_may_have_gone = self.follow.send((number, Arc::new(record.clone())));
        }
        line.zip(record).map(|(line, record)| line.of(record))
    }
}

fn count(inner: &mut Inner, closed: &Closed, now: Millis) {
    if let Some(from) = closed.amends {
        counter!("bridge_shadow_amended_total", "from" => from.name(), "to" => closed.class.name()).increment(1);
        return;
    }
    inner.timeline.closed(now, closed.class, closed.skew_ms());
    let kind = inner.closed.entry((closed.class, closed.cause)).or_insert_with(|| {
        let cause = closed.cause.map_or("", Cause::name);
        counter!("bridge_shadow_closed_total", "class" => closed.class.name(), "cause" => cause)
    });
    kind.increment(1);
}

fn of_verdict(held: verdict::Value, new: &Verdict) -> Notice {
    let Verdict { value, messages, bad, says, .. } = new;
    Notice {
        event: "verdict",
        text: format!("the verdict was {}: {says}", held.name()),
        details: json!({"from": held.name(), "to": value.name(), "messages": messages, "bad": bad, "says": says}),
    }
}
