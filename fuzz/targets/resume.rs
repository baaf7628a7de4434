//! Resume tokens as clients send them: what was not given here says nothing, what was says until when all was well.
#![no_main]

use bridge_core::Millis;
use libfuzzer_sys::fuzz_target;

#[path = "../../src/delivery/token.rs"]
mod token;

fuzz_target!(|input: &[u8]| {
    let Some((time, text)) = input.split_first_chunk::<8>() else { return };
    let now = Millis(u64::from_be_bytes(*time) >> 16);
    if let Ok(text) = std::str::from_utf8(text)
        && let Some(at) = token::whole_until(text, now)
    {
        assert!(at.0 > 0 && at <= now, "never later than now: nothing would be covered");
        assert_eq!(text.len(), 32);
    }
    if now.0 > 0 {
        let own = token::new(now);
        assert_eq!(token::whole_until(&own, now), Some(now));
        for end in 0..own.len() {
            assert_eq!(token::whole_until(&own[..end], now), None, "half a token is none");
        }
    }
});
