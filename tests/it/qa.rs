//! What QA and pipelines ask of the comparison.

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

fn closed(bridge: &Bridge, count: u64) -> Value {
    eventually(&format!("{count} closed"), s(30), || {
        let summary = bridge.summary();
        (summary["closed"] == count && summary["open"] == 0).then_some(summary)
    })
}

fn log_of(bridge: &Bridge) -> std::path::PathBuf {
    let files = std::fs::read_dir(bridge.state.path().join("shadow")).unwrap().flatten();
    files.map(|file| file.path()).find(|path| path.extension().is_some_and(|kind| kind == "jsonl")).unwrap()
}

#[test]
fn records_come_newest_first_by_every_filter_from_instances_and_from_their_logs() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["qa_a", "qa_b"]);
    let bridge = world.setup("shadow").env("BRIDGE_SHADOW__SAMPLE", "1").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "qa_a");
    js.join("a", &dialog);
    bridge.say("qa_b", &dialog, "good");
    closed(&bridge, 1);
    world.chat3.set_faults(Faults { altered: true, ..Faults::default() });
    bridge.say("qa_b", &dialog, "altered");
    closed(&bridge, 2);
    world.chat3.set_faults(Faults { worker_down: true, ..Faults::default() });
    bridge.say("qa_b", &dialog, "lost");
    closed(&bridge, 3);
    let log = log_of(&bridge);
    eventually("three in the log", s(10), || {
        (std::fs::read_to_string(&log).unwrap().lines().count() == 3).then_some(())
    });
    let asked = |query: &str| -> Vec<String> {
        let (status, page) = bridge.admin(Method::GET, &format!("/admin/shadow/records?{query}"), None);
        assert_eq!(status, 200, "{query}: {page}");
        let records = page["records"].as_array().unwrap().iter();
        records.map(|record| record["class"].as_str().unwrap().to_owned()).collect()
    };
    let (good, altered, lost) = ("match", "payload_mismatch", "missing_in_rabbitmq");
    assert_eq!(asked("order=desc"), [lost, altered, good]);
    assert_eq!(asked(""), [good, altered, lost]);
    assert_eq!(asked("bad=true&order=desc"), [lost, altered]);
    assert_eq!(asked("class=match&class=missing_in_rabbitmq"), [good, lost]);
    assert_eq!(asked("field=/content"), [altered]);
    assert_eq!(asked("since=10m&limit=1&order=desc"), [lost]);
    assert_eq!(asked("since=2100-01-01T00:00:00Z"), Vec::<String>::new());
    let page = bridge.admin(Method::GET, "/admin/shadow/records?order=desc&limit=1", None).1;
    let next = format!("order=desc&after={}", page["next"].as_str().unwrap());
    assert_eq!(asked(&next), [altered, good]);
    let id = page["records"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(asked(&format!("id={id}")), [lost]);
    for query in ["class=leek", "cause=luck", "order=up", "since=soon", "bad=yes", "limit=0", "after=x"] {
        let (status, refusal) = bridge.admin(Method::GET, &format!("/admin/shadow/records?{query}"), None);
        assert_eq!((status, &refusal["error"]), (422, &json!("invalid")), "{query}: {refusal}");
    }
    let file = log.to_str().unwrap();
    for source in [vec!["--node", &bridge.admin], vec![file]] {
        let told = |args: &[&str]| -> Vec<String> {
            let (code, out, err) = shadow(&[&["records", "--json"], args, &source].concat());
            assert_eq!(code, Some(0), "{args:?}: {err}");
            let record =
                |line: &str| serde_json::from_str::<Value>(line).unwrap()["class"].as_str().unwrap().to_owned();
            out.lines().map(record).collect()
        };
        assert_eq!(told(&[]), [lost, altered, good]);
        assert_eq!(told(&["--limit", "2"]), [lost, altered]);
        assert_eq!(told(&["--bad"]), [lost, altered]);
        assert_eq!(told(&["--class", altered, "--class", good]), [altered, good]);
        assert_eq!(told(&["--cause", "no_update"]), [lost]);
        assert_eq!(told(&["--user", "qa_a", "--dialog", &dialog, "--field", "/content"]), [altered]);
        assert_eq!(told(&["--since", "10m", "--id", &id]), [lost]);
        assert_eq!(told(&["--user", "nobody"]), Vec::<String>::new());
    }
    let (code, out, err) = shadow(&["records", "--since", "soon", file]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
}

#[test]
fn a_pipeline_waits_for_the_verdict_and_after_a_fix_the_evidence_begins_anew() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["wait_a", "wait_b"]);
    let setup = world.setup("shadow").env("BRIDGE_SHADOW__TARGET_RATE", "0.3");
    let bridge = setup.env("BRIDGE_SHADOW__CONFIDENCE", "0.8").start().ready();
    let node = ["--node", &bridge.admin];
    let run = |args: &[&str]| shadow(&[args, &node].concat());
    let fresh = bridge.summary()["verdict"]["missing"].clone();
    // Nothing was compared: that speaks for nothing.
    assert_eq!(run(&["report"]).0, Some(64));
    let (code, out, err) = run(&["wait", "--timeout", "1s"]);
    assert_eq!((code, out.as_str()), (Some(6), ""), "{err}");
    assert!(err.contains("0 of 0 messages bad (0 %); INCONCLUSIVE at a target of 30 %"), "{err}");
    let mut js = Js::start();
    js.sign_on("a", &bridge, "wait_a");
    js.join("a", &dialog);
    world.chat3.set_faults(Faults { worker_down: true, ..Faults::default() });
    (0..30).for_each(|n| drop(bridge.say("wait_b", &dialog, &format!("lost {n}"))));
    closed(&bridge, 30);
    let (code, out, err) = run(&["wait", "--timeout", "3m"]);
    assert_eq!(code, Some(7), "{out}{err}");
    assert!(out.contains("30 of 30 messages bad (100 %); NOT_SAFE at a target of 30 %"), "{out}");
    world.chat3.set_faults(Faults::default());

    for body in
        [json!({"actor": "qa"}), json!({"actor": "", "reason": "r"}), json!({"actor": "a", "reason": "r", "x": 1})]
    {
        let (status, refusal) = bridge.admin(Method::POST, "/admin/shadow/reset", Some(&body));
        assert_eq!((status, &refusal["error"]), (422, &json!("invalid")), "{body}: {refusal}");
    }
    let (code, out, err) = run(&["reset", "--actor", "qa", "--reason", "the worker is mended"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let entry = bridge.admin(Method::GET, "/admin/audit", None).1["entries"][0].clone();
    assert_eq!(
        (&entry["action"], &entry["actor"], &entry["reason"], &entry["to"]),
        (&json!("shadow_reset"), &json!("qa"), &json!("the worker is mended"), &json!("shadow")),
        "{entry}"
    );
    assert_eq!(entry["evidence"]["messages"], 30, "what was thrown away: {entry}");
    assert_eq!(run(&["wait", "--timeout", "1s"]).0, Some(6));
    let summary = bridge.summary();
    assert_eq!(summary["closed"], 30, "records and counters stay");
    assert_eq!(summary["verdict"]["missing"], fresh, "what a fresh start needs");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&["wait", "--timeout", "2m", "--json"]));
        (0..30).for_each(|n| drop(bridge.say("wait_b", &dialog, &format!("good {n}"))));
        let (code, out, err) = waiting.join().unwrap();
        assert_eq!(code, Some(0), "{out}{err}");
        let verdict: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&verdict["value"], &verdict["bad"]), (&json!("SAFE"), &json!(0)), "{verdict}");
    });
    let (code, _, err) = shadow(&["wait", "--timeout", "1s", "--node", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(6), "{err}");
    assert!(err.contains("no connection"), "{err}");
}

