//! Settings of the comparison, and of the guard that acts on it.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// `shadow.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shadow {
    /// How long a copy waits for its twin.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Directory of the shadow log; absent: `{state_dir}/shadow`.
    pub dir: Option<PathBuf>,
    /// Share of good and neutral records that is written, 0–1.
    pub sample: f64,
    /// Write content instead of its length and hash, and both copies of bad units, for `reveal_for` from the start.
    pub reveal_content: bool,
    /// How long content is revealed at most, however that was asked for.
    #[serde(with = "humantime_serde")]
    pub reveal_for: Duration,
    /// Memory of the comparator, in bytes.
    pub max_memory: ByteSize,
    /// Size at which the log rotates, in bytes.
    pub rotate: ByteSize,
    /// Rotated files that are kept.
    pub keep: u32,
    /// Share of indeterminate units above which `shadow report` sets its bit, 0–1.
    pub indeterminate_max: f64,
    /// Rate of bad messages below which the verdict is `SAFE`.
    pub target_rate: f64,
    /// Confidence of the verdict, 0–1.
    pub confidence: f64,
    /// Event types without which the verdict stays `INCONCLUSIVE`.
    pub require_events: Vec<String>,
    /// Ask for a drill within the evidence.
    pub require_drill: bool,
    /// Age at which evidence is stale.
    #[serde(with = "humantime_serde")]
    pub stale_after: Duration,
    /// Differences to ignore, each with owner, reason and expiry.
    pub ignore: Vec<IgnoreRule>,
}

/// A difference that somebody answers for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoreRule {
    /// Name in records.
    pub name: String,
    /// JSON Pointer into the canonical form; also everything below it.
    pub path: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it is harmless.
    pub reason: String,
    /// Last day on which it holds, `YYYY-MM-DD`.
    pub expires: String,
}

/// `guard.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What the guard does.
    pub mode: GuardMode,
    /// Broker session gone for longer than this.
    #[serde(with = "humantime_serde")]
    pub broker_down: Duration,
    /// Share of missing updates above which it acts, 0–1.
    pub missing_max: f64,
    /// Fewest messages within `period` on which it acts.
    pub min_messages: u64,
    /// Messages are accepted but no update comes for this long.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// What it looks back on.
    #[serde(with = "humantime_serde")]
    pub period: Duration,
}

/// What the guard does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardMode {
    /// Nothing.
    Off,
    /// Says what it would do.
    #[default]
    Observe,
    /// Rolls back, once.
    Act,
}
