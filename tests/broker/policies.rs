//! Policies that cap or expire the queues: preflight names them, or says what it can't see.

use super::*;

/// What preflight says of policies.
async fn policies(broker: &AmqpBroker) -> (Option<bool>, String) {
    let checks = broker.preflight(Duration::from_secs(30)).await;
    let check = checks.into_iter().find(|check| check.name == "queue_policies").expect("the check");
    assert_eq!(check.remedy.is_empty(), check.ok != Some(false), "{check:?}");
    (check.ok, check.detail)
}

fn set(rabbit: &Rabbit, command: &str, pattern: &str, definition: &str) {
    rabbit.ctl(&[command, "cap", pattern, definition, "--apply-to", "queues"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_seen_by_what_it_does_and_what_is_not_seen_is_said() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    let (broker, _inbox) = broker(settings(&rabbit.url()));
    let seen = policies(&broker).await;
    assert!(seen.0 == Some(true) && seen.1.contains("management API"), "{seen:?}");
    for (definition, named) in [
        (r#"{"max-length": 100}"#, "max-length"),
        (r#"{"max-length-bytes": 1000}"#, "max-length-bytes"),
        (r#"{"max-length": 100, "overflow": "reject-publish"}"#, "reject-publish"),
        (r#"{"message-ttl": 50}"#, "message-ttl"),
        (r#"{"expires": 50}"#, "expires"),
    ] {
        set(&rabbit, "set_policy", "^user_", definition);
        let seen = policies(&broker).await;
        assert!(seen.0 == Some(false) && seen.1.contains(named), "{definition}: {seen:?}");
    }
    // More than a probe puts in, and longer than it looks.
    set(&rabbit, "set_policy", "^user_", r#"{"max-length": 100000, "message-ttl": 60000}"#);
    let seen = policies(&broker).await;
    assert!(seen.0 == Some(true) && seen.1.contains("is not seen"), "{seen:?}");
    // Another topology has queues of other names.
    set(&rabbit, "set_policy", "^user_", r#"{"max-length": 100}"#);
    let shared = Rabbitmq { topology: Topology::PerInstance, ..settings(&rabbit.url()) };
    let (shared, _inbox) = super::broker(shared);
    assert_eq!(policies(&shared).await.0, Some(true));
    set(&rabbit, "set_policy", "^bridge_", r#"{"max-length": 100}"#);
    assert_eq!(policies(&shared).await.0, Some(false));
    assert!(rabbit.queues().is_empty(), "nothing is left: {:?}", rabbit.queues());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_management_api_every_policy_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rabbit = Rabbit::start_with(Some(port));
    let _publisher = Publisher::new(&rabbit.url()).await;
    let with = |url: String| super::broker(Rabbitmq { management_url: url, ..settings(&rabbit.url()) }).0;
    let broker = with(format!("http://127.0.0.1:{port}/"));
    let seen = policies(&broker).await;
    assert!(seen.0 == Some(true) && seen.1.starts_with("no policy"), "{seen:?}");
    set(&rabbit, "set_policy", "^user_", r#"{"max-length": 100000, "overflow": "reject-publish"}"#);
    set(&rabbit, "set_operator_policy", ".*", r#"{"message-ttl": 3600000}"#);
    let seen = policies(&broker).await;
    assert_eq!(seen.0, Some(false), "{seen:?}");
    for named in ["max-length = 100000", "overflow", "message-ttl = 3600000", "policy cap", "operator policy cap"]
    {
        assert!(seen.1.contains(named), "{named}: {seen:?}");
    }
    // Who may not ask it sees what a probe sees.
    let stranger = with(format!("http://nobody:wrong@127.0.0.1:{port}"));
    let seen = policies(&stranger).await;
    assert!(seen.0 == Some(true) && seen.1.contains("answered 401"), "{seen:?}");
    assert!(!seen.1.contains("wrong"), "{seen:?}");
}
