//! Everything of one user on an instance, as one pure state machine: sockets with their presence, rooms and
//! selections, the gate, what each socket was sent, and what it is owed.
//!
//! [`Recipient::apply`] takes one [`Input`] at a time and says what is to be done, as [`Effect`]s in order. It has no
//! clock, no lock and no I/O; what it has to know of the rest of the instance it asks of a [`World`], which looks
//! things up and never waits. Whoever runs it holds one lock for the length of `apply` and runs the effects outside
//! of it, in order.
//!
//! A message can be lost or doubled only if this module, or the gate in it, lets it: `tests/interleavings.rs`
//! searches all short histories, `tests/simulation.rs` long ones.

mod arrival;
mod effect;
mod input;
mod observation;
mod parcel;
mod replay;
mod room;
mod selection;
mod sign_on;
mod socket;
mod time;

use std::sync::Arc;

use crate::compare::{Event, Fact};
use crate::gate::{Gate, Limits, Load, Sockets};
use crate::stage::{Path, Stage};
use crate::{DialogId, Millis, SocketId, UserId};

pub use effect::{Count, Effect};
pub use input::{Answer, Claim, Input, LegacyArrival, ReplayLimit, SignOn, UpdateArrival, World};
pub use parcel::{Copy, LegacyCopy, Parcel, Reason, Resync};
pub use room::MOST_ROOMS;
pub use selection::{InvalidType, Selection, Types};
pub use socket::{Declared, LinkId, Presence, Socket};

/// What holds for every recipient of an instance.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The tenant whose updates are delivered.
    pub tenant: Arc<str>,
    /// Windows and bounds of the gate.
    pub gate: Limits,
    /// How long a socket outlives its connection, in ms; 0: not at all.
    pub linger: u64,
    /// How long what a transport took is kept for a client that says what it got last, in ms.
    pub replay_age: u64,
}

/// One user with at least one socket, connected or lingering. See the module's text.
#[derive(Clone, Debug)]
pub struct Recipient {
    id: UserId,
    rules: Arc<Rules>,
    gate: Gate<Copy>,
    /// By id, which is the order in which they came.
    sockets: Vec<Socket>,
    rooms: room::Rooms,
    /// Every bind-ok and consume-ok of the user's queue has come.
    queue_live: bool,
    /// Since when updates may be lost because the queue was lost, until it is live again.
    lost_since: Option<Millis>,
    /// When a flip back ended that rabbitmq's copies are what is heard.
    heard_until: Millis,
    /// Until when its sockets were told of gaps before that.
    told: Millis,
    /// What the queue was last said to be wanted for; `None`: nothing is wanted.
    wanted: Option<Types>,
}

impl Recipient {
    /// A recipient without sockets.
    #[must_use]
    pub fn new(id: UserId, rules: Arc<Rules>, stage: Stage) -> Self {
        let gate = Gate::new(rules.gate, stage);
        let (sockets, rooms) = (Vec::new(), room::Rooms::default());
        Self {
            id,
            rules,
            gate,
            sockets,
            rooms,
            queue_live: false,
            lost_since: None,
            heard_until: Millis(0),
            told: Millis(0),
            wanted: None,
        }
    }

    /// Takes one input and appends what is to be done to `effects`.
    pub fn apply(&mut self, now: Millis, input: Input, world: &dyn World, effects: &mut Vec<Effect>) -> Answer {
        let mut turn = Turn { now, world, effects };
        match input {
            Input::SignedOn(sign_on) => return self.sign_on(&mut turn, sign_on),
            Input::Renewed { socket, sign_on } => return self.renew(&mut turn, socket, sign_on),
            Input::Greeted { socket } => self.greet(&mut turn, socket),
            Input::Late { socket, since } => return self.late(socket, since),
            Input::Lost { link, handed, for_good } => self.lose(&mut turn, link, handed, for_good),
            Input::HandedOver { link, up_to } => self.handed_over(link, up_to),
            Input::Joined { socket, dialog } => return self.join(&mut turn, socket, dialog),
            Input::Left { socket, dialog } => self.leave(&mut turn, socket, &dialog),
            Input::PutOut { dialog } => self.put_out(&mut turn, &dialog),
            Input::Subscribed { socket, types } => return self.select(&mut turn, socket, types, true),
            Input::Unsubscribed { socket, types } => return self.select(&mut turn, socket, types, false),
            Input::Legacy(arrival) => self.legacy_arrives(&mut turn, arrival),
            Input::Unrelayed { dialog, everywhere, since } => {
                self.misses(&mut turn, dialog.as_ref(), everywhere, since);
            }
            Input::Update(arrival) => self.update_arrives(&mut turn, &arrival),
            Input::Leak(arrival) => self.leaks(&mut turn, &arrival),
            Input::Flip { to, session_lost } => return self.flip(&mut turn, to, session_lost),
            Input::QueueLive { gap } => self.queue_lives(&mut turn, gap),
            Input::QueueLost { reason, since } => {
                self.queue_goes(&mut turn, Some(since));
                self.lacks(&mut turn, Resync { reason, since });
            }
            Input::Unproved { since } => self.lacks(&mut turn, Resync { reason: Reason::BrokerLost, since }),
            Input::QueueGone => self.queue_goes(&mut turn, None),
            Input::QueueWanted => self.want_anew(&mut turn),
            Input::Tick => self.tick(&mut turn),
            Input::Synthetic { socket, selection, room, unreached } => {
                self.synthesize(&mut turn, socket, selection, room, unreached);
            }
            Input::SyntheticGone => self.end_synthetic(&mut turn),
        }
        Answer::Done
    }

