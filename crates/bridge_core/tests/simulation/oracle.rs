//! What must be true at the end, whatever happened.

use bridge_core::Stage;
use bridge_core::compare::Class;

use crate::client::Page;
use crate::instance::Instance;
use crate::plan::WINDOW;
use crate::world::{Message, World};

/// A message is through with everything so long after its POST began or its answer came.
const SETTLED: u64 = WINDOW + 3_000;

/// What is wrong, if anything is.
pub(crate) fn judge(world: &World<'_>) -> Option<String> {
    let pages = world.pages.iter().enumerate();
    pages
        .filter_map(|(number, page)| delivered(world, number, page))
        .next()
        .or_else(|| world.fault.clone())
        .or_else(|| world.plan.calm.then(|| compared(world)).flatten())
}

fn delivered(world: &World<'_>, number: usize, page: &Page) -> Option<String> {
    for (id, message) in &world.messages {
        let count = page.got.iter().filter(|(_, got)| got == id).count();
        if count > 1 + usize::from(page.twice.contains(id)) {
            return Some(format!(
                "page {number} of tab {} got message {id} {count} times: {:?}",
                page.tab, page.got
            ));
        }
        let user = world.tabs[page.tab].user;
        if count > 0 && !world.plan.members[message.dialog][user] {
            return Some(format!("page {number} of tab {} got message {id}, which is a stranger's", page.tab));
        }
        if count > 0 && must_not_see(world, page, message) {
            return Some(format!("page {number} of tab {} got message {id}, which it must not see", page.tab));
        }
        if count == 0 && must_see(world, page, *id, message) {
            let stages = &world.instances[page.instance].stages;
            return Some(format!(
                "page {number} of tab {} did not get message {id}: {page:?}, {message:?}, stages {stages:?}",
                page.tab
            ));
        }
    }
    None
}

/// Whether it was not to have it: it did not want it, or its user was known not to be a member.
fn must_not_see(world: &World<'_>, page: &Page, message: &Message) -> bool {
    let instance = &world.instances[page.instance];
    let user = world.tabs[page.tab].user;
    let Some(accepted) = message.accepted else { return false };
    let only_live = stages_in(instance, message.started.saturating_sub(WINDOW), accepted + 60_000)
        .all(|stage| stage == Stage::Live);
    let put_out = world.removals.iter().any(|removal| {
        let (gone, known) = (message.started > removal.at, accepted + WINDOW > removal.learnt);
        removal.user == user && removal.dialog == message.dialog && gone && known
    });
    let deaf = page.deaf.iter().any(|span| span.covers(message.started, accepted + 60_000));
    let same = instance.stages[0].0 <= page.open.from;
    same && only_live && (deaf || put_out)
}

/// Whether the page should have the message, and nothing told it that it may not.
fn must_see(world: &World<'_>, page: &Page, id: usize, message: &Message) -> bool {
    let instance = &world.instances[page.instance];
    let Some(accepted) = message.accepted else { return false };
    let (from, settled) = (message.started, accepted + SETTLED);
    let joined =
        page.joined.get(&message.dialog).is_some_and(|spans| spans.iter().any(|s| s.covers(from, settled)));
    if message.instance != page.instance || !joined || !page.open.covers(from, settled) {
        return false;
    }
    // What was posted before the instance began anew is not its own.
    if instance.stages[0].0 > from && instance.stages[0].0 > 0 {
        return false;
    }
    let deaf = page.deaf.iter().any(|span| span.touches(from.saturating_sub(WINDOW), settled));
    let told = page.told.iter().any(|at| *at >= from);
    if deaf || told || page.excused.contains(&id) {
        return false;
    }
    let removed = |removal: &crate::world::Removal| {
        removal.user == world.tabs[page.tab].user && removal.dialog == message.dialog && removal.at <= settled
    };
    if world.removals.iter().any(removed) {
        return false;
    }
    // An answer that comes after its POST was given up is late by more than a window.
    let given_up = accepted.saturating_sub(from) >= 10_000;
    let user = world.tabs[page.tab].user;
    let arrived = message.arrived.get(&(page.instance, user)).is_some_and(|at| *at <= accepted + WINDOW);
    // In `complete` only an update brings it, and a way back has the answers of one window.
    let complete = stages_in(instance, from, settled + SETTLED).any(|stage| stage == Stage::Complete);
    (arrived || !complete) && !given_up
}

/// The stages of the instance that touch a span.
fn stages_in(instance: &Instance, from: u64, until: u64) -> impl Iterator<Item = Stage> + '_ {
    let ends = instance.stages.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
    let spans = instance.stages.iter().zip(ends);
    spans.filter(move |((at, _), end)| *at <= until && *end >= from).map(|((_, stage), _)| *stage)
}

/// In a calm world the comparison names what was planted, and nothing else.
fn compared(world: &World<'_>) -> Option<String> {
    let instance = &world.instances[0];
    for closed in instance.closed.iter().filter(|closed| closed.amends.is_none()) {
        let name = closed.message().unwrap_or_default();
        let id = match name.strip_prefix("msg_") {
            Some(id) => id.parse().ok(),
            None => usize::from_str_radix(name, 16).ok(),
        };
        let Some((id, message)) = id.and_then(|id| Some((id, world.messages.get(&id)?))) else {
            return Some(format!("a unit of no message: {closed:?}"));
        };
        let user: usize = closed.user.strip_prefix("usr_").and_then(|id| id.parse().ok())?;
        let in_room =
            |page: &Page| page.joined.get(&message.dialog).is_some_and(|spans| spans[0].from < message.started);
        if !world.pages.iter().any(|page| world.tabs[page.tab].user == user && in_room(page)) {
            continue;
        }
        let planted = message.published.iter().find(|published| published.user == user);
        let near = |at: Option<u64>| at.is_some_and(|at| at < WINDOW - 100);
        let skew = planted
            .zip(message.accepted)
            .map(|(planted, accepted)| (message.started + planted.after + 3).abs_diff(accepted));
        let opened =
            planted.zip(message.accepted).map(|(planted, at)| at.min(message.started + planted.after + 3));
        let copied = planted.and_then(|planted| Some(message.started + planted.after + planted.again? + 3));
        let soon = copied.zip(opened).is_some_and(|(copied, opened)| copied - opened < WINDOW - 100);
        let expected: &[Class] = match planted {
            _ if message.accepted.is_none_or(|at| at - message.started >= 4_000) => continue,
            None => &[Class::MissingInRabbitmq],
            Some(_) if !near(skew) => continue,
            Some(_) if soon => &[Class::Duplicate],
            Some(planted) if planted.again.is_some() => continue,
            Some(planted) if planted.altered => &[Class::PayloadMismatch],
            Some(_) => &[Class::Match],
        };
        if !expected.contains(&closed.class) {
            return Some(format!("message {id} for user {user}: {expected:?} was planted, found {closed:?}"));
        }
    }
    None
}
