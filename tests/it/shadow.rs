//! The comparison, over a real broker.

use std::io::Write as _;
use std::process::Command;

use serde_json::json;
use updates_bridge::demo::StandInOptions;
use updates_bridge::demo::chat3::{Faults, Version};

use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, s};

#[test]
fn faults_are_found_and_a_user_with_fifty_dialogs_has_none() {
    let world = World::shared(StandInOptions::default());
    let dialogs: Vec<String> = (0..50).map(|_| world.chat3.add_dialog(&["sh_a", "sh_b"])).collect();
    let bridge = world.setup("shadow").env("BRIDGE_SHADOW__SAMPLE", "1").start().ready();
    let mut js = Js::start();
    for user in ["sh_a", "sh_b"] {
        js.sign_on(user, &bridge, user);
        js.join(user, &dialogs[0]);
    }
    for (n, dialog) in dialogs.iter().enumerate() {
        bridge.say("sh_b", dialog, &format!("a secret text {n}"));
    }
    // A twin that came after the window, as on a busy machine, amends what was said.
    let closed = |count: u64, matches: u64| {
        eventually("closed", s(10), || {
            let summary = bridge.summary();
            let all = summary["closed"] == count && summary["open"] == 0;
            (all && summary["classes"]["match"] == matches).then_some(summary)
        })
    };
    let healthy = closed(100, 2);
    assert_eq!(healthy["causes"]["missing_in_legacy_expected/not_joined"], 98, "{healthy}");

    world.chat3.set_faults(Faults { altered: true, ..Faults::default() });
    bridge.say("sh_b", &dialogs[0], "altered");
    world.chat3.set_faults(Faults { silent_users: vec!["sh_a".into()], ..Faults::default() });
    bridge.say("sh_b", &dialogs[0], "lost for one");
    world.chat3.set_faults(Faults { worker_down: true, ..Faults::default() });
    bridge.say("sh_b", &dialogs[0], "lost for all");
    world.chat3.set_faults(Faults { doubled: true, ..Faults::default() });
    bridge.say("sh_b", &dialogs[0], "twice");
    let faulty = eventually("the faults are found", s(10), || {
        let summary = bridge.summary();
        let all = summary["closed"] == 108 && summary["open"] == 0;
        // One that an update which is late makes of another is amended.
        (all && summary["classes"]["payload_mismatch"] == 2 && summary["classes"]["duplicate"] == 2)
            .then_some(summary)
    });
    let of = |name: &str| faulty["causes"].get(name).or_else(|| faulty["classes"].get(name)).cloned();
    assert_eq!(of("payload_mismatch"), Some(json!(2)), "{faulty}");
    assert_eq!(of("missing_in_rabbitmq/partial_fanout"), Some(json!(1)), "{faulty}");
    assert_eq!(of("missing_in_rabbitmq/no_update"), Some(json!(2)), "{faulty}");
    assert_eq!(of("duplicate"), Some(json!(2)), "{faulty}");
    assert_eq!(js.wait_count("sh_a", "message:new", 5, s(1)).len(), 5, "clients notice nothing");

    let report = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_updates-bridge"))
            .args(["shadow"])
            .args(args)
            .env("BRIDGE_ADMIN__TOKEN", "an admin token of some length")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = report(&["report", "--node", &bridge.admin]);
    assert_eq!(code, Some(4 + 8 + 16), "{text}");
    assert!(text.contains("differs at /content: 2 times"), "{text}");
    let (code, text) = report(&["records", "--node", &bridge.admin, "--class", "payload_mismatch", "--json"]);
    assert_eq!((code, text.lines().count()), (Some(0), 2), "{text}");
    let logs: Vec<_> = std::fs::read_dir(bridge.state.path().join("shadow")).unwrap().flatten().collect();
    let log = logs.iter().find(|entry| entry.file_name().to_string_lossy().ends_with(".jsonl")).unwrap().path();
    let (code, _) = report(&["report", log.to_str().unwrap()]);
    assert_eq!(code, Some(4 + 8 + 16));
    let no_log = bridge.state.path().join("no.jsonl");
    for text in ["", "garbage\n", "{}\n"] {
        std::fs::write(&no_log, text).unwrap();
        for command in ["report", "records"] {
            assert_eq!(report(&[command, no_log.to_str().unwrap()]), (Some(2), String::new()), "{command} {text}");
        }
    }
    let (code, text) = report(&["records", "--since", "garbage", log.to_str().unwrap()]);
    assert_eq!((code, text.as_str()), (Some(2), ""));
    for text in [std::fs::read_to_string(&log).unwrap(), bridge.log()] {
        assert!(!text.contains("secret text") && !text.contains("altered"), "text of people");
    }
}