    /// The user.
    #[must_use]
    pub const fn id(&self) -> &UserId {
        &self.id
    }

    /// The stage in which the user is served.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.gate.stage()
    }

    /// All sockets, lingering ones too.
    #[must_use]
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// One socket.
    #[must_use]
    pub fn socket(&self, id: SocketId) -> Option<&Socket> {
        self.place(id).ok().map(|place| &self.sockets[place])
    }

    /// The dialogs whose rooms some socket is in.
    pub fn rooms(&self) -> impl Iterator<Item = &DialogId> {
        self.rooms.iter()
    }

    /// Whether every bind-ok and consume-ok of the user's queue has come.
    #[must_use]
    pub const fn queue_is_live(&self) -> bool {
        self.queue_live
    }

    /// Whether a message of a dialog that some socket hears of would come to some socket as an update.
    #[must_use]
    pub fn awaits_updates(&self) -> bool {
        self.queue_live && !self.is_synthetic() && !self.subscribed("message").is_empty()
    }

    /// Whether it is a drill's: no client is behind it.
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        self.sockets.first().is_some_and(|socket| matches!(socket.presence, Presence::Synthetic { .. }))
    }

    /// How full the gate is.
    #[must_use]
    pub fn load(&self) -> Load {
        self.gate.load()
    }

    /// Bytes of bodies that the sockets' replays hold; a body that several of them hold counts for each.
    #[must_use]
    pub fn replay_bytes(&self) -> usize {
        self.sockets.iter().map(|socket| socket.replay.bytes()).sum()
    }

    /// When [`Input::Tick`] has something to do at the latest; `None`: nothing waits for time to pass.
    #[must_use]
    pub fn wakes(&self) -> Option<Millis> {
        let linger = self.rules.linger;
        let ends = self.sockets.iter().filter_map(|socket| socket.presence.ends(linger));
        ends.chain(self.gate.wakes()).min()
    }

    /// Connections of those in the room of `dialog`, except that of `except`.
    pub fn connections_in<'a>(
        &'a self,
        dialog: &'a DialogId,
        except: Option<SocketId>,
    ) -> impl Iterator<Item = LinkId> + 'a {
        let here = if self.rooms.has(dialog) { self.sockets.as_slice() } else { &[] };
        here.iter()
            .filter(move |socket| Some(socket.id) != except && socket.is_in(dialog))
            .filter_map(|socket| socket.presence.link())
    }

    fn place(&self, id: SocketId) -> Result<usize, usize> {
        self.sockets.binary_search_by_key(&id, |socket| socket.id)
    }

    fn socket_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let place = self.place(id).ok()?;
        self.sockets.get_mut(place)
    }

    fn present(&self) -> Sockets {
        self.pick(|_| true)
    }

    fn joined(&self, dialog: &DialogId) -> Sockets {
        if !self.rooms.has(dialog) {
            return Sockets::new();
        }
        self.pick(|socket| socket.is_in(dialog))
    }

    fn subscribed(&self, kind: &str) -> Sockets {
        self.pick(|socket| socket.selection.wants(kind))
    }

    fn pick(&self, wanted: impl Fn(&Socket) -> bool) -> Sockets {
        self.sockets.iter().filter(|socket| wanted(socket)).map(|socket| socket.id).collect()
    }

    /// Hands `copy` to `sockets`.
    fn hand(&mut self, turn: &mut Turn<'_>, sockets: &Sockets, copy: &Copy) {
        let limit = turn.world.replay_limit();
        for id in sockets {
            let Ok(place) = self.place(*id) else { continue };
            let socket = &mut self.sockets[place];
            socket.send(&self.rules, limit, turn, Parcel::Copy(copy.clone()));
        }
    }
}

/// One call of [`Recipient::apply`].
struct Turn<'a> {
    now: Millis,
    world: &'a dyn World,
    effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn count(&mut self, count: Count) {
        self.effects.push(Effect::Count(count));
    }

    fn fact(&mut self, fact: Fact) {
        self.effects.push(Effect::Observe(Event::Fact(self.now, fact)));
    }
}

/// Whether copies of the path that goes away are still emitted with those of `stage`.
const fn is_legacy(stage: Stage) -> bool {
    matches!(stage.authority(), Path::Legacy)
}
