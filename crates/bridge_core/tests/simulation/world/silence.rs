//! A line to the broker over which nothing comes for a while, and nobody has noticed.

use bridge_core::Millis;
use bridge_core::recipient::{Input, Reason};

use super::{Event, Missed, World};
use crate::instance::{Held, Queue};
use crate::plan::WINDOW;

impl World<'_> {
    pub(super) fn silent(&mut self, instance: usize, lasts: u64, lost: bool) {
        let since = self.now;
        let here = &mut self.instances[instance];
        if here.facts.session_up && here.facts.running && here.facts.silent.is_none() {
            here.facts.silent = Some(since);
            self.after(lasts, Event::Heard { instance, since, lost });
        }
    }

    /// The silence ends: what was held back comes, or is lost with the session.
    pub(super) fn heard(&mut self, instance: usize, since: u64, lost: bool) {
        if self.instances[instance].facts.silent != Some(since) {
            return;
        }
        if lost {
            return self.session_lost(instance, 500);
        }
        self.instances[instance].facts.silent = None;
        for held in std::mem::take(&mut self.instances[instance].held) {
            let Held { user, generation, message, altered, at } = held;
            let here = &self.instances[instance];
            let back = here.stages.iter().find(|(flip, stage)| *flip >= at && !stage.use_rabbitmq_updates());
            if back.is_some_and(|(flip, _)| self.now >= flip + WINDOW) {
                // It is not emitted any more.
                self.missed.push(Missed { instance, user, message, at, lost: true, live: None });
            }
            if self.instances[instance].queues.get(&user) == Some(&Queue::Live { generation }) {
                self.deliver(instance, user, message, altered);
            }
        }
    }

    /// What is held back will not come any more; since when that is so.
    pub(super) fn lose_held(&mut self, instance: usize) -> Option<u64> {
        let here = &mut self.instances[instance];
        let since = here.facts.silent.take();
        for Held { user, message, at, .. } in std::mem::take(&mut here.held) {
            self.missed.push(Missed { instance, user, message, at, lost: true, live: None });
        }
        since
    }

    /// The window of a flip back is over, and nothing has proved that what was published before it has come.
    pub(super) fn prove(&mut self, instance: usize, flipped: u64) {
        let here = &self.instances[instance];
        if let Some(since) = here.facts.silent.filter(|since| *since < flipped) {
            let users: Vec<usize> = here.recipients.keys().copied().collect();
            for user in users {
                self.apply(instance, user, Input::Unproved { since: Millis(since) });
            }
        }
    }

    /// The path ends while the line is silent: its queues are lost before they are not wanted any more.
    pub(super) fn end_silent(&mut self, instance: usize) {
        let Some(since) = self.lose_held(instance) else { return };
        let here = &self.instances[instance];
        let live: Vec<usize> = here.queues.keys().copied().filter(|user| here.queue_is_live(*user)).collect();
        for user in live {
            self.apply(instance, user, Input::QueueLost { reason: Reason::BrokerLost, since: Millis(since) });
        }
    }
}
