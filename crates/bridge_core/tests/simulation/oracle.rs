//! What must be true at the end, whatever happened.

use bridge_core::Stage;
use bridge_core::compare::{Cause, Class};

use crate::client::Page;
use crate::instance::Instance;
use crate::plan::WINDOW;
use crate::world::{Message, World};

/// A message is through with everything so long after its POST began or its answer came.
const SETTLED: u64 = WINDOW + 3_000;

/// What is wrong, if anything is.
pub(crate) fn judge(world: &World<'_>) -> Option<String> {
    let pages = || world.pages.iter().enumerate();
    pages()
        .find_map(|(number, page)| delivered(world, number, page))
        .or_else(|| pages().find_map(|(number, page)| brought(world, number, page)))
        .or_else(|| pages().find_map(|(number, page)| told(world, number, page)))
        .or_else(|| pages().find_map(|(number, page)| told_of_all(world, number, page)))
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

/// What either path brought to the instance reaches the page, also around flips.
fn brought(world: &World<'_>, number: usize, page: &Page) -> Option<String> {
    for (id, message) in &world.messages {
        let got = page.got.iter().any(|(_, got)| got == id);
        if !got && let Some(by) = is_due(world, page, *id, message) {
            let stages = &world.instances[page.instance].stages;
            return Some(format!(
                "page {number} of tab {} did not get message {id} {by}: {page:?}, {message:?}, stages {stages:?}",
                page.tab
            ));
        }
    }
    None
}

/// By what the page was to have the message, whatever else happened.
fn is_due(world: &World<'_>, page: &Page, id: usize, message: &Message) -> Option<&'static str> {
    let (user, instance) = (world.tabs[page.tab].user, &world.instances[page.instance]);
    let removed = world.removals.iter().any(|removal| removal.user == user && removal.dialog == message.dialog);
    let member = world.plan.members[message.dialog][user] && !removed;
    if !member || page.excused.contains(&id) || instance.stages[0].0 > page.open.from {
        return None;
    }
    let waits = |from: u64, until: u64| {
        page.open.covers(from, until + SETTLED)
            && page.greeted.is_some_and(|at| at <= from)
            && !page.deaf.iter().any(|span| span.touches(from, until + SETTLED))
            && !page.is_told(from, until)
    };
    let all = |from: u64, until: u64, is: &dyn Fn(Stage) -> bool| stages_in(instance, from, until).all(is);
    // Stage before, when it changed, and to which.
    let flips: Vec<(Stage, u64, Stage)> =
        instance.stages.windows(2).map(|pair| (pair[0].1, pair[1].0, pair[1].1)).collect();
    let legacy = |stage: Stage| !stage.use_rabbitmq_updates();
    if let Some(at) = message.arrived.get(&(page.instance, user)).copied()
        && waits(at, at)
    {
        if all(at.saturating_sub(1), at + 1, &Stage::use_rabbitmq_updates) {
            return Some("whose update came");
        }
        let back = |(from, flipped, to): &(Stage, u64, Stage)| {
            from.use_rabbitmq_updates()
                && legacy(*to)
                && *flipped < at
                && at + 1 < flipped + WINDOW
                && all(flipped + 1, at + 1, &legacy)
        };
        if flips.iter().any(|flip| back(flip) && waits(flip.1, at)) {
            return Some("whose update came soon after a flip back");
        }
        let on = |(from, flipped, to): &(Stage, u64, Stage)| {
            (*from, *to) == (Stage::Shadow, Stage::Live)
                && at < *flipped
                && flipped + 100 < at + WINDOW
                && all(at, flipped - 1, &|stage| stage == Stage::Shadow)
        };
        if message.instance != page.instance && flips.iter().any(|flip| on(flip) && waits(at, flip.1)) {
            return Some("whose update came soon before a flip");
        }
    }
    let accepted =
        message.accepted.filter(|at| message.instance == page.instance && at - message.started < 10_000)?;
    let joined = |until: u64| {
        page.joined
            .get(&message.dialog)
            .is_some_and(|spans| spans.iter().any(|s| s.covers(message.started, until)))
    };
    let soon = |(from, flipped, to): &(Stage, u64, Stage)| {
        let near = accepted < *flipped && flipped + 100 < accepted + WINDOW && joined(accepted + SETTLED);
        let since = near && waits(message.started, accepted.max(*flipped));
        let before = all(accepted, flipped - 1, &|stage| stage == *from);
        let stays = all(flipped + 1, accepted + SETTLED, &|stage| stage == *to);
        since
            && before
            && match (*from, *to) {
                (Stage::Complete | Stage::Live, Stage::Legacy | Stage::Shadow) => true,
                (Stage::Complete, Stage::Live) => stays,
                _ => false,
            }
    };
    if flips.iter().any(soon) {
        return Some("which was answered soon before a flip back");
    }
    let begun = |(from, flipped, to): &(Stage, u64, Stage)| {
        let over = accepted.max(*flipped);
        (*from, *to) == (Stage::Live, Stage::Complete)
            && message.started < *flipped
            && joined(over + SETTLED)
            && waits(message.started, over)
            && all(message.started, flipped - 1, &|stage| stage == Stage::Live)
            && all(flipped + 1, over + SETTLED, &|stage| stage == Stage::Complete)
    };
    flips.iter().any(begun).then_some("which was posted before a flip to complete")
}

/// Who waits for updates and misses one because its queue was lost or late, or could not go on from where it was, is told.
fn told(world: &World<'_>, number: usize, page: &Page) -> Option<String> {
    let (user, instance) = (world.tabs[page.tab].user, &world.instances[page.instance]);
    // What comes when an instance ends that began with the page is told by the connection's end.
    if instance.stages[0].0 > page.open.from {
        return None;
    }
    let (from, soon) = (page.open.from, page.open.from + SETTLED);
    let waits_for_queue = stages_in(instance, from, soon).any(Stage::use_rabbitmq_updates);
    if page.in_vain && page.open.covers(from, soon) && !waits_for_queue && page.told.is_empty() {
        return Some(format!("page {number} of tab {} could not resume and was not told: {page:?}", page.tab));
    }
    for missed in world.missed.iter().filter(|missed| (missed.instance, missed.user) == (page.instance, user)) {
        let message = &world.messages[&missed.message];
        let waits = page.greeted.is_some_and(|at| at <= missed.at)
            && (missed.lost || page.late.is_some_and(|at| at <= missed.at));
        let back = instance.stages.iter().find(|(at, stage)| *at >= missed.at && !stage.use_rabbitmq_updates());
        let Some(over) = missed.live.into_iter().chain(back.map(|(at, _)| *at)).min() else { continue };
        let updates = stages_in(instance, missed.at, over.saturating_sub(1)).all(Stage::use_rabbitmq_updates);
        let deaf = page.deaf.iter().any(|span| span.touches(missed.at, over + SETTLED));
        let got = page.excused.contains(&missed.message) || page.got.iter().any(|(_, got)| *got == missed.message);
        let member = world.plan.members[message.dialog][user]
            && !world.removals.iter().any(|removal| removal.user == user && removal.dialog == message.dialog);
        let stays = page.open.covers(missed.at, over + SETTLED);
        if waits && updates && stays && member && !deaf && !got && !page.is_told(missed.at, missed.at) {
            return Some(format!(
                "page {number} of tab {} lost message {} and was not told: {missed:?}, {page:?}, stages {:?}",
                page.tab, missed.message, instance.stages
            ));
        }
    }
    None
}

/// Who could not go on from where it was is told of a gap that has all in it that it lacks.
fn told_of_all(world: &World<'_>, number: usize, page: &Page) -> Option<String> {
    if page.told.is_empty() {
        return None;
    }
    let (id, at) = inherited(world, number).into_iter().find(|(id, at)| !has_or_is_told(page, *id, *at))?;
    let message = &world.messages[&id];
    Some(format!(
        "page {number} of tab {} could not resume, lacks message {id} since {at} and was not told of that: \
         {page:?}, {:?}, {message:?}",
        page.tab,
        before(world, number)
    ))
}

fn has_or_is_told(page: &Page, id: usize, lost: u64) -> bool {
    page.got.iter().any(|(_, got)| *got == id) || page.excused.contains(&id) || page.is_told(lost, lost)
}

/// The page that it wanted to go on from.
fn before<'w>(world: &'w World<'_>, number: usize) -> Option<(usize, &'w Page)> {
    let page = &world.pages[number];
    let earlier = world.pages[..number].iter().enumerate().rev();
    page.in_vain.then_some(earlier).into_iter().flatten().find(|(_, earlier)| earlier.tab == page.tab)
}

/// What a page that could not go on from where it was lacks since then, and when it missed it.
fn inherited(world: &World<'_>, number: usize) -> Vec<(usize, u64)> {
    let Some((place, old)) = before(world, number) else { return Vec::new() };
    let mut lacks = inherited(world, place);
    lacks.extend(world.messages.iter().filter_map(|(id, message)| {
        Some((*id, lost_until(world, old, *id, message, world.pages[number].open.from)?))
    }));
    lacks.retain(|(id, at)| !has_or_is_told(old, *id, *at));
    lacks
}

/// When a message came to a page's instance, before `until`, that the page was to have.
fn lost_until(world: &World<'_>, page: &Page, id: usize, message: &Message, until: u64) -> Option<u64> {
    let (user, instance) = (world.tabs[page.tab].user, &world.instances[page.instance]);
    let removed = world.removals.iter().any(|removal| removal.user == user && removal.dialog == message.dialog);
    let member = world.plan.members[message.dialog][user] && !removed;
    let greeted = page.greeted?;
    if !member || page.excused.contains(&id) || instance.stages[0].0 > page.open.from {
        return None;
    }
    // It may be held back for a window, and not be wanted any more then.
    let deaf = |from: u64, at: u64| page.deaf.iter().any(|s| s.touches(from.saturating_sub(WINDOW), at + SETTLED));
    let waits = |from: u64, at: u64| greeted <= from && at < until && !deaf(from, at);
    let update = message.arrived.get(&(page.instance, user)).copied().filter(|at| {
        waits(*at, *at) && stages_in(instance, at.saturating_sub(1), at + 1).all(Stage::use_rabbitmq_updates)
    });
    let joined = |from: u64| {
        page.joined.get(&message.dialog).is_some_and(|spans| spans.iter().any(|span| span.covers(from, until)))
    };
    let answer = message.accepted.filter(|at| {
        message.instance == page.instance
            && waits(message.started, *at)
            && joined(message.started)
            && stages_in(instance, message.started, *at).all(|stage| stage != Stage::Complete)
    });
    let missed = world.missed.iter().find(|missed| {
        (missed.instance, missed.user, missed.message) == (page.instance, user, id)
            && waits(missed.at, missed.at)
            && (missed.lost || page.late.is_some_and(|at| at <= missed.at))
            && stages_in(instance, missed.at, missed.at + 1).all(Stage::use_rabbitmq_updates)
    });
    update.into_iter().chain(answer).chain(missed.map(|missed| missed.at)).min()
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
    let came = message.arrived.get(&(page.instance, world.tabs[page.tab].user)).copied().unwrap_or_default();
    if deaf || page.is_told(from, accepted.max(came)) || page.excused.contains(&id) {
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
    let mut judged = std::collections::BTreeSet::new();
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
        if !judged.insert((id, user)) {
            let again = message.published.iter().any(|published| published.again.is_some());
            let late = message.published.iter().any(|published| published.after >= WINDOW - 100);
            if !again && !late && message.accepted.is_some_and(|at| at - message.started < 4_000) {
                return Some(format!("message {id} for user {user} is judged twice: {closed:?}"));
            }
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
        let cause = match planted {
            None if message.published.is_empty() => Some(Cause::NoUpdate),
            None => Some(Cause::PartialFanout),
            Some(_) => None,
        };
        let soon = message.published.iter().all(|published| published.after < WINDOW - 100);
        if soon && closed.class != Class::Duplicate && closed.cause != cause {
            return Some(format!("message {id} for user {user}: because of {cause:?}, found {closed:?}"));
        }
    }
    for (id, message) in world.messages.iter().filter(|(_, message)| message.accepted.is_some()) {
        let in_room =
            |page: &&Page| page.joined.get(&message.dialog).is_some_and(|spans| spans[0].from < message.started);
        for user in world.pages.iter().filter(in_room).map(|page| world.tabs[page.tab].user) {
            if !judged.contains(&(*id, user)) {
                return Some(format!("message {id} for user {user} was never judged"));
            }
        }
    }
    None
}
