//! Where the comparator works, and where people ask it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bridge_core::Millis;
use bridge_core::compare::{Class, Closed, Comparator, Event, IgnoreRule, Limits, Record, Summary};
use bridge_core::verdict::{Target, Verdict};
use hdrhistogram::Histogram;
use metrics::{Counter, Gauge, counter, gauge, histogram};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::drill::DrillReport;
use super::evidence::Gathered;
use super::log::ShadowLog;
use super::shelf::{Filter, Page, Shelf};
use crate::clock::{Clock, iso};
use crate::config::Shadow;

/// Records that a follower may be behind; one that is further behind misses some, and is told.
const FOLLOW: usize = 1_024;
/// Units close this much after their window, in ms: gates look at theirs every 50 ms.
const GRACE: u64 = 150;
/// Users of drills whose units are remembered.
const DRILL_USERS: usize = 10_000;

/// What the desk needs.
#[derive(Clone, Debug)]
pub struct DeskSettings {
    /// Name of the instance.
    pub instance: String,
    /// Directory of the log.
    pub dir: std::path::PathBuf,
    /// `shadow.*`.
    pub shadow: Shadow,
}

/// `GET /admin/shadow/summary`.
#[derive(Clone, Debug, Serialize)]
pub struct SummaryView {
    /// Since when it counts, ISO-8601.
    pub since: String,
    #[serde(flatten)]
    summary: SummaryNumbers,
    /// Rabbitmq minus legacy, of pairs.
    pub skew_ms: Skew,
    /// The verdict.
    pub verdict: VerdictView,
    /// The latest drill.
    pub drill: Value,
    /// Share of closed units that are indeterminate.
    pub indeterminate_share: f64,
    /// The share above which a report says so.
    pub indeterminate_max: f64,
}

#[derive(Clone, Debug, Serialize)]
struct SummaryNumbers {
    opened: u64,
    closed: u64,
    open: u64,
    classes: BTreeMap<String, u64>,
    causes: BTreeMap<String, u64>,
    modifiers: BTreeMap<String, u64>,
    rules: BTreeMap<String, u64>,
    shed: u64,
}

/// Percentiles of the skew, in ms; `null` without a pair.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Skew {
    p50: Option<i64>,
    p95: Option<i64>,
    p99: Option<i64>,
}

/// The verdict, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictView {
    /// `SAFE`, `NOT_SAFE`, `INCONCLUSIVE` or `STALE`.
    pub value: &'static str,
    #[serde(flatten)]
    verdict: VerdictNumbers,
}

#[derive(Clone, Debug, Serialize)]
struct VerdictNumbers {
    missing: Vec<String>,
    upper_bound: f64,
    rule_of_three: Option<f64>,
    messages: u64,
    bad: u64,
    eta: Option<u64>,
}

/// The desk.
pub struct Desk {
    clock: Clock,
    settings: DeskSettings,
    since: Millis,
    inner: Mutex<Inner>,
    follow: broadcast::Sender<(u64, Arc<Record>)>,
    opened: Counter,
    open: Gauge,
    memory: Gauge,
}

