//! The table at the end, and what is left when everybody has gone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::census::at_the_broker;
use super::direct::Stage;
use super::judge::Sums;
use super::record::{Outcome, Record};
use crate::kit::s;

/// Descriptors that a gateway at rest may have more than one that has just started.
const SOME: usize = 8;

/// What a run came to.
pub(super) struct Report {
    pub(super) rows: Vec<(String, String)>,
    pub(super) findings: Vec<String>,
}

/// How long a gateway takes until it holds what it needs for the load.
pub(super) fn warm_up(lasts: Duration) -> Duration {
    (lasts / 6).max(s(60))
}

fn outcomes(record: &Record) -> [usize; 3] {
    let posts = record.posts.lock();
    [Outcome::Accepted, Outcome::Refused, Outcome::Unknown]
        .map(|outcome| posts.iter().flatten().filter(|post| post.outcome == outcome).count())
}

pub(super) fn progress(record: &Record, sums: &Sums, up: &AtomicUsize) -> String {
    let [accepted, refused, unknown] = outcomes(record);
    format!(
        "{} up; posted {accepted}, refused {refused}, unknown {unknown}; came {}; judged {}: once {}, told {}, lost {}, doubled {}, disordered {}; signed on {} ({} resumed); findings {}",
        up.load(Ordering::Acquire),
        sums.got,
        sums.due,
        sums.once,
        sums.told,
        sums.lost,
        sums.doubled,
        sums.disordered,
        sums.signed,
        sums.recovered,
        record.findings.all().len(),
    )
}

pub(super) fn rows(record: &Record, sums: &Sums, lasts: Duration) -> Vec<(String, String)> {
    let [accepted, refused, unknown] = outcomes(record);
    let row = |what: &str, figure: usize| (what.to_owned(), figure.to_string());
    vec![
        ("lasted".into(), format!("{:?}", lasts)),
        row("clients", record.devices.len()),
        row("messages accepted", accepted),
        row("messages refused", refused),
        row("messages of which nobody knows", unknown),
        row("copies that came", sums.got),
        row("copies due", sums.due),
        row("came exactly once", sums.once),
        row("told by bridge:resync", sums.told),
        row("lost", sums.lost),
        row("doubled", sums.doubled),
        row("came again, published anew long after", sums.repeated),
        row("out of order in quiet times", sums.disordered),
        row("out of order in a flip or fault", sums.reordered),
        row("signed on", sums.signed),
        row("resumed whole", sums.recovered),
        row("resumed in vain, and told", sums.not_recovered),
        row("bridge:resync", sums.resyncs),
        row("connections that the gateway cut", sums.cut),
    ]
}

/// What the gateways still hold when everybody has left.
pub(super) fn left_behind(
    stage: &Stage,
    record: &Record,
    lasts: Duration,
    rows: &mut Vec<(String, String)>,
    loaded: [u64; 2],
) {
    let gauges = ["bridge_sockets", "bridge_users", "bridge_queues", "bridge_connections", "bridge_shadow_open"];
    let begun = Instant::now();
    // Heartbeats find the connections that were cut on one side, and their queues go with them.
    let left = loop {
        let (users, queues, bindings) = at_the_broker(&stage.rabbit.lock());
        let mut left = vec![("queues of users", users as u64), ("other queues", queues as u64 - users as u64)];
        left.push(("bindings", bindings as u64));
        for bridge in &stage.bridges {
            let bridge = bridge.lock();
            let bridge = bridge.as_ref().expect("a gateway");
            left.extend(gauges.map(|gauge| (gauge, bridge.counted(gauge))));
        }
        // Idle connections to Chat3 are kept for a while.
        let descriptors: Vec<u64> = stage
            .wards
            .iter()
            .map(|ward| {
                let mut ward = ward.lock();
                let now = ward.look(Duration::ZERO).descriptors;
                u64::try_from(now.saturating_sub(ward.empty.descriptors + SOME)).expect("small")
            })
            .collect();
        left.extend(descriptors.into_iter().map(|count| ("descriptors more than before", count)));
        // The lookout of each of the two, and its binding.
        let over = |(what, count): &&(&str, u64)| {
            *count > if matches!(*what, "other queues" | "bindings") { 2 } else { 0 }
        };
        if !left.iter().any(|left| over(&left)) || begun.elapsed() > s(150) {
            for (what, count) in left.iter().filter(over) {
                record.findings.add("left behind", &format!("{count} {what} with nobody connected"));
            }
            break left;
        }
        std::thread::sleep(s(2));
    };
    let at_broker = left.iter().take(3).map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>();
    rows.push(("left at the broker".into(), at_broker.join(", ")));
    for (n, ward) in stage.wards.iter().enumerate() {
        let bridge = stage.bridges[n].lock();
        let bridge = bridge.as_ref().expect("a gateway");
        stage.said(bridge);
        let [opened, closed, open] =
            ["bridge_shadow_opened_total", "bridge_shadow_closed_total", "bridge_shadow_open"]
                .map(|name| bridge.counted(name));
        if opened != closed + open {
            let text = format!("gateway {n}: {opened} opened, {closed} closed, {open} open");
            record.findings.add("comparison", &text);
        }
        let mut ward = ward.lock();
        let now = ward.look(Duration::ZERO);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        rows.push((
            format!("gateway {n}: MiB empty, warm, most, loaded at the end, empty again"),
            format!(
                "{:.0}, {:.0}, {:.0}, {:.0}, {:.0}",
                mib(ward.empty.resident),
                mib(ward.warm.resident),
                mib(ward.most.resident),
                mib(loaded[n]),
                mib(now.resident)
            ),
        ));
        let three = |of: [u64; 3]| format!("{}, {}, {}", of[0], of[1], of[2]);
        let fds = [ward.empty.descriptors, ward.most.descriptors, now.descriptors].map(|count| count as u64);
        rows.push((format!("gateway {n}: descriptors empty, most, empty again"), three(fds)));
        let threads = [ward.empty.threads, ward.most.threads, now.threads];
        rows.push((format!("gateway {n}: threads empty, most, empty again"), three(threads)));
        rows.push((format!("gateway {n}: units compared"), closed.to_string()));
        // One that was started anew late has not become warm.
        if ward.since.elapsed() > warm_up(lasts) * 2 && loaded[n] > ward.warm.resident * 5 / 4 + (16 << 20) {
            let text = format!("gateway {n}: {:.0} MiB after {:.0}", mib(loaded[n]), mib(ward.warm.resident));
            record.findings.add("memory", &text);
        }
        if threads[2] > threads[0] + 8 {
            record.findings.add("threads", &format!("gateway {n}: {} after {}", threads[2], threads[0]));
        }
    }
}
