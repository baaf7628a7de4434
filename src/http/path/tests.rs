//! No reader between the client and a backend's router finds createMessage where the bridge does not.

use proptest::prelude::*;

use super::*;

fn dialog_of(path: &str) -> Option<String> {
    match Target::of(path) {
        Target::Message { route, .. } => route.map(|route| route.dialog.to_string()),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn spellings_of_the_route_are_the_route() {
    for path in [
        "/api/messages/dialog/dlg_A",
        "/api/dialog/dlg_A/messages",
        "/api/messages/dialog/dlg_A/",
        "/api/messages/dialog/dlg_A//",
        "/API/Messages/DIALOG/dlg_A",
        "/api/%64ialog/dlg_A/messages",
        "/api/messages/dialog/%64lg_A",
        "/api/messages/dialog/%2564lg_A",
        "//api/messages//dialog/dlg_A",
        "/api/./messages/dialog/dlg_A",
        "/api/x/../messages/dialog/dlg_A",
        "/api/x/%2e%2E/messages/dialog/dlg_A",
        "/x/../api/messages/dialog/dlg_A",
        "/api\\messages\\dialog\\dlg_A",
        "/api/x/..\\messages/dialog/dlg_A",
        "/api/messages%2Fdialog%2Fdlg_A",
        "/api/messages%252fdialog/dlg_A",
        "/api/messages;v=1/dialog/dlg_A;jsessionid=1",
        "/api/x/..;/messages/dialog/dlg_A",
        "/api/messages/dialog/dlg_A%3Fx=1",
        "/api/messages/dialog/dlg_A%23x",
        "/api/messages/dialog/dlg_A%00",
        "/api/mess%0aages/dialog/dlg_A",
        "/api/./messages/dialog/dlg_A%20",
        "/api/messages/dialog/dlg_A%20%09",
    ] {
        assert_eq!(dialog_of(path).as_deref(), Some("dlg_A"), "{path}");
    }
    for path in ["/api/messages/dialog/a%2Fb", "/api/messages/dialog/%ff", "/api/messages/dialog/a/..;/%2e"] {
        assert_eq!(dialog_of(path), None, "{path}");
    }
    for path in ["/api/messages/dialog/dlg_a", "/api/dialog/dlg_a/messages"] {
        let spelled = Target::of(&path.to_uppercase().replace("DLG_A", "dlg_a"));
        assert!(
            matches!(&spelled, Target::Message { route: Some(route), .. } if route.path() == path),
            "{spelled:?}"
        );
    }
    let outside = Target::of("/x/../api/messages/dialog/a");
    assert!(matches!(outside, Target::Message { inside: false, .. }), "{outside:?}");
}

#[test]
fn everything_else_is_the_backends_or_nobodys() {
    for path in [
        "/api/messages/dialog/dlg_a/read",
        "/api/messages/dialogs/dlg_a",
        "/api/dialogs/dlg_a/messages",
        "/api/messages/dialog",
        "/api/search/50%25",
        "/api/a%2Fb",
        "/api/a//b/../c;d=%20e",
    ] {
        assert_eq!(Target::of(path), Target::Api, "{path}");
    }
    for path in [
        "/",
        "",
        "/apis/x",
        "/API/users",
        "//api/users",
        "/api/../admin",
        "/api/%2e%2e/admin",
        "/api/..%2fadmin",
        "/api/%252e%252e/admin",
        "/api/..;/admin",
        "/api/..\\admin",
        "/api/x/..//../../admin",
    ] {
        assert_eq!(Target::of(path), Target::Outside, "{path}");
    }
    let long = format!("/api/{}", "%61".repeat(LONGEST));
    assert_eq!(Target::of(&long), Target::Outside);
    assert_eq!(Target::of(&format!("/api/{}", "a".repeat(LONGEST))), Target::Api);
}

/// Express 4 with its defaults: case does not matter, one slash at the end neither; the path is not decoded.
fn express(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let path = path.strip_suffix('/').unwrap_or(&path);
    let one = |text: &str| !text.is_empty() && !text.contains('/');
    path.strip_prefix("/api/messages/dialog/").is_some_and(one)
        || path.strip_prefix("/api/dialog/").and_then(|rest| rest.strip_suffix("/messages")).is_some_and(one)
}

/// nginx with `proxy_pass` to a URI: decodes once, merges slashes and resolves dots in one pass.
fn nginx(path: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let decoded = decoded.split(['?', '#', '\0']).next().unwrap_or_default().to_owned();
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let folder = ["/", "/.", "/.."].iter().any(|end| decoded.ends_with(end));
    let slash = if folder && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}", kept.join("/"))
}

/// A URL parser of the WHATWG's: `new URL(path, base).pathname`.
fn whatwg(path: &str) -> String {
    let base = url::Url::parse("http://backend/").unwrap();
    base.join(&format!("http://backend{path}")).map_or_else(|_| path.into(), |url| url.path().to_owned())
}

/// A servlet container: parameters go, then it decodes, then dots.
fn tomcat(path: &str) -> String {
    let bare: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    nginx(&bare.join("/"))
}

/// A spelling of one piece of the route.
fn spelling(text: &'static str) -> impl Strategy<Value = String> {
    let letter = (any::<bool>(), 0..6_u8);
    prop::collection::vec(letter, text.len()).prop_map(move |how| {
        let mut out = String::new();
        for (byte, (upper, escapes)) in text.bytes().zip(how) {
            let byte = if upper && byte != b'_' { byte.to_ascii_uppercase() } else { byte };
            match escapes {
                1 => out.push_str(&format!("%{byte:02x}")),
                2 => out.push_str(&format!("%25{byte:02X}")),
                _ => out.push(char::from(byte)),
            }
        }
        out
    })
}

fn separator() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "/",
        "/",
        "/",
        "//",
        "\\",
        "%2f",
        "%5C",
        "%252F",
        "/./",
        "/%2e/",
        "/x/../",
        "/x/%2E%2e/",
        "/x/..;y/",
        ";a=b/",
        "/x//../../",
        "/x//../",
        "/.%2e/",
        "\\..\\",
        "/x%2f..%2F",
    ])
}