struct Inner {
    comparator: Comparator,
    evidence: Gathered,
    log: ShadowLog,
    shelf: Shelf,
    /// Skews by sign: the histogram takes no negative numbers.
    ahead: Histogram<u64>,
    behind: Histogram<u64>,
    closed: HashMap<(Class, Option<&'static str>), Counter>,
    drill: Option<DrillReport>,
    drill_units: HashMap<String, Vec<String>>,
    seen_opened: u64,
    reveal: bool,
    sample: f64,
}

fn fingerprint(shadow: &Shadow) -> String {
    let rules = serde_json::to_string(&(&shadow.ignore, shadow.window, shadow.target_rate, shadow.confidence));
    format!("{} {}", env!("CARGO_PKG_VERSION"), rules.unwrap_or_default())
}

fn target(shadow: &Shadow) -> Target {
    Target {
        rate: shadow.target_rate,
        confidence: shadow.confidence,
        events: shadow.require_events.clone(),
        drill: shadow.require_drill,
        stale_after: millis(shadow.stale_after),
    }
}

fn ignore(shadow: &Shadow) -> Vec<IgnoreRule> {
    // Through the end of its last day.
    let until = |day: &str| {
        let start = format!("{day}T00:00:00Z").parse::<jiff::Timestamp>().ok()?;
        u64::try_from(start.as_millisecond()).ok().map(|start| start + 86_400_000)
    };
    let rule = |rule: &crate::config::IgnoreRule| IgnoreRule {
        name: rule.name.clone(),
        path: rule.path.clone(),
        until: Millis(until(&rule.expires).unwrap_or(0)),
    };
    shadow.ignore.iter().map(rule).collect()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Desk {
    /// A desk that has seen nothing but the evidence of earlier runs.
    ///
    /// # Errors
    /// When a histogram can't be made.
    pub fn new(settings: DeskSettings, clock: Clock) -> Result<Arc<Self>, hdrhistogram::CreationError> {
        let shadow = &settings.shadow;
        let memory = usize::try_from(shadow.max_memory.as_u64()).unwrap_or(usize::MAX);
        let mut comparator = Comparator::new(Limits { window: millis(shadow.window), memory: memory / 2 });
        comparator.set_ignore(ignore(shadow));
        let evidence = settings.dir.join("evidence.json");
        let evidence = Gathered::open(evidence, target(shadow), &fingerprint(shadow), millis(shadow.window));
        let log = ShadowLog::new(&settings.dir, &settings.instance, shadow.rotate.as_u64(), shadow.keep);
        let inner = Inner {
            comparator,
            evidence,
            log,
            shelf: Shelf::default(),
            ahead: Histogram::new_with_max(600_000, 3)?,
            behind: Histogram::new_with_max(600_000, 3)?,
            closed: HashMap::new(),
            drill: None,
            drill_units: HashMap::new(),
            seen_opened: 0,
            reveal: shadow.reveal_content,
            sample: shadow.sample,
        };
        Ok(Arc::new(Self {
            clock,
            since: clock.now(),
            settings,
            inner: Mutex::new(inner),
            follow: broadcast::Sender::new(FOLLOW),
            opened: counter!("bridge_shadow_opened_total"),
            open: gauge!("bridge_shadow_open"),
            memory: gauge!("bridge_shadow_memory_bytes"),
        }))
    }

    /// Rules of the settings have changed.
    pub fn reload(&self, shadow: &Shadow) {
        let mut inner = self.inner.lock();
        inner.comparator.set_ignore(ignore(shadow));
        inner.evidence.renew(target(shadow), &fingerprint(shadow));
        inner.reveal = shadow.reveal_content;
        inner.sample = shadow.sample;
    }

    /// Takes what the recorder brings.
    pub(super) fn observe(&self, events: impl Iterator<Item = Event>) {
        let mut inner = self.inner.lock();
        events.for_each(|event| inner.comparator.observe(event));
    }

    /// Closes what is due, and writes it.
    pub(super) fn expire(&self, now: Millis) {
        let mut inner = self.inner.lock();
        // What the gates release when a window closes is noted before the unit is judged.
        let closed = inner.comparator.expire(Millis(now.0.saturating_sub(GRACE)));
        for closed in &closed {
            self.record(&mut inner, closed, now);
        }
        inner.evidence.tick(now);
        if !closed.is_empty() {
            inner.log.flush();
        }
        let summary = inner.comparator.summary();
        self.opened.increment(summary.opened - inner.seen_opened);
        inner.seen_opened = summary.opened;
        self.open.set(gauge_value(summary.open));
        self.memory.set(gauge_value(u64::try_from(inner.comparator.bytes()).unwrap_or(u64::MAX)));
    }

    /// Writes what would be lost at the end of the process.
    pub fn finish(&self) {
        let mut inner = self.inner.lock();
        inner.log.flush();
        inner.evidence.write();
    }

    fn record(&self, inner: &mut Inner, closed: &Closed, now: Millis) {
        let record = Arc::new(closed.record(&self.settings.instance, iso, inner.reveal));
        let drill = closed.modifiers.contains(&bridge_core::compare::Modifier::Drill);
        if drill {
            if inner.drill_units.len() >= DRILL_USERS {
                inner.drill_units.clear();
            }
            let kind = closed.cause.map_or_else(
                || closed.class.name().to_owned(),
                |cause| format!("{}/{}", closed.class.name(), cause.name()),
            );
            inner.drill_units.entry(record.user.clone()).or_default().push(kind);
        } else {
            inner.evidence.closed(closed, now);
            count(inner, closed);
            if let Some(skew) = closed.skew_ms() {
                let side = if skew < 0 { &mut inner.ahead } else { &mut inner.behind };
                side.saturating_record(skew.unsigned_abs());
                #[expect(clippy::cast_precision_loss, reason = "a histogram takes floats")]
                histogram!("bridge_shadow_skew_seconds").record(skew.unsigned_abs() as f64 / 1_000.0);
            }
        }
        if closed.class.is_bad() || closed.class == Class::Indeterminate || sampled(closed.key, inner.sample) {
            inner.log.write(&*record);
        }
        let number = inner.shelf.put(Arc::clone(&record));
        let _nobody_may_follow = self.follow.send((number, record));
    }

    /// Numbers of one moment.
    #[must_use]
    pub fn summary(&self) -> SummaryView {
        let now = self.clock.now();
        let inner = self.inner.lock();
        let summary = inner.comparator.summary();
        let indeterminate = summary.classes.get(Class::Indeterminate.name()).copied().unwrap_or(0);
        SummaryView {
            since: iso(self.since),
            skew_ms: inner.skew(),
            verdict: shown(inner.evidence.verdict(now)),
            drill: match &inner.drill {
                Some(report) => json!({"last": report, "units": summary.drill}),
                None => Value::Null,
            },
            indeterminate_share: gauge_value(indeterminate) / gauge_value(summary.closed.max(1)),
            indeterminate_max: self.settings.shadow.indeterminate_max,
            summary: numbers(summary),
        }
    }

    /// The verdict's name.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        self.inner.lock().evidence.verdict(self.clock.now()).value.name()
    }

    /// What an audit entry says of the evidence.
    #[must_use]
    pub fn evidence(&self) -> Value {
        let view = self.summary();
        json!({"verdict": view.verdict.value, "messages": view.verdict.verdict.messages,
            "opened": view.summary.opened, "closed": view.summary.closed, "classes": view.summary.classes})
    }

    /// Messages compared so far, and of these how many had no update for somebody: what the guard looks at.
    #[must_use]
    pub fn missing(&self) -> (u64, u64) {
        self.inner.lock().evidence.totals()
    }

    /// Records in memory.
    #[must_use]
    pub fn records(&self, filter: &Filter, after: Option<u64>, limit: usize) -> Page {
        self.inner.lock().shelf.page(filter, after, limit)
    }

    /// Every record from now on.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<(u64, Arc<Record>)> {
        self.follow.subscribe()
    }