#[test]
fn a_sender_whose_posts_alternate_between_two_instances_makes_nothing_bad() {
    for (version, tag) in [(Version::November5, "old"), (Version::June, "new")] {
        // Updates come first, and POSTs overlap.
        let options = StandInOptions {
            version,
            answer_delay: 150..400,
            update_delay: 1..100,
            refuse_repeats: false,
            ..StandInOptions::default()
        };
        let world = World::shared(options);
        let (sender, reader) = (format!("sh_{tag}_sender"), format!("sh_{tag}_reader"));
        let dialog = world.chat3.add_dialog(&[&sender, &reader]);
        let bridges = [world.setup("shadow").start().ready(), world.setup("shadow").start().ready()];
        let mut js = Js::start();
        for (tab, user, bridge) in [("s", &sender, 0), ("r", &reader, 0), ("r2", &reader, 1)] {
            let tab = format!("{tag}_{tab}");
            js.sign_on(&tab, &bridges[bridge], user);
            js.join(&tab, &dialog);
        }
        std::thread::scope(|scope| {
            for turn in 0..30_usize {
                let (bridge, sender, dialog) = (&bridges[turn % 2], &sender, &dialog);
                scope.spawn(move || bridge.say(sender, dialog, &format!("message {turn}")));
                std::thread::sleep(s(1) / 20);
            }
        });
        for (bridge, users) in bridges.iter().zip([2, 1]) {
            let summary = eventually("closed", s(60), || {
                let summary = bridge.summary();
                let messages =
                    ["match", "missing_in_legacy_expected", "missing_in_legacy_unexpected", "indeterminate"];
                let closed: u64 = messages.iter().filter_map(|name| summary["classes"][name].as_u64()).sum();
                (closed >= 30 * users && summary["open"] == 0).then_some(summary)
            });
            assert_eq!(summary["classes"]["match"], 15 * users, "{tag}: {summary}");
            assert_eq!(
                summary["causes"]["missing_in_legacy_expected/posted_elsewhere"],
                15 * users,
                "{tag}: {summary}"
            );
            assert_eq!(summary["classes"]["missing_in_legacy_unexpected"], 0, "{tag}: {summary}");
        }
    }
}

#[test]
fn a_drill_finds_every_planted_fault() {
    let world = World::shared(StandInOptions::default());
    for stage in ["shadow", "live"] {
        let bridge = world.setup(stage).start().ready();
        let (status, report) = bridge.admin(reqwest::Method::POST, "/admin/drill", None);
        assert_eq!((status, &report["ok"]), (200, &json!(true)), "{stage}: {report:#}");
        let summary = bridge.summary();
        assert_eq!((&summary["opened"], &summary["drill"]["last"]["ok"]), (&json!(0), &json!(true)));
        assert_eq!(bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1, json!({"sessions": []}));
    }
}

#[test]
fn a_drill_runs_to_its_end_without_its_caller_alone_and_leaves_no_user() {
    let world = World::shared(StandInOptions::default());
    let bridge = world.setup("shadow").start().ready();
    let mut caller = std::net::TcpStream::connect(bridge.admin.trim_start_matches("http://")).unwrap();
    let token = "an admin token of some length";
    write!(
        caller,
        "POST /admin/drill HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    std::thread::sleep(s(1) / 3);
    // It hangs up.
    drop(caller);
    std::thread::sleep(s(1) / 3);
    let (status, refusal) = bridge.admin(reqwest::Method::POST, "/admin/drill", None);
    assert_eq!((status, &refusal["error"]), (409, &json!("drill_running")));
    let summary = eventually("the drill's end", s(10), || {
        let summary = bridge.summary();
        (!summary["drill"].is_null()).then_some(summary)
    });
    assert_eq!(summary["drill"]["last"]["ok"], true, "{summary}");
    assert_eq!(bridge.admin(reqwest::Method::GET, "/admin/sessions", None).1, json!({"sessions": []}));
    assert_eq!(bridge.admin(reqwest::Method::POST, "/admin/drill", None).0, 200);
}

#[test]
fn lines_of_a_log_that_can_not_be_read_are_counted_aloud() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("shadow-a.jsonl");
    let record = json!({"v": 1, "id": "1", "at": "2026-01-01T00:00:00.000Z", "instance": "a", "stage": "shadow",
        "class": "match", "cause": null, "modifiers": [], "tenant": "t", "user": "u", "dialog": "dlg_1",
        "event": "message.create", "message": "msg_1", "event_id": null,
        "legacy": {"at": "2026-01-01T00:00:00.000Z", "sockets": 1},
        "rabbitmq": {"at": "2026-01-01T00:00:00.000Z", "sockets": 1, "redelivered": false},
        "skew_ms": 0, "rules": [], "diff": [], "routing_key": null});
    let shadow = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_updates-bridge")).arg("shadow").args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let file = log.to_str().unwrap();
    for (text, unread) in [
        (format!("{record}\n\n"), 0),
        (format!("{record}\n{{\"v\":1,\"id\n{record}\n"), 1),
        (format!("garbage\n{{}}\n{record}\n{{\"v\":1"), 3),
    ] {
        std::fs::write(&log, &text).unwrap();
        for args in [vec!["report", file], vec!["records", file], vec!["diff", file, file]] {
            let (code, out, err) = shadow(&args);
            assert!(out.contains("match"), "{args:?}: {out}");
            assert_eq!(code, Some(i32::from(unread > 0)), "{args:?}: {err}");
            let said = format!("{unread} line");
            assert_eq!(err.contains(&said) && err.contains(file), unread > 0, "{args:?}: {err}");
        }
    }
}
