//! POSTs, and Chat3's answers to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge_core::Json;
use bridge_core::Millis;
use bridge_core::compare::Fact;
use bridge_core::recipient::{Input, LegacyArrival, LegacyCopy};
use bridge_core::update::LegacyMessage;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Event, Message, World};
use crate::instance::{dialog_id, user_id};
use crate::plan::{Fate, Published};

pub(super) fn mongo(message: usize) -> String {
    format!("{message:024x}")
}

impl World<'_> {
    pub(super) fn post(
        &mut self,
        number: usize,
        dialog: usize,
        instance: usize,
        sender: usize,
        fate: Fate,
        published: Vec<Published>,
    ) {
        let now = self.now;
        for Published { user, after, again, altered } in published.iter().copied() {
            self.after(after, Event::Publish { message: number, user, altered });
            if let Some(again) = again {
                self.after(after + again, Event::Publish { message: number, user, altered });
            }
        }
        let message =
            Message { dialog, instance, started: now, accepted: None, published, arrived: BTreeMap::new() };
        self.messages.insert(number, message);
        let here = &mut self.instances[instance];
        here.facts.posts.insert(number, (Millis(now), dialog));
        let post = number as u64;
        here.fact(now, Fact::PostStarted { post, dialog: dialog_id(dialog), sender: user_id(sender) });
        match fate {
            Fate::Answered(after) => self.after(after, Event::Answer { message: number, readable: true }),
            Fate::Refused(after) => self.after(after, Event::Refused { message: number }),
            Fate::Unknown { after, then } => {
                self.after(after, Event::Answer { message: number, readable: false });
                if let Some(then) = then {
                    self.after(after + then, Event::Answer { message: number, readable: true });
                }
            }
        }
    }

    pub(super) fn refused(&mut self, number: usize) {
        let (instance, now) = (self.messages[&number].instance, self.now);
        let here = &mut self.instances[instance];
        if here.facts.posts.remove(&number).is_some() {
            here.fact(now, Fact::PostRefused { post: number as u64 });
        }
    }

    pub(super) fn answered(&mut self, number: usize, readable: bool) {
        let now = self.now;
        let Message { dialog, instance, started, .. } = self.messages[&number];
        let here = &mut self.instances[instance];
        if here.stages[0].0 > started {
            // The instance that asked is no more.
            return;
        }
        let since = here.facts.posts.remove(&number).map_or(Millis(0), |(since, _)| since);
        let post = number as u64;
        if !readable {
            here.fact(now, Fact::PostUnknown { post });
            return;
        }
        let data = json!({"_id": mongo(number), "messageId": format!("msg_{number}"),
            "dialogId": format!("dlg_{dialog}"), "senderId": "usr_0", "type": "internal.text",
            "content": format!("number {number}"), "meta": {}});
        let data: Json = RawValue::from_string(data.to_string()).expect("JSON").into();
        let mut message = LegacyMessage::read(data.get()).message;
        if !self.plan.old_ids {
            message.mongo = None;
        }
        let key = message.key("tnt").expect("it has an id");
        let copy = Arc::new(LegacyCopy {
            data,
            dialog: dialog_id(dialog),
            message,
            key: key.clone(),
            sender: user_id(0),
        });
        let room: Vec<usize> =
            here.rooms.get(&dialog_id(dialog)).map(|room| room.iter().copied().collect()).unwrap_or_default();
        self.messages.get_mut(&number).expect("it is there").accepted = Some(now);
        for user in room {
            self.apply(instance, user, Input::Legacy(LegacyArrival { copy: &copy, since, everywhere: false }));
        }
        self.instances[instance].fact(now, Fact::PostAccepted { post, key, dialog_mongo: None });
    }
}
