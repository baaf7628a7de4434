//! Where the comparator works, and where people ask it.

mod closing;
mod rules;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_core::Millis;
use bridge_core::compare::{Cause, Class, Comparator, Limits, Record};
use bridge_core::verdict;
use hdrhistogram::Histogram;
use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use self::rules::{fingerprint, ignore, millis, target};
use super::archive::Archive;
use super::evidence::{Gathered, adopt};
use super::fault::DrillReport;
use super::filter::Filter;
use super::log::{Lost, ShadowLog};
use super::reveal::{Note, Reveal};
use super::sampling::Sampling;
use super::shelf::{self, Kept, Order, Page, Shelf};
use super::timeline::{Timeline, TimelineView};
use super::view::{Skew, SummaryView, numbers, shown};
use super::writer::Writer;
use crate::clock::{Clock, iso};
use crate::config::Shadow;
use crate::notice::Notifier;

/// Records that a follower may be behind; one that is further behind misses some, and is told.
const FOLLOW: usize = 1_024;
/// Units close this much after their window, in ms: gates look at theirs every 50 ms.
const GRACE: u64 = 150;

/// What the desk needs.
#[derive(Clone, Debug)]
pub struct DeskSettings {
    /// Name of the instance.
    pub instance: String,
    /// Directory of the log, which instances may share.
    pub dir: std::path::PathBuf,
    /// Directory of the evidence: this instance's own, whatever name it has at this start.
    pub state_dir: std::path::PathBuf,
    /// `shadow.*`.
    pub shadow: Shadow,
    /// `legacy.relay`.
    pub relayed: bool,
    /// Who is told of another verdict.
    pub notifier: Notifier,
}

/// The desk.
pub struct Desk {
    clock: Clock,
    settings: DeskSettings,
    /// Its name, as records have it.
    instance: Arc<str>,
    since: Millis,
    inner: Mutex<Inner>,
    writer: Writer,
    archive: Archive,
    /// What the guard and an audit entry want to know, of the latest look: neither waits for the comparison.
    glance: ArcSwap<Glance>,
    drilling: AtomicBool,
    follow: broadcast::Sender<(u64, Arc<Record>)>,
    opened: Counter,
    open: Gauge,
    memory: Gauge,
    forgotten: Counter,
    verdicts: [(verdict::Value, Gauge); 4],
}

#[derive(Default)]
struct Glance {
    totals: (u64, u64),
    evidence: Value,
}

struct Inner {
    comparator: Comparator,
    evidence: Gathered,
    shelf: Shelf,
    timeline: Timeline,
    /// Skews by sign: the histogram takes no negative numbers.
    ahead: Histogram<u64>,
    behind: Histogram<u64>,
    closed: foldhash::HashMap<(Class, Option<Cause>), Counter>,
    drill: Option<DrillReport>,
    drill_units: HashMap<String, Vec<String>>,
    seen_opened: u64,
    reveal: Option<Reveal>,
    /// What is to be audited.
    notes: Vec<Note>,
    sampling: Sampling,
    indeterminate_max: f64,
    /// `shadow.*` as it was read last.
    rules: Shadow,
    /// The verdict at the latest look.
    held: verdict::Value,
}

