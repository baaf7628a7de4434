//! Settings of who may do what: clients, members of dialogs, and who operates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `auth.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How a client proves who it is.
    pub mode: AuthMode,
    /// Secret of HMAC signatures.
    pub jwt_secret: String,
    /// Further secrets that are believed: the former or the next one, while it is replaced.
    pub jwt_secrets: Vec<String>,
    /// PEM files of public keys, each with one or more.
    pub public_keys: Vec<PathBuf>,
    /// Where the issuer publishes its keys; empty: nowhere.
    pub jwks_url: String,
    /// Age at which the issuer's keys are asked for anew, while the old ones go on.
    #[serde(with = "humantime_serde")]
    pub jwks_refresh: Duration,
    /// The issuer is asked no more often than this, whatever keys tokens name.
    #[serde(with = "humantime_serde")]
    pub jwks_interval: Duration,
    /// Algorithms that are believed; empty: HS256 for secrets, and all that fit the kind of a public key.
    pub algorithms: Vec<String>,
    /// Issuers (`iss`) that are believed; empty: any.
    pub issuer: Vec<String>,
    /// Audiences (`aud`) of which a token has to name one; empty: any.
    pub audience: Vec<String>,
    /// How far the clocks of issuer and gateway may differ.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// Claims of the user's id: the first that is there.
    pub user_claims: Vec<String>,
    /// Claim of the display name.
    pub name_claim: String,
    /// Claim of the tenant, which has to be `chat3.tenant_id`; empty: it is not looked at.
    pub tenant_claim: String,
    /// Allow `trusted` in `production`.
    pub allow_trusted: bool,
    /// Whether the handshake must carry the token.
    pub handshake: Handshake,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// A signed token.
    #[default]
    Jwt,
    /// The client says who it is (the seed's way).
    Trusted,
}

/// Whether the handshake must carry a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handshake {
    /// A connection without one is refused.
    #[default]
    Required,
    /// It may come by `authenticate` within 10 s.
    Optional,
}

/// `membership.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Membership {
    /// What is checked; absent: `off` in `development`, else `enforce`.
    pub mode: Option<MembershipMode>,
    /// How long members of a dialog are believed.
    #[serde(with = "humantime_serde")]
    pub cache: Duration,
    /// Questions about members that one user may have open at Chat3.
    pub user_questions: u32,
}

/// What is done about membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MembershipMode {
    /// Nothing.
    #[default]
    Off,
    /// It is looked up, counted and logged.
    Report,
    /// Non-members are refused.
    Enforce,
}

/// `admin.*`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of the admin side.
    pub listen: SocketAddr,
    /// Bearer token.
    pub token: String,
    /// Further tokens, each with the name under which its calls are audited.
    pub tokens: Vec<AdminToken>,
    /// Serve `/metrics` without token.
    pub open_metrics: bool,
}

/// One of `admin.tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// Who holds it: the audit's actor.
    pub name: String,
    /// Bearer token.
    pub token: String,
    /// What it may do.
    pub role: AdminRole,
}

/// What an admin token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminRole {
    /// GET only.
    Read,
    /// Everything.
    Operate,
}
