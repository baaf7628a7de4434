//! Routing keys: a line of formats with commas, a line of a user id, then keys. A key that a binding of the user matches
//! names the user, or can be read as another's only where formats overlap.
#![no_main]

use std::collections::BTreeSet;

use bridge_core::UserId;
use libfuzzer_sys::fuzz_target;

#[path = "../../src/broker/binding.rs"]
mod binding;
#[path = "../../src/delivery/routes.rs"]
mod routes;

/// As the gateway has it.
type Types = Option<BTreeSet<String>>;

/// Topics as AMQP has them, written down another way: what may be reached is followed word by word.
fn matches(pattern: &str, key: &str) -> bool {
    let (pattern, key): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), key.split('.').collect());
    let mut reached = BTreeSet::from([0]);
    for word in pattern {
        reached = match word {
            "#" => reached.iter().flat_map(|at| *at..=key.len()).collect(),
            _ => reached
                .iter()
                .filter(|at| key.get(**at).is_some_and(|other| word == "*" || word == *other))
                .map(|at| at + 1)
                .collect(),
        };
    }
    reached.contains(&key.len())
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let (Some(formats), Some(user)) = (lines.next(), lines.next()) else { return };
    let Ok(user) = UserId::new(user) else { return };
    // As settings are checked: words, one of them the user's, and the last any.
    let sound = |format: &&str| {
        let words: Vec<&str> = format.split('.').collect();
        words.contains(&"{id}")
            && words.last() == Some(&"*")
            && words.len() <= 8
            && words.iter().all(|word| matches!(*word, "{id}" | "*" | "#") || !word.contains(['{', '}', '*', '#']))
    };
    let formats: Vec<String> = formats.split(',').filter(sound).map(str::to_owned).take(4).collect();
    let routes = routes::Routes::new(&formats);
    let all = binding::all(&formats);
    let bound = binding::keys(&formats, &user, &None);
    for key in lines.take(4).filter(|key| key.len() <= 255 && key.split('.').count() <= 12) {
        let named = routes.user_of(key, user.as_str());
        let reached = bound.iter().any(|pattern| matches(pattern, key));
        assert_eq!(named == Some(user.as_str()), reached, "it names who it reaches: {formats:?} {user} {key:?}");
        if named.is_some() {
            assert!(all.iter().any(|pattern| matches(pattern, key)), "what names anybody is of a format");
        }
        let kind = key.rsplit('.').next().unwrap_or_default();
        let types = Some(BTreeSet::from([kind.to_owned()]));
        let narrow = binding::keys(&formats, &user, &types);
        if !kind.contains(['*', '#']) && narrow.iter().any(|pattern| matches(pattern, key)) {
            assert!(reached, "a subscription reaches nothing more");
        }
    }
});
