//! Stages of the move, and who is inside a rollout.

use serde::{Deserialize, Serialize};

/// One of the two ways a message can reach a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Room broadcast of the createMessage answer.
    Legacy,
    /// Per-user queue of Chat3 Updates.
    Rabbitmq,
}

impl Path {
    /// The other path.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Legacy => Self::Rabbitmq,
            Self::Rabbitmq => Self::Legacy,
        }
    }
}

/// Which path delivers and which only runs for comparison, in the order of a forward move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Legacy delivers, nothing else runs.
    #[default]
    Legacy,
    /// Legacy delivers, rabbitmq is compared.
    Shadow,
    /// Rabbitmq delivers, legacy is compared.
    Live,
    /// Rabbitmq delivers, nothing is compared.
    Complete,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 4] = [Self::Legacy, Self::Shadow, Self::Live, Self::Complete];

    /// The stage that two flags spell.
    #[must_use]
    pub const fn from_flags(use_rabbitmq_updates: bool, shadow_mode: bool) -> Self {
        match (use_rabbitmq_updates, shadow_mode) {
            (false, false) => Self::Legacy,
            (false, true) => Self::Shadow,
            (true, true) => Self::Live,
            (true, false) => Self::Complete,
        }
    }

    /// `USE_RABBITMQ_UPDATES`: rabbitmq is authoritative.
    #[must_use]
    pub const fn use_rabbitmq_updates(self) -> bool {
        matches!(self, Self::Live | Self::Complete)
    }

    /// `SHADOW_MODE`: both paths run and are compared.
    #[must_use]
    pub const fn shadow_mode(self) -> bool {
        matches!(self, Self::Shadow | Self::Live)
    }

    /// The path whose copy the client receives.
    #[must_use]
    pub const fn authority(self) -> Path {
        if self.use_rabbitmq_updates() { Path::Rabbitmq } else { Path::Legacy }
    }

    /// Whether queues of users are needed.
    #[must_use]
    pub const fn runs_rabbitmq(self) -> bool {
        !matches!(self, Self::Legacy)
    }

    /// The next stage forward; `None` after the last.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Legacy => Some(Self::Shadow),
            Self::Shadow => Some(Self::Live),
            Self::Live => Some(Self::Complete),
            Self::Complete => None,
        }
    }

    /// The name in settings, records and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Shadow => "shadow",
            Self::Live => "live",
            Self::Complete => "complete",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Stage {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.name() == text)
            .ok_or_else(|| format!("unknown stage {text:?}: one of legacy, shadow, live, complete"))
    }
}

/// Who is served by rabbitmq in `live` and `complete`; everybody else is served as in `shadow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// Share of users by hash of their id, 0–100. Fractions are allowed: 0.5 is one user in 200.
    pub percent: f64,
    /// Users always inside (unless denied).
    pub allow: Vec<String>,
    /// Users always outside; looked at first.
    pub deny: Vec<String>,
    /// Tenants inside; empty means all.
    pub tenants: Vec<String>,
}

impl Eq for Rollout {}

impl Default for Rollout {
    fn default() -> Self {
        Self { percent: 100.0, allow: Vec::new(), deny: Vec::new(), tenants: Vec::new() }
    }
}

impl Rollout {
    /// Whether `user` of `tenant` is inside: `deny`, then `allow`, then `tenants`, then `percent`.
    #[must_use]
    pub fn includes(&self, tenant: &str, user: &str) -> bool {
        let named = |list: &[String], id: &str| list.iter().any(|item| item == id);
        if named(&self.deny, user) {
            return false;
        }
        if named(&self.allow, user) {
            return true;
        }
        (self.tenants.is_empty() || named(&self.tenants, tenant)) && bucket(user) < self.percent * 100.0
    }

    /// The stage in which `user` is served while the instance is in `stage`.
    #[must_use]
    pub fn stage_of(&self, stage: Stage, tenant: &str, user: &str) -> Stage {
        if stage.use_rabbitmq_updates() && !self.includes(tenant, user) { Stage::Shadow } else { stage }
    }

    /// Whether some user could be inside this one who is outside `other`.
    #[must_use]
    pub fn raises(&self, other: &Self) -> bool {
        let adds = |new: &[String], old: &[String]| new.iter().any(|id| !old.contains(id));
        let opens_tenants =
            !other.tenants.is_empty() && (self.tenants.is_empty() || adds(&self.tenants, &other.tenants));
        self.percent > other.percent
            || adds(&self.allow, &other.allow)
            || adds(&other.deny, &self.deny)
            || opens_tenants
    }
}

