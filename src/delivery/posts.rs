//! POSTs from their forward to Chat3 until their end is known: answered, refused, or nobody will ever know.

use std::collections::HashMap;
use std::sync::Arc;

use bridge_core::{DialogId, Json, Millis, UserId};
use parking_lot::Mutex;

use super::hub::Hub;

/// All whose end is not known yet.
#[derive(Default)]
pub(super) struct Posts(Mutex<Known>);

#[derive(Default)]
struct Known {
    next: u64,
    by_number: HashMap<u64, Begun>,
    /// How many are open in each dialog.
    by_dialog: HashMap<DialogId, usize>,
}

struct Begun {
    at: Millis,
    dialog: DialogId,
    /// Somebody waits for its answer; else it was given up, and its answer may come after all.
    is_open: bool,
}

impl Posts {
    /// Returns the number of the POST.
    pub(super) fn begin(&self, at: Millis, dialog: &DialogId) -> u64 {
        let mut known = self.0.lock();
        let number = known.next;
        known.next += 1;
        known.by_number.insert(number, Begun { at, dialog: dialog.clone(), is_open: true });
        *known.by_dialog.entry(dialog.clone()).or_default() += 1;
        number
    }

    /// Nobody waits for its answer any more; whether somebody did.
    pub(super) fn give_up(&self, number: u64) -> bool {
        let mut known = self.0.lock();
        let Some(begun) = known.by_number.get_mut(&number) else { return false };
        if !std::mem::take(&mut begun.is_open) {
            return false;
        }
        let dialog = begun.dialog.clone();
        known.close(&dialog);
        true
    }

    /// Its end is known; when it began.
    pub(super) fn end(&self, number: u64) -> Option<Millis> {
        let mut known = self.0.lock();
        let begun = known.by_number.remove(&number)?;
        if begun.is_open {
            known.close(&begun.dialog);
        }
        Some(begun.at)
    }

    /// Dialogs with an open one.
    pub(super) fn dialogs(&self) -> Vec<DialogId> {
        self.0.lock().by_dialog.keys().cloned().collect()
    }
}

impl Known {
    fn close(&mut self, dialog: &DialogId) {
        if let Some(count) = self.by_dialog.get_mut(dialog) {
            *count -= 1;
            if *count == 0 {
                self.by_dialog.remove(dialog);
            }
        }
    }
}

/// One POST that was forwarded. Dropped without an end, it ended without a readable answer.
pub struct Post {
    hub: Arc<Hub>,
    number: u64,
    dialog: DialogId,
    sender: UserId,
}

/// Who waits for the answer to a POST.
pub struct Waiter {
    hub: Arc<Hub>,
    number: u64,
}

impl Post {
    pub(super) const fn new(hub: Arc<Hub>, number: u64, dialog: DialogId, sender: UserId) -> Self {
        Self { hub, number, dialog, sender }
    }

    /// The one who waits for its answer.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        Waiter { hub: Arc::clone(&self.hub), number: self.number }
    }

    /// Chat3 accepted it, also when it was given up before. With `legacy.audience = "members"` the broadcast waits a
    /// moment for who they are; whom that answer does not include in time is reached when it comes.
    pub async fn accepted(self, data: Json) {
        self.hub.accepted(self.number, &self.dialog, &self.sender, data).await;
    }

    /// Chat3 refused it: there is no message.
    pub fn refused(self) {
        self.hub.post_refused(self.number);
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        // After its end there is nothing left of it.
        self.waiter().give_up();
        self.hub.posts.end(self.number);
    }
}

impl Waiter {
    /// It waits no longer: whether there is a message is not known, unless the answer came first or comes after all.
    pub fn give_up(&self) {
        self.hub.post_unknown(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_given_up_is_open_no_more_and_still_knows_when_it_began() {
        let posts = Posts::default();
        let dialog = DialogId::new("dlg_1").expect("an id");
        let [first, second] = [5, 9].map(|at| posts.begin(Millis(at), &dialog));
        assert!(posts.give_up(first) && !posts.give_up(first));
        assert_eq!(posts.dialogs(), [dialog], "the other one is open");
        assert_eq!(posts.end(second), Some(Millis(9)));
        assert!(posts.dialogs().is_empty());
        assert_eq!((posts.end(first), posts.end(first)), (Some(Millis(5)), None));
        assert!(!posts.give_up(second), "it had ended");
    }
}
