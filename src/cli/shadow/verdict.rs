//! Verdicts as people read them; of many instances, the one of all of them together.

use std::time::Duration;

use bridge_core::verdict::{Value, Verdict, percent};

/// In one line.
pub(super) fn line(verdict: &Verdict) -> String {
    let Verdict { value, missing, upper_bound, messages, says, eta, .. } = verdict;
    let mut line = says.clone();
    if *value == Value::NotSafe {
        return line;
    }
    if *messages > 0 {
        line.push_str(&format!(", the rate is below {}", percent(*upper_bound)));
    }
    if !missing.is_empty() {
        line.push_str(&format!("; missing: {}", missing.join("; ")));
    }
    if let Some(eta) = eta {
        line.push_str(&format!("; expected in {}", time(*eta)));
    }
    line
}

/// In steps that a person reads; it would be another with every look otherwise.
fn time(seconds: u64) -> String {
    let step = match seconds {
        0..120 => 10,
        120..7_200 => 60,
        _ => 600,
    };
    humantime::format_duration(Duration::from_secs(seconds.div_ceil(step) * step)).to_string()
}

#[cfg(test)]
mod tests {
    use bridge_core::Millis;
    use bridge_core::verdict::{Evidence, Target};

    use super::*;

    fn line_of(messages: u64, bad: u64) -> String {
        let target =
            Target { rate: 1e-3, confidence: 0.95, events: Vec::new(), drill: false, stale_after: 1 << 40 };
        let mut evidence = Evidence::new("x", target.rate);
        (0..messages).for_each(|n| evidence.message(Millis(n * 1_000), n < bad));
        line(&evidence.verdict(&target, Millis(messages * 1_000)))
    }

    #[test]
    fn a_verdict_says_the_count_and_no_number_that_nobody_reads() {
        assert_eq!(line_of(223, 40), "40 of 223 messages bad (18 %); NOT_SAFE at a target of 0.1 %");
        let none = line_of(0, 0);
        assert!(none.starts_with("0 of 0 messages bad (0 %); INCONCLUSIVE at a target of 0.1 %; missing: about"));
        let some = line_of(300, 0);
        assert!(
            some.starts_with("0 of 300 messages bad (0 %); INCONCLUSIVE at a target of 0.1 %, the rate is below ")
        );
        assert!(some.contains("; expected in 1h 1"), "{some}");
        let safe = line_of(5_000, 0);
        assert_eq!(safe, "0 of 5000 messages bad (0 %); SAFE at a target of 0.1 %, the rate is below 0.096 %");
    }
}
