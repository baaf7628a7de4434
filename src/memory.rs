//! One budget for the memory that clients can fill: it adds up what is held for them, and sheds whoever holds most.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bridge_core::UserId;
use metrics::{Counter, counter, gauge};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ration::Ration;

/// Between two looks where nobody asks for one.
const LOOK: Duration = Duration::from_millis(250);
/// What the memory of the process exceeds the limit by is looked at anew after this: it is given back late.
const REST: Duration = Duration::from_secs(2);
/// An open connection takes about so much, in bytes, with nothing waiting for it.
const CONNECTION: u64 = 24 * 1024;
/// Who holds less is not worth cutting.
const LEAST: u64 = 64 * 1024;
/// Log lines a minute about who was cut.
const A_MINUTE: u64 = 20;

/// What is held for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Events and acks that wait for their transport.
    Outboxes,
    /// Events of clients that wait for their turn.
    Events,
    /// Messages on their way to Chat3.
    Bodies,
    /// Open connections, by what one takes.
    Connections,
}

const KINDS: [(Of, &str); 4] =
    [(Of::Outboxes, "outboxes"), (Of::Events, "events"), (Of::Bodies, "bodies"), (Of::Connections, "connections")];

/// What was sent lately and is kept for clients that come back. It counts itself.
pub trait Kept: Send + Sync {
    /// Its bytes.
    fn bytes(&self) -> u64;
    /// Lets go `bytes` of it, where most is kept first; says how many, and whose most of them were.
    fn let_go(&self, bytes: u64) -> Option<(u64, UserId)>;
}

/// Somebody who holds memory and can be made to give it back.
pub trait Holder: Send + Sync {
    /// Ends it, so that its client comes back by itself.
    fn shed(&self);
}

/// The budget.
pub struct Budget {
    /// What clients may fill, in bytes.
    ceiling: u64,
    /// What the process may take, in bytes.
    limit: u64,
    held: [AtomicU64; 4],
    accounts: Mutex<Accounts>,
    kept: OnceLock<Arc<dyn Kept>>,
    over: Notify,
    shed: Counter,
    ration: Ration,
    clock: Clock,
}

#[derive(Default)]
struct Accounts {
    next: u64,
    open: HashMap<u64, Weak<Account>>,
}

/// What one connection holds. It is given back with it.
pub struct Account {
    budget: Arc<Budget>,
    number: u64,
    held: AtomicU64,
    of: [AtomicU64; 2],
    holder: Box<dyn Holder>,
    user: OnceLock<UserId>,
}

impl Budget {
    /// At most `limit` bytes for the process, of which `reserved` are for what clients have no hold on.
    #[must_use]
    pub fn new(limit: u64, reserved: u64) -> Arc<Self> {
        // What is counted takes a third more than its bytes, in the hands of an allocator.
        let ceiling = limit.saturating_sub(resident().saturating_add(reserved)) / 4 * 3;
        gauge!("bridge_memory_limit_bytes").set(precise(limit));
        Arc::new(Self {
            ceiling,
            limit,
            held: Default::default(),
            accounts: Mutex::default(),
            kept: OnceLock::new(),
            over: Notify::new(),
            shed: counter!("bridge_memory_shed_total"),
            ration: Ration::new(A_MINUTE),
            clock: Clock::default(),
        })
    }

    /// Without an end, for what is tested alone.
    #[must_use]
    pub fn endless() -> Arc<Self> {
        Self::new(u64::MAX, 0)
    }

    /// What is `kept` is part of it from now on.
    pub fn counts(&self, kept: Arc<dyn Kept>) {
        let _the_first = self.kept.set(kept);
    }

    /// Counts `bytes` more.
    pub fn add(&self, of: Of, bytes: u64) {
        self.held[of as usize].fetch_add(bytes, Ordering::Relaxed);
        if self.is_over() {
            self.over.notify_one();
        }
    }

    /// Counts `bytes` less.
    pub fn sub(&self, of: Of, bytes: u64) {
        self.held[of as usize].fetch_sub(bytes, Ordering::Relaxed);
    }

