//! Keys, each bound to the algorithms of its kind: a public key is never taken for a secret.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use crate::config::Auth;
use crate::config::public_key::{Kind, PublicKey, check_modulus};

const SECRET: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// Whether `algorithm` is one of secrets, which are never published.
pub(super) fn is_secret(algorithm: Algorithm) -> bool {
    SECRET.contains(&algorithm)
}

/// A key, and the only algorithms that it is good for.
pub(super) struct Key {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl Key {
    fn secret(secret: &str) -> Self {
        Self { key: DecodingKey::from_secret(secret.as_bytes()), algorithms: SECRET.to_vec() }
    }

    fn public(key: &PublicKey) -> Self {
        let decoding = match key.kind {
            Kind::Rsa => DecodingKey::from_rsa_der(&key.bytes),
            Kind::P256 | Kind::P384 => DecodingKey::from_ec_der(&key.bytes),
            Kind::Ed25519 => DecodingKey::from_ed_der(&key.bytes),
        };
        Self { key: decoding, algorithms: fitting(key.kind).to_vec() }
    }

    /// A key that an issuer publishes; `None`: it is for something else, or not understood. Secrets are never published.
    pub(super) fn published(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
        let verifies =
            common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Kind::Rsa,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Kind::P256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Kind::P384,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Kind::Ed25519,
            _ => return None,
        };
        let key = DecodingKey::from_jwk(jwk).ok().filter(|_| signs && verifies)?;
        if let jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } = key.kind()
            && check_modulus(n).is_err()
        {
            return None;
        }
        let named = common.key_algorithm.map(|algorithm| algorithm.to_string());
        let mut algorithms = fitting(kind).to_vec();
        algorithms.retain(|algorithm| named.as_ref().is_none_or(|named| *named == format!("{algorithm:?}")));
        Some(Self { key, algorithms })
    }

    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// The claims of a token that this key signed by `algorithm`.
    pub(super) fn claims(&self, token: &str, algorithm: Algorithm) -> Option<Value> {
        self.is_for(algorithm).then(|| super::signed(token, &self.key, algorithm)).flatten()
    }
}

const fn fitting(kind: Kind) -> &'static [Algorithm] {
    match kind {
        Kind::Rsa => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        Kind::P256 => &[Algorithm::ES256],
        Kind::P384 => &[Algorithm::ES384],
        Kind::Ed25519 => &[Algorithm::EdDSA],
    }
}

/// Secrets and public keys of the settings.
pub(super) fn of(settings: &Auth) -> Result<Vec<Key>, String> {
    // An empty secret would be one that everybody knows.
    let secrets = std::iter::once(&settings.jwt_secret).chain(&settings.jwt_secrets);
    let mut keys: Vec<Key> =
        secrets.filter(|secret| !secret.is_empty()).map(|secret| Key::secret(secret)).collect();
    for path in &settings.public_keys {
        let read = PublicKey::read(path);
        let read = read.map_err(|wrong| format!("auth.public_keys: {} {wrong}", path.display()))?;
        keys.extend(read.iter().map(Key::public));
    }
    Ok(keys)
}

/// Algorithms that are believed.
pub(super) fn algorithms(settings: &Auth) -> Vec<Algorithm> {
    if !settings.algorithms.is_empty() {
        return settings.algorithms.iter().filter_map(|name| name.parse().ok()).collect();
    }
    let public = [Kind::Rsa, Kind::P256, Kind::P384, Kind::Ed25519];
    std::iter::once(Algorithm::HS256)
        .chain(public.into_iter().flat_map(|kind| fitting(kind).iter().copied()))
        .collect()
}
