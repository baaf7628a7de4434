//! A fleet behind one name, as a headless service gives it: every address of the name is an instance.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;

use crate::kit::bridge::{Bridge, TOKEN};
use crate::kit::js::Js;
use crate::kit::rabbit::Rabbit;
use crate::kit::world::World;
use crate::kit::{Turn, eventually, s};

const NAME: &str = "bridges.test";
const HOSTS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];

/// Options with which `unshare` gives a process a file of host names of its own, as root or as anybody.
fn unshare() -> Option<&'static str> {
    static OPTIONS: OnceLock<Option<&str>> = OnceLock::new();
    let works = |options: &&str| {
        let mount = ["sh", "-c", "mount --bind /dev/null /etc/hosts"];
        Command::new("unshare").arg(options).args(mount).output().is_ok_and(|output| output.status.success())
    };
    *OPTIONS.get_or_init(|| ["-m", "-rm"].into_iter().find(works))
}

/// Commands of the shell after which a process knows [`NAME`].
fn knowing(hosts: &Path, options: &str) -> String {
    format!(
        r#"exec unshare {options} sh -c 'mount --bind "{}" /etc/hosts; exec "$0" "$@"' "$0" "$@""#,
        hosts.display()
    )
}

/// A port that is free on each of [`HOSTS`], and that the system gives to nobody who asks for any.
fn free_port() -> Option<u16> {
    (0..100).map(|_| rand::random_range(10_000..30_000)).find(|port| {
        let bound: Vec<_> = HOSTS.iter().map_while(|host| TcpListener::bind((*host, *port)).ok()).collect();
        bound.len() == HOSTS.len()
    })
}

fn of_all(bridges: &[&Bridge], key: &str) -> Vec<Value> {
    bridges.iter().map(|bridge| bridge.flag()[key].clone()).collect()
}

#[test]
fn with_a_dead_broker_a_rollback_by_name_finds_every_instance_and_names_the_dead_one() {
    let (Some(options), Some(port)) = (unshare(), free_port()) else {
        println!("SKIPPED: no process may have host names of its own here (unshare), or there is no {HOSTS:?}");
        return;
    };
    let mut rabbit = Rabbit::start();
    let world = World::on(rabbit.url(), StandInOptions::default(), Turn::beside());
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, HOSTS.map(|host| format!("{host} {NAME}\n")).concat()).unwrap();
    let (under, by_name) = (knowing(&hosts, options), format!("dns+http://{NAME}:{port}"));
    let cli = |args: &[&str]| {
        let output = Command::new("bash")
            .args(["-c", &under, env!("CARGO_BIN_EXE_updates-bridge")])
            .args(args)
            .args(["--node", &by_name])
            .env("BRIDGE_ADMIN__TOKEN", TOKEN)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let bridges = HOSTS.map(|host| {
        let setup = world.setup("live").env("BRIDGE_ADMIN__LISTEN", format!("{host}:{port}"));
        setup.env("BRIDGE_FLEET__NODES", by_name.as_str()).under(&under).start().ready()
    });
    let [a, b, c] = &bridges;
    let view = a.admin(Method::GET, "/admin/fleet", None).1;
    assert_eq!((view["nodes"].as_array().map(Vec::len), &view["agreed"]), (Some(3), &json!(true)), "{view}");

    let mut js = Js::start();
    let dialogs = [0, 1, 2].map(|n| {
        let (user, sender) = (format!("name_{n}"), format!("name_sender_{n}"));
        let dialog = world.chat3.add_dialog(&[&user, &sender]);
        js.sign_on(&user, &bridges[n], &user);
        js.join(&user, &dialog);
        (user, sender, dialog)
    });
    rabbit.kill();
    for (bridge, (user, sender, dialog)) in bridges.iter().zip(&dialogs) {
        eventually("degraded", s(20), || {
            let (status, report) = bridge.get("/readyz");
            assert_eq!(status, 200, "a dead broker takes nobody out of a balancer: {report}");
            report["degraded"].as_array()?.contains(&json!("rabbitmq")).then_some(())
        });
        // They are answered, and rescued when the window closes.
        let expected: Vec<Value> =
            (0..5).map(|n| bridge.say(sender, dialog, &format!("{n}"))["messageId"].clone()).collect();
        let got = js.wait_count(user, "message:new", 5, s(20));
        let got: Vec<Value> = got.iter().map(|data| data["messageId"].clone()).collect();
        assert_eq!(got, expected, "{user}");
        assert_eq!(bridge.get("/readyz").0, 200);
    }
    assert_eq!(of_all(&[a, b, c], "stage"), ["live"; 3]);
    let (code, out, err) = cli(&["flag", "rollback", "--actor", "ops", "--reason", "the broker is dead"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(of_all(&[a, b, c], "stage"), ["legacy"; 3]);
    assert_eq!(of_all(&[a, b, c], "reason"), ["the broker is dead"; 3]);
    for host in HOSTS {
        assert!(out.contains(&format!("http://{host}:{port}")), "{out}");
    }

    // The same with one that is dead.
    rabbit.restart();
    world.connect();
    for stage in ["shadow", "live"] {
        for bridge in &bridges {
            eventually(stage, s(20), || (bridge.set(stage, &json!({"force": true})).0 == 200).then_some(()));
        }
    }
    b.signal("-KILL");
    let view = a.admin(Method::GET, "/admin/fleet", None).1;
    assert_eq!((&view["agreed"], view["nodes"].as_array().map(Vec::len)), (&json!(false), Some(3)), "{view}");
    let dead = format!("http://{}:{port}: UNREACHABLE", HOSTS[1]);
    let (code, out, err) = cli(&["flag", "rollback", "--actor", "ops"]);
    assert_eq!(code, Some(4), "{out}{err}");
    assert!(err.contains(&dead), "{out}{err}");
    assert_eq!(of_all(&[a, c], "stage"), ["legacy"; 2], "{out}{err}");
    // The other way to say it: one of them asks all of the name.
    for stage in ["shadow", "live"] {
        for bridge in [a, c] {
            assert_eq!(bridge.set(stage, &json!({"force": true})).0, 200);
        }
    }
    let (_, report) = a.admin(Method::POST, "/admin/fleet/rollback", Some(&json!({"actor": "ops"})));
    assert_eq!(of_all(&[a, c], "stage"), ["legacy"; 2], "{report}");
    let nodes = report["nodes"].as_array().unwrap();
    let gone: Vec<&Value> = nodes.iter().filter(|node| node["ok"] != true).map(|node| &node["node"]).collect();
    assert_eq!(gone, [&json!(format!("http://{}:{port}", HOSTS[1]))], "{report}");
    // To set the stage finds the same, and each once.
    let to_legacy = json!({"use_rabbitmq_updates": false, "shadow_mode": false, "actor": "ops", "reason": "r"});
    let (_, report) = a.admin(Method::PUT, "/admin/fleet/flag", Some(&to_legacy));
    assert_eq!(report["nodes"].as_array().map(Vec::len), Some(3), "{report}");
}
