//! Which `dlg_` id a dialog's Mongo id belongs to, as far as Chat3's answers told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bridge_core::DialogId;
use parking_lot::Mutex;

/// Most dialogs that are remembered; the oldest go first.
const MOST: usize = 50_000;

#[derive(Default)]
pub(super) struct Dialogs(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_mongo: HashMap<Arc<str>, DialogId>,
    order: VecDeque<Arc<str>>,
}

impl Dialogs {
    pub(super) fn learn(&self, mongo: &Arc<str>, dialog: &DialogId) {
        let mut known = self.0.lock();
        if known.by_mongo.contains_key(mongo) {
            return;
        }
        if known.order.len() >= MOST
            && let Some(oldest) = known.order.pop_front()
        {
            known.by_mongo.remove(&oldest);
        }
        known.order.push_back(Arc::clone(mongo));
        known.by_mongo.insert(Arc::clone(mongo), dialog.clone());
    }

    pub(super) fn find(&self, mongo: &str) -> Option<DialogId> {
        self.0.lock().by_mongo.get(mongo).cloned()
    }
}
