//! Did both paths bring the messages of one user and dialog in the same order?

use crate::{DialogId, Millis, UserId};

use super::recent::{Bounded as _, Recent};

/// Most bytes of pairs that are remembered.
const MOST: usize = 8 << 20;

/// The places of the latest pair of each user and dialog.
#[derive(Clone, Debug, Default)]
pub(super) struct Order(Recent<(UserId, DialogId), (u64, u64)>);

impl Order {
    /// Notes a pair by its places on both paths; whether it stands in another order than the one before.
    pub(super) fn pair(
        &mut self,
        at: Millis,
        user: &UserId,
        dialog: &DialogId,
        legacy: u64,
        rabbitmq: u64,
    ) -> bool {
        let name = (user.clone(), dialog.clone());
        let before = self.0.get(&name).copied();
        self.0.insert(at, name, (legacy, rabbitmq));
        while self.0.bytes() > MOST {
            self.0.let_go();
        }
        before.is_some_and(|(other_legacy, other_rabbitmq)| (legacy > other_legacy) != (rabbitmq > other_rabbitmq))
    }

    /// How many pairs went before their time since the last call.
    pub(super) fn take_let_go(&mut self) -> u64 {
        self.0.take_let_go()
    }

    pub(super) fn expire(&mut self, before: Millis) {
        self.0.expire(before);
    }
}
