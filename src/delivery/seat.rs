//! One user of this instance: the pure recipient under one lock, its connections, and what it wants done.

use std::sync::Arc;
use std::thread::ThreadId;

use bridge_core::Json;
use bridge_core::compare::Event;
use bridge_core::form::Form;
use bridge_core::recipient::{Count, Effect, LinkId, Parcel, Recipient, Types};
use bridge_core::{DialogId, Millis, SocketId, UserId};
use parking_lot::Mutex;

use crate::sockets::Link;

/// Tokens of one socket that stay good beside the newest.
const EARLIER_TOKENS: usize = 8;

/// Where a user sits.
pub(super) struct Seat {
    pub(super) id: UserId,
    pub(super) inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) recipient: Recipient,
    pub(super) links: Links,
    /// Bytes that its replays hold.
    pub(super) replayed: usize,
    /// Tokens with their sockets, newest last.
    tokens: Vec<(String, SocketId)>,
    /// What is to be done, in order, and how many were taken to be done.
    tasks: Vec<Task>,
    queued: u64,
    pub(super) done: u64,
    /// Who does it at the moment.
    pub(super) runner: Option<ThreadId>,
    /// When the ticker looks at it.
    pub(super) wakes: Option<Millis>,
    /// It was taken out of the registry: whoever still holds it must look again.
    pub(super) gone: bool,
}

/// The connections of one user, few.
#[derive(Default)]
pub(super) struct Links(Vec<(LinkId, Arc<dyn Link>)>);

impl Links {
    pub(super) fn get(&self, id: LinkId) -> Option<&Arc<dyn Link>> {
        self.0.iter().find(|(own, _)| *own == id).map(|(_, link)| link)
    }
}

/// An [`Effect`] with the connection that it needs.
pub(super) enum Task {
    Emit { link: Arc<dyn Link>, serial: u64, form: Form, parcel: Parcel },
    Relay { link: Arc<dyn Link>, event: &'static str, data: Json },
    Cut(Arc<dyn Link>),
    Want(Types),
    Entered(DialogId),
    Left(DialogId),
    Observe(Event),
    Count { count: Count, drill: bool },
    Ended { tokens: Vec<String> },
}

impl Seat {
    pub(super) fn new(recipient: Recipient) -> Arc<Self> {
        let inner = Inner {
            links: Links::default(),
            replayed: 0,
            tokens: Vec::new(),
            tasks: Vec::new(),
            queued: 0,
            done: 0,
            runner: None,
            wakes: None,
            gone: false,
            recipient,
        };
        Arc::new(Self { id: inner.recipient.id().clone(), inner: Mutex::new(inner) })
    }
}

impl Inner {
    /// Notes what is to be done, with the connections that it is to be done to; returns the number of the last.
    pub(super) fn queue(&mut self, effects: Vec<Effect>) -> u64 {
        for effect in effects {
            let Some(task) = self.task(effect) else { continue };
            self.tasks.push(task);
            self.queued += 1;
        }
        self.queued
    }

    pub(super) fn take(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.tasks)
    }

    /// A relayed event, which is of the moment: it is not counted, nor kept for who resumes.
    pub(super) fn relay(&mut self, to: &[LinkId], event: &'static str, data: &Json) {
        for id in to {
            if let Some(link) = self.link(*id) {
                self.tasks.push(Task::Relay { link, event, data: data.clone() });
                self.queued += 1;
            }
        }
    }

    /// Where the latest copy that waits to be emitted goes, and its serial.
    pub(super) fn last_emitted(&self) -> Option<(Arc<dyn Link>, u64)> {
        self.tasks.iter().rev().find_map(|task| match task {
            Task::Emit { link, serial, .. } => Some((Arc::clone(link), *serial)),
            _ => None,
        })
    }

    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.links.0.len()
    }

    pub(super) fn connect(&mut self, id: LinkId, link: Arc<dyn Link>) {
        self.links.0.push((id, link));
    }

    pub(super) fn disconnect(&mut self, id: LinkId) -> Option<Arc<dyn Link>> {
        let place = self.links.0.iter().position(|(own, _)| *own == id)?;
        Some(self.links.0.swap_remove(place).1)
    }

    pub(super) fn link(&self, id: LinkId) -> Option<Arc<dyn Link>> {
        self.links.get(id).map(Arc::clone)
    }

    pub(super) fn link_id(&self, link: &Arc<dyn Link>) -> Option<LinkId> {
        self.links.0.iter().find(|(_, own)| Arc::ptr_eq(own, link)).map(|(id, _)| *id)
    }

    pub(super) fn links(&self) -> &[(LinkId, Arc<dyn Link>)] {
        &self.links.0
    }

    /// Gives `socket` a token. Earlier ones stay good, because the answer with a newer one may have been lost, but of too
    /// many the oldest are returned: they are good no more.
    pub(super) fn give_token(&mut self, token: String, socket: SocketId) -> Vec<String> {
        let former: Vec<usize> = (0..self.tokens.len()).filter(|n| self.tokens[*n].1 == socket).collect();
        let over = former.len().saturating_sub(EARLIER_TOKENS);
        let outdated = former[..over].iter().rev().map(|n| self.tokens.remove(*n).0).collect();
        self.tokens.push((token, socket));
        outdated
    }

    /// The socket of a token, and whether it was given a newer one since.
    pub(super) fn socket_of(&self, token: &str) -> Option<(SocketId, bool)> {
        let place = self.tokens.iter().position(|(own, _)| own == token)?;
        let socket = self.tokens[place].1;
        let superseded = self.tokens[place + 1..].iter().any(|(_, own)| *own == socket);
        Some((socket, superseded))
    }

    fn task(&mut self, effect: Effect) -> Option<Task> {
        Some(match effect {
            Effect::Send { link, serial, form, parcel } => {
                Task::Emit { link: self.link(link)?, serial, form, parcel }
            }
            Effect::Cut { link } => Task::Cut(self.disconnect(link)?),
            Effect::Want(types) => Task::Want(types),
            Effect::Entered(dialog) => Task::Entered(dialog),
            Effect::Left(dialog) => Task::Left(dialog),
            Effect::Observe(event) => Task::Observe(event),
            Effect::Count(count) => Task::Count { count, drill: self.recipient.is_synthetic() },
            Effect::Ended { socket, into } => Task::Ended { tokens: self.end_tokens(socket, into) },
        })
    }

    /// Tokens of a socket that ended stand for the one that goes on; without one they are returned.
    fn end_tokens(&mut self, socket: SocketId, into: Option<SocketId>) -> Vec<String> {
        let Some(into) = into else {
            let (over, rest): (Vec<_>, Vec<_>) = self.tokens.drain(..).partition(|(_, own)| *own == socket);
            self.tokens = rest;
            return over.into_iter().map(|(token, _)| token).collect();
        };
        // Before the own ones of the socket that goes on, so that these stay the newest.
        let (mut moved, rest): (Vec<_>, Vec<_>) = self.tokens.drain(..).partition(|(_, own)| *own == socket);
        moved.iter_mut().for_each(|token| token.1 = into);
        moved.extend(rest);
        self.tokens = moved;
        Vec::new()
    }
}
