//! Lone surrogates: Chat3 cuts text with JavaScript's `substring`, which can halve an emoji. The wire then holds an
//! escape such as `\ud83d` that is no character, and a strict reader refuses the whole body.

use std::borrow::Cow;

const REPLACEMENT: &str = "\\ufffd";

/// `json` with every escape of half a surrogate pair replaced by that of U+FFFD; everything else stays byte for byte.
#[must_use]
pub fn repair(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut repaired = String::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(step) = json[at..].find('\\') {
        let start = at + step;
        at = match unit(bytes, start) {
            None => end_of_escape(json, start),
            Some(0xD800..=0xDBFF) if matches!(unit(bytes, start + 6), Some(0xDC00..=0xDFFF)) => start + 12,
            Some(0xD800..=0xDFFF) => {
                repaired.push_str(&json[kept..start]);
                repaired.push_str(REPLACEMENT);
                kept = start + 6;
                kept
            }
            Some(_) => start + 6,
        };
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    repaired.push_str(&json[kept..]);
    Cow::Owned(repaired)
}

/// The UTF-16 unit that is escaped at `at`, if an escape of one is there.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    if !escape.starts_with(b"\\u") || !escape[2..].iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
}

/// Behind the backslash and the character it escapes, which may be of several bytes where the text is no JSON.
fn end_of_escape(json: &str, start: usize) -> usize {
    let escaped = json[start + 1..].chars().next().map_or(0, char::len_utf8);
    start + 1 + escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_halves_are_replaced() {
        for (from, to) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uDE00x""#, r#""\ufffdx""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\u00e9\n\"""#, r#""\u00e9\n\"""#),
            (r#"{"\ud83d":1}"#, r#"{"\ufffd":1}"#),
            ("\\", "\\"),
            ("\\é", "\\é"),
            ("\"\\ud8", "\"\\ud8"),
        ] {
            assert_eq!(repair(from), to, "{from}");
        }
    }

    /// JavaScript's view: UTF-16 units, decoded with replacement.
    fn reference(units: &[u16]) -> String {
        String::from_utf16_lossy(units)
    }

    proptest! {
        #[test]
        fn repaired_text_reads_as_its_lossy_utf16(units in proptest::collection::vec(any::<u16>(), 0..40)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = format!("\"{escaped}\"");
            let repaired = repair(&json);
            let read: String = serde_json::from_str(&repaired).unwrap();
            prop_assert_eq!(read, reference(&units));
        }

        #[test]
        fn it_never_panics_and_keeps_what_is_readable(text in ".*", json in any::<Vec<u8>>()) {
            let good = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(repair(&good), good.as_str());
            let any = String::from_utf8_lossy(&json);
            let _ = repair(&any);
        }
    }
}
