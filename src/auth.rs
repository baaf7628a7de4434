//! Who a client is.

mod claims;
mod jwks;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use bridge_core::UserId;
use bridge_core::update::repair;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::Value;
use serde_json::value::RawValue;

use self::claims::Claims;
use self::jwks::{Issuer, Set};
use self::keys::Key;
use crate::config::{Auth, AuthMode};

/// Somebody whose token was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// Display name.
    pub name: Option<Arc<str>>,
    /// When the token is believed no more; `None` in trusted mode.
    pub expires: Option<SystemTime>,
}

/// Why a token was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Malformed, forged, expired, not valid yet, of another algorithm, key, issuer, audience or tenant, or with a
    /// header that is not understood.
    #[error("Invalid token")]
    Invalid,
    /// Genuine, but its user id can't be one.
    #[error("invalid user id")]
    UserId,
    /// It names a key that is not known, and the issuer, who might know it, can't be asked.
    #[error("Tokens can't be checked at the moment")]
    Unavailable,
}

/// What says the time.
pub type Wall = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Verifies tokens.
pub struct Authenticator {
    mode: AuthMode,
    rules: ArcSwap<Rules>,
    wall: Wall,
}

/// What follows from the settings.
struct Rules {
    claims: Claims,
    /// Secrets and public keys.
    keys: Vec<Key>,
    algorithms: Vec<Algorithm>,
    issuer: Option<Arc<Issuer>>,
}

/// The token of `Authorization: Bearer …`, whose scheme is spelled in any case (RFC 9110 §11.1).
#[must_use]
pub fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Authenticator {
    /// An authenticator for `settings` of `tenant`, by the system's time. Where the issuer publishes its keys, it is
    /// asked for them at once.
    ///
    /// # Errors
    /// What is wrong with a key.
    pub fn new(settings: &Auth, tenant: &str) -> Result<Self, String> {
        Self::at(settings, tenant, Arc::new(SystemTime::now))
    }

    /// The same by another clock.
    ///
    /// # Errors
    /// What is wrong with a key.
    pub fn at(settings: &Auth, tenant: &str, wall: Wall) -> Result<Self, String> {
        let rules = Rules::new(settings, tenant, None)?;
        Ok(Self { mode: settings.mode, rules: ArcSwap::from_pointee(rules), wall })
    }

    /// Takes other keys, issuers, audiences and claims from now on.
    ///
    /// # Errors
    /// What is wrong with a key; then everything stays.
    pub fn reload(&self, settings: &Auth, tenant: &str) -> Result<(), String> {
        let former = self.rules.load().issuer.clone();
        self.rules.store(Arc::new(Rules::new(settings, tenant, former)?));
        Ok(())
    }

    /// Whether clients say who they are.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.mode == AuthMode::Trusted
    }

    /// This moment, by which tokens are judged.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.wall)()
    }

    /// Verifies a token. It waits, a bounded time, where it names a key that only the issuer may know.
    ///
    /// # Errors
    /// [`AuthError`] when it is not to be believed.
    pub async fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let rules = self.rules.load_full();
        let header = decode_header(token).map_err(|_| AuthError::Invalid)?;
        if !is_understood(&header) {
            return Err(AuthError::Invalid);
        }
        let algorithm = Some(header.alg).filter(|algorithm| rules.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(AuthError::Invalid)?;
        let kid = header.kid.as_deref();
        let own = rules.keys.iter().find_map(|key| key.claims(token, algorithm));
        let claims = match (own, &rules.issuer) {
            (Some(claims), _) => claims,
            (None, Some(issuer)) if !keys::is_secret(algorithm) => {
                let find = |set: &Set| set.candidates(kid).find_map(|key| key.claims(token, algorithm));
                issuer.search(kid, algorithm, find).await?
            }
            (None, _) => return Err(AuthError::Invalid),
        };
        rules.claims.read(&claims, self.now())
    }
}

impl Rules {
    fn new(settings: &Auth, tenant: &str, former: Option<Arc<Issuer>>) -> Result<Self, String> {
        let algorithms = keys::algorithms(settings);
        let issuer = match former.filter(|issuer| issuer.is_of(settings)) {
            Some(issuer) => Some(issuer),
            None if settings.jwks_url.is_empty() || settings.mode == AuthMode::Trusted => None,
            None => Some(Issuer::new(settings)?),
        };
        Ok(Self { claims: Claims::new(settings, tenant), keys: keys::of(settings)?, algorithms, issuer })
    }
}

/// Whoever lists a header as critical wants a token refused by those who do not know it (RFC 7515, 4.1.11); an
/// unencoded payload (RFC 7797) is signed otherwise than it looks.
fn is_understood(header: &Header) -> bool {
    header.crit.is_none() && header.extras.inner().get("b64").is_none_or(|encoded| *encoded == Value::Bool(true))
}

/// The claims of a token that `key` signed by `algorithm`; what is in them is not judged.
fn signed(token: &str, key: &jsonwebtoken::DecodingKey, algorithm: Algorithm) -> Option<Value> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    // Claims are read as text first: what nobody needs of them may be of any form.
    let token = decode::<Box<RawValue>>(token, key, &validation).ok()?;
    // JavaScript can sign half a surrogate pair.
    serde_json::from_str(&repair(token.claims.get())).ok()
}
