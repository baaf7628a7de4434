//! Numbers, sizes and times that must be within bounds.

use std::time::Duration;

use bytesize::ByteSize;

use super::{Check, MOST_WORKERS, network};
use crate::config::Settings;

impl Check<'_> {
    pub(super) fn numbers(&mut self, settings: &Settings) {
        let percent = settings.flag.rollout.percent;
        if !(0.0..=100.0).contains(&percent) {
            self.say("flag.rollout.percent", &percent.to_string(), "must be 0 to 100");
        }
        let shadow = &settings.shadow;
        let shares = [
            ("shadow.sample", shadow.sample),
            ("shadow.indeterminate_max", shadow.indeterminate_max),
            ("guard.missing_max", settings.guard.missing_max),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                self.say(key, &share.to_string(), "must be 0 to 1");
            }
        }
        for (key, share) in [("shadow.target_rate", shadow.target_rate), ("shadow.confidence", shadow.confidence)]
        {
            if !(share > 0.0 && share < 1.0) {
                self.say(key, &share.to_string(), "must be above 0 and below 1");
            }
        }
        let sizes = [
            ("http.max_body", settings.http.max_body.as_u64(), 1),
            ("socket.max_frame", settings.socket.max_frame.as_u64(), 1_024),
            ("socket.buffer", settings.socket.buffer.as_u64(), 1_024),
            ("socket.buffer_total", settings.socket.buffer_total.as_u64(), 1_024),
            ("socket.replay_total", settings.socket.replay_total.as_u64(), 1_024),
            ("shadow.max_memory", shadow.max_memory.as_u64(), 1 << 20),
            ("shadow.rotate", shadow.rotate.as_u64(), 1_024),
        ];
        if settings.http.max_body > ByteSize::mib(64) {
            self.say("http.max_body", &settings.http.max_body.to_string(), "must be at most 64 MiB");
        }
        let (http, socket) = (&settings.http, &settings.socket);
        for (key, number, most) in [
            ("http.user_forwards", http.user_forwards, 4_096),
            ("http.max_connections", http.max_connections, 1_000_000),
            ("http.address_connections", http.address_connections, 1_000_000),
            ("http.user_posts", http.user_posts, 100_000),
            ("socket.user_sockets", socket.user_sockets, 100_000),
            ("socket.rooms", socket.rooms, 10_000),
            ("socket.events", socket.events, 100_000),
            ("membership.user_questions", settings.membership.user_questions, 1_000),
            ("upstream.in_flight", settings.upstream.in_flight, 100_000),
        ] {
            if !(1..=most).contains(&number) {
                self.say(key, &number.to_string(), &format!("must be 1 to {most}"));
            }
        }
        if socket.max_frame > ByteSize::mib(16) {
            self.say("socket.max_frame", &socket.max_frame.to_string(), "must be at most 16 MiB");
        }
        for proxy in &http.trusted_proxies {
            if network(proxy).is_none() {
                let must = "must each be an address or a network such as 10.0.0.0/8";
                self.say("http.trusted_proxies", proxy, must);
            }
        }
        for (key, size, least) in sizes {
            if size < least {
                self.say(key, &size.to_string(), &format!("must be at least {least} bytes"));
            }
        }
    }

    pub(super) fn threads(&mut self, settings: &Settings) {
        let workers = settings.runtime.workers;
        if !(1..=MOST_WORKERS).contains(&workers) {
            self.say("runtime.workers", &workers.to_string(), &format!("must be 1 to {MOST_WORKERS}"));
        }
    }

    pub(super) fn durations(&mut self, settings: &Settings) {
        const DAY: u64 = 86_400;
        let positive = [
            ("flag.flip_timeout", settings.flag.flip_timeout, 3_600),
            ("flag.remember", settings.flag.remember, 3_600),
            ("rabbitmq.ready_timeout", settings.rabbitmq.ready_timeout, 600),
            ("rabbitmq.heartbeat", settings.rabbitmq.heartbeat, 600),
            ("chat3.timeout", settings.chat3.timeout, 30),
            ("auth.jwks_refresh", settings.auth.jwks_refresh, DAY),
            ("auth.jwks_interval", settings.auth.jwks_interval, 600),
            ("http.keep_alive", settings.http.keep_alive, 3_600),
            ("http.head_timeout", settings.http.head_timeout, 600),
            ("socket.handshake_timeout", settings.socket.handshake_timeout, 600),
            ("shadow.window", settings.shadow.window, 300),
            ("shadow.reveal_for", settings.shadow.reveal_for, DAY),
            ("shadow.stale_after", settings.shadow.stale_after, 90 * DAY),
            ("guard.period", settings.guard.period, DAY),
        ];
        let any = [
            ("rabbitmq.linger", settings.linger(), 3_600),
            ("membership.cache", settings.membership.cache, DAY),
            ("auth.leeway", settings.auth.leeway, 600),
            ("http.drain_timeout", settings.http.drain_timeout, 3_600),
            ("guard.broker_down", settings.guard.broker_down, DAY),
            ("guard.silence", settings.guard.silence, DAY),
        ];
        let shown = |duration| humantime::format_duration(duration).to_string();
        for (key, duration, most) in positive {
            let most = Duration::from_secs(most);
            if duration.is_zero() || duration > most {
                let must = format!("must be more than 0 and at most {}", shown(most));
                self.say(key, &shown(duration), &must);
            }
        }
        for (key, duration, most) in any {
            let most = Duration::from_secs(most);
            if duration > most {
                self.say(key, &shown(duration), &format!("must be at most {}", shown(most)));
            }
        }
    }

    /// What is left for clients has to be worth it.
    pub(super) fn budget(&mut self, settings: &Settings) {
        let least = settings.shadow.max_memory.as_u64().saturating_add(96 << 20);
        if let Some(limit) = settings.memory.limit.filter(|limit| limit.as_u64() < least) {
            let must = format!("must be at least {} with this shadow.max_memory", ByteSize(least));
            self.say("memory.limit", &limit.to_string(), &must);
        }
    }

    /// What is delivered has to be remembered until its twin is given up.
    pub(super) fn memory(&mut self, settings: &Settings) {
        let (remember, window) = (settings.flag.remember, settings.shadow.window);
        if remember < window && !remember.is_zero() {
            let shown = |duration: Duration| humantime::format_duration(duration).to_string();
            let must = format!("must be at least shadow.window ({})", shown(window));
            self.say("flag.remember", &shown(remember), &must);
        }
    }
}
