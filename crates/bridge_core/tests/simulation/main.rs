//! A deterministic world around the real recipients: Chat3, the broker, one to three instances, clients with tabs,
//! flips, outages and restarts, all from a seed. Whatever happens, each client gets each message that it should see
//! exactly once, or is told by `bridge:resync` since when it lacks something; nobody gets what is not theirs; and the
//! comparison says what the world planted. A failure is a seed: it is shrunk to the steps that it needs, and printed.
//!
//! `SEEDS=1000000 cargo test --release -p bridge_core --test simulation` runs many; `SEED=n` runs one, loudly.
#![expect(clippy::print_stdout, reason = "what was found, for who looks on")]

mod chance;
mod client;
mod instance;
mod oracle;
mod plan;
mod shrink;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use plan::Plan;
use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn fails(plan: &Plan) -> Option<String> {
    let run = || {
        let mut world = World::new(plan);
        world.run();
        oracle::judge(&world)
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Some(format!("panicked: {}", text.unwrap_or_else(|| "with something that is no text".into())))
    })
}

fn report(seed: u64, plan: &Plan, why: &str) -> ! {
    let (plan, why) = shrink::smallest(plan.clone(), why.to_owned(), fails);
    panic!("seed {seed}: {why}\n{plan}");
}

#[test]
fn whatever_happens_each_client_gets_each_message_once_or_is_told() {
    if let Some(seed) = number("SEED") {
        let plan = Plan::of(seed);
        println!("{plan}");
        if let Some(why) = fails(&plan) {
            report(seed, &plan, &why);
        }
        return;
    }
    let seeds = number("SEEDS").unwrap_or(4_000);
    let first = number("FIRST").unwrap_or(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(first);
    let started = Instant::now();
    let found = std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + seeds {
                    return None;
                }
                if let Some(why) = fails(&Plan::of(seed)) {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                    return Some((seed, why));
                }
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("a worker")).min()
    });
    if let Some((seed, why)) = found {
        report(seed, &Plan::of(seed), &why);
    }
    let took = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let rate = seeds as f64 / took;
    println!("{seeds} seeds from {first} on without a finding, {rate:.0} a second on {workers} threads");
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    for seed in 0..50 {
        let run = |plan: &Plan| {
            let mut world = World::new(plan);
            world.run();
            world.digest()
        };
        assert_eq!(run(&Plan::of(seed)), run(&Plan::of(seed)), "seed {seed}");
    }
}
