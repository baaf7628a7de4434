//! Who a client is.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_core::UserId;
use bridge_core::update::repair;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::{Auth, AuthMode};

/// Somebody whose token was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// Display name.
    pub name: Option<Arc<str>>,
    /// When the token ends; `None` in trusted mode.
    pub expires: Option<SystemTime>,
}

/// Why a token was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Malformed, forged, expired, not valid yet, of another algorithm, or with a header that is not understood.
    #[error("Invalid token")]
    Invalid,
    /// Genuine, but its user id can't be one.
    #[error("invalid user id")]
    UserId,
}

/// Verifies tokens.
pub struct Authenticator {
    mode: AuthMode,
    key: DecodingKey,
    validation: Validation,
}

/// The token of `Authorization: Bearer …`, whose scheme is spelled in any case (RFC 9110 §11.1).
#[must_use]
pub fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Authenticator {
    /// An authenticator for `settings`.
    #[must_use]
    pub fn new(settings: &Auth) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        let key = DecodingKey::from_secret(settings.jwt_secret.as_bytes());
        Self { mode: settings.mode, key, validation }
    }

    /// Whether clients say who they are.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.mode == AuthMode::Trusted
    }

    /// Verifies an HS256 token; user id from claim `userId`, else `sub`; `exp` is required, `nbf` is kept.
    ///
    /// # Errors
    /// [`AuthError`] when it is not to be believed.
    pub fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        // Claims are read as text first: what nobody needs of them may be of any form.
        let token = decode::<Box<RawValue>>(token, &self.key, &self.validation);
        let token = token.map_err(|_| AuthError::Invalid)?;
        if !is_understood(&token.header) {
            return Err(AuthError::Invalid);
        }
        // JavaScript can sign half a surrogate pair.
        let claims: Value = serde_json::from_str(&repair(token.claims.get())).map_err(|_| AuthError::Invalid)?;
        identity(&claims)
    }
}

/// Whoever lists a header as critical wants a token refused by those who do not know it (RFC 7515, 4.1.11); an
/// unencoded payload (RFC 7797) is signed otherwise than it looks.
fn is_understood(header: &Header) -> bool {
    header.crit.is_none() && header.extras.inner().get("b64").is_none_or(|encoded| *encoded == Value::Bool(true))
}

