//! The verdict's numbers, and what looking at every message does to it.

use bridge_core::Millis;
use bridge_core::verdict::{Evidence, Target, Value, percent};

const DAY: u64 = 24 * 3_600_000;

fn target(rate: f64) -> Target {
    Target { rate, confidence: 0.95, events: Vec::new(), drill: false, stale_after: DAY }
}

/// Messages, none of them bad, until it is safe.
fn until_safe(rate: f64) -> u64 {
    let (target, mut evidence) = (target(rate), Evidence::new("x", rate));
    for n in 1.. {
        evidence.message(Millis(n), false);
        // The estimate is slow; it is looked at where it may change.
        if n % 100 < 60 && n % 10_000 > 40 && rate < 1e-3 {
            continue;
        }
        if evidence.verdict(&target, Millis(n)).value == Value::Safe {
            return n;
        }
    }
    unreachable!()
}

#[test]
fn without_a_bad_message_it_takes_as_many_as_the_formula_says() {
    let (target, mut evidence) = (target(1e-3), Evidence::new("x", 1e-3));
    for n in 0..4_740 {
        evidence.message(Millis(n), false);
    }
    assert_eq!(evidence.verdict(&target, Millis(1)).value, Value::Inconclusive);
    evidence.message(Millis(1), false);
    let verdict = evidence.verdict(&target, Millis(1));
    assert_eq!((verdict.value, verdict.messages), (Value::Safe, 4_741));
    assert!((verdict.upper_bound - 1e-3).abs() < 1e-6, "{}", verdict.upper_bound);
    let tenth = until_safe(1e-4);
    assert!((47_436..47_500).contains(&tenth), "{tenth}");
}

#[test]
fn one_leak_is_enough_and_a_changed_rule_makes_it_stale() {
    let target = target(1e-3);
    let mut evidence = Evidence::new("build 1", 1e-3);
    for n in 0..5_000 {
        evidence.message(Millis(n), false);
    }
    assert_eq!(evidence.verdict(&target, Millis(5_000)).value, Value::Safe);
    assert_eq!(evidence.verdict(&target, Millis(5_000 + DAY)).value, Value::Stale);
    let changed = evidence.clone().under("build 2", 1e-3);
    assert_eq!(changed.verdict(&target, Millis(5_000)).value, Value::Stale);
    assert_eq!(evidence.clone().under("build 1", 1e-3), evidence);
    evidence.leak(Millis(5_001));
    assert_eq!(evidence.verdict(&target, Millis(5_001)).value, Value::NotSafe);
    assert_eq!(evidence.verdict(&target, Millis(5_001 + DAY)).value, Value::NotSafe, "however old");
}

#[test]
fn required_events_and_a_drill_are_waited_for() {
    let target = Target { events: vec!["message.create".into()], drill: true, ..target(0.1) };
    let mut evidence = Evidence::new("x", 0.1);
    for n in 0..200 {
        evidence.message(Millis(n), false);
    }
    let missing = evidence.verdict(&target, Millis(200)).missing;
    assert_eq!(missing, ["a compared message.create", "a drill"]);
    evidence.event("message.create");
    evidence.drilled(Millis(200), false);
    assert_eq!(evidence.verdict(&target, Millis(200)).missing, ["a drill that finds everything"]);
    evidence.drilled(Millis(201), true);
    assert_eq!(evidence.verdict(&target, Millis(201)).value, Value::Safe);
}

/// A small generator of its own, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bits = u32::try_from(self.0 >> 32).unwrap();
        f64::from(bits) / f64::from(u32::MAX)
    }
}

/// Of `runs`, how many end `SAFE` at some look within `messages`, looked at after every message.
fn safe_at_some_look(truth: f64, rate: f64, messages: u64, runs: u64) -> u64 {
    let limit = 20.0_f64.ln();
    let mut safe = 0;
    for run in 0..runs {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (run + 1).wrapping_mul(0xD134_2543_DE82_EF95));
        let mut evidence = Evidence::new("x", rate);
        for n in 0..messages {
            evidence.message(Millis(n), dice.roll() < truth);
            if evidence.is_below(rate, limit) {
                safe += 1;
                break;
            }
        }
    }
    safe
}

#[test]
fn looking_after_every_message_is_wrong_in_at_most_one_run_of_twenty() {
    let rate = 0.02;
    let wrong = safe_at_some_look(2.0 * rate, rate, 5_000, 1_000);
    assert!(wrong <= 50, "{wrong} of 1000 runs called twice the target safe");
    let right = safe_at_some_look(0.5 * rate, rate, 5_000, 1_000);
    assert!(right >= 900, "only {right} of 1000 runs found half the target safe");
}

/// After how many of `messages` each of `runs` says `NOT_SAFE`, looked at after every message; those that never do are
/// left out.
fn not_safe_at(truth: f64, rate: f64, messages: u64, runs: u64) -> Vec<u64> {
    let limit = 20.0_f64.ln();
    let run = |run: u64| {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (run + 1).wrapping_mul(0xD134_2543_DE82_EF95));
        let mut evidence = Evidence::new("x", rate);
        (1..=messages).find(|n| {
            let bad = dice.roll() < truth;
            evidence.message(Millis(*n), bad);
            // It rises with a bad one only.
            bad && evidence.is_above(rate, limit)
        })
    };
    let mut at: Vec<u64> = (0..runs).filter_map(run).collect();
    at.sort_unstable();
    at
}

