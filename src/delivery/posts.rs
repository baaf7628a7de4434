//! POSTs that Chat3 was asked for and has not answered yet.

use std::collections::HashMap;

use bridge_core::{DialogId, Millis};
use parking_lot::Mutex;

#[derive(Default)]
pub(super) struct Posts(Mutex<Open>);

#[derive(Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, (Millis, DialogId)>,
    /// How many are open in each dialog.
    by_dialog: HashMap<DialogId, usize>,
}

impl Posts {
    /// Returns the number of the POST.
    pub(super) fn begin(&self, now: Millis, dialog: &DialogId) -> u64 {
        let mut open = self.0.lock();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, (now, dialog.clone()));
        *open.by_dialog.entry(dialog.clone()).or_default() += 1;
        number
    }

    /// When it began; `None` when it had ended already.
    pub(super) fn end(&self, number: u64) -> Option<Millis> {
        let mut open = self.0.lock();
        let (since, dialog) = open.by_number.remove(&number)?;
        if let Some(count) = open.by_dialog.get_mut(&dialog) {
            *count -= 1;
            if *count == 0 {
                open.by_dialog.remove(&dialog);
            }
        }
        Some(since)
    }

    pub(super) fn dialogs(&self) -> Vec<DialogId> {
        self.0.lock().by_dialog.keys().cloned().collect()
    }
}
