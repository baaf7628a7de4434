//! Single records: where they are found, how they are shown, and who may see what people wrote.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::Faults;

use crate::kit::bridge::Bridge;
use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

fn shadow(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .arg("shadow")
        .args(args)
        .env("BRIDGE_ADMIN__TOKEN", "an admin token of some length")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn closed(bridge: &Bridge, count: u64) {
    eventually(&format!("{count} closed"), s(30), || {
        let summary = bridge.summary();
        (summary["closed"] == count && summary["open"] == 0).then_some(())
    });
}

fn records(bridge: &Bridge, query: &str) -> Vec<Value> {
    let (status, page) = bridge.admin(Method::GET, &format!("/admin/shadow/records?{query}"), None);
    assert_eq!(status, 200, "{page}");
    page["records"].as_array().unwrap().clone()
}

#[test]
fn a_link_to_a_record_goes_on_working_after_a_restart() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["link_a", "link_b"]);
    let bridge = world.setup("shadow").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "link_a");
    js.join("a", &dialog);
    world.chat3.set_faults(Faults { worker_down: true, ..Faults::default() });
    bridge.say("link_b", &dialog, "lost");
    closed(&bridge, 1);
    let record = records(&bridge, "bad=true").remove(0);
    let id = record["id"].as_str().unwrap();
    drop(js);
    let bridge = world.setup("shadow").state(bridge.stop()).start().ready();
    assert_eq!(records(&bridge, "bad=true"), Vec::<Value>::new(), "nothing is in memory");
    let found = records(&bridge, &format!("id={id}"));
    assert_eq!((found.len(), &found[0]["id"], &found[0]["class"]), (1, &record["id"], &record["class"]));
    assert_eq!(found[0]["instance"], record["instance"], "that of the earlier run");
    assert_eq!(records(&bridge, &format!("id={id}&class=match")), Vec::<Value>::new(), "the other filters hold");
    assert_eq!(records(&bridge, "id=0"), Vec::<Value>::new());
    let (code, out, err) = shadow(&["records", "--id", id, "--json", "--node", &bridge.admin]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{err}");
}

#[test]
fn what_people_wrote_is_revealed_for_some_time_only_and_that_is_audited() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["reveal_a", "reveal_b"]);
    let bridge = world.setup("shadow").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "reveal_a");
    js.join("a", &dialog);
    world.chat3.set_faults(Faults { altered: true, ..Faults::default() });
    let latest = |text: &str, count: u64| {
        bridge.say("reveal_b", &dialog, text);
        closed(&bridge, count);
        records(&bridge, "order=desc&limit=1").remove(0)
    };
    let redacted = latest("the first secret", 1);
    assert!(redacted["payloads"].is_null() && !redacted.to_string().contains("secret"), "{redacted}");
    assert_eq!(bridge.summary()["reveal"], Value::Null);
    for body in [
        json!({"actor": "qa", "reason": "r", "for": "61m"}),
        json!({"actor": "qa", "reason": "r", "for": "soon"}),
        json!({"actor": "", "reason": "r"}),
        json!({"actor": "qa"}),
    ] {
        let (status, refusal) = bridge.admin(Method::POST, "/admin/shadow/reveal", Some(&body));
        assert_eq!((status, &refusal["error"]), (422, &json!("invalid")), "{body}: {refusal}");
    }
    let node = ["--node", &bridge.admin, "--actor", "qa", "--reason", "what differs?"];
    let (code, out, err) = shadow(&[&["reveal", "--for", "30m"], &node[..]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("what people wrote is shown until 20"), "{out}");
    let reveal = bridge.summary()["reveal"].clone();
    assert_eq!((&reveal["actor"], &reveal["reason"]), (&json!("qa"), &json!("what differs?")));
    let shown = latest("the second secret", 2);
    assert_eq!(shown["payloads"]["legacy"]["content"], "the second secret", "{shown:#}");
    assert!(shown["payloads"]["rabbitmq"]["data"].is_object(), "{shown:#}");
    assert_eq!(shown["diff"][0]["legacy"], "the second secret");
    let (_, out, _) = shadow(&["records", "--bad", "--limit", "1", "--node", &bridge.admin]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[1].starts_with("    differs at /content"), "{out}");
    assert!(lines[2].starts_with("      legacy   \"the second secret"), "{out}");
    assert!(lines[3].starts_with("      rabbitmq \"") && lines[4].trim().starts_with('^'), "{out}");
    assert_eq!(shadow(&[&["reveal", "--off"], &node[..]].concat()).0, Some(0));
    assert_eq!(bridge.summary()["reveal"], Value::Null);
    let redacted = latest("the third secret", 3);
    assert!(redacted["payloads"].is_null() && !redacted.to_string().contains("third"), "{redacted}");

    // It ends by itself.
    assert_eq!(shadow(&[&["reveal", "--for", "1s"], &node[..]].concat()).0, Some(0));
    eventually("the end of it", s(10), || bridge.summary()["reveal"].is_null().then_some(()));
    let ended = eventually("the end in the audit", s(20), || {
        let audit = bridge.admin(Method::GET, "/admin/audit", None).1;
        let entries = audit["entries"].as_array().unwrap().clone();
        (entries.iter().filter(|entry| entry["action"] == "shadow_reveal_ended").count() == 2).then_some(entries)
    });
    let told: Vec<(&str, &str, &str)> = ended
        .iter()
        .map(|entry| ["action", "actor", "reason"].map(|key| entry[key].as_str().unwrap()))
        .map(|[action, actor, reason]| (action, actor, reason))
        .collect();
    let over = "the time is over for which qa asked: what differs?";
    assert_eq!(
        told,
        [
            ("shadow_reveal_ended", "bridge", over),
            ("shadow_reveal", "qa", "what differs? (for 1s)"),
            ("shadow_reveal_ended", "qa", "what differs?"),
            ("shadow_reveal", "qa", "what differs? (for 30m)"),
        ]
    );
    let redacted = latest("the fourth secret", 4);
    assert!(!redacted.to_string().contains("fourth"), "{redacted}");
    drop(js);

    // What is configured is revealed for as long, and audited too.
    let setup = world.setup("shadow").state(bridge.stop()).env("BRIDGE_SHADOW__REVEAL_CONTENT", "true");
    let bridge = setup.env("BRIDGE_SHADOW__REVEAL_FOR", "2s").start().ready();
    eventually("both in the audit", s(20), || {
        let audit = bridge.admin(Method::GET, "/admin/audit", None).1;
        let by = |n: usize| [&audit["entries"][n]["action"], &audit["entries"][n]["actor"]];
        let expected = [
            [&json!("shadow_reveal_ended"), &json!("bridge")],
            [&json!("shadow_reveal"), &json!("configuration")],
        ];
        ([by(0), by(1)] == expected).then_some(())
    });
}

