//! What tests stand on.

pub(crate) mod bridge;
pub(crate) mod crowd;
pub(crate) mod driven;
pub(crate) mod js;
pub(crate) mod line;
pub(crate) mod load;
pub(crate) mod numbers;
pub(crate) mod page;
pub(crate) mod promtool;
pub(crate) mod proxy;
pub(crate) mod py;
pub(crate) mod rabbit;
pub(crate) mod raw;
pub(crate) mod stand;
pub(crate) mod world;

use std::time::{Duration, Instant};

/// How many times longer than on a quiet machine is waited for what has to come: nobody waits for it but a test that
/// fails.
const PATIENCE: u32 = 6;

/// Looks until `look` gives something, which on a quiet machine takes at most `limit`; panics with `what` otherwise.
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit * PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Some seconds.
pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Time that a process has worked: all threads, user and system.
pub(crate) fn worked(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Tests that measure, or load the machine, run alone; all others beside each other.
static TURN: std::sync::RwLock<()> = std::sync::RwLock::new(());

/// A place among the tests that run at the moment; it is held as long as this lives.
pub(crate) enum Turn {
    Beside(#[expect(dead_code, reason = "held")] std::sync::RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held")] std::sync::RwLockWriteGuard<'static, ()>),
}

impl Turn {
    // A test that failed in its turn has not harmed the others.
    pub(crate) fn beside() -> Self {
        Self::Beside(TURN.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn alone() -> Self {
        Self::Alone(TURN.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// The runtime on which doubles live.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}