fn identity(claims: &Value) -> Result<Identity, AuthError> {
    let user = match claims.get("userId") {
        Some(Value::String(user)) => user,
        None | Some(Value::Null) => claims.get("sub").and_then(Value::as_str).ok_or(AuthError::Invalid)?,
        Some(_) => return Err(AuthError::Invalid),
    };
    let user = UserId::new(user).map_err(|_| AuthError::UserId)?;
    // A NumericDate, which may have a fraction (RFC 7519, 2).
    let expires = claims.get("exp").and_then(Value::as_f64).filter(|end| *end > 0.0).ok_or(AuthError::Invalid)?;
    // A time that the system can't hold is as good as none: it never comes.
    let expires = Duration::try_from_secs_f64(expires).ok().and_then(|end| UNIX_EPOCH.checked_add(end));
    Ok(Identity { user, name: claims.get("name").and_then(Value::as_str).map(Into::into), expires })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::crypto::sign;
    use jsonwebtoken::{EncodingKey, encode};
    use serde_json::json;

    use super::*;

    const LATER: u64 = 4_000_000_000;

    fn token(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn authenticator() -> Authenticator {
        Authenticator::new(&Auth { jwt_secret: "secret".into(), ..Auth::default() })
    }

    #[test]
    fn user_id_comes_from_its_claim_or_the_subject() {
        let verify = |claims: &Value| authenticator().verify(&token(Algorithm::HS256, "secret", claims));
        let both =
            verify(&json!({"userId": "usr_a", "sub": "x", "name": "Anna", "exp": LATER, "aud": "y"})).unwrap();
        assert_eq!((both.user.as_str(), both.name.as_deref()), ("usr_a", Some("Anna")));
        assert_eq!(verify(&json!({"sub": "usr_b", "exp": LATER})).unwrap().user.as_str(), "usr_b");
        assert_eq!(verify(&json!({"sub": "a.b", "exp": LATER})), Err(AuthError::UserId));
        assert_eq!(verify(&json!({"exp": LATER})), Err(AuthError::Invalid));
        assert_eq!(verify(&json!({"sub": "a"})), Err(AuthError::Invalid), "without end");
        assert_eq!(verify(&json!({"sub": "a", "exp": 1})), Err(AuthError::Invalid), "ended");
        assert_eq!(verify(&json!({"sub": "a", "exp": -1})), Err(AuthError::Invalid));
        let odd = verify(&json!({"sub": "a", "exp": 4_000_000_000.5, "name": 7})).unwrap();
        assert_eq!(odd.name, None);
        assert_eq!(odd.expires, UNIX_EPOCH.checked_add(Duration::from_millis(4_000_000_000_500)));
    }

    /// A token of these very texts, signed with HMAC.
    fn signed(header: &str, claims: &str, algorithm: Algorithm, secret: &[u8]) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = sign(text.as_bytes(), &EncodingKey::from_secret(secret), algorithm).unwrap();
        format!("{text}.{signature}")
    }

    #[test]
    fn nothing_but_a_genuine_token_of_now_is_believed() {
        const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
        const GOOD: &str = r#"{"userId":"usr_a","exp":4000000000}"#;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let verify = |header: &str, claims: &str| {
            let algorithm = if header.contains("HS512") { Algorithm::HS512 } else { Algorithm::HS256 };
            authenticator().verify(&signed(header, claims, algorithm, b"secret"))
        };
        assert!(verify(HS256, GOOD).is_ok());
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"EdDSA"}"#,
            r#"{"typ":"JWT"}"#,
            r#"{"alg":"HS256","crit":["x"],"x":1}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"HS256","b64":false}"#,
            r#"{"alg":"HS256","b64":"false"}"#,
            "[]",
            "",
        ] {
            assert_eq!(verify(header, GOOD), Err(AuthError::Invalid), "{header}");
        }
        for claims in [
            r#"{"userId":"usr_a"}"#.to_owned(),
            r#"{"exp":4000000000}"#.to_owned(),
            r#"{"userId":"usr_a","exp":"4000000000"}"#.to_owned(),
            r#"{"userId":"usr_a","exp":null}"#.to_owned(),
            r#"{"userId":7,"sub":"usr_a","exp":4000000000}"#.to_owned(),
            r#"{"sub":7,"exp":4000000000}"#.to_owned(),
            r#"{"userId":"usr_a","exp":4000000000,"nbf":"soon"}"#.to_owned(),
            format!(r#"{{"userId":"usr_a","exp":{}}}"#, now - 1),
            format!(r#"{{"userId":"usr_a","exp":4000000000,"nbf":{}}}"#, now + 60),
            format!(r#"{{"userId":"usr_a","exp":4000000000,"nbf":{}.5}}"#, now + 60),
            "[]".to_owned(),
            "5".to_owned(),
            String::new(),
        ] {
            assert_eq!(verify(HS256, &claims), Err(AuthError::Invalid), "{claims}");
        }
        let good = signed(HS256, GOOD, Algorithm::HS256, b"secret");
        let (text, signature) = good.rsplit_once('.').unwrap();
        for token in [
            signed(HS256, GOOD, Algorithm::HS256, b"another"),
            signed(HS256, GOOD, Algorithm::HS256, b""),
            format!("{text}."),
            text.to_owned(),
            format!("{text}.{signature}x"),
            format!("{good}."),
            format!("{good}.{signature}"),
            format!("{good}="),
            String::new(),
        ] {
            assert_eq!(authenticator().verify(&token), Err(AuthError::Invalid), "{token}");
        }
    }

    #[test]
    fn claims_that_nobody_needs_refuse_nobody() {
        let claims = format!(
            r#"{{"userId":"usr_a","sub":7,"exp":4000000000,"nbf":{},"name":"Anna \ud83d","aud":["x"],"odd":"\ud83d"}}"#,
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 1
        );
        let token = signed(r#"{"alg":"HS256","b64":true,"kid":"1"}"#, &claims, Algorithm::HS256, b"secret");
        let identity = authenticator().verify(&token).unwrap();
        assert_eq!((identity.user.as_str(), identity.name.as_deref()), ("usr_a", Some("Anna \u{fffd}")));
        let token = signed(
            r#"{"alg":"HS256"}"#,
            r#"{"userId":null,"sub":"usr_b","exp":4e9}"#,
            Algorithm::HS256,
            b"secret",
        );
        assert_eq!(authenticator().verify(&token).unwrap().user.as_str(), "usr_b");
    }
}
