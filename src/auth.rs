//! Who a client is.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_core::UserId;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

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
    /// Malformed, forged, expired, or of another algorithm.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    user_id: Option<String>,
    sub: Option<String>,
    #[serde(default)]
    name: serde_json::Value,
    /// A NumericDate, which may have a fraction (RFC 7519 §2).
    exp: f64,
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
        validation.validate_aud = false;
        let key = DecodingKey::from_secret(settings.jwt_secret.as_bytes());
        Self { mode: settings.mode, key, validation }
    }

    /// Whether clients say who they are.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.mode == AuthMode::Trusted
    }

    /// Verifies an HS256 token; user id from claim `userId`, else `sub`; `exp` is required.
    ///
    /// # Errors
    /// [`AuthError`] when it is not to be believed.
    pub fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let claims = decode::<Claims>(token, &self.key, &self.validation).map_err(|_| AuthError::Invalid)?.claims;
        let user = claims.user_id.or(claims.sub).ok_or(AuthError::Invalid)?;
        let user = UserId::new(&user).map_err(|_| AuthError::UserId)?;
        if claims.exp <= 0.0 {
            return Err(AuthError::Invalid);
        }
        // A time that the system can't hold is as good as none: it never comes.
        let expires = Duration::try_from_secs_f64(claims.exp).ok().and_then(|end| UNIX_EPOCH.checked_add(end));
        Ok(Identity { user, name: claims.name.as_str().map(Into::into), expires })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

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

    #[test]
    fn other_secrets_and_algorithms_are_refused() {
        let claims = json!({"sub": "a", "exp": LATER});
        assert!(authenticator().verify(&token(Algorithm::HS256, "other", &claims)).is_err());
        assert!(authenticator().verify(&token(Algorithm::HS512, "secret", &claims)).is_err());
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjo0MDAwMDAwMDAwfQ.";
        assert!(authenticator().verify(none).is_err());
        assert!(authenticator().verify("").is_err());
    }
}
