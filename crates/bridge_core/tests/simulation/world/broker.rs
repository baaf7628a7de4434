//! Queues, sessions, and what gets lost with them.

use std::sync::Arc;

use bridge_core::Millis;
use bridge_core::compare::Fact;
use bridge_core::recipient::{Input, Reason, Resync, UpdateArrival};
use bridge_core::update::Update;
use serde_json::json;

use super::{Event, Missed, World};
use crate::instance::Queue;

impl World<'_> {
    pub(super) fn want(&mut self, instance: usize, user: usize) {
        let here = &mut self.instances[instance];
        if here.queues.contains_key(&user) {
            return;
        }
        let generation = here.number();
        here.queues.insert(user, Queue::Pending { generation, lost: None });
        if here.facts.session_up {
            let takes = 20 + self.jitter(user as u64, self.plan.queue_takes - 20);
            self.after(takes, Event::QueueUp { instance, user, generation });
        }
    }

    pub(super) fn queue_up(&mut self, instance: usize, user: usize, expected: u64) {
        let here = &mut self.instances[instance];
        let Some(Queue::Pending { generation, lost }) = here.queues.get(&user).copied() else { return };
        if generation != expected || !here.facts.session_up {
            return;
        }
        if here.facts.silent.is_some() {
            return self.after(500, Event::QueueUp { instance, user, generation });
        }
        here.queues.insert(user, Queue::Live { generation });
        let those = self.missed.iter_mut().filter(|missed| (missed.instance, missed.user) == (instance, user));
        those.for_each(|missed| {
            missed.live.get_or_insert(self.now);
        });
        let gap = lost.map(|(since, session)| {
            let reason = if session { Reason::BrokerLost } else { Reason::QueueLost };
            Resync { reason, since }
        });
        self.apply(instance, user, Input::QueueLive { gap });
    }

    pub(super) fn queue_lost(&mut self, instance: usize, user: usize, lasts: u64) {
        let now = Millis(self.now);
        let here = &mut self.instances[instance];
        if !here.queue_is_live(user) || here.facts.silent.is_some() {
            return;
        }
        let generation = here.number();
        here.queues.insert(user, Queue::Pending { generation, lost: Some((now, false)) });
        self.apply(instance, user, Input::QueueLost { reason: Reason::QueueLost, since: now });
        self.after(lasts, Event::QueueUp { instance, user, generation });
    }

    pub(super) fn session_lost(&mut self, instance: usize, lasts: u64) {
        let now = self.now;
        let here = &mut self.instances[instance];
        if !here.facts.session_up || !here.facts.running {
            return;
        }
        let since = Millis(self.lose_held(instance).unwrap_or(now));
        let here = &mut self.instances[instance];
        here.facts.session_up = false;
        here.session_lost = Some(Millis(now));
        here.generation += 1;
        here.outages.push((now, None));
        here.fact(now, Fact::Session { up: false });
        let generation = here.generation;
        let users: Vec<usize> = here.queues.keys().copied().collect();
        for user in users {
            let here = &mut self.instances[instance];
            let lost = match here.queues[&user] {
                Queue::Live { .. } => Some((since, true)),
                Queue::Pending { lost, .. } => lost,
            };
            let generation = here.number();
            here.queues.insert(user, Queue::Pending { generation, lost });
            self.apply(instance, user, Input::QueueLost { reason: Reason::BrokerLost, since });
        }
        self.after(lasts, Event::SessionUp { instance, generation });
    }

    pub(super) fn session_up(&mut self, instance: usize, generation: u64) {
        let now = self.now;
        let here = &mut self.instances[instance];
        if here.generation != generation {
            return;
        }
        here.facts.session_up = true;
        here.session_lost = None;
        if let Some(outage) = here.outages.last_mut() {
            outage.1 = Some(now);
        }
        here.fact(now, Fact::Session { up: true });
        let pending: Vec<(usize, u64)> = here
            .queues
            .iter()
            .filter_map(|(user, queue)| match queue {
                Queue::Pending { generation, .. } => Some((*user, *generation)),
                Queue::Live { .. } => None,
            })
            .collect();
        for (user, generation) in pending {
            let takes = self.jitter(user as u64 + 7, 200);
            self.after(takes, Event::QueueUp { instance, user, generation });
        }
    }

    pub(super) fn publish(&mut self, message: usize, user: usize, altered: bool) {
        for instance in 0..self.plan.instances {
            match self.instances[instance].queues.get(&user).copied() {
                Some(Queue::Live { generation }) if self.instances[instance].facts.session_up => {
                    let deliver = Event::Deliver { instance, user, generation, message, altered };
                    // In the order in which they were published.
                    self.after(3, deliver);
                }
                _ => self.miss(instance, user, message),
            }
        }
    }

    /// Notes that an update is lost, if somebody of the user's is there.
    pub(super) fn miss(&mut self, instance: usize, user: usize, message: usize) {
        let at = self.now;
        let Some(Queue::Pending { lost, .. }) = self.instances[instance].queues.get(&user) else { return };
        self.missed.push(Missed { instance, user, message, at, lost: lost.is_some(), live: None });
    }

    pub(super) fn deliver(&mut self, instance: usize, user: usize, message: usize, altered: bool) {
        let now = self.now;
        if let Some(message) = self.messages.get_mut(&message) {
            message.arrived.entry((instance, user)).or_insert(now);
        }
        let update = self.update(message, user, altered);
        let routing_key: Arc<str> = format!("update.dialog.user.usr_{user}.message").into();
        let arrival = UpdateArrival { update: &update, routing_key: &routing_key, redelivered: false };
        self.apply(instance, user, Input::Update(arrival));
    }

    fn update(&self, message: usize, user: usize, altered: bool) -> Arc<Update> {
        let dialog = self.messages[&message].dialog;
        let content = format!("number {message}{}", if altered { " altered" } else { "" });
        let entity = if self.plan.old_ids { super::posts::mongo(message) } else { format!("msg_{message}") };
        let id = if self.plan.old_ids { "_id" } else { "messageId" };
        let body = json!({"tenantId": "tnt", "userId": format!("usr_{user}"), "entityId": entity, "eventId": "evt",
            "eventType": "message.create", "data": {"message": {id: entity, "dialogId": format!("dlg_{dialog}"),
                "senderId": "usr_0", "type": "internal.text", "content": content}}});
        Arc::new(Update::read(body.to_string().as_bytes(), 0).expect("an update"))
    }
}
