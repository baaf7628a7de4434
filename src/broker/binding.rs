//! Binding keys of a user's queue.

use std::collections::BTreeSet;

use bridge_core::UserId;

use super::Types;

/// The keys for `user`: every format with all types, or, with a subscription, each type in both its spellings in
/// the place of the last word.
pub(super) fn keys(formats: &[String], user: &UserId, types: &Types) -> BTreeSet<String> {
    let named = formats.iter().map(|format| format.replace("{id}", user.as_str()));
    match types {
        None => named.collect(),
        Some(types) => named
            .flat_map(|key| {
                let stem = key.strip_suffix('*').map_or_else(|| key.clone(), ToOwned::to_owned);
                types.iter().flat_map(move |kind| [format!("{stem}{kind}"), format!("{stem}{kind}update")])
            })
            .collect(),
    }
}

/// The keys that match every user.
pub(super) fn all(formats: &[String]) -> BTreeSet<String> {
    formats.iter().map(|format| format.replace("{id}", "*")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_binds_both_spellings() {
        let formats = ["user.{id}.*".to_owned(), "update.*.*.{id}.*".to_owned()];
        let user = UserId::new("usr_a").unwrap();
        assert_eq!(keys(&formats, &user, &None), ["update.*.*.usr_a.*", "user.usr_a.*"].map(String::from).into());
        let types = Some(BTreeSet::from(["message".to_owned()]));
        let expected = [
            "update.*.*.usr_a.message",
            "update.*.*.usr_a.messageupdate",
            "user.usr_a.message",
            "user.usr_a.messageupdate",
        ];
        assert_eq!(keys(&formats, &user, &types), expected.map(String::from).into());
        assert!(keys(&formats, &user, &Some(BTreeSet::new())).is_empty());
        assert_eq!(all(&formats), ["update.*.*.*.*", "user.*.*"].map(String::from).into());
    }
}