impl Desk {
    /// A desk that has seen nothing but the evidence of earlier runs.
    ///
    /// # Errors
    /// When a histogram can't be made, or the system gives no thread.
    pub fn new(settings: DeskSettings, clock: Clock) -> std::io::Result<Arc<Self>> {
        let shadow = &settings.shadow;
        let memory = usize::try_from(shadow.max_memory.as_u64()).unwrap_or(usize::MAX);
        // A quarter is the recorder's; of the rest, units and facts have one half each.
        let memory = memory / 8 * 3;
        let mut comparator = Comparator::new(Limits { window: millis(shadow.window), memory });
        comparator.set_ignore(ignore(shadow));
        comparator.expect_relayed(settings.relayed);
        let kept = settings.state_dir.join("evidence.json");
        adopt(&settings.dir.join("evidence.json"), &kept);
        let evidence = Gathered::open(&kept, target(shadow), &fingerprint(shadow, shadow.window));
        let lost = Lost::new();
        let rotate = shadow.rotate.as_u64();
        let log = ShadowLog::new(&settings.dir, &settings.instance, rotate, shadow.keep, lost.clone());
        let held = evidence.value(clock.now());
        let histogram = || Histogram::new_with_max(600_000, 3).map_err(std::io::Error::other);
        let inner = Inner {
            comparator,
            evidence,
            shelf: Shelf::default(),
            timeline: Timeline::default(),
            ahead: histogram()?,
            behind: histogram()?,
            closed: foldhash::HashMap::default(),
            drill: None,
            drill_units: HashMap::new(),
            seen_opened: 0,
            reveal: None,
            notes: Vec::new(),
            sampling: Sampling::new(shadow.sample),
            indeterminate_max: shadow.indeterminate_max,
            rules: shadow.clone(),
            held,
        };
        let desk = Self {
            clock,
            since: clock.now(),
            archive: Archive::new(&settings.dir),
            instance: settings.instance.as_str().into(),
            settings,
            glance: ArcSwap::from_pointee(inner.glance(clock.now())),
            inner: Mutex::new(inner),
            drilling: AtomicBool::new(false),
            writer: Writer::start(log, kept, lost)?,
            follow: broadcast::Sender::new(FOLLOW),
            opened: counter!("bridge_shadow_opened_total"),
            open: gauge!("bridge_shadow_open"),
            memory: gauge!("bridge_shadow_memory_bytes"),
            forgotten: counter!("bridge_shadow_forgotten_total"),
            verdicts: verdict::Value::ALL
                .map(|value| (value, gauge!("bridge_verdict", "verdict" => value.name()))),
        };
        if desk.settings.shadow.reveal_content {
            desk.reveal_as_configured(&desk.settings.shadow);
        }
        Ok(Arc::new(desk))
    }

    /// Shows what people wrote, and both copies of bad units, until the reveal is over; `None` ends it at once.
    pub fn reveal(&self, reveal: Option<Reveal>) {
        match &reveal {
            Some(Reveal { actor, reason, until, .. }) => {
                tracing::warn!(actor, reason, until = iso(*until), "what people wrote is shown in records");
            }
            None => tracing::info!("what people wrote is not shown in records any more"),
        }
        let mut inner = self.inner.lock();
        inner.comparator.keep_payloads(reveal.is_some());
        inner.reveal = reveal;
    }

    fn reveal_as_configured(&self, shadow: &Shadow) {
        let reveal =
            Reveal::new("configuration", "shadow.reveal_content = true", self.clock.now(), shadow.reveal_for);
        self.inner.lock().notes.push(reveal.note());
        self.reveal(Some(reveal));
    }

    /// How long content may be revealed at once.
    pub fn reveal_most(&self) -> Duration {
        self.inner.lock().rules.reveal_for
    }

