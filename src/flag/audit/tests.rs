use super::chain::genesis;
use super::*;

fn open(dir: &Path) -> Audit {
    Audit::open(dir, None)
}

fn entries(audit: &Audit) -> Vec<Value> {
    audit.reading().take().0
}

fn found(audit: &Audit) -> (bool, Option<usize>) {
    let found = audit.reading().take().1;
    (found.ok, found.line)
}

fn entry(reason: &str) -> AuditEntry {
    AuditEntry {
        at: "2026-01-01T00:00:00.000Z".into(),
        actor: "ops".into(),
        on_behalf_of: None,
        reason: reason.into(),
        source: "admin".into(),
        from: Stage::Legacy,
        to: Stage::Shadow,
        rollout: Rollout::default(),
        forced: false,
        automatic: false,
        action: None,
        refused: None,
        evidence: Value::Null,
        duration_ms: 1,
    }
}

#[test]
fn a_line_that_was_changed_removed_or_added_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = open(dir.path());
    for reason in ["one", "two", "three"] {
        assert!(audit.append(&entry(reason)));
    }
    let audit = open(dir.path());
    assert!(verify(&entries(&audit)).ok);
    let path = dir.path().join("audit.jsonl");
    let good = std::fs::read_to_string(&path).unwrap();
    let line_of = |text: String| {
        std::fs::write(&path, text).unwrap();
        verify(&entries(&audit)).line
    };
    assert_eq!(line_of(good.replace("two", "TWO")), Some(2));
    let lines: Vec<&str> = good.lines().collect();
    assert_eq!(line_of([lines[0], lines[2]].join("\n")), Some(2));
    assert_eq!(line_of([lines[0], lines[1], "{", lines[2]].join("\n")), Some(3));
    assert_eq!(line_of([lines[1], lines[2]].join("\n")), Some(1));
    assert_eq!(line_of(good.clone()), None);
    let cut = |text: &str| {
        std::fs::write(&path, text).unwrap();
        found(&audit).1
    };
    assert_eq!(cut(&good), None);
    assert_eq!(cut(&good[..good.len() - lines[2].len() - 1]), Some(3));
    assert_eq!(cut(""), Some(1));
}

#[test]
fn a_torn_line_is_cut_off_and_a_broken_byte_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let mut audit = open(dir.path());
    assert!(audit.append(&entry("one")) && audit.append(&entry("two")));
    let whole = std::fs::read(&path).unwrap();
    for end in [whole.len() - 1, whole.len() - 20] {
        std::fs::write(&path, &whole[..end]).unwrap();
        let mut audit = open(dir.path());
        assert!(audit.append(&entry("three")));
        assert!(verify(&entries(&audit)).ok, "{end}");
    }
    let mut broken = whole.clone();
    broken[30] = 0xff;
    std::fs::write(&path, broken).unwrap();
    assert_eq!(found(&open(dir.path())), (false, Some(1)));
}

#[test]
fn the_chain_goes_on_after_a_restart_and_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("gone");
    let mut audit = open(&missing);
    assert!(!audit.append(&entry("waits")));
    assert_eq!(entries(&audit).len(), 1);
    std::fs::create_dir(&missing).unwrap();
    assert!(audit.flush());
    let mut audit = open(&missing);
    assert!(audit.append(&entry("after")));
    assert_eq!(verify(&entries(&audit)), Verification { ok: true, line: None, problem: None, lines: 2 });
}
#[test]
fn what_was_cut_off_or_removed_while_nobody_ran_is_named() {
    for kept in [2, 1, 0] {
        let dir = tempfile::tempdir().unwrap();
        let mut audit = open(dir.path());
        for reason in ["one", "two", "three"] {
            assert!(audit.append(&entry(reason)));
        }
        let path = dir.path().join("audit.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: String = text.lines().take(kept).map(|line| format!("{line}\n")).collect();
        if kept == 0 {
            std::fs::remove_file(&path).unwrap()
        } else {
            std::fs::write(&path, lines).unwrap()
        }
        let mut audit = Audit::open(dir.path(), Some(audit.head()));
        assert_eq!(found(&audit), (false, Some(kept + 1)), "{kept}");
        // What comes after it does not hide it.
        assert!(audit.append(&entry("after")));
        let audit = Audit::open(dir.path(), Some(audit.head()));
        assert_eq!(found(&audit), (false, Some(kept + 1)), "{kept}, gone on");
    }
}

#[test]
fn every_line_is_verified_however_many_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let (mut prev, mut text) = (genesis(), String::new());
    for _ in 0..SHOWN + 5 {
        let (line, hash) = seal(&entry("one of many"), &prev).unwrap();
        text.push_str(&line);
        text.push('\n');
        prev = hash;
    }
    std::fs::write(&path, text.replacen("one of many", "another", 1)).unwrap();
    let audit = open(dir.path());
    assert_eq!((entries(&audit).len(), found(&audit)), (SHOWN, (false, Some(1))));
}