    /// A drill ended.
    pub(crate) fn drilled(&self, report: &DrillReport) {
        let mut inner = self.inner.lock();
        inner.evidence.drilled(self.clock.now(), report.ok);
        inner.drill = Some(report.clone());
    }
}

impl super::drill::Closed for Desk {
    fn of_user(&self, user: &str) -> Vec<String> {
        self.inner.lock().drill_units.get(user).cloned().unwrap_or_default()
    }
}

impl Inner {
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

fn count(inner: &mut Inner, closed: &Closed) {
    if let Some(from) = closed.amends {
        counter!("bridge_shadow_amended_total", "from" => from.name(), "to" => closed.class.name()).increment(1);
        return;
    }
    let cause = closed.cause.map(bridge_core::compare::Cause::name);
    let kind = inner.closed.entry((closed.class, cause)).or_insert_with(
        || counter!("bridge_shadow_closed_total", "class" => closed.class.name(), "cause" => cause.unwrap_or("")),
    );
    kind.increment(1);
}

/// The same share of keys on both sides and on every instance.
fn sampled(key: u128, share: f64) -> bool {
    let place = u32::try_from(key % 1_000_000).unwrap_or(0);
    f64::from(place) < share * 1_000_000.0
}

fn numbers(summary: Summary) -> SummaryNumbers {
    let Summary { opened, closed, open, classes, causes, modifiers, rules, shed, drill: _ } = summary;
    SummaryNumbers { opened, closed, open, classes, causes, modifiers, rules, shed }
}

fn shown(verdict: Verdict) -> VerdictView {
    let Verdict { value, missing, upper_bound, rule_of_three, messages, bad, eta } = verdict;
    let verdict = VerdictNumbers { missing, upper_bound, rule_of_three, messages, bad, eta };
    VerdictView { value: value.name(), verdict }
}

#[expect(clippy::cast_precision_loss, reason = "counts for people")]
const fn gauge_value(number: u64) -> f64 {
    number as f64
}