#[test]
fn tables_are_written_as_csv_too() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["csv_a", "csv_b"]);
    let bridge = world.setup("shadow").env("BRIDGE_SHADOW__SAMPLE", "1").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "csv_a");
    js.join("a", &dialog);
    bridge.say("csv_b", &dialog, "good");
    closed(&bridge, 1);
    world.chat3.set_faults(Faults { altered: true, ..Faults::default() });
    bridge.say("csv_b", &dialog, "altered");
    closed(&bridge, 2);
    let read = |args: &[&str]| -> Vec<Vec<String>> {
        let (_, out, err) = shadow(args);
        assert_eq!(err, "", "{args:?}");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_bytes());
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
    };
    let rows = read(&["records", "--csv", "--node", &bridge.admin]);
    assert_eq!((rows.len(), rows[0].len()), (3, 20));
    let column = |name: &str| rows[0].iter().position(|own| own == name).unwrap();
    assert_eq!((&*rows[1][column("class")], &*rows[2][column("class")]), ("payload_mismatch", "match"));
    assert_eq!((&*rows[1][column("user")], &*rows[1][column("dialog")]), ("csv_a", &*dialog));
    let diff: Value = serde_json::from_str(&rows[1][column("diff")]).unwrap();
    assert_eq!(diff[0]["path"], "/content");
    let report = read(&["report", "--csv", "--node", &bridge.admin]);
    assert_eq!(report[0], ["kind", "name", "count", "percent"]);
    for row in [["class", "match", "1", "50"], ["class", "leak", "0", "0"], ["differs_at", "/content", "1", "50"]]
    {
        assert!(report.iter().any(|own| *own == row), "{row:?}: {report:?}");
    }
    let (_, before, _) = shadow(&["report", "--json", "--node", &bridge.admin]);
    let file = bridge.state.path().join("before.json");
    std::fs::write(&file, before).unwrap();
    let file = file.to_str().unwrap();
    let diff = read(&["diff", "--csv", file, file]);
    assert!(diff.iter().any(|row| *row == ["match", "1", "50", "1", "50", "same"]), "{diff:?}");
    let (code, out, _) = shadow(&["records", "--csv", "--json", "--node", &bridge.admin]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
}
