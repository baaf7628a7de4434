//! A tab of a user, and what it saw.

use std::collections::{BTreeMap, BTreeSet};

use bridge_core::recipient::LinkId;
use bridge_core::{Millis, SocketId};

/// From when until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) until: Option<u64>,
}

impl Span {
    pub(crate) const fn since(from: u64) -> Self {
        Self { from, until: None }
    }

    pub(crate) fn covers(self, from: u64, until: u64) -> bool {
        self.from <= from && self.until.is_none_or(|end| end >= until)
    }

    pub(crate) fn touches(self, from: u64, until: u64) -> bool {
        self.from <= until && self.until.is_none_or(|end| end >= from)
    }
}

/// A gap that a page was told of: when, and since when it lacks something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) at: u64,
    pub(crate) since: u64,
}

/// What a client saw from a sign-on that recovered nothing until the next such: a page that was loaded once.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) tab: usize,
    pub(crate) instance: usize,
    pub(crate) open: Span,
    pub(crate) joined: BTreeMap<usize, Vec<Span>>,
    /// When it wanted no messages.
    pub(crate) deaf: Vec<Span>,
    /// Messages in the order in which they came.
    pub(crate) got: Vec<(u64, usize)>,
    /// The gaps that it was told of.
    pub(crate) told: Vec<Gap>,
    /// When its instance had answered that it is signed on, and when that the queue comes later.
    pub(crate) greeted: Option<u64>,
    pub(crate) late: Option<u64>,
    /// It named a token, and was not recovered.
    pub(crate) in_vain: bool,
    /// What was lost on the wire with the latest connection.
    pub(crate) cut_off: BTreeSet<usize>,
    /// The gaps that it would have been told of on the wire.
    pub(crate) untold: Vec<Gap>,
    /// What was lost on the wire, and not asked for by `last`.
    pub(crate) excused: BTreeSet<usize>,
    /// What it was given again before it said who it is.
    pub(crate) twice: BTreeSet<usize>,
}

impl Page {
    pub(crate) fn new(tab: usize, instance: usize, at: u64) -> Self {
        Self {
            tab,
            instance,
            open: Span::since(at),
            joined: BTreeMap::new(),
            deaf: Vec::new(),
            got: Vec::new(),
            told: Vec::new(),
            untold: Vec::new(),
            greeted: None,
            late: None,
            in_vain: false,
            cut_off: BTreeSet::new(),
            excused: BTreeSet::new(),
            twice: BTreeSet::new(),
        }
    }

    /// It goes on over another connection, and named the last message that it has, or did not.
    pub(crate) fn goes_on(&mut self, named_last: bool) {
        self.open.until = None;
        let (cut_off, untold) = (std::mem::take(&mut self.cut_off), std::mem::take(&mut self.untold));
        if !named_last {
            self.excused.extend(cut_off);
            self.told.extend(untold);
        }
    }

    /// Whether it was told, from `at` on, of a gap that has what was lost at `lost` in it.
    pub(crate) fn is_told(&self, at: u64, lost: u64) -> bool {
        self.told.iter().any(|gap| gap.at >= at && gap.since <= lost)
    }

    pub(crate) fn joins(&mut self, dialog: usize, at: u64) {
        let spans = self.joined.entry(dialog).or_default();
        if spans.last().is_none_or(|span| span.until.is_some()) {
            spans.push(Span::since(at));
        }
    }

    pub(crate) fn leaves(&mut self, dialog: usize, at: u64) {
        if let Some(span) = self.joined.get_mut(&dialog).and_then(|spans| spans.last_mut()) {
            span.until.get_or_insert(at);
        }
    }
}

/// What is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Message(usize),
    /// Something may be missing since then.
    Resync(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Tab {
    pub(crate) user: usize,
    /// Instance and connection.
    pub(crate) connection: Option<(usize, LinkId)>,
    /// Its socket on that instance.
    pub(crate) socket: Option<(usize, SocketId)>,
    pub(crate) token: Option<Token>,
    /// The number of its page.
    pub(crate) page: Option<usize>,
    /// Dialogs that it wants to be in.
    pub(crate) wants: BTreeSet<usize>,
    pub(crate) last: Option<usize>,
    pub(crate) stalled_until: u64,
}

/// What a client names to go on from where it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) instance: usize,
    pub(crate) number: u64,
    /// Until when its client had everything.
    pub(crate) whole_until: Millis,
}

/// A connection as its instance sees it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) tab: usize,
    pub(crate) user: usize,
    pub(crate) outbox: Vec<(u64, What)>,
    pub(crate) taken: u64,
    /// On its way to the client: when it arrives.
    pub(crate) wire: Vec<(u64, What)>,
    /// The client is gone, or the instance closed it.
    pub(crate) closed: bool,
}
