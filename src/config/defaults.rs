//! Built-in defaults: the lowest layer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;

use super::{
    Admin, Auth, AuthMode, Chat3, Client, Flag, Guard, GuardMode, Handshake, Http, Log, LogFormat, Membership,
    Notify, Rabbitmq, RequireVerdict, Runtime, Settings, Shadow, SocketSettings, Topology, Upstream,
};

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            state_dir: "./state".into(),
            flag: Flag::default(),
            rabbitmq: Rabbitmq::default(),
            chat3: Chat3::default(),
            auth: Auth::default(),
            membership: Membership::default(),
            legacy: super::Legacy::default(),
            http: Http::default(),
            socket: SocketSettings::default(),
            memory: super::Memory::default(),
            client: Client::default(),
            admin: Admin::default(),
            fleet: super::Fleet::default(),
            shadow: Shadow::default(),
            guard: Guard::default(),
            upstream: Upstream::default(),
            notify: Notify::default(),
            log: Log::default(),
            runtime: Runtime::default(),
        }
    }
}

impl Default for Flag {
    fn default() -> Self {
        Self {
            use_rabbitmq_updates: false,
            shadow_mode: false,
            rescue: true,
            rollout: bridge_core::Rollout::default(),
            flip_timeout: Duration::from_secs(30),
            remember: Duration::from_secs(600),
            require_verdict: RequireVerdict::NotUnsafe,
        }
    }
}

impl Default for Rabbitmq {
    fn default() -> Self {
        Self {
            url: String::new(),
            management_url: String::new(),
            exchange: "chat3_updates".into(),
            declare_exchange: false,
            watch_bindings: true,
            topology: Topology::PerUser,
            binding_keys: vec![Rabbitmq::AUTO.into()],
            ready_timeout: Duration::from_secs(10),
            linger: None,
            prefetch: 5,
            channels: 1,
            heartbeat: Duration::from_secs(5),
        }
    }
}

impl Default for Chat3 {
    fn default() -> Self {
        Self {
            url: String::new(),
            api_key: String::new(),
            tenant_id: "tnt_default".into(),
            timeout: Duration::from_secs(10),
            message_type_map: std::collections::BTreeMap::new(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Jwt,
            jwt_secret: String::new(),
            jwt_secrets: Vec::new(),
            public_keys: Vec::new(),
            jwks_url: String::new(),
            jwks_refresh: Duration::from_secs(600),
            jwks_interval: Duration::from_secs(5),
            algorithms: Vec::new(),
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway: Duration::ZERO,
            user_claims: vec!["userId".into(), "sub".into()],
            name_claim: "name".into(),
            tenant_claim: String::new(),
            allow_trusted: false,
            handshake: Handshake::Required,
        }
    }
}

impl Default for Membership {
    fn default() -> Self {
        Self { mode: None, cache: Duration::from_secs(30), user_questions: 250 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3001)),
            max_body: ByteSize::mib(1),
            user_forwards: 256,
            ready_needs_broker: false,
            allowed_origins: None,
            keep_alive: Duration::from_secs(75),
            max_connections: 50_000,
            address_connections: 10_000,
            trusted_proxies: Vec::new(),
            user_posts: 300,
            head_timeout: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self {
            buffer: ByteSize::mib(1),
            buffer_total: ByteSize::mib(512),
            replay_total: ByteSize::mib(32),
            user_sockets: 1_000,
            rooms: 10_000,
            events: 500,
            max_frame: ByteSize::kib(256),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self { backend_url: String::new(), post: super::PostTo::Chat3, in_flight: 1_024 }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self { undeclared: bridge_core::form::Form::Update }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3002)),
            token: String::new(),
            tokens: Vec::new(),
            open_metrics: false,
        }
    }
}

impl Default for Shadow {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(5),
            dir: None,
            sample: 0.01,
            reveal_content: false,
            reveal_for: Duration::from_secs(3_600),
            max_memory: ByteSize::mib(64),
            rotate: ByteSize::mib(64),
            keep: 10,
            indeterminate_max: 0.01,
            target_rate: 0.001,
            confidence: 0.95,
            require_events: vec!["message.create".into()],
            require_drill: false,
            stale_after: Duration::from_secs(24 * 3600),
            ignore: Vec::new(),
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            mode: GuardMode::Observe,
            broker_down: Duration::from_secs(30),
            missing_max: 0.01,
            min_messages: 100,
            silence: Duration::from_secs(30),
            period: Duration::from_secs(60),
        }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self { workers: 1 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}
