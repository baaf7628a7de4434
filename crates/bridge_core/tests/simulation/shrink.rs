//! Makes a failing plan small.

use crate::plan::Plan;

/// Leaves out steps, in halves and then one by one, as long as something fails.
pub(crate) fn smallest(plan: Plan, why: String, fails: impl Fn(&Plan) -> Option<String>) -> (Plan, String) {
    let (mut plan, mut why) = (plan, why);
    let mut size = plan.steps.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < plan.steps.len() {
            let mut smaller = plan.clone();
            let to = (from + size).min(smaller.steps.len());
            smaller.steps.drain(from..to);
            match fails(&smaller) {
                Some(reason) => (plan, why) = (smaller, reason),
                None => from += size,
            }
        }
        size /= 2;
    }
    (plan, why)
}