fn end() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "/", "//", "/.", "/x/..", ";a", "%3f", "%23x", "%00", "%2F", "\\", "%20"])
}

fn route() -> impl Strategy<Value = String> {
    let names = |alias: bool| {
        if alias { ["api", "dialog", "dlg_a", "messages"] } else { ["api", "messages", "dialog", "dlg_a"] }
    };
    let separators = prop::collection::vec(separator(), 4);
    (any::<bool>(), separators, end()).prop_flat_map(move |(alias, separators, end)| {
        let [a, b, c, d] = names(alias).map(spelling);
        (a, b, c, d).prop_map(move |(a, b, c, d)| {
            let [w, x, y, z] = separators[..] else { unreachable!("four") };
            format!("{w}{a}{x}{b}{y}{c}{z}{d}{end}")
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn what_any_chain_of_readers_takes_for_the_route_is_never_the_backends(
        path in route(),
        chain in prop::collection::vec(0..4_u8, 0..4),
    ) {
        let seen = chain.iter().fold(path.clone(), |path, reader| match reader {
            0 => nginx(&path),
            1 => whatwg(&path),
            2 => tomcat(&path),
            _ => path.replace('\\', "/"),
        });
        if express(&seen) {
            prop_assert_ne!(Target::of(&path), Target::Api, "read as {}", seen);
        }
    }

    #[test]
    fn nothing_that_is_passed_leads_out(path in "/api(/|\\\\|%2f|;|\\.|%2e|\\.\\.|%252e|a){0,12}") {
        if Target::of(&path) == Target::Api {
            for read in [nginx(&path), whatwg(&path), tomcat(&path), nginx(&nginx(&path)), whatwg(&nginx(&path))] {
                prop_assert!(read.starts_with("/api/"), "{} as {}", path, read);
            }
        }
    }
}
