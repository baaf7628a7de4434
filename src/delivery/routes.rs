//! Where the user stands in a routing key.

/// Place of `{id}` for each number of words, from the binding keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes(Vec<(usize, usize)>);

impl Routes {
    pub(super) fn new(binding_keys: &[String]) -> Self {
        let place = |key: &String| {
            let words: Vec<&str> = key.split('.').collect();
            Some((words.len(), words.iter().position(|word| *word == "{id}")?))
        };
        Self(binding_keys.iter().filter_map(place).collect())
    }

    /// The user that `routing_key` names; `None` for a format that is not bound.
    pub(super) fn user_of<'k>(&self, routing_key: &'k str) -> Option<&'k str> {
        let count = routing_key.split('.').count();
        let (_, place) = self.0.iter().find(|(words, _)| *words == count)?;
        routing_key.split('.').nth(*place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_names_its_user() {
        let routes = Routes::new(&["user.{id}.*", "user.*.{id}.*", "update.*.*.{id}.*"].map(String::from));
        assert_eq!(routes.user_of("user.usr_a.messageupdate"), Some("usr_a"));
        assert_eq!(routes.user_of("user.user.usr_a.messageupdate"), Some("usr_a"));
        assert_eq!(routes.user_of("update.dialog.user.usr_a.message"), Some("usr_a"));
        assert_eq!(routes.user_of("something.else"), None);
    }
}
