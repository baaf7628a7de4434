//! Settings, as the binary takes them.

mod values;

use std::process::Command;

fn run(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const GOOD: [(&str, &str); 3] = [
    ("CHAT3_API_URL", "http://127.0.0.1:1/api"),
    ("CHAT3_API_KEY", "12345"),
    ("JWT_SECRET", "0123456789012345678901234567890123"),
];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    GOOD.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn a_wrong_flag_is_one_line_with_key_value_source_and_what_is_allowed() {
    for value in ["maybe", "yes", "1", "TRUE", ""] {
        let (code, out, err) = run(&["serve"], &with(&[("USE_RABBITMQ_UPDATES", value)]));
        let line = format!(
            "flag.use_rabbitmq_updates = {value:?} (variable USE_RABBITMQ_UPDATES): must be true or false\n"
        );
        assert_eq!((code, out.as_str(), err), (Some(2), "", line));
    }
}

#[test]
fn all_errors_are_reported_at_once_and_no_secret_is_shown() {
    let env = [
        ("USE_RABBITMQ_UPDATES", "true"),
        ("BRIDGE_RABBITMQ__TOPOLOGY", "ring"),
        ("BRIDGE_SHADOW__WINDOW", "soon"),
        ("BRIDGE_FLAG__ROLLOUT__PERCENT", "101"),
        ("BRIDGE_RABITMQ__URL", "amqp://u:hush@h"),
        ("BRIDGE_AUTH__JWT_SECRT", "hush"),
        ("BRIDGE_ADMIN__TOKENS", "hush"),
        ("BRIDGE_SHADOW__SAMPEL", "0.5"),
        ("PORT", "99999"),
        ("CHAT3_API_URL", "http://u:hush@chat3/v1"),
        ("BRIDGE_ENV", "production"),
    ];
    let (code, out, err) = run(&["config", "check"], &env);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    for expected in [
        "rabbitmq.topology = \"ring\" (variable BRIDGE_RABBITMQ__TOPOLOGY): must be per_user, per_instance or firehose",
        "shadow.window = \"soon\" (variable BRIDGE_SHADOW__WINDOW): must be a duration",
        "flag.rollout.percent = \"101\" (variable BRIDGE_FLAG__ROLLOUT__PERCENT): must be 0 to 100",
        "rabitmq.url = \"amqp://u:****@h\" (variable BRIDGE_RABITMQ__URL): unknown key; did you mean rabbitmq.url?",
        "auth.jwt_secrt = \"****\" (variable BRIDGE_AUTH__JWT_SECRT): unknown key; did you mean auth.jwt_secret?",
        "admin.tokens = \"****\" (variable BRIDGE_ADMIN__TOKENS): must be a list of tables with name, token, and role",
        "shadow.sampel = \"0.5\" (variable BRIDGE_SHADOW__SAMPEL): unknown key; did you mean shadow.sample?",
        "port = \"99999\" (variable PORT)",
        "chat3.url = \"http://u:****@chat3/v1\" (variable CHAT3_API_URL): must be an http or https URL that ends in /api",
        "chat3.api_key = \"\" (default): is needed",
        "rabbitmq.url = \"\" (default): stage complete needs a broker",
        "auth.jwt_secret = \"\" (default): is needed",
        "admin.token = \"\" (default): is needed",
    ] {
        assert!(err.contains(expected), "{expected}\n---\n{err}");
    }
    assert!(!err.contains("hush"), "{err}");
    assert_eq!(err.lines().count(), 13, "{err}");
}

#[test]
fn later_layers_win_and_explain_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("default.toml", "[shadow]\nwindow = \"1s\"\nsample = 0.5\n[rabbitmq]\nprefetch = 7\n");
    write("staging.toml", "[shadow]\nwindow = \"3s\"\n");
    let dir = dir.path().display().to_string();
    let env =
        with(&[("BRIDGE_RABBITMQ__PREFETCH", "9"), ("BRIDGE_ADMIN__TOKEN", "0123456789abcdef"), ("PORT", "4000")]);
    let given = ["--set", "log.level=debug", "--set", "http.listen=127.0.0.1:5000"];
    let args = ["config", "explain", "--json", "--config-dir", &dir, "--env", "staging"];
    let args: Vec<&str> = args.into_iter().chain(given).collect();
    let (code, out, err) = run(&args, &env);
    assert_eq!(code, Some(0), "{err}");
    let values: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let of = |key: &str| {
        let value = values.iter().find(|value| value["key"] == key).unwrap_or_else(|| panic!("no {key}"));
        (value["value"].clone(), value["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("shadow.window"), ("3s".into(), format!("{dir}/staging.toml")));
    assert_eq!(of("shadow.sample"), (0.5.into(), format!("{dir}/default.toml")));
    assert_eq!(of("rabbitmq.prefetch"), (9.into(), "variable BRIDGE_RABBITMQ__PREFETCH".into()));
    assert_eq!(of("http.listen"), ("127.0.0.1:5000".into(), "command line".into()));
    assert_eq!(of("log.level"), ("debug".into(), "command line".into()));
    assert_eq!(
        of("chat3.api_key"),
        ("****".into(), "variable CHAT3_API_KEY".into()),
        "a numeric password is a text"
    );
    assert_eq!(of("flag.rescue"), (true.into(), "default".into()));
}

#[test]
fn contradictory_spellings_and_unknown_names_are_refused() {
    let both = with(&[("RABBITMQ_URL", "amqp://a"), ("BRIDGE_RABBITMQ__URL", "amqp://u:hush@b")]);
    let (code, _, err) = run(&["config", "check"], &both);
    assert_eq!(code, Some(2));
    let told = "RABBITMQ_URL = \"amqp://a\" and BRIDGE_RABBITMQ__URL = \"amqp://u:****@b\" have different values";
    assert!(err.contains(told), "{err}");
    for (args, expected) in [
        (vec!["config", "check", "--env", "prod"], "must be development, staging or production"),
        (vec!["config", "check", "--config-dir", "nowhere"], "must be a directory that exists"),
        (vec!["config", "explain", "shadow.windw"], "did you mean shadow.window?"),
        (vec!["flag", "set", "sideways", "--actor", "a", "--reason", "r"], "invalid value 'sideways'"),
        (vec!["flag", "set", "shadwo", "--actor", "a", "--reason", "r"], "a similar value exists: 'shadow'"),
        (vec!["demo", "--chat3", "2025-11-06"], "[possible values: 2025-11-05,"),
        (vec!["config", "check", "--env", "stagging"], "did you mean staging?"),
        (vec!["serve", "--no-such-flag"], "unexpected argument"),
    ] {
        let (code, out, err) = run(&args, &GOOD);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert!(err.contains(expected), "{args:?}: {err}");
    }
    // Nothing is configured yet: what is asked for is unknown all the same, and that comes first.
    let (code, _, err) = run(&["config", "explain", "rabitmq.url"], &[]);
    assert_eq!((code, err.trim()), (Some(2), "rabitmq.url: unknown key; did you mean rabbitmq.url?"));
    // Nobody listens: what names an instance is said.
    let (code, _, err) = run(&["drill", "--node", "127.0.0.1:1"], &[]);
    assert!(code == Some(1) && err.contains("no connection") && err.contains("BRIDGE_NODES"), "{code:?} {err}");
    let (code, _, err) = run(&["health", "http://127.0.0.1:1"], &[]);
    assert!(code == Some(1) && err.contains("http.listen"), "{code:?} {err}");
}

#[test]
fn the_file_of_defaults_says_what_is_built_in() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let text = std::fs::read_to_string(dir.join("default.toml")).unwrap();
    let written: updates_bridge::config::Settings = toml::from_str(&text).unwrap();
    assert_eq!(written, updates_bridge::config::Settings::default());
}

#[test]
fn what_follows_from_other_settings_is_explained_and_a_secret_of_a_wrong_type_is_masked() {
    let explained = |env: &[(&str, &str)], key: &str| {
        let (code, out, err) = run(&["config", "explain", key, "--json"], &with(env));
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()[0]["value"].clone()
    };
    let staging = [("BRIDGE_ENV", "staging"), ("BRIDGE_ADMIN__TOKEN", "t")];
    assert_eq!(explained(&[], "membership.mode"), "off");
    assert_eq!(explained(&staging, "membership.mode"), "enforce");
    assert_eq!(explained(&[("BRIDGE_SHADOW__WINDOW", "7s")], "rabbitmq.linger"), "7s");
    assert_eq!(explained(&[], "http.allowed_origins"), serde_json::json!(["*"]));

    let dir = tempfile::tempdir().unwrap();
    let text = "[auth]\njwt_secret = 12345678\n[admin]\ntoken = [\"hush\"]\n[rabbitmq]\nurl = [\"amqp://u:hush@h\"]\n\
        [http]\nmax_body = 5\n";
    std::fs::write(dir.path().join("default.toml"), text).unwrap();
    let (code, _, err) = run(&["config", "check", "--config-dir", dir.path().to_str().unwrap()], &GOOD[..2]);
    assert_eq!(code, Some(2));
    assert!(!err.contains("12345678") && !err.contains("hush"), "{err}");
    assert!(err.contains("http.max_body = 5") && err.contains("a size such as 1MiB"), "{err}");
}

#[test]
fn what_a_kubelet_sets_for_a_service_is_no_setting() {
    let links = [
        ("BRIDGE_PORT", "tcp://10.0.0.7:3001"),
        ("BRIDGE_SERVICE_HOST", "10.0.0.7"),
        ("BRIDGE_SERVICE_PORT", "3001"),
        ("BRIDGE_SERVICE_PORT_HTTP_MAIN", "3001"),
        ("BRIDGE_PORT_3001_TCP", "tcp://10.0.0.7:3001"),
        ("BRIDGE_PORT_3001_TCP_PROTO", "tcp"),
        ("BRIDGE_PORT_3001_TCP_PORT", "3001"),
        ("BRIDGE_PORT_3001_TCP_ADDR", "10.0.0.7"),
        ("BRIDGE_ADMIN_PORT", "udp://10.0.0.8:53"),
        ("BRIDGE_ADMIN_SERVICE_HOST", "10.0.0.8"),
        ("BRIDGE_ADMIN_SERVICE_PORT_ADMIN", "3002"),
        ("BRIDGE_ADMIN_PORT_53_UDP_ADDR", "10.0.0.8"),
        ("BRIDGE_NODES", "http://10.0.0.9:3002"),
    ];
    let (code, _, err) = run(&["config", "check"], &with(&links));
    assert_eq!(code, Some(0), "{err}");
    for (name, value) in [("BRIDGE_PORT", "3001"), ("BRIDGE_HTTP_PORT", "3001"), ("BRIDGE_PORT_X_TCP", "1")] {
        assert_eq!(run(&["config", "check"], &with(&[(name, value)])).0, Some(2), "{name} is a mistake");
    }
}

#[test]
fn a_check_names_the_files_that_it_read() {
    let (code, out, err) = run(&["config", "check"], &GOOD);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("from no file") && err.contains("warning: no configuration file was read"), "{out}{err}");
    let dir = tempfile::tempdir().unwrap();
    for name in ["default.toml", "development.toml"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let dir = dir.path().to_str().unwrap();
    let (_, out, err) = run(&["config", "check", "--config-dir", dir], &GOOD);
    assert!(out.contains(&format!("from {dir}/default.toml, {dir}/development.toml")), "{out}");
    assert!(!err.contains("no configuration file"), "{err}");
}

#[test]
fn admin_tokens_come_from_a_variable_as_json_and_no_token_is_shown() {
    let check = |tokens: &str| run(&["config", "check"], &with(&[("BRIDGE_ADMIN__TOKENS", tokens)]));
    let good = r#"[{"name":"qa","token":"hush hush","role":"read"}]"#.to_owned();
    assert_eq!(check(&good).0, Some(0), "{}", check(&good).2);
    let env = [("BRIDGE_ADMIN__TOKENS", good.as_str())];
    let (code, out, _) = run(&["config", "explain", "admin.tokens", "--json"], &with(&env));
    assert!(code == Some(0) && out.contains("\"qa\"") && out.contains("****") && !out.contains("hush"), "{out}");
    let twice = |a: &str, b: &str| {
        format!(
            r#"[{{"name":"{a}","token":"hush1","role":"read"}},{{"name":"b","token":"{b}","role":"operate"}}]"#
        )
    };
    for (tokens, must) in [
        ("hush".to_owned(), "must be a list of tables with name, token, and role"),
        (r#"[{"name":"qa","token":"hush"}"#.to_owned(), "as JSON"),
        (r#"[{"name":"qa","token":"hush","role":"admin"}]"#.to_owned(), "role (read or operate)"),
        (r#"[{"name":"qa","token":"hush","role":"read","more":1}]"#.to_owned(), "role (read or operate)"),
        (twice("a", "hush1"), "must each have a token of its own"),
        (twice("b", "hush2"), "must each have a name of its own"),
        (twice("", "hush2"), "must each have a name of 1 to 60"),
        (twice("a", "hush2 "), "must each have a token of printable ASCII"),
    ] {
        let (code, out, err) = check(&tokens);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{tokens}");
        assert!(err.contains("admin.tokens") && err.contains(must) && !err.contains("hush"), "{tokens}: {err}");
    }
}

#[test]
fn a_fleet_that_can_not_be_asked_is_refused_or_warned_about() {
    let (code, _, err) = run(&["config", "check"], &with(&[("BRIDGE_FLEET__NODES", "bridge-0:3002,ftp://x:1")]));
    assert_eq!(code, Some(2));
    let line = "fleet.nodes = \"ftp://x:1\" (variable BRIDGE_FLEET__NODES): must be http://host:port, host:port or dns+http://name:port";
    assert!(err.contains(line), "{err}");
    let (code, _, err) = run(&["config", "check"], &with(&[("BRIDGE_LEGACY__RELAY", "true")]));
    assert_eq!(code, Some(2));
    assert!(err.contains("legacy.relay = \"true\" (variable BRIDGE_LEGACY__RELAY): needs fleet.nodes"), "{err}");
    let nodes = ("BRIDGE_FLEET__NODES", "dns+http://bridge-admin:3002");
    let (code, _, err) = run(&["config", "check"], &with(&[nodes, ("BRIDGE_LEGACY__RELAY", "true")]));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("fleet.nodes without fleet.token or admin.token"), "{err}");
    let token = ("BRIDGE_FLEET__TOKEN", "a token that nobody sees");
    let (code, out, err) = run(&["config", "explain", "fleet.token"], &with(&[nodes, token]));
    assert_eq!(code, Some(0), "{err}");
    assert!(!out.contains("nobody") && !err.contains("fleet.nodes without"), "{out}{err}");
}
