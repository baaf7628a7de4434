//! What the gateways hold, and what is left of them at the broker.

use std::time::Instant;

use crate::kit::rabbit::Rabbit;

/// What a process holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holds {
    /// Bytes.
    pub(super) resident: u64,
    pub(super) descriptors: usize,
    pub(super) threads: u64,
}

pub(super) fn holds(pid: u32) -> Holds {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    Holds { resident: number("VmRSS:") * 1_024, descriptors, threads: number("Threads:") }
}

/// Queues of users, all queues, and bindings of the exchange.
pub(super) fn at_the_broker(rabbit: &Rabbit) -> (usize, usize, usize) {
    let queues = rabbit.queues();
    let users = queues.iter().filter(|[name, ..]| name.starts_with("user_")).count();
    let bindings = rabbit.ctl(&["list_bindings", "--no-table-headers", "source_name", "destination_name"]);
    let bindings = bindings.lines().filter(|line| line.starts_with("chat3_updates")).count();
    (users, queues.len(), bindings)
}

/// How a process fares over the run.
pub(super) struct Ward {
    pub(super) pid: u32,
    pub(super) since: Instant,
    /// Before anybody came.
    pub(super) empty: Holds,
    /// The highest level of the first part of its life, and of all of it.
    pub(super) warm: Holds,
    pub(super) most: Holds,
}

impl Ward {
    pub(super) fn of(pid: u32) -> Self {
        let empty = holds(pid);
        Self { pid, since: Instant::now(), empty, warm: empty, most: empty }
    }

    pub(super) fn look(&mut self, warm_up: std::time::Duration) -> Holds {
        let now = holds(self.pid);
        let higher = |level: &mut Holds| {
            level.resident = level.resident.max(now.resident);
            level.descriptors = level.descriptors.max(now.descriptors);
            level.threads = level.threads.max(now.threads);
        };
        if self.since.elapsed() < warm_up {
            higher(&mut self.warm);
        }
        higher(&mut self.most);
        now
    }
}
