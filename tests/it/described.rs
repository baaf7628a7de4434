//! The descriptions of the wire and the reference are those of this gateway.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::{TOKEN, token};
use crate::kit::world::World;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `GET /path` of each call of a document.
fn described(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    calls.collect()
}

/// `GET /path` of each `.route("/path", get(…).put(…))` of a source.
fn routed(source: &str) -> BTreeSet<String> {
    let text = read(source);
    let mut calls = BTreeSet::new();
    for part in text.split(".route(\"").skip(1) {
        let (path, rest) = part.split_once("\", ").unwrap();
        let handlers = rest.split("\n        .").next().unwrap();
        for method in ["get", "put", "post", "patch", "delete"] {
            if handlers.starts_with(&format!("{method}(")) || handlers.contains(&format!(").{method}(")) {
                calls.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    calls
}

#[test]
fn the_documents_have_each_route_and_no_other() {
    let admin = described(&document("src/admin/openapi.json"));
    assert_eq!(admin, routed("src/admin.rs"));
    let mut clients = routed("src/http.rs");
    // Told apart by hand, in every spelling (src/http/path.rs).
    clients.insert("POST /api/messages/dialog/{dialogId}".into());
    clients.insert("POST /api/dialog/{dialogId}/messages".into());
    assert_eq!(described(&document("src/http/openapi.json")), clients);
    let page = read("migrations-docs/reference/admin.md");
    for call in &admin {
        assert!(page.contains(&format!("`{call}")), "{call} is not in reference/admin.md");
    }
}

#[test]
fn each_setting_stands_in_the_reference() {
    let output = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .args(["config", "explain", "--json", "--config-dir"])
        .arg(root().join("config"))
        .env_clear()
        .envs([("JWT_SECRET", "a secret of at least thirty-two bytes"), ("CHAT3_API_KEY", "key")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let keys: BTreeSet<&str> = all.iter().map(|one| one["key"].as_str().unwrap()).collect();
    let page = read("migrations-docs/reference/settings.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), keys);
    for event in ["client", "gateway"] {
        let messages = &document("src/sockets/asyncapi.json")["channels"][event]["messages"];
        for message in messages.as_object().unwrap().values() {
            let name = message["name"].as_str().unwrap();
            assert!(read("migrations-docs/reference/events.md").contains(&format!("`{name}`")), "{name}");
        }
    }
}

#[test]
fn what_the_browser_client_hears_and_reads_is_described() {
    let described = document("src/sockets/asyncapi.json");
    let of_gateway = &described["channels"]["gateway"]["messages"];
    let names: BTreeSet<&str> =
        of_gateway.as_object().unwrap().values().filter_map(|one| one["name"].as_str()).collect();
    let client = read("clients/web/src/client.ts");
    let heard = client.split("socket.on(\"").skip(1).filter_map(|rest| rest.split('"').next());
    // Its library's own.
    let own = ["connect", "connect_error", "disconnect"];
    let heard: BTreeSet<&str> = heard.filter(|name| !own.contains(name)).collect();
    assert!(heard.len() > 6 && heard.is_subset(&names), "{heard:?} of {names:?}");
    let types = read("clients/web/src/types.ts");
    let interface = |name: &str| {
        let rest = types.split_once(&format!("export interface {name} {{")).expect("it is there").1;
        rest.split("\n}").next().unwrap().to_owned()
    };
    let resync = interface("Resync");
    let reasons = resync.split('"').skip(1).step_by(2).map(Value::from).collect::<Vec<_>>();
    assert_eq!(Value::from(reasons), of_gateway["bridge_resync"]["payload"]["properties"]["reason"]["enum"]);
    for (message, name) in [("bridge_resync", "Resync"), ("update", "EventUpdate"), ("update", "SourcedUpdate")] {
        for field in of_gateway[message]["payload"]["required"].as_array().unwrap() {
            let field = format!("\n  {}:", field.as_str().unwrap());
            assert!(interface(name).contains(&field), "{name}:{field}");
        }
    }
}

#[test]
fn events_of_the_code_are_in_their_description() {
    let described = read("src/sockets/asyncapi.json");
    let source = read("src/sockets/connection.rs") + &read("crates/bridge_core/src/form.rs");
    let is_name = |text: &str| {
        let (room, rest) = text.split_once(':').unwrap_or_default();
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
        plain(room.trim_end_matches('3')) && plain(rest)
    };
    let names: BTreeSet<&str> = source.split('"').filter(|text| is_name(text)).collect();
    assert!(names.len() > 6, "{names:?}");
    for name in names {
        assert!(described.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn what_is_refused_before_its_handler_is_refused_in_the_same_form() {
    let world = World::alone(StandInOptions::default());
    let bridge = world.setup("legacy").start();
    assert_eq!(
        bridge.admin(Method::GET, "/admin/openapi.json", None),
        (200, document("src/admin/openapi.json")),
        "it is served"
    );
    for path in
        ["/admin/shadow/timeline?minutes=x", "/admin/preflight?to=live&to=shadow", "/admin/flag/concerns?to=%FF"]
    {
        let (status, answer) = bridge.admin(Method::GET, path, None);
        assert!(status == 422 && answer["error"] == "invalid" && answer["field"].is_string(), "{path}: {answer}");
    }
    let large = json!({"actor": "a", "reason": "x".repeat(70_000)});
    for (method, path) in [(Method::PUT, "/admin/flag"), (Method::POST, "/admin/shadow/reset")] {
        let (status, answer) = bridge.admin(method, path, Some(&large));
        assert_eq!((status, &answer["error"]), (413, &json!("too_large")), "{path}: {answer}");
    }
}

/// Requests that somebody made up get answers that are described. What never ends, or moves traffic, is left out.
#[test]
fn no_answer_is_undocumented() {
    let packages = root().join("tests/deploy/packages");
    let program = packages.join("bin/st");
    if !program.exists() {
        println!("SKIPPED: schemathesis is not here; scripts/test installs it where it can be had");
        return;
    }
    let world = World::alone(StandInOptions::default());
    let bridge = world.setup("legacy").env("BRIDGE_MEMBERSHIP__MODE", "off").start();
    let ask = |document: &Path, url: &str, token: &str, without: &[&str]| {
        let output = Command::new("python3")
            .arg(&program)
            .arg("run")
            .arg(document)
            .args(["--url", url, "-H", &format!("Authorization: Bearer {token}")])
            .args(without.iter().flat_map(|path| ["--exclude-path", *path]))
            .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
            .args(["--checks", "response_schema_conformance", "--phases", "fuzzing", "--max-examples", "5"])
            .args(["--generation-deterministic", "--no-color", "--request-timeout", "60"])
            .env("PYTHONPATH", &packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(bridge.state.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let endless = ["/admin/live", "/admin/shadow/stream"];
    ask(&root().join("src/admin/openapi.json"), &bridge.admin, TOKEN, &endless);
    ask(&root().join("src/http/openapi.json"), &bridge.http, &token("described_a"), &[]);
}

fn files(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if path.is_dir()
            && !["target", "node_modules", "packages"].contains(&name.as_str())
            && !name.starts_with('.')
        {
            files(&path, found);
        } else if path.is_file() {
            found.push(path.strip_prefix(root()).unwrap().display().to_string());
        }
    }
}

#[test]
fn what_the_pages_name_is_there() {
    let mut all = Vec::new();
    files(&root(), &mut all);
    let is_there = |name: &str| {
        all.iter().any(|path| {
            format!("/{path}").contains(&format!("/{name}")) && (name.ends_with('/') || path.ends_with(name))
        })
    };
    let map = read("ARCHITECTURE.md");
    for name in map.split('`').skip(1).step_by(2) {
        if name.ends_with(".rs") || name.ends_with(".toml") || name.ends_with(".yml") || name.ends_with('/') {
            assert!(is_there(name), "ARCHITECTURE.md names {name}");
        }
    }
    for page in all.iter().filter(|path| path.ends_with(".md") && !path.starts_with("tests/")) {
        let text = read(page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            if file.contains("://") || file.is_empty() {
                continue;
            }
            let linked = root().join(page).parent().unwrap().join(file);
            assert!(linked.exists(), "{page} leads to {target}");
            if !section.is_empty() {
                let text = std::fs::read_to_string(&linked).unwrap();
                let anchor = |line: &str| {
                    let plain = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                    plain.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect::<String>()
                };
                let is_here = text.lines().any(|line| line.starts_with('#') && anchor(line) == section);
                assert!(is_here, "{page} leads to {target}");
            }
        }
    }
}
