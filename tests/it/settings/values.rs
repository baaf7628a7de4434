//! Values that can't be right.

use super::{GOOD, run, with};

#[test]
fn a_broker_url_that_can_not_work_is_refused_at_the_start() {
    for url in [
        "amqp://u:9#hush@h",
        "amqp://u:hush@h/%ff",
        "amqp://u:hush@h/a/b",
        "amqp://u:hush@h?heartbeat=60s",
        "amqp://u:hush@h?auth_mechanism=foo",
        "amqp://u:hush@a,amqp://u:hush@b:0",
    ] {
        let env = [
            ("CHAT3_API_URL", "http://c/api"),
            ("CHAT3_API_KEY", "k"),
            ("JWT_SECRET", "j"),
            ("RABBITMQ_URL", url),
        ];
        let (code, out, err) = run(&["config", "check"], &env);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{url}");
        assert!(err.contains("rabbitmq.url = \"amqp://u:****@"), "{url}: {err}");
        assert!(err.contains("(variable RABBITMQ_URL): must ") && !err.contains("hush"), "{url}: {err}");
    }
}

#[test]
fn a_secret_that_nothing_could_match_is_refused_and_none_is_shown() {
    let keys = [
        ("CHAT3_API_KEY", "chat3.api_key"),
        ("JWT_SECRET", "auth.jwt_secret"),
        ("BRIDGE_ADMIN__TOKEN", "admin.token"),
    ];
    for (variable, key) in keys {
        let good = with(&[]);
        for odd in ["hush-hush-hush-hush-hush-hush-hush\n", " hush-hush-hush-hush", "hush-hush-hush-hush\r\n"] {
            let env: Vec<_> =
                good.iter().copied().filter(|(name, _)| *name != variable).chain([(variable, odd)]).collect();
            let (code, out, err) = run(&["config", "check"], &env);
            assert_eq!((code, out.as_str()), (Some(2), ""), "{key} {odd:?}");
            let told = format!("{key} = \"****\" (variable {variable}): must not begin or end with white space");
            assert!(err.contains(&told) && !err.contains("hush"), "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
    for (variable, key) in [keys[0], keys[2]] {
        let env: Vec<_> =
            GOOD.iter().copied().filter(|(name, _)| *name != variable).chain([(variable, "пароль")]).collect();
        let (code, _, err) = run(&["config", "check"], &env);
        assert_eq!(code, Some(2));
        assert!(
            err.contains(&format!("{key} = \"****\" (variable {variable}): must be printable ASCII")),
            "{err}"
        );
    }
    // HMAC takes any bytes.
    let long = "пароль пароль пароль пароль";
    assert_eq!(run(&["config", "check"], &[GOOD[0], GOOD[1], ("JWT_SECRET", long)]).0, Some(0));

    let urls = [
        ("RABBITMQ_URL", "amqp://u:hu,sh@a,amqp://u:hu,sh@b"),
        ("CHAT3_API_URL", "http://u:hu,sh@c/api"),
        ("BRIDGE_UPSTREAM__BACKEND_URL", "http://u:hu,sh@d"),
    ];
    let env: Vec<_> = with(&urls[1..]).into_iter().filter(|pair| *pair != GOOD[0]).collect();
    let (code, out, err) = run(&["config", "explain"], &env);
    assert_eq!(code, Some(0), "{err}");
    assert!(!out.contains("hu,") && !out.contains(",sh"), "{out}");
    for shown in ["http://u:****@c/api", "http://u:****@d"] {
        assert!(out.contains(shown), "{shown}\n{out}");
    }
    let wrong =
        urls.map(|(variable, url)| (variable, url.replace("http://", "ftp://").replace("amqp://", "amq://")));
    let env: Vec<_> = with(&[]).into_iter().filter(|pair| *pair != GOOD[0]).collect();
    let env: Vec<_> = env.into_iter().chain(wrong.iter().map(|(name, url)| (*name, url.as_str()))).collect();
    let (code, _, err) = run(&["config", "check"], &env);
    assert_eq!(code, Some(2));
    assert!(!err.contains("hu,") && !err.contains(",sh"), "{err}");
}

#[test]
fn origins_that_no_browser_writes_are_refused_and_none_is_warned_about() {
    let check = |environment: &str, origins: Option<&str>| {
        let mut env = with(&[("BRIDGE_ADMIN__TOKEN", "0123456789abcdef"), ("BRIDGE_ENV", environment)]);
        env.extend(origins.map(|origins| ("BRIDGE_HTTP__ALLOWED_ORIGINS", origins)));
        run(&["config", "check"], &env)
    };
    let good = "https://chat.example,https://*.chat.example,capacitor://localhost,http://localhost:5173";
    let (code, _, err) = check("production", Some(good));
    assert_eq!((code, err.contains("allowed_origins")), (Some(0), false), "{err}");
    assert_eq!(check("development", Some("*")).0, Some(0));
    for origin in ["*", "chat.example", "https://chat.example/", "https://*", "https://a.*.example", "null"] {
        let (code, out, err) = check("staging", Some(origin));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{origin}");
        let told =
            format!("http.allowed_origins = {origin:?} (variable BRIDGE_HTTP__ALLOWED_ORIGINS): must each be");
        assert!(err.contains(&told), "{err}");
    }
    for origins in [None, Some("")] {
        let (code, _, err) = check("production", origins);
        assert_eq!(code, Some(0));
        assert!(err.contains("warning: http.allowed_origins is empty"), "{err}");
    }
    assert!(!check("development", None).2.contains("allowed_origins"));
}

#[test]
fn a_number_that_is_none_or_out_of_range_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(dir.path().join("default.toml"), text).unwrap();
        run(&["config", "check", "--config-dir", dir.path().to_str().unwrap()], &GOOD)
    };
    assert_eq!(check("[flag.rollout]\npercent = 12.5\n").0, Some(0));
    let floats = [
        ("flag.rollout", "percent"),
        ("shadow", "sample"),
        ("shadow", "indeterminate_max"),
        ("shadow", "target_rate"),
        ("shadow", "confidence"),
        ("guard", "missing_max"),
    ];
    for (section, key) in floats {
        for value in ["nan", "-nan", "inf", "-inf", "-0.1", "100.1", "1e400", "\"5\"", "2024-01-01"] {
            let (code, out, err) = check(&format!("[{section}]\n{key} = {value}\n"));
            assert_eq!((code, out.as_str()), (Some(2), ""), "{key} = {value}");
            assert!(err.contains(&format!("{section}.{key} = ")) || err.contains("default.toml"), "{err}");
        }
        for value in ["NaN", "nan", "inf", "1e400", "-1"] {
            let name = format!("BRIDGE_{}__{}", section.replace('.', "__"), key).to_ascii_uppercase();
            let (code, _, err) = run(&["config", "check"], &with(&[(&name, value)]));
            assert_eq!(code, Some(2), "{name}={value}");
            assert!(err.contains(&format!("{section}.{key} = ")), "{err}");
        }
    }
    for (section, line) in [
        ("http", "drain_timeout = \"18446744073709551615s\""),
        ("http", "keep_alive = \"0s\""),
        ("membership", "cache = \"1000000y\""),
        ("rabbitmq", "linger = \"18446744073709551615s\""),
        ("rabbitmq", "prefetch = 65536"),
        ("rabbitmq", "prefetch = -1"),
        ("rabbitmq", "prefetch = 2.5"),
        ("guard", "min_messages = -1"),
        ("guard", "silence = \"18446744073709551615s\""),
        ("shadow", "keep = 4294967296"),
    ] {
        let (code, out, err) = check(&format!("[{section}]\n{line}\n"));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}");
        let key = line.split(' ').next().unwrap();
        assert!(err.contains(&format!("{section}.{key} = ")), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}
