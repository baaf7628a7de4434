//! Values that follow from others.

use std::path::PathBuf;
use std::time::Duration;

use super::{Environment, MembershipMode, Settings};

impl Environment {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Development, Self::Staging, Self::Production];

    /// The name, also of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

impl Settings {
    /// `http.trusted_proxies` as networks.
    #[must_use]
    pub fn trusted_proxies(&self) -> Vec<ipnet::IpNet> {
        self.http.trusted_proxies.iter().filter_map(|proxy| super::check::network(proxy)).collect()
    }

    /// How long a user's queue outlives the last socket.
    #[must_use]
    pub fn linger(&self) -> Duration {
        self.rabbitmq.linger.unwrap_or(self.shadow.window)
    }

    /// Where the shadow log is.
    #[must_use]
    pub fn shadow_dir(&self) -> PathBuf {
        self.shadow.dir.clone().unwrap_or_else(|| self.state_dir.join("shadow"))
    }

    /// What is done about membership.
    #[must_use]
    pub fn membership_mode(&self, environment: Environment) -> MembershipMode {
        let default = match environment {
            Environment::Development => MembershipMode::Off,
            Environment::Staging | Environment::Production => MembershipMode::Enforce,
        };
        self.membership.mode.unwrap_or(default)
    }

    /// Origins of browsers that may call.
    #[must_use]
    pub fn allowed_origins(&self, environment: Environment) -> Vec<String> {
        let default = match environment {
            Environment::Development => vec!["*".into()],
            Environment::Staging | Environment::Production => Vec::new(),
        };
        self.http.allowed_origins.clone().unwrap_or(default)
    }

    /// The stage that the settings ask for.
    #[must_use]
    pub const fn stage(&self) -> bridge_core::Stage {
        bridge_core::Stage::from_flags(self.flag.use_rabbitmq_updates, self.flag.shadow_mode)
    }
}