#[test]
fn not_safe_comes_soon_where_it_is_bad_and_is_wrong_in_at_most_one_run_of_twenty() {
    for rate in [1e-3, 0.02] {
        let wrong = not_safe_at(0.5 * rate, rate, 20_000, 1_000).len();
        assert!(wrong <= 50, "{wrong} of 1000 runs called half the target of {rate} bad");
        let at_target = not_safe_at(rate, rate, 20_000, 1_000).len();
        assert!(at_target <= 50, "{at_target} of 1000 runs called the target of {rate} itself bad");
    }
    let soon = not_safe_at(1e-2, 1e-3, 20_000, 1_000);
    assert!(
        soon.len() == 1_000 && soon[500] <= 600,
        "{} found, half of them after {:?}",
        soon.len(),
        soon.get(500)
    );
    let twice = not_safe_at(2e-3, 1e-3, 100_000, 200).len();
    assert!(twice >= 190, "only {twice} of 200 runs found twice the target");
    // A little above it takes long, and is found all the same.
    let mut evidence = Evidence::new("x", 1e-3);
    (1..=400_000).for_each(|n| evidence.message(Millis(n), n % 800 == 0));
    assert!(evidence.is_above(1e-3, -(0.05_f64).ln()), "1.25 times the target");
}

#[test]
fn four_bad_of_223_are_not_safe_at_a_target_of_a_thousandth_and_it_says_so() {
    let (target, mut evidence) = (target(1e-3), Evidence::new("x", 1e-3));
    for n in 0..223 {
        evidence.message(Millis(n * 1_000), n % 60 == 59 || n == 222);
    }
    let verdict = evidence.verdict(&target, Millis(300_000));
    assert_eq!((verdict.value, verdict.messages, verdict.bad), (Value::NotSafe, 223, 4));
    assert_eq!(verdict.says, "4 of 223 messages bad (1.8 %); NOT_SAFE at a target of 0.1 %");
    assert_eq!(verdict.eta, None, "waiting does not help");
}

#[test]
fn a_share_is_said_with_two_digits_that_say_something() {
    let told = [0.0, 1e-3, 4.0 / 223.0, 0.5, 1.0, 0.123_4, 1e-4, 2.345e-6].map(percent);
    assert_eq!(told, ["0 %", "0.1 %", "1.8 %", "50 %", "100 %", "12 %", "0.01 %", "0.00023 %"]);
}

#[test]
fn instances_are_judged_as_one_and_one_leak_anywhere_is_not_safe() {
    let target = target(1e-3);
    let seen = |messages: u64, bad: u64, at: u64| {
        let mut evidence = Evidence::new("x", 1e-3);
        (0..messages).for_each(|n| evidence.message(Millis(at), n < bad));
        evidence
    };
    let pooled =
        |all: &[Evidence], at: u64| Evidence::pooled(all, &target, Millis(at)).verdict(&target, Millis(at));
    let three = [seen(1_700, 0, 5), seen(1_700, 0, 6), seen(1_700, 0, 7)];
    assert_eq!(three[0].verdict(&target, Millis(9)).value, Value::Inconclusive);
    let verdict = pooled(&three, 9);
    assert_eq!((verdict.value, verdict.messages), (Value::Safe, 5_100));
    // One instance that saw the same says the same, whatever the order was.
    let one = seen(5_100, 0, 7).verdict(&target, Millis(9));
    assert!((verdict.upper_bound - one.upper_bound).abs() < 1e-9, "{} {}", verdict.upper_bound, one.upper_bound);
    let (apart, together) = ([seen(300, 2, 5), seen(700, 3, 5)], seen(1_000, 5, 5));
    let bounds = [pooled(&apart, 9), together.verdict(&target, Millis(9))].map(|verdict| verdict.upper_bound);
    assert!((bounds[0] - bounds[1]).abs() < 1e-9, "{bounds:?}");
    // One that has just started neither passes nor blocks by itself.
    let fresh = Evidence::new("x", 1e-3);
    assert_eq!(pooled(&[three.to_vec(), vec![fresh.clone()]].concat(), 9).value, Value::Safe);
    assert_eq!(pooled(&[fresh.clone(), fresh.clone()], 9).value, Value::Inconclusive);
    let mut leaked = fresh;
    leaked.leak(Millis(8));
    assert_eq!(pooled(&[three.to_vec(), vec![leaked]].concat(), 9).value, Value::NotSafe);
    // What one saw long ago does not make up for what the others lack, and all of it together is stale.
    assert_eq!(pooled(&[seen(5_000, 0, 5), seen(10, 0, DAY + 7)], DAY + 9).value, Value::Inconclusive);
    assert_eq!(pooled(&three, 2 * DAY).value, Value::Stale);
}