/// A user's place among 10,000 buckets: the first 8 bytes of SHA-256 of the id. Equal on every instance, version
/// and machine, and independent of any other use of a hash of the id.
#[must_use]
pub fn bucket(user: &str) -> f64 {
    use sha2::{Digest, Sha256};
    let hash = Sha256::new().chain_update(b"updates-bridge rollout\0").chain_update(user).finalize();
    let head = u64::from_be_bytes(hash[..8].try_into().expect("SHA-256 has 32 bytes"));
    #[expect(clippy::cast_precision_loss, reason = "a number below 10,000 is exact")]
    let place = (head % 10_000) as f64;
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn percent(percent: f64) -> Rollout {
        Rollout { percent, ..Rollout::default() }
    }

    fn users() -> impl Iterator<Item = String> {
        (0..20_000).map(|number: u32| format!("usr_{:08x}", number.wrapping_mul(2_654_435_761)))
    }

    #[test]
    fn a_place_is_the_same_in_every_build() {
        // From another implementation of SHA-256.
        assert!((bucket("usr_1") - 4_534.0).abs() < 0.5, "{}", bucket("usr_1"));
        assert!((bucket("имя") - 8_321.0).abs() < 0.5, "{}", bucket("имя"));
    }

    #[test]
    fn buckets_are_uniform() {
        const BINS: usize = 100;
        let mut seen = [0_u32; BINS];
        for user in users() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 9,999")]
            let place = bucket(&user) as usize;
            seen[place * BINS / 10_000] += 1;
        }
        let expected = 20_000.0 / 100.0;
        let chi2: f64 = seen.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        // 99 degrees of freedom: 1 in 1,000 on each side.
        assert!((59.0..149.0).contains(&chi2), "{chi2}");
    }

    #[test]
    fn the_share_inside_is_the_percentage() {
        for asked in [0.5, 1.0, 5.0, 25.0, 50.0] {
            let inside = users().filter(|user| percent(asked).includes("t", user)).count();
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let share = inside as f64 / 200.0;
            // Four standard deviations.
            let slack = 4.0 * (asked * (100.0 - asked) / 20_000.0).sqrt();
            assert!((share - asked).abs() < slack, "{asked} %: {share} %");
        }
        assert!(users().all(|user| percent(100.0).includes("t", &user)));
        assert!(!users().any(|user| percent(0.0).includes("t", &user)));
    }

    #[test]
    fn who_is_inside_a_smaller_set_never_changes_side_while_it_grows() {
        let steps = [1.0, 5.0, 25.0, 100.0, 25.0];
        for user in users() {
            let sides: Vec<bool> = steps.iter().map(|p| percent(*p).includes("t", &user)).collect();
            for (one, other) in steps.iter().zip(&sides).zip(steps.iter().zip(&sides).skip(1)) {
                let ((less, was), (more, is)) = if one.0 <= other.0 { (one, other) } else { (other, one) };
                assert!(!was || *is, "{user} is inside {less} % but not inside {more} %");
            }
            assert_eq!(sides[2], sides[4]);
        }
    }

    #[test]
    fn deny_goes_before_allow_before_tenants_before_percent() {
        let rollout = Rollout {
            percent: 0.0,
            allow: vec!["a".into(), "both".into()],
            deny: vec!["d".into(), "both".into()],
            tenants: vec!["t".into()],
        };
        let inside = |rollout: &Rollout, tenant: &str, user: &str| rollout.includes(tenant, user);
        assert!(inside(&rollout, "other", "a"));
        assert!(!inside(&rollout, "t", "both"));
        let all = Rollout { percent: 100.0, ..rollout };
        assert!(inside(&all, "t", "x"));
        assert!(!inside(&all, "other", "x"));
        assert!(!inside(&all, "t", "d"));
    }

    #[test]
    fn a_user_outside_is_served_as_in_shadow_where_rabbitmq_delivers() {
        let nobody = percent(0.0);
        let served = Stage::ALL.map(|stage| nobody.stage_of(stage, "t", "u"));
        assert_eq!(served, [Stage::Legacy, Stage::Shadow, Stage::Shadow, Stage::Shadow]);
    }

    prop_compose! {
        fn rollouts()(
            percent in prop_oneof![Just(0.0), Just(100.0), 0.0..100.0],
            lists in prop::collection::vec(prop::collection::vec("[a-d]", 0..3), 3),
        ) -> Rollout {
            let [allow, deny, tenants] = <[Vec<String>; 3]>::try_from(lists).expect("three lists");
            Rollout { percent, allow, deny, tenants }
        }
    }

    proptest! {
        #[test]
        fn what_does_not_raise_moves_nobody_forward(
            old in rollouts(), new in rollouts(), tenant in "[a-d]", user in "[a-d]",
        ) {
            if !new.raises(&old) {
                prop_assert!(!new.includes(&tenant, &user) || old.includes(&tenant, &user));
            }
        }
    }
}
