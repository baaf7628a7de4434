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
    /// `memory.limit`, in bytes.
    #[must_use]
    pub fn memory_limit(&self) -> u64 {
        self.memory.limit.map_or_else(|| machine() / 4 * 3, |limit| limit.as_u64())
    }

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

/// The memory of the container, else of the machine, in bytes.
fn machine() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = groups.iter().filter_map(|path| read(path).trim().parse::<u64>().ok()).min();
    let info = read("/proc/meminfo");
    let total =
        info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let total = total.map(|kib: u64| kib.saturating_mul(1_024));
    group.into_iter().chain(total).min().unwrap_or(u64::MAX)
}
