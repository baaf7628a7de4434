//! POSTs that may have made a message of which nobody here knows yet, found by who sends it and where.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use foldhash::HashMap;

use crate::{DialogId, Millis, UserId};

/// Bytes of one of them, roughly.
const POST: usize = 512;

#[derive(Clone, Debug)]
struct Post {
    dialog: DialogId,
    began: Millis,
    /// Until its end is known, when it began; then when it ended.
    at: Millis,
    names: [u64; 4],
}

/// Those in flight, and those that ended without a readable answer.
#[derive(Clone, Debug)]
pub(super) struct Posts {
    /// Most of them.
    most: usize,
    open: HashMap<u64, Post>,
    order: VecDeque<(Millis, u64)>,
    /// When those of a sender and dialog, of a sender, of a dialog and all of them began.
    began: HashMap<u64, BTreeSet<(Millis, u64)>>,
    lost: Option<Millis>,
    let_go: u64,
}

fn name(sender: Option<&str>, dialog: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (sender, dialog).hash(&mut hasher);
    hasher.finish()
}

impl Posts {
    /// None yet; those that are remembered take about so many bytes at most.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            most: (bytes / POST).max(16),
            open: HashMap::default(),
            order: VecDeque::new(),
            began: HashMap::default(),
            lost: None,
            let_go: 0,
        }
    }

    pub(super) fn start(&mut self, at: Millis, post: u64, dialog: DialogId, sender: &UserId) {
        let (by, to) = (Some(sender.as_str()), Some(dialog.as_str()));
        let names = [name(by, to), name(by, None), name(None, to), name(None, None)];
        for name in names {
            self.began.entry(name).or_default().insert((at, post));
        }
        self.order.push_back((at, post));
        self.open.insert(post, Post { dialog, began: at, at, names });
        if self.order.len() > 2 * self.open.len() + 1_024 {
            let open = &self.open;
            self.order.retain(|(at, post)| open.get(post).is_some_and(|open| open.at == *at));
        }
        while self.open.len() > self.most
            && let Some((at, post)) = self.order.pop_front()
        {
            if self.open.get(&post).is_some_and(|open| open.at == at) && self.end(post).is_some() {
                self.lost = self.lost.max(Some(at));
                self.let_go += 1;
            }
        }
    }

    /// It ended, and it is known how; its dialog, and when it began.
    pub(super) fn end(&mut self, post: u64) -> Option<(DialogId, Millis)> {
        let ended = self.open.remove(&post)?;
        for name in ended.names {
            if let Some(began) = self.began.get_mut(&name) {
                began.remove(&(ended.began, post));
                if began.is_empty() {
                    self.began.remove(&name);
                }
            }
        }
        Some((ended.dialog, ended.began))
    }

    /// It ended, and nobody knows how.
    pub(super) fn unknown(&mut self, at: Millis, post: u64) {
        if let Some(open) = self.open.get_mut(&post)
            && open.at < at
        {
            open.at = at;
            self.order.push_back((at, post));
        }
    }

    /// When the first of them began that may have made a message of `sender` in `dialog`, as far as these are known.
    pub(super) fn earliest(&self, sender: Option<&str>, dialog: Option<&DialogId>) -> Option<Millis> {
        if self.began.is_empty() {
            return None;
        }
        let began = self.began.get(&name(sender, dialog.map(DialogId::as_str)))?;
        began.first().map(|(at, _)| *at)
    }

    /// Whether one that ended, or began, at or after `since` was let go.
    pub(super) fn lost_since(&self, since: Millis) -> bool {
        self.lost.is_some_and(|at| at >= since)
    }

    pub(super) fn expire(&mut self, before: Millis) {
        while let Some((at, post)) = self.order.front().copied().filter(|(at, _)| *at < before) {
            self.order.pop_front();
            if self.open.get(&post).is_some_and(|open| open.at == at) {
                self.end(post);
            }
        }
        if self.lost.is_some_and(|at| at < before) {
            self.lost = None;
        }
    }

    /// Bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.open.len() * POST + self.order.len() * 16
    }

    pub(super) fn take_let_go(&mut self) -> u64 {
        std::mem::take(&mut self.let_go)
    }
}
