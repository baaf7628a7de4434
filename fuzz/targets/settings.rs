//! Settings as they are written: URLs of brokers, origins, and the mask before secrets. Nothing
//! that is a password is shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[path = "../../src/config/amqp_url.rs"]
mod amqp_url;
#[path = "../../src/config/mask.rs"]
mod mask;
#[path = "../../src/config/origins.rs"]
mod origins;

use amqp_url::AmqpUrl;
use origins::OriginPattern;

const SECRET: &str = "hunter22";

fuzz_target!(|text: &str| {
    if let Ok(urls) = AmqpUrl::list(text) {
        for url in urls {
            assert!(!url.host.is_empty() && url.port > 0);
            assert!(url.frame_max.is_none_or(|most| most == 0 || most >= 4_096));
            let shown = format!("{url:?}");
            assert!(url.password.len() < 6 || !shown.contains(&url.password) || shown.contains(&url.user));
        }
    }
    if let Ok(origin) = text.parse::<OriginPattern>() {
        match &origin {
            OriginPattern::Any => {}
            OriginPattern::Exact(one) => assert!(origin.matches(one)),
            OriginPattern::AnyLabel { scheme, rest } => {
                assert!(origin.matches(&format!("{scheme}x{rest}")));
                assert!(!origin.matches(&format!("{scheme}x.y{rest}")), "one label");
            }
        }
        let evil = format!("{text}.evil.example");
        assert!(matches!(origin, OriginPattern::Any) || !origin.matches(&evil));
    }
    // A password in a URL, whatever stands around it.
    if let Some((before, after)) = text.split_once('|')
        && !before.contains(SECRET)
        && !after.contains(SECRET)
        && !before.contains([':', '@', '/', ','])
        && !after.contains([',', '@'])
    {
        let url = format!("amqp://{before}:{SECRET}@{after}");
        for key in ["rabbitmq.url", "chat3.url", "notify.url", "auth.jwt_secret"] {
            assert!(!mask::masked(key, &url).contains(SECRET), "{key}");
        }
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        for key in mask::SECRETS {
            let shown = mask::masked_value(key, &value);
            assert!(!value.is_number() || shown == "****", "a number is a secret too");
        }
        mask::masked_unknown("no.such_key", None, &value);
    }
});