    /// What happened by itself since the last call, and is to be audited.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut self.inner.lock().notes)
    }

    /// Rules of the settings have changed. Another window takes effect at the next start.
    pub fn reload(&self, shadow: &Shadow) {
        let mut inner = self.inner.lock();
        inner.comparator.set_ignore(ignore(shadow));
        inner.evidence.renew(target(shadow), &fingerprint(shadow, self.settings.shadow.window));
        inner.sampling.set(shadow.sample);
        inner.indeterminate_max = shadow.indeterminate_max;
        let begins = shadow.reveal_content && !inner.rules.reveal_content;
        let ends = !shadow.reveal_content && inner.rules.reveal_content;
        inner.rules = shadow.clone();
        drop(inner);
        if begins {
            self.reveal_as_configured(shadow);
        } else if ends {
            self.reveal(None);
        }
    }

    /// Begins the evidence anew; records and counters stay.
    pub fn reset(&self) {
        let text = {
            let mut inner = self.inner.lock();
            let now = self.clock.now();
            let fingerprint = fingerprint(&inner.rules, self.settings.shadow.window);
            inner.evidence.reset(&fingerprint, now);
            self.glance.store(Arc::new(inner.glance(now)));
            inner.evidence.text()
        };
        self.writer.evidence(text);
    }

    /// Writes what would be lost at the end of the process, and waits a bounded time for it.
    pub fn finish(&self) {
        let evidence = self.inner.lock().evidence.text();
        if !self.writer.finish(evidence) {
            tracing::warn!("the disk did not take the shadow log in time: its end is lost");
        }
    }

    /// Numbers of one moment.
    #[must_use]
    pub fn summary(&self) -> SummaryView {
        let now = self.clock.now();
        let (summary, skew_ms, drill, (evidence, target), indeterminate_max, reveal) = {
            let inner = self.inner.lock();
            let (summary, evidence) = (inner.comparator.summary(), inner.evidence.copy());
            (summary, inner.skew(), inner.drill.clone(), evidence, inner.indeterminate_max, inner.reveal.clone())
        };
        let indeterminate = summary.classes.get(Class::Indeterminate.name()).copied().unwrap_or(0);
        SummaryView {
            instance: self.settings.instance.clone(),
            since: iso(self.since),
            skew_ms,
            verdict: shown(evidence.verdict(&target, now)),
            evidence,
            target,
            drill: drill.map_or(Value::Null, |report| json!({"last": report, "units": summary.drill})),
            log_lost: self.writer.lost(),
            reveal: reveal.map(|reveal| reveal.view()),
            indeterminate_share: gauge_value(indeterminate) / gauge_value(summary.closed.max(1)),
            indeterminate_max,
            summary: numbers(summary),
        }
    }

    /// The verdict's name.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        self.inner.lock().evidence.value(self.clock.now()).name()
    }

    /// The verdict's name, and the count that it comes from in words.
    #[must_use]
    pub fn says(&self) -> (&'static str, String) {
        let (evidence, target) = self.inner.lock().evidence.copy();
        let verdict = evidence.verdict(&target, self.clock.now());
        (verdict.value.name(), verdict.says)
    }

    /// What an audit entry says of the evidence, as of the latest look. A rollback asks, so nothing is waited for.
    #[must_use]
    pub fn evidence(&self) -> Value {
        self.glance.load().evidence.clone()
    }

    /// Messages compared so far, and of these how many had no update for somebody: what the guard looks at.
    #[must_use]
    pub fn missing(&self) -> (u64, u64) {
        self.glance.load().totals
    }

    /// What closed in each of the last `minutes`, a day at most.
    #[must_use]
    pub fn timeline(&self, minutes: usize) -> TimelineView {
        self.inner.lock().timeline.view(self.clock.now(), minutes)
    }

    /// Records in memory.
    #[must_use]
    pub fn records(&self, filter: &Filter, order: Order, after: Option<u64>, limit: usize) -> Page {
        let kept = self.inner.lock().shelf.all();
        // Units close meanwhile.
        let written = |kept: &Kept| kept.closed.record(&self.instance, iso, kept.reveal);
        shelf::page(&kept, written, (filter, order), after, limit)
    }

    /// Records that are no longer in memory.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Every record from now on.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<(u64, Arc<Record>)> {
        self.follow.subscribe()
    }

    /// `None` while another drill runs.
    pub(super) fn begin_drill(desk: &Arc<Self>) -> Option<DrillPass> {
        let runs = desk.drilling.swap(true, Ordering::AcqRel);
        (!runs).then(|| {
            desk.inner.lock().drill_units.clear();
            DrillPass(Arc::clone(desk))
        })
    }

    /// `class` or `class/cause` of every unit of a drill's user that has closed.
    pub(super) fn units_of_drill(&self, user: &str) -> Vec<String> {
        self.inner.lock().drill_units.get(user).cloned().unwrap_or_default()
    }

    /// A drill ended.
    pub(super) fn drilled(&self, report: &DrillReport) {
        let mut inner = self.inner.lock();
        let now = self.clock.now();
        inner.evidence.drilled(now, report.ok);
        inner.drill = Some(report.clone());
        self.glance.store(Arc::new(inner.glance(now)));
    }
}

/// The right to run a drill: one at a time.
pub(super) struct DrillPass(Arc<Desk>);

impl Drop for DrillPass {
    fn drop(&mut self) {
        self.0.drilling.store(false, Ordering::Release);
    }
}

impl Inner {
    fn glance(&self, now: Millis) -> Glance {
        let summary = self.comparator.summary();
        let evidence = json!({"verdict": self.evidence.value(now).name(),
            "messages": self.evidence.messages(), "bad": self.evidence.bad(),
            "opened": summary.opened, "closed": summary.closed, "classes": summary.classes});
        Glance { totals: self.evidence.totals(), evidence }
    }

    /// Percentiles over both signs: a rank below the number of negative skews is one of these, largest first.
    fn skew(&self) -> Skew {
        let (ahead, behind) = (self.ahead.len(), self.behind.len());
        let all = ahead + behind;
        let at = |share: f64| {
            if all == 0 {
                return None;
            }
            let rank = gauge_value(all) * share;
            let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            if rank < gauge_value(ahead) {
                let place = 1.0 - rank / gauge_value(ahead);
                Some(-signed(self.ahead.value_at_quantile(place)))
            } else {
                let place = (rank - gauge_value(ahead)) / gauge_value(behind.max(1));
                Some(signed(self.behind.value_at_quantile(place)))
            }
        };
        Skew { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts for people")]
const fn gauge_value(number: u64) -> f64 {
    number as f64
}
