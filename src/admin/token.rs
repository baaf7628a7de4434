//! Who calls the admin side, and what they may do.

use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::config::{self, AdminRole};
use crate::flag::{Actor, ChangeRequest};

/// Tokens that may call.
pub struct Tokens(Vec<Token>);

/// Hashes are compared, so that the time it takes tells nothing of a token.
struct Token {
    hash: [u8; 32],
    caller: Caller,
}

/// Who made a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The token's name; `None` for `admin.token`, and where none is needed.
    name: Option<Arc<str>>,
    role: AdminRole,
}

impl Tokens {
    /// `admin.token`, `admin.tokens`, and `fleet.token` with which the fleet's instances ask. Without the first two,
    /// everybody may call.
    #[must_use]
    pub fn new(settings: &config::Admin, fleet: &str) -> Self {
        let of = |token: &str, name: Option<&str>, role| Token {
            hash: Sha256::digest(token).into(),
            caller: Caller { name: name.map(Into::into), role },
        };
        let is_open = settings.token.is_empty() && settings.tokens.is_empty();
        let unnamed = [settings.token.as_str(), fleet].into_iter().filter(|token| !token.is_empty() && !is_open);
        let unnamed = unnamed.map(|token| of(token, None, AdminRole::Operate));
        let named = settings.tokens.iter().map(|own| of(&own.token, Some(&own.name), own.role));
        Self(unnamed.chain(named).collect())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token `given` is. All are compared, whichever it is.
    pub(super) fn caller(&self, given: &str) -> Option<Caller> {
        if self.is_empty() {
            return Some(Caller { name: None, role: AdminRole::Operate });
        }
        let hash: [u8; 32] = Sha256::digest(given).into();
        let own = self.0.iter().fold(None, |found, token| if token.hash == hash { Some(token) } else { found });
        own.map(|token| token.caller.clone())
    }
}

impl Caller {
    pub(super) fn may(&self, method: &Method) -> bool {
        self.role == AdminRole::Operate || method == Method::GET || method == Method::HEAD
    }

    /// Who the audit notes, where the call says that it is of `named`, and for `whom`.
    pub(super) fn by(&self, named: String, whom: String) -> By {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        match &self.name {
            Some(name) => By { name: name.to_string(), on_behalf_of: some(named) },
            None => By { name: some(named).unwrap_or_else(|| "unknown".into()), on_behalf_of: some(whom) },
        }
    }

    /// A change that this caller asks for.
    pub(super) fn makes(&self, request: ChangeRequest) -> ChangeRequest {
        match &self.name {
            Some(name) => request.by_token(name),
            None => request,
        }
    }

    /// Puts the name of this caller into the body of a call that goes on to other instances.
    pub(super) fn signs(&self, body: &mut Map<String, Value>) {
        if let (Some(name), Some(actor)) = (&self.name, body.get_mut("actor").filter(|actor| actor.is_string())) {
            let named = std::mem::replace(actor, Value::from(&**name));
            body.insert("on_behalf_of".into(), named);
        }
    }
}

/// Who the audit notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct By {
    name: String,
    on_behalf_of: Option<String>,
}

impl By {
    pub(super) fn actor(&self) -> Actor<'_> {
        Actor { name: &self.name, on_behalf_of: self.on_behalf_of.as_deref() }
    }
}