/// Good messages that `bridge` needs, one after the other, until it is `SAFE`.
fn needed(bridge: &Bridge, sender: &str, dialog: &str) -> u64 {
    for n in 1..=40 {
        bridge.say(sender, dialog, &format!("good {n}"));
        let verdict = eventually(&format!("{n} good messages"), s(20), || {
            let verdict = bridge.summary()["verdict"].clone();
            (verdict["messages"] == n && verdict["bad"] == 0).then_some(verdict)
        });
        if verdict["value"] == "SAFE" {
            return n;
        }
        assert_eq!(verdict["value"], "INCONCLUSIVE", "{verdict}");
    }
    panic!("not SAFE after 40 good messages");
}

#[test]
fn after_a_reset_as_many_good_messages_are_needed_as_after_a_fresh_start() {
    let world = World::shared(StandInOptions::default());
    let setup = || {
        let setup = world.setup("shadow").env("BRIDGE_SHADOW__TARGET_RATE", "0.3");
        setup.env("BRIDGE_SHADOW__CONFIDENCE", "0.8").start().ready()
    };
    let mut js = Js::start();
    let mut listen = |bridge: &Bridge, name: &str| {
        let users = [format!("{name}_a"), format!("{name}_b")];
        let dialog = world.chat3.add_dialog(&[&users[0], &users[1]]);
        js.sign_on(name, bridge, &users[0]);
        js.join(name, &dialog);
        let [_, sender] = users;
        (sender, dialog)
    };
    let bridge = setup();
    let (sender, dialog) = listen(&bridge, "reset");
    world.chat3.set_faults(Faults { altered: true, ..Faults::default() });
    (0..12).for_each(|n| drop(bridge.say(&sender, &dialog, &format!("altered {n}"))));
    let verdict = closed(&bridge, 12)["verdict"].clone();
    assert_eq!((&verdict["value"], &verdict["bad"]), (&json!("NOT_SAFE"), &json!(12)), "{verdict}");
    // One more is on its way: its unit closes after the reset, and is of before.
    bridge.say(&sender, &dialog, "altered, and open still");
    let (code, out, err) =
        shadow(&["reset", "--actor", "qa", "--reason", "the worker is mended", "--node", &bridge.admin]);
    assert_eq!(code, Some(0), "{out}{err}");
    world.chat3.set_faults(Faults::default());
    let summary = closed(&bridge, 13);
    assert_eq!(summary["classes"]["payload_mismatch"], 13, "records and counters stay: {summary}");
    let verdict = &summary["verdict"];
    assert_eq!((&verdict["value"], &verdict["messages"]), (&json!("INCONCLUSIVE"), &json!(0)), "{verdict}");

    let fresh = setup();
    let (own, other) = listen(&fresh, "fresh");
    let counts = std::thread::scope(|scope| {
        let after_reset = scope.spawn(|| needed(&bridge, &sender, &dialog));
        let after_start = needed(&fresh, &own, &other);
        (after_reset.join().unwrap(), after_start)
    });
    assert_eq!(counts.0, counts.1, "after the reset, and after a fresh start");
    assert!(counts.1 > 1, "or it would show nothing");
    let audit = bridge.admin(Method::GET, "/admin/audit", None).1["entries"].clone();
    let entry = &audit[0];
    assert_eq!(
        (&entry["action"], &entry["actor"], &entry["reason"]),
        (&json!("shadow_reset"), &json!("qa"), &json!("the worker is mended")),
        "{audit}"
    );
    assert!(entry["at"].is_string(), "{entry}");
}

