//! Resume tokens. Each says until when its client had everything, also where nothing else is known of it any more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_core::Millis;

/// Bytes that nobody guesses, and bytes of the time in ms.
const SECRET: usize = 18;
const TIME: usize = 6;

/// A token for a client that had everything until `whole`.
pub(super) fn new(whole: Millis) -> String {
    let mut bytes = [0; SECRET + TIME];
    bytes[..SECRET].copy_from_slice(&rand::random::<[u8; SECRET]>());
    bytes[SECRET..].copy_from_slice(&whole.0.to_be_bytes()[8 - TIME..]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Until when the client of `token` had everything, if that was before `now`. What a client made up itself concerns nobody else.
pub(super) fn whole_until(token: &str, now: Millis) -> Option<Millis> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == SECRET + TIME)?;
    let ms = bytes[SECRET..].iter().fold(0, |ms, byte| (ms << 8) | u64::from(*byte));
    (ms > 0 && ms <= now.0).then_some(Millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_until_when_its_client_had_everything_and_anything_else_says_nothing() {
        let at = Millis(1_764_000_000_123);
        let token = new(at);
        assert_eq!((whole_until(&token, at), token.len()), (Some(at), 32));
        assert_ne!(token, new(at));
        assert_eq!(whole_until(&token, Millis(at.0 - 1)), None);
        for other in ["", "x", &token[1..], "not/base64", &"A".repeat(32)] {
            assert_eq!(whole_until(other, at), None, "{other}");
        }
    }
}
