//! Where the user stands in a routing key.

/// The binding keys, as words.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes(Vec<Vec<String>>);

impl Routes {
    pub(super) fn new(binding_keys: &[String]) -> Self {
        Self(binding_keys.iter().map(|key| key.split('.').map(str::to_owned).collect()).collect())
    }

    /// The user that `routing_key` names; `None` for a format that is not bound. Where formats overlap it can be read
    /// in several ways: `expected` is named if one of them names it.
    pub(super) fn user_of<'k>(&self, routing_key: &'k str, expected: &str) -> Option<&'k str> {
        let words: Vec<&str> = routing_key.split('.').collect();
        let mut first = None;
        for pattern in &self.0 {
            let found = named(pattern, &words, None, &mut |user| {
                first.get_or_insert(user);
                user == expected
            });
            if found.is_some() {
                return found;
            }
        }
        first
    }
}

/// The first reading of `words` by `pattern` whose user is `wanted`. Topics as in AMQP: `*` is one word, `#` any number.
fn named<'k>(
    pattern: &[String],
    words: &[&'k str],
    user: Option<&'k str>,
    wanted: &mut impl FnMut(&'k str) -> bool,
) -> Option<&'k str> {
    let Some((place, rest)) = pattern.split_first() else {
        return user.filter(|user| words.is_empty() && wanted(user));
    };
    if place == "#" {
        return (0..=words.len()).find_map(|skipped| named(rest, &words[skipped..], user, wanted));
    }
    let (word, others) = words.split_first()?;
    match place.as_str() {
        "{id}" if user.is_some_and(|user| user != *word) => None,
        "{id}" => named(rest, others, Some(*word), wanted),
        "*" => named(rest, others, user, wanted),
        literal if literal == *word => named(rest, others, user, wanted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes<const N: usize>(keys: [&str; N]) -> Routes {
        Routes::new(&keys.map(String::from))
    }

    #[test]
    fn every_format_names_its_user() {
        let routes = routes(["user.{id}.*", "user.*.{id}.*", "update.*.*.{id}.*"]);
        for (key, user) in [
            ("user.usr_a.messageupdate", Some("usr_a")),
            ("user.user.usr_a.messageupdate", Some("usr_a")),
            ("update.dialog.user.usr_a.message", Some("usr_a")),
            ("something.else", None),
            ("other.usr_a.messageupdate", None),
        ] {
            assert_eq!(routes.user_of(key, "usr_a"), user, "{key}");
        }
    }

    #[test]
    fn formats_of_as_many_words_are_told_apart() {
        let literal = routes(["user.{id}.v1.*", "update.*.{id}.*"]);
        assert_eq!(literal.user_of("update.dlg_1.usr_a.message", "usr_a"), Some("usr_a"));
        assert_eq!(literal.user_of("user.usr_a.v1.message", "usr_a"), Some("usr_a"));
        let overlapping = routes(["user.{id}.*.*", "user.*.{id}.*"]);
        assert_eq!(overlapping.user_of("user.bot.usr_a.message", "usr_a"), Some("usr_a"));
        assert_eq!(overlapping.user_of("user.usr_a.v1.message", "usr_a"), Some("usr_a"));
        assert_eq!(overlapping.user_of("user.usr_b.usr_c.message", "usr_a"), Some("usr_b"), "neither is");
        let any = routes(["#.{id}.*"]);
        assert_eq!(any.user_of("a.b.usr_a.x", "usr_a"), Some("usr_a"));
        assert_eq!(any.user_of("x", "usr_a"), None);
        let twice = routes(["user.{id}.{id}.*"]);
        assert_eq!(twice.user_of("user.usr_a.usr_b.x", "usr_a"), None);
        assert_eq!(twice.user_of("user.usr_a.{id}.x", "usr_a"), None, "a word of a key is no place");
    }
}
