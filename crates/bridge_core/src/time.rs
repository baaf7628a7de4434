//! The core's notion of time.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch on a clock that never goes backwards.
///
/// The shell anchors it once to the wall clock and advances it by the monotonic clock, so that one number serves
/// both for waiting and for printing, and a clock that jumps does not empty a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus `ms` milliseconds.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
