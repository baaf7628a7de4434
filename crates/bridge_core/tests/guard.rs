//! The guard over simulated minutes and hours: one rollback for a fault, none for noise or for nothing.

use bridge_core::guard::{Alarm, Bounds, Guard, Sample, lower_bound};
use bridge_core::{Millis, Stage};

const BOUNDS: Bounds = Bounds {
    broker_down: 30_000,
    missing_max: 0.01,
    min_messages: 100,
    silence: 30_000,
    period: 60_000,
    window: 5_000,
};
const HEALTHY: Sample = Sample { closed: 20, missing: 0, broker_up: true, updates_stalled: None };

/// xorshift: deterministic noise without a dependency.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn run(guard: &mut Guard, seconds: u64, mut sample: impl FnMut(u64) -> Sample) -> Vec<(u64, Alarm)> {
    let at = |second| Millis(1_000_000 + second * 1_000);
    (0..seconds).filter_map(|s| guard.observe(at(s), Stage::Live, sample(s)).map(|alarm| (s, alarm))).collect()
}

#[test]
fn a_broker_that_stays_away_is_left_after_the_limit_and_not_before() {
    let alarms = run(&mut Guard::new(BOUNDS), 600, |_| Sample { broker_up: false, ..Sample::default() });
    let [(second, Alarm::BrokerDown { .. })] = alarms[..] else { panic!("{alarms:?}") };
    assert_eq!(second, 31);
}

#[test]
fn one_short_outage_is_ridden_out_with_all_its_missing_messages() {
    let alarms = run(&mut Guard::new(BOUNDS), 3_600, |second| match second {
        100..110 => Sample { broker_up: false, ..HEALTHY },
        // What was accepted in the outage closes a window later.
        110..116 => Sample { missing: 20, ..HEALTHY },
        _ => HEALTHY,
    });
    assert!(alarms.is_empty(), "{alarms:?}");
}

#[test]
fn an_oscillating_fault_gives_exactly_one_alarm() {
    let broker =
        |down: u64, cycle: u64| move |second: u64| Sample { broker_up: second % cycle >= down, ..HEALTHY };
    for (down, cycle) in [(1, 20), (5, 20), (10, 20), (25, 50)] {
        let alarms = run(&mut Guard::new(BOUNDS), 1_200, broker(down, cycle));
        assert_eq!(alarms.len(), 1, "{down} of {cycle} s: {alarms:?}");
    }
    let missing = |second: u64| Sample { missing: if second % 20 < 10 { 4 } else { 0 }, ..HEALTHY };
    let alarms = run(&mut Guard::new(BOUNDS), 1_200, missing);
    assert!(matches!(alarms[..], [(_, Alarm::Missing { .. })]), "{alarms:?}");
    let silent = |second: u64| (10..45).contains(&(second % 90)).then_some((second % 90 * 1_000, 20));
    let worker = |second: u64| Sample { closed: 0, updates_stalled: silent(second), ..HEALTHY };
    let alarms = run(&mut Guard::new(BOUNDS), 1_200, worker);
    assert!(matches!(alarms[..], [(_, Alarm::UpdatesStalled { .. })]), "{alarms:?}");
}

#[test]
fn updates_that_have_stalled_are_an_alarm_after_the_silence_unless_the_broker_is_gone() {
    let stalled = |second: u64| Sample {
        closed: 0,
        updates_stalled: (second >= 10).then_some((second * 1_000, 3)),
        ..HEALTHY
    };
    let alarms = run(&mut Guard::new(BOUNDS), 600, stalled);
    assert_eq!(alarms, [(30, Alarm::UpdatesStalled { silent_ms: 30_000, accepted: 3 })]);
    let cut_off =
        |second| Sample { broker_up: !(30..35).contains(&second), updates_stalled: None, ..stalled(second) };
    assert!(run(&mut Guard::new(BOUNDS), 600, cut_off).is_empty());
}

#[test]
fn arming_it_again_lets_it_speak_again_on_new_evidence_only() {
    let mut guard = Guard::new(BOUNDS);
    let bad = |_| Sample { missing: 10, ..HEALTHY };
    assert_eq!(run(&mut guard, 300, bad).len(), 1);
    assert!(!guard.is_armed());
    guard.arm();
    assert_eq!(run(&mut guard, 4, bad).len(), 0, "80 messages are too few");
    assert_eq!(run(&mut guard, 300, bad).len(), 1);
}

#[test]
fn twelve_hours_of_healthy_noise_give_no_alarm() {
    for seed in 1..6 {
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ seed);
        let alarms = run(&mut Guard::new(BOUNDS), 12 * 3_600, |second| {
            // Lulls, bursts, half a percent missing: half of the bound.
            let closed = if second % 600 < 200 { noise.below(3) } else { noise.below(60) };
            let missing = (0..closed).filter(|_| noise.below(200) == 0).count() as u64;
            // A blip of 2 s every two hours.
            Sample { closed, missing, broker_up: second % 7_200 >= 2, ..HEALTHY }
        });
        assert!(alarms.is_empty(), "seed {seed}: {alarms:?}");
    }
}

#[test]
fn a_rate_well_above_the_bound_is_found_within_minutes() {
    let mut noise = Noise(42);
    let alarms = run(&mut Guard::new(BOUNDS), 600, |_| {
        let missing = (0..20).filter(|_| noise.below(20) == 0).count() as u64;
        Sample { missing, ..HEALTHY }
    });
    assert!(matches!(alarms[..], [(0..120, Alarm::Missing { .. })]), "{alarms:?}");
}

#[test]
fn no_traffic_is_no_evidence() {
    let idle = |_| Sample { broker_up: true, ..Sample::default() };
    assert!(run(&mut Guard::new(BOUNDS), 24 * 3_600, idle).is_empty());
}

#[test]
fn only_live_and_complete_are_guarded() {
    for stage in Stage::ALL {
        let mut guard = Guard::new(BOUNDS);
        let down = Sample { broker_up: false, ..Sample::default() };
        let spoke = (0..300).any(|second| guard.observe(Millis(second * 1_000), stage, down).is_some());
        assert_eq!(spoke, stage.use_rabbitmq_updates(), "{stage}");
    }
}

#[test]
fn the_lower_bound_is_below_what_was_seen_and_closes_in_on_it() {
    assert!(lower_bound(0, 1_000) <= 0.0);
    assert!(lower_bound(1, 1) < 0.01, "one message proves nothing");
    let mut before = 0.0;
    for all in [100, 1_000, 10_000, 1_000_000] {
        let bound = lower_bound(all / 10, all);
        assert!(before < bound && bound < 0.1, "{all}: {bound}");
        before = bound;
    }
    assert!(before > 0.098);
}
