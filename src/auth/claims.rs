//! What a genuine token says, and whether it holds now and here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_core::UserId;
use serde_json::Value;

use super::{AuthError, Identity};
use crate::config::Auth;

/// Which claims are looked at, and what they have to say.
pub(super) struct Claims {
    user: Vec<String>,
    name: String,
    tenant: Option<(String, String)>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    leeway: Duration,
}

impl Claims {
    pub(super) fn new(settings: &Auth, tenant: &str) -> Self {
        let claim = Some(settings.tenant_claim.clone()).filter(|claim| !claim.is_empty());
        Self {
            user: settings.user_claims.clone(),
            name: settings.name_claim.clone(),
            tenant: claim.map(|claim| (claim, tenant.to_owned())),
            issuers: settings.issuer.clone(),
            audiences: settings.audience.clone(),
            leeway: settings.leeway,
        }
    }

    /// Who the token is of, at `now`.
    pub(super) fn read(&self, claims: &Value, now: SystemTime) -> Result<Identity, AuthError> {
        // A NumericDate, which may have a fraction (RFC 7519, 2).
        let end = claims.get("exp").and_then(Value::as_f64).filter(|end| *end > 0.0).ok_or(AuthError::Invalid)?;
        // A time that the system can't hold is as good as none: it never comes.
        let expires = moment(end).and_then(|end| end.checked_add(self.leeway));
        if expires.is_some_and(|end| now >= end) {
            return Err(AuthError::Invalid);
        }
        if let Some(begin) = claims.get("nbf") {
            let begin = begin.as_f64().ok_or(AuthError::Invalid)?;
            let begins = begin <= 0.0 || moment(begin).is_some_and(|begin| begin <= now + self.leeway);
            if !begins {
                return Err(AuthError::Invalid);
            }
        }
        let is_one_of = |value: Option<&Value>, list: &[String]| {
            value.and_then(Value::as_str).is_some_and(|value| list.iter().any(|one| one == value))
        };
        if !self.issuers.is_empty() && !is_one_of(claims.get("iss"), &self.issuers) {
            return Err(AuthError::Invalid);
        }
        if !self.audiences.is_empty() {
            let meant = match claims.get("aud") {
                Some(Value::Array(several)) => several.iter().any(|one| is_one_of(Some(one), &self.audiences)),
                one => is_one_of(one, &self.audiences),
            };
            if !meant {
                return Err(AuthError::Invalid);
            }
        }
        if let Some((claim, tenant)) = &self.tenant
            && claims.get(claim).and_then(Value::as_str) != Some(tenant)
        {
            return Err(AuthError::Invalid);
        }
        let name = claims.get(&self.name).and_then(Value::as_str).map(Into::into);
        Ok(Identity { user: self.user(claims)?, name, expires })
    }

    /// The first claim that is there names the user.
    fn user(&self, claims: &Value) -> Result<UserId, AuthError> {
        for claim in &self.user {
            match claims.get(claim) {
                None | Some(Value::Null) => {}
                Some(Value::String(user)) => return UserId::new(user).map_err(|_| AuthError::UserId),
                Some(_) => return Err(AuthError::Invalid),
            }
        }
        Err(AuthError::Invalid)
    }
}

fn moment(seconds: f64) -> Option<SystemTime> {
    Duration::try_from_secs_f64(seconds).ok().and_then(|since| UNIX_EPOCH.checked_add(since))
}