#[test]
fn completions_are_printed_for_each_shell_and_another_one_is_bad_usage() {
    let completions = |shell: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_updates-bridge")).args(["completions", shell]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script) = completions(shell);
        assert_eq!(code, Some(0), "{shell}");
        assert!(script.contains("updates-bridge") && script.contains("rollback"), "{shell}: {script}");
    }
    assert_eq!(completions("cmd"), (Some(2), String::new()));
}

#[test]
fn a_run_and_its_own_sampled_log_show_no_difference() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["own_a", "own_b"]);
    let bridge = world.setup("shadow").env("BRIDGE_SHADOW__SAMPLE", "0.2").start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "own_a");
    js.join("a", &dialog);
    (0..80).for_each(|n| drop(bridge.say("own_b", &dialog, &format!("good {n}"))));
    closed(&bridge, 80);
    world.chat3.set_faults(Faults { altered: true, ..Faults::default() });
    (0..4).for_each(|n| drop(bridge.say("own_b", &dialog, &format!("altered {n}"))));
    closed(&bridge, 84);
    let (code, report, _) = shadow(&["report", "--json", "--node", &bridge.admin]);
    assert_eq!(code, Some(4));
    let before = bridge.state.path().join("report.json");
    std::fs::write(&before, &report).unwrap();
    let log = log_of(&bridge);
    eventually("the last in the log", s(10), || {
        let text = std::fs::read_to_string(&log).unwrap();
        (text.matches("payload_mismatch").count() == 4).then_some(())
    });
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.lines().count() < 60, "a share only: {}", text.lines().count());
    assert!(text.lines().all(|line| line.contains("\"sample\":0.2")), "the log states its sampling");
    let (code, of_log, _) = shadow(&["report", "--json", log.to_str().unwrap()]);
    assert_eq!(code, Some(4));
    let of_log: Value = serde_json::from_str(&of_log).unwrap();
    let matches = of_log["classes"]["match"].as_u64().unwrap();
    assert!(matches > 80 - 32 && matches <= 80, "{matches}: all but the last few");
    let (code, out, err) = shadow(&["diff", "--json", before.to_str().unwrap(), log.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    let diff: Value = serde_json::from_str(&out).unwrap();
    let rows = diff["rows"].as_array().unwrap();
    assert!(rows.len() >= 2 && rows.iter().all(|row| row["change"] == "same"), "{diff:#}");
}

#[test]
fn instances_are_named_by_a_variable_and_tables_in_a_pipe_are_plain_columns() {
    let world = World::shared(StandInOptions::default());
    let (one, other) = (world.setup("shadow").start().ready(), world.setup("shadow").start().ready());
    let host = |bridge: &Bridge| bridge.admin.trim_start_matches("http://").to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
        .args(["flag", "show"])
        .env("BRIDGE_ADMIN__TOKEN", "an admin token of some length")
        .env("BRIDGE_NODES", format!("{},{}", host(&one), other.admin))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.is_ascii() || !text.contains('─'), "{text}");
    let row = |bridge: &Bridge| {
        let line = text.lines().find(|line| line.contains(&bridge.admin)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((&row(&one)[1], &row(&other)[1]), (&"shadow".to_owned(), &"shadow".to_owned()));
    let (code, out, _) = shadow(&["report", "--node", &one.admin, "--node", &host(&other)]);
    assert_eq!(code, Some(64));
    let labels: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("verdict of ")).collect();
    assert_eq!(labels.len(), 3, "{out}");
    assert!(labels[2].starts_with("together: 0 of 0 messages bad (0 %); INCONCLUSIVE"), "{out}");
}

#[test]
fn keys_that_are_taken_as_they_come_are_applied_and_not_said_to_need_a_restart() {
    let world = World::shared(StandInOptions::default());
    let dialog = world.chat3.add_dialog(&["keys_a", "keys_b"]);
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("config/default.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let configure = |text: &str| {
        let new = file.with_extension("new");
        std::fs::write(&new, format!("[shadow]\n{text}")).unwrap();
        std::fs::rename(new, &file).unwrap();
    };
    configure("target_rate = 0.3\nconfidence = 0.8\n");
    let bridge = world.setup("shadow").state(state).start().ready();
    let mut js = Js::start();
    js.sign_on("a", &bridge, "keys_a");
    js.join("a", &dialog);
    (0..5).for_each(|n| drop(bridge.say("keys_b", &dialog, &format!("good {n}"))));
    let seen = closed(&bridge, 5);
    assert_eq!((&seen["verdict"]["messages"], &seen["target"]["rate"]), (&json!(5), &json!(0.3)));
    // What was asked of the evidence is another question now.
    configure("target_rate = 0.2\nconfidence = 0.8\nsample = 0.5\nreveal_for = \"5m\"\nindeterminate_max = 0.5\n");
    let applied = eventually("applied", s(10), || {
        Some(bridge.summary()).filter(|summary| summary["target"]["rate"] == json!(0.2))
    });
    assert_eq!((&applied["verdict"]["value"], &applied["verdict"]["messages"]), (&json!("STALE"), &json!(0)));
    assert_eq!(applied["indeterminate_max"], 0.5);
    let body = json!({"actor": "qa", "reason": "r", "for": "6m"});
    assert_eq!(bridge.admin(Method::POST, "/admin/shadow/reveal", Some(&body)).0, 422, "more than is allowed now");
    assert!(!bridge.log().contains("need a restart"), "{}", bridge.log());
    configure("target_rate = 0.2\nconfidence = 0.8\nsample = 0.5\nrotate = \"32 MiB\"\n");
    eventually("said", s(10), || bridge.log().contains("need a restart").then_some(()));
    assert!(bridge.log().contains("[\"shadow.rotate\"]"), "{}", bridge.log());
    assert_eq!(bridge.summary()["indeterminate_max"], 0.01, "what needs none is applied with it");
}
