//! What a path means to whoever may read it. Proxies and backends ignore case, merge slashes, resolve dots, decode
//! escapes, drop parameters, in any order: a path is taken for createMessage when any of them could take it for that.

use std::collections::HashSet;

use bridge_core::DialogId;
use percent_encoding::percent_decode;

/// A path with more readings than this is nobody's.
const READINGS: usize = 512;
/// Longest path that is read in every way, in bytes.
const LONGEST: usize = 4_096;

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// createMessage.
    Message {
        /// `None`: it can't be one, or the readings name several.
        route: Option<Route>,
        /// Every reading is below `/api/`: with another method it may be the backend's.
        inside: bool,
    },
    /// Something below `/api/` in every reading.
    Api,
    /// Anything else, also what is only sometimes below `/api/`.
    Outside,
}

/// createMessage of one dialog.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) dialog: DialogId,
    /// By which of its two names it was called.
    alias: bool,
}

impl Route {
    /// Its usual spelling.
    pub(super) fn path(&self) -> String {
        let Self { dialog, alias } = self;
        if *alias { format!("/api/dialog/{dialog}/messages") } else { format!("/api/messages/dialog/{dialog}") }
    }
}

impl Target {
    /// Reads the path of a request target, as it was sent.
    pub(super) fn of(path: &str) -> Self {
        let Some(readings) = readings(path.as_bytes()) else { return Self::Outside };
        let mut found = false;
        let mut routes = HashSet::new();
        for (id, alias) in readings.iter().filter_map(|reading| dialog(reading)) {
            found = true;
            let dialog = std::str::from_utf8(id).ok().and_then(|id| DialogId::new(id).ok());
            routes.extend(dialog.map(|dialog| Route { dialog, alias }));
        }
        let inside = path.starts_with("/api/") && readings.iter().all(|reading| is_inside(reading));
        if found {
            let mut routes = routes.into_iter();
            return Self::Message { route: routes.next().filter(|_| routes.next().is_none()), inside };
        }
        if inside { Self::Api } else { Self::Outside }
    }
}

/// Everything that one reader after the other can make of `path`; `None` when that is too much.
fn readings(path: &[u8]) -> Option<HashSet<Vec<u8>>> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'~');
    let mut readings = HashSet::from([path.to_vec()]);
    if path.iter().all(plain) && !path.windows(2).any(|pair| pair == b"//") {
        return Some(readings);
    }
    if path.len() > LONGEST {
        return None;
    }
    let mut unread = vec![path.to_vec()];
    while let Some(reading) = unread.pop() {
        for reader in [
            decoded,
            letters_decoded,
            slashes_turned,
            slashes_merged,
            dots_resolved,
            cut,
            ends_trimmed,
            parameters_cut,
        ] {
            let other = reader(&reading);
            if !readings.contains(&other) {
                if readings.len() >= READINGS {
                    return None;
                }
                readings.insert(other.clone());
                unread.push(other);
            }
        }
    }
    Some(readings)
}

/// Every escape once.
fn decoded(path: &[u8]) -> Vec<u8> {
    percent_decode(path).collect()
}

/// Only the escapes that never need to be (RFC 3986, 2.3): what a URL parser makes alike.
fn letters_decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let escape = rest.get(..3).filter(|_| first == b'%').map(decoded);
        match escape.as_deref() {
            Some(&[byte]) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(byte);
                rest = &rest[3..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

/// As URL parsers of browsers and Node do: a backslash is a slash, and line breaks are not there.
fn slashes_turned(path: &[u8]) -> Vec<u8> {
    let kept = path.iter().filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n'));
    kept.map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect()
}

fn slashes_merged(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|next, before| *next == b'/' && *before == b'/');
    out
}

/// Dot segments, as RFC 3986, 5.2.4 resolves them: an empty segment is a segment.
fn dots_resolved(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." if out.len() > 1 => {
                out.pop();
            }
            b".." => {}
            other => {
                out.push(other);
                continue;
            }
        }
        if last {
            out.push(b"");
        }
    }
    out.join(&b'/')
}

/// What stands before a query, a fragment or the end of a C string.
fn cut(path: &[u8]) -> Vec<u8> {
    path.split(|byte| matches!(byte, b'?' | b'#' | 0)).next().unwrap_or_default().to_vec()
}

/// Without spaces and control characters at its end, as URL parsers of browsers and Node read what was decoded before.
fn ends_trimmed(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|&byte| byte > b' ').map_or(0, |last| last + 1);
    path[..end].to_vec()
}

/// Without the parameters of each segment.
fn parameters_cut(path: &[u8]) -> Vec<u8> {
    let bare = |segment: &[u8]| segment.split(|&byte| byte == b';').next().unwrap_or_default().to_vec();
    path.split(|&byte| byte == b'/').map(bare).collect::<Vec<_>>().join(&b'/')
}

fn is_inside(reading: &[u8]) -> bool {
    reading.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"/api/"))
}

/// The dialog, where a reading is createMessage in any case and with any slashes at its end, and whether by its alias.
fn dialog(reading: &[u8]) -> Option<(&[u8], bool)> {
    let end = reading.iter().rposition(|&byte| byte != b'/')?;
    let segments: Vec<&[u8]> = reading[..=end].split(|&byte| byte == b'/').collect();
    let is = |segment: &[u8], name: &[u8]| segment.eq_ignore_ascii_case(name);
    match segments[..] {
        [b"", api, messages, dialog, id]
            if is(api, b"api") && is(messages, b"messages") && is(dialog, b"dialog") =>
        {
            Some((id, false))
        }
        [b"", api, dialog, id, messages]
            if is(api, b"api") && is(dialog, b"dialog") && is(messages, b"messages") =>
        {
            Some((id, true))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
