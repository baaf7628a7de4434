//! Resume tokens. Each says when it was given: then its client had everything, also where nothing else is known of it any
//! more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_core::Millis;

/// Bytes that nobody guesses, and bytes of the time in ms.
const SECRET: usize = 18;
const TIME: usize = 6;

/// A token given at `now`.
pub(super) fn new(now: Millis) -> String {
    let mut bytes = [0; SECRET + TIME];
    bytes[..SECRET].copy_from_slice(&rand::random::<[u8; SECRET]>());
    bytes[SECRET..].copy_from_slice(&now.0.to_be_bytes()[8 - TIME..]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// When `token` was given, if it was given before `now`. What a client made up itself concerns nobody else.
pub(super) fn given_at(token: &str, now: Millis) -> Option<Millis> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == SECRET + TIME)?;
    let ms = bytes[SECRET..].iter().fold(0, |ms, byte| (ms << 8) | u64::from(*byte));
    (ms > 0 && ms <= now.0).then_some(Millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_when_it_was_given_and_anything_else_says_nothing() {
        let at = Millis(1_764_000_000_123);
        let token = new(at);
        assert_eq!((given_at(&token, at), token.len()), (Some(at), 32));
        assert_ne!(token, new(at));
        assert_eq!(given_at(&token, Millis(at.0 - 1)), None);
        for other in ["", "x", &token[1..], "not/base64", &"A".repeat(32)] {
            assert_eq!(given_at(other, at), None, "{other}");
        }
    }
}
