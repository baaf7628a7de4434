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
