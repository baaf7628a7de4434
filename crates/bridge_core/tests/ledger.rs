//! The ledger against a plain model of itself, and its size.
#![expect(clippy::print_stdout, reason = "figures, for who looks on")]

use std::collections::{BTreeMap, BTreeSet};

use bridge_core::gate::{Arrival, Gate, Limits, Sockets};
use bridge_core::{Key, Millis, Path, SocketId, Stage};
use proptest::prelude::*;

fn arrival(path: Path, ids: &[u128], sockets: &[u64]) -> Arrival<()> {
    let sockets: Sockets = sockets.iter().copied().map(SocketId).collect();
    Arrival { path, key: Key::of_numbers(ids, true), sockets, since: Millis(0), payload: (), bytes: 1 }
}

/// One copy of message `n`: under its first id, its second, or both.
#[derive(Clone, Debug)]
struct Copy {
    n: u64,
    names: usize,
    path: Path,
    sockets: BTreeSet<u64>,
    wait: u64,
    gone: Option<u64>,
}

fn copies() -> impl Strategy<Value = Vec<Copy>> {
    let one =
        (0_u64..400, 0_usize..4, any::<bool>(), prop::collection::btree_set(1_u64..5, 1..4), 0_u64..3, 0_u64..99);
    let copy = |(n, names, legacy, sockets, wait, gone)| Copy {
        n,
        // Most sides know one name.
        names: match names {
            3 => 2,
            other => other % 2,
        },
        path: if legacy { Path::Legacy } else { Path::Rabbitmq },
        sockets,
        wait,
        gone: (gone == 0).then_some(2),
    };
    prop::collection::vec(one.prop_map(copy), 1..3_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is packed and merged meanwhile: within the time that is promised no socket gets a message twice, under
    /// whichever name; and nothing else is withheld.
    #[test]
    fn nobody_gets_a_message_twice_and_nobody_is_refused_one(copies in copies()) {
        let limits = Limits { window: 50, after_twin: 1_000_000, remember: 1_000_000, ..Limits::default() };
        // In the overlap after a flip back both paths emit.
        let mut gate = Gate::new(Limits { dwell: 10_000_000, ..limits }, Stage::Live);
        gate.flip(Millis(0), Stage::Legacy);
        let mut now = 1;
        // Each name of a message, and who has it under that name; a copy with both names makes them one.
        let mut had: BTreeMap<u128, BTreeSet<u64>> = BTreeMap::new();
        for copy in copies {
            now += copy.wait;
            let (first, second) = (u128::from(copy.n) * 2 + 1, u128::from(copy.n) * 2 + 2);
            let ids = vec![vec![first], vec![second], vec![first, second]].swap_remove(copy.names);
            let known: BTreeSet<u64> = ids.iter().filter_map(|id| had.get(id)).flatten().copied().collect();
            let sockets: Vec<u64> = copy.sockets.iter().copied().collect();
            let emit = gate.arrive(Millis(now), &arrival(copy.path, &ids, &sockets)).emit;
            let due: Vec<u64> = copy.sockets.difference(&known).copied().collect();
            prop_assert_eq!(emit.iter().map(|socket| socket.0).collect::<Vec<_>>(), due);
            for id in &ids {
                had.entry(*id).or_default().extend(known.iter().chain(&copy.sockets));
            }
            if let Some(socket) = copy.gone {
                gate.forget(SocketId(socket));
                had.values_mut().for_each(|sockets| { sockets.remove(&socket); });
            }
        }
    }
}

/// So many deliveries to each of so many users, evenly over ten minutes; returns bytes for each delivery.
fn size(users: u64, each: u64, ids: u128, sockets: &[u64]) -> f64 {
    let mut gates: Vec<Gate<()>> = (0..users).map(|_| Gate::new(Limits::default(), Stage::Legacy)).collect();
    for n in 0..each {
        let now = Millis(1_000 + n * 590_000 / each);
        for (user, gate) in gates.iter_mut().enumerate() {
            let first = (u128::from(n) << 64) | (user as u128) << 8;
            let names: Vec<u128> = (0..ids).map(|name| first + name).collect();
            assert_eq!(gate.arrive(now, &arrival(Path::Legacy, &names, sockets)).emit.len(), sockets.len());
            gate.tick(now, |_| true);
        }
    }
    let load: Vec<_> = gates.iter().map(Gate::load).collect();
    assert!(load.iter().all(|load| load.ledger_keys as u64 == each && load.ledger_overflow == 0));
    let bytes: usize = load.iter().map(|load| load.ledger_bytes).sum();
    #[expect(clippy::cast_precision_loss, reason = "a size")]
    let size = bytes as f64 / (users * each * sockets.len() as u64) as f64;
    size
}

/// Memory of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

#[test]
fn a_delivery_takes_at_most_twelve_bytes() {
    for (each, ids, sockets, most) in [
        (60_000, 1, &[1][..], 12.0),
        (60_000, 2, &[1], 12.0),
        (6_000, 2, &[1], 12.0),
        (6_000, 1, &[1], 12.0),
        (6_000, 2, &[1, 2, 3], 12.0),
        (600, 2, &[1, 2], 12.0),
        (600, 1, &[1], 12.0),
        (60, 2, &[1], 64.0),
    ] {
        let size = size(3, each, ids, sockets);
        println!("{each} in ten minutes, {ids} ids, {} sockets: {size:.1} bytes a delivery", sockets.len());
        assert!(size <= most, "{each} {ids} {sockets:?}: {size}");
    }
}

#[test]
fn what_it_says_of_its_size_is_so() {
    let before = resident();
    let mut gates: Vec<Gate<()>> = (0..20).map(|_| Gate::new(Limits::default(), Stage::Legacy)).collect();
    let (mut said, each, start) = (0, 40_000, std::time::Instant::now());
    for (user, gate) in gates.iter_mut().enumerate() {
        for n in 0..each {
            let first = (u128::from(n as u64) << 64) | (user as u128) << 8;
            let copy = arrival(Path::Legacy, &[first, first + 1], &[1]);
            gate.arrive(Millis(1_000 + n as u64 * 14), &copy);
        }
        said += gate.load().ledger_bytes;
    }
    let grown = resident().saturating_sub(before);
    let took = start.elapsed().as_micros() / (20 * each as u128);
    println!("{} deliveries: {said} bytes said, {grown} resident; {took} µs each", 20 * each);
    // Other tests of this process take memory too.
    assert!(said < 20 * each * 12);
    assert!(grown < said * 3 / 2 + (4 << 20), "{grown} instead of {said}");
}

#[test]
fn a_full_ledger_forgets_its_oldest_and_counts_it() {
    let limits = Limits { ledger_keys: 1_000, ..Limits::default() };
    let mut gate = Gate::new(limits, Stage::Legacy);
    for n in 0..10_000_u32 {
        gate.arrive(Millis(u64::from(n)), &arrival(Path::Legacy, &[u128::from(n) + 1], &[1]));
    }
    let load = gate.load();
    assert!(load.ledger_keys <= 1_000 && load.ledger_keys > 500, "{load:?}");
    assert_eq!(load.ledger_keys as u64 + load.ledger_overflow, 10_000);
    gate.flip(Millis(10_000), Stage::Live);
    assert!(gate.arrive(Millis(10_001), &arrival(Path::Rabbitmq, &[10_000], &[1])).emit.is_empty(), "the newest");
    assert_eq!(gate.arrive(Millis(10_001), &arrival(Path::Rabbitmq, &[1], &[1])).emit.len(), 1, "the oldest");
}
