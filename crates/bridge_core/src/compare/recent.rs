//! A map that forgets.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::hash::Hash;

use foldhash::HashMap;

use crate::Millis;

/// Entries of which more than this part is only reserved give it back.
const SLACK: usize = 4;

/// A map whose entries are forgotten, oldest first, when they are too old or too many.
#[derive(Clone, Debug)]
pub(super) struct Recent<K, V> {
    map: HashMap<K, (Millis, V)>,
    /// When each entry was written. One that was written again, or is gone, has a place that is passed over.
    order: VecDeque<(Millis, K)>,
    lost: Option<Millis>,
    let_go: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { map: HashMap::default(), order: VecDeque::new(), lost: None, let_go: 0 }
    }
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    /// Notes what became true at `at`; of the same key, the latest is kept.
    pub(super) fn insert(&mut self, at: Millis, key: K, value: V) {
        match self.map.get_mut(&key) {
            Some((own, kept)) => {
                *kept = value;
                if *own >= at {
                    return;
                }
                *own = at;
            }
            None => {
                self.map.insert(key.clone(), (at, value));
            }
        }
        self.order.push_back((at, key));
        if self.order.len() > 2 * self.map.len() + 1_024 {
            let map = &self.map;
            self.order.retain(|(at, key)| map.get(key).is_some_and(|(own, _)| own == at));
        }
    }

    /// Whether it remembers nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key).map(|(_, value)| value)
    }

    /// When it became true, or became true again.
    pub(super) fn at<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Millis>
    where
        K: Borrow<Q>,
    {
        self.map.get(key).map(|(at, _)| *at)
    }

    /// Whether it may have become true at or after `since`: it did, or was let go too early to tell.
    pub(super) fn since<Q: Eq + Hash + ?Sized>(&self, key: &Q, since: Millis) -> bool
    where
        K: Borrow<Q>,
    {
        self.at(key).is_some_and(|at| at >= since) || self.lost_since(since)
    }

    /// Whether something that became true at or after `since` was let go.
    pub(super) fn lost_since(&self, since: Millis) -> bool {
        self.lost.is_some_and(|at| at >= since)
    }

    /// Forgets what is older than `before`.
    pub(super) fn expire(&mut self, before: Millis) {
        while self.order.front().is_some_and(|(at, _)| *at < before) {
            self.pop();
        }
        if self.lost.is_some_and(|at| at < before) {
            self.lost = None;
        }
        if self.map.capacity() > SLACK * self.map.len() + 256 {
            self.map.shrink_to(2 * self.map.len());
        }
        if self.order.capacity() > SLACK * self.order.len() + 256 {
            self.order.shrink_to(2 * self.order.len());
        }
    }

    fn pop(&mut self) -> Option<Millis> {
        let (at, key) = self.order.pop_front()?;
        if self.map.get(&key).is_some_and(|(own, _)| *own == at) {
            self.map.remove(&key);
            return Some(at);
        }
        None
    }
}

/// What can be made to hold less.
pub(super) trait Bounded {
    /// Bytes of its entries, roughly.
    fn bytes(&self) -> usize;
    /// Lets the oldest go before its time.
    fn let_go(&mut self);
    /// How many were let go before their time since the last call.
    fn take_let_go(&mut self) -> u64;
}

impl<K: Eq + Hash + Clone, V> Bounded for Recent<K, V> {
    fn bytes(&self) -> usize {
        // A map's places are seven eighths full at most.
        self.map.len() * (size_of::<(K, Millis, V)>() + 1) * 8 / 7 + self.order.len() * size_of::<(Millis, K)>()
    }

    fn let_go(&mut self) {
        while !self.order.is_empty() {
            if let Some(at) = self.pop() {
                self.lost = self.lost.max(Some(at));
                self.let_go += 1;
                return;
            }
        }
    }

    fn take_let_go(&mut self) -> u64 {
        std::mem::take(&mut self.let_go)
    }
}