    /// All that is held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.iter().map(|held| held.load(Ordering::Relaxed)).fold(self.kept(), u64::saturating_add)
    }

    fn kept(&self) -> u64 {
        self.kept.get().map_or(0, |kept| kept.bytes())
    }

    /// Nothing more should be taken in.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.held() > self.ceiling
    }

    /// An account of a connection, which takes its share as long as it is open.
    #[must_use]
    pub fn open(self: &Arc<Self>, holder: Box<dyn Holder>) -> Arc<Account> {
        self.add(Of::Connections, CONNECTION);
        let mut accounts = self.accounts.lock();
        accounts.next += 1;
        let account = Arc::new(Account {
            budget: Arc::clone(self),
            number: accounts.next,
            held: AtomicU64::new(0),
            of: Default::default(),
            holder,
            user: OnceLock::new(),
        });
        accounts.open.insert(account.number, Arc::downgrade(&account));
        account
    }

    /// Keeps to the limit until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut rested = Instant::now();
        loop {
            let look = async {
                let _a_look_is_due = tokio::time::timeout(LOOK, self.over.notified()).await;
            };
            if stop.run_until_cancelled(look).await.is_none() {
                return;
            }
            let taken = resident();
            for (of, name) in KINDS {
                gauge!("bridge_memory_bytes", "of" => name)
                    .set(precise(self.held[of as usize].load(Ordering::Relaxed)));
            }
            gauge!("bridge_memory_bytes", "of" => "replays").set(precise(self.kept()));
            gauge!("bridge_memory_resident_bytes").set(precise(taken));
            let held = self.held();
            if held > self.ceiling {
                self.give_back(held - self.ceiling / 10 * 9);
            } else if taken > self.limit && rested.elapsed() >= REST {
                rested = Instant::now();
                self.give_back(held / 4);
            }
            // What is shed is given back by others.
            tokio::task::yield_now().await;
        }
    }

    /// Lets go what is kept for those who come back, then ends the connections that hold most, until `bytes` are given
    /// back.
    fn give_back(&self, bytes: u64) {
        let bytes = bytes.saturating_sub(self.let_go(bytes));
        if bytes > 0 {
            self.cut(bytes);
        }
    }

    fn let_go(&self, bytes: u64) -> u64 {
        let Some((given, user)) = self.kept.get().and_then(|kept| kept.let_go(bytes)) else { return 0 };
        counter!("bridge_memory_replays_shed_bytes_total").increment(given);
        if let Some(left_out) = self.ration.take("replays", self.clock.now()) {
            tracing::warn!(
                %user,
                given,
                all = self.held(),
                ceiling = self.ceiling,
                left_out,
                "memory.limit: what is kept for a resume was let go, most of it of this user"
            );
        }
        given
    }

    fn cut(&self, bytes: u64) {
        let open: Vec<Arc<Account>> = self.accounts.lock().open.values().filter_map(Weak::upgrade).collect();
        let mut open: Vec<(u64, Arc<Account>)> =
            open.into_iter().map(|account| (account.held.load(Ordering::Relaxed), account)).collect();
        open.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        let mut given = 0;
        for (held, account) in open.iter().take_while(|(held, _)| *held >= LEAST) {
            if given >= bytes {
                break;
            }
            given += held;
            self.shed.increment(1);
            if let Some(left_out) = self.ration.take("shed", self.clock.now()) {
                tracing::warn!(
                    user = account.user(),
                    held,
                    all = self.held(),
                    ceiling = self.ceiling,
                    left_out,
                    "memory.limit: a connection for which most is held was cut"
                );
            }
            account.holder.shed();
        }
    }
}

impl Account {
    /// Whose it is, for the log.
    pub fn belongs_to(&self, user: &UserId) {
        let _the_first = self.user.set(user.clone());
    }

    /// Counts `bytes` more of what waits.
    pub fn add(&self, of: Of, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.own(of).fetch_add(bytes, Ordering::Relaxed);
        self.budget.add(of, bytes);
    }

    /// Counts `bytes` less.
    pub fn sub(&self, of: Of, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.own(of).fetch_sub(bytes, Ordering::Relaxed);
        self.budget.sub(of, bytes);
    }

    /// Whether it may not take in more: there is no room, and it holds more than its share.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= LEAST && self.budget.is_over()
    }

    /// Whose it is; empty where nobody has said.
    #[must_use]
    pub fn user(&self) -> &str {
        self.user.get().map(UserId::as_str).unwrap_or_default()
    }

    fn own(&self, of: Of) -> &AtomicU64 {
        &self.of[usize::from(of != Of::Outboxes)]
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.accounts.lock().open.remove(&self.number);
        self.budget.sub(Of::Connections, CONNECTION);
        for (of, own) in [Of::Outboxes, Of::Events].into_iter().zip(&self.of) {
            self.budget.sub(of, own.load(Ordering::Relaxed));
        }
    }
}

/// Bytes of this process that are resident; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1_024
}

fn precise(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no machine has so much")]
    let bytes = bytes as f64;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noted(Arc<Mutex<Vec<u64>>>, u64);

    impl Holder for Noted {
        fn shed(&self) {
            self.0.lock().push(self.1);
        }
    }

    /// What is kept, of one user.
    struct Replays(AtomicU64);

    impl Kept for Replays {
        fn bytes(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn let_go(&self, bytes: u64) -> Option<(u64, UserId)> {
            let given = bytes.min(self.bytes());
            self.0.fetch_sub(given, Ordering::Relaxed);
            (given > 0).then(|| (given, UserId::new("usr_a").unwrap()))
        }
    }

    #[test]
    fn what_is_kept_for_a_resume_counts_and_goes_before_anybody_is_cut() {
        let budget = Budget::endless();
        budget.counts(Arc::new(Replays(AtomicU64::new(300_000))));
        let shed = Arc::<Mutex<Vec<u64>>>::default();
        let account = budget.open(Box::new(Noted(Arc::clone(&shed), 1)));
        account.add(Of::Outboxes, 100_000);
        assert_eq!(budget.held(), 400_000 + CONNECTION);
        budget.give_back(200_000);
        assert_eq!((budget.held(), shed.lock().len()), (200_000 + CONNECTION, 0));
        budget.give_back(150_000);
        assert_eq!((budget.held(), shed.lock().len()), (100_000 + CONNECTION, 1), "the rest is a connection's");
    }

    #[test]
    fn who_holds_most_is_shed_first_and_no_more_than_is_needed() {
        let budget = Budget::endless();
        let shed = Arc::<Mutex<Vec<u64>>>::default();
        let accounts: Vec<_> = (0..10_u64)
            .map(|n| {
                let account = budget.open(Box::new(Noted(Arc::clone(&shed), n)));
                account.add(Of::Outboxes, n * 100_000);
                account.add(Of::Events, 1);
                account
            })
            .collect();
        budget.give_back(1_000_000);
        assert_eq!(*shed.lock(), [9, 8]);
        budget.give_back(u64::MAX);
        assert_eq!(shed.lock().len(), 2 + 9, "who holds next to nothing stays");
        assert_eq!(budget.held(), 4_500_000 + 10 + 10 * CONNECTION);
        drop(accounts);
        assert_eq!((budget.held(), budget.accounts.lock().open.len()), (0, 0), "all of it comes back");
    }
}
