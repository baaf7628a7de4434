//! Flips of one instance, as its control would make them.

use bridge_core::Stage;
use bridge_core::recipient::Input;

use super::{Event, World};
use crate::instance::Instance;
use crate::plan::WINDOW;

impl World<'_> {
    pub(super) fn flip(&mut self, instance: usize, to: Stage) {
        let here = &mut self.instances[instance];
        let from = here.stage;
        if from == to {
            return;
        }
        if to < from {
            here.flipping = false;
            self.change(instance, to);
            if to == Stage::Legacy {
                self.instances[instance].draining = true;
                self.after(WINDOW, Event::Drained { instance });
            }
            return;
        }
        // Preflight would see it.
        if from.next() != Some(to) || here.flipping || here.facts.silent.is_some() {
            return;
        }
        if from == Stage::Legacy {
            here.flipping = true;
            here.draining = false;
            if !here.facts.running {
                here.facts.running = true;
                let users: Vec<usize> = here.recipients.keys().copied().collect();
                for user in users {
                    self.apply(instance, user, Input::QueueWanted);
                }
            }
            self.warm(instance, self.now + 2_000);
            return;
        }
        let ready = here.recipients.keys().all(|user| here.queue_is_live(*user));
        if here.facts.session_up && ready {
            self.change(instance, to);
        }
    }

    /// Waits until all queues are live.
    pub(super) fn warm(&mut self, instance: usize, until: u64) {
        let here = &mut self.instances[instance];
        if !here.flipping {
            return;
        }
        if here.recipients.keys().all(|user| here.queue_is_live(*user)) && here.facts.session_up {
            here.flipping = false;
            self.change(instance, Stage::Shadow);
        } else if self.now >= until {
            here.flipping = false;
            self.cool(instance);
        } else {
            self.after(20, Event::Warm { instance, until });
        }
    }

    fn change(&mut self, instance: usize, to: Stage) {
        let now = self.now;
        let here = &mut self.instances[instance];
        if here.stage.use_rabbitmq_updates() && !to.use_rabbitmq_updates() {
            self.after(WINDOW, Event::Prove { instance, flipped: now });
        }
        let here = &mut self.instances[instance];
        here.stage = to;
        here.stages.push((now, to));
        let session_lost = here.session_lost;
        let users: Vec<usize> = here.recipients.keys().copied().collect();
        for user in users {
            self.apply(instance, user, Input::Flip { to, session_lost });
        }
    }

    pub(super) fn drained(&mut self, instance: usize) {
        let here = &self.instances[instance];
        let begun = here.stages.last().expect("it began somewhere").0;
        if here.draining && here.stage == Stage::Legacy && self.now >= begun + WINDOW {
            self.instances[instance].draining = false;
            self.cool(instance);
        }
    }

    fn cool(&mut self, instance: usize) {
        self.end_silent(instance);
        let here = &mut self.instances[instance];
        here.facts.running = false;
        here.queues.clear();
        here.generation += 1;
        here.facts.session_up = true;
        here.session_lost = None;
        if let Some(outage) = here.outages.last_mut() {
            outage.1.get_or_insert(self.now);
        }
        let users: Vec<usize> = here.recipients.keys().copied().collect();
        for user in users {
            self.apply(instance, user, Input::QueueGone);
        }
    }

    /// The process ends and begins anew; its clients come back when they like.
    pub(super) fn restart(&mut self, instance: usize) {
        let now = self.now;
        let connected: Vec<usize> = (0..self.tabs.len())
            .filter(|tab| self.tabs[*tab].connection.is_some_and(|(there, _)| there == instance))
            .collect();
        for tab in connected {
            self.break_off(tab, true);
        }
        let stage = self.instances[instance].stage;
        let mut anew = Instance::new(self.plan, now);
        anew.stage = stage;
        anew.facts.running = stage.runs_rabbitmq();
        anew.stages = vec![(now, stage)];
        self.instances[instance] = anew;
    }
}
