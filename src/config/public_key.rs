//! PEM files of public keys.

use std::path::Path;

use tokio_rustls::rustls::pki_types::alg_id::{ECDSA_P256, ECDSA_P384, ED25519, RSA_ENCRYPTION};
use tokio_rustls::rustls::pki_types::pem::{PemObject as _, SectionKind};

/// Largest file that is read, in bytes.
const LARGEST: u64 = 256 * 1024;
/// Shorter RSA keys are not believed, in bits (NIST SP 800-131A).
const LEAST_RSA: usize = 2_048;
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// What a public key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA.
    Rsa,
    /// EC on P-256.
    P256,
    /// EC on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// What it is good for.
    pub kind: Kind,
    /// RSA: PKCS #1 in DER; EC: the uncompressed point; Ed25519: 32 bytes.
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// All keys of a PEM file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Vec<Self>, String> {
        let size = std::fs::metadata(path).map_err(|error| format!("can't be read: {error}"))?.len();
        if size > LARGEST {
            return Err(format!("is larger than {LARGEST} bytes"));
        }
        let pem = std::fs::read(path).map_err(|error| format!("can't be read: {error}"))?;
        Self::parse(&pem)
    }

    /// All keys of a PEM text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(pem: &[u8]) -> Result<Vec<Self>, String> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            match section {
                Ok((SectionKind::PublicKey, der)) => keys.push(Self::of(&der)?),
                Ok((SectionKind::Certificate, _)) => {
                    return Err("has a certificate; wanted is its PUBLIC KEY (openssl x509 -pubkey -noout)".into());
                }
                Ok((SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _)) => {
                    return Err("has a private key, which only the issuer should have; wanted is its PUBLIC KEY \
                        (openssl pkey -pubout)"
                        .into());
                }
                Ok(_) => {}
                Err(_) => return Err("is not PEM".into()),
            }
        }
        if keys.is_empty() {
            return Err("has no section PUBLIC KEY".into());
        }
        Ok(keys)
    }

    /// A SubjectPublicKeyInfo (RFC 5280, 4.1).
    fn of(der: &[u8]) -> Result<Self, String> {
        let broken = || "has a PUBLIC KEY that can't be read".to_owned();
        let (info, _) = element(der, SEQUENCE).ok_or_else(broken)?;
        let (algorithm, rest) = element(info, SEQUENCE).ok_or_else(broken)?;
        let (bits, _) = element(rest, BIT_STRING).ok_or_else(broken)?;
        let bytes = bits.strip_prefix(&[0]).ok_or_else(broken)?.to_vec();
        let kinds = [
            (RSA_ENCRYPTION, Kind::Rsa),
            (ECDSA_P256, Kind::P256),
            (ECDSA_P384, Kind::P384),
            (ED25519, Kind::Ed25519),
        ];
        let found = kinds.into_iter().find(|(id, _)| id.as_ref() == algorithm);
        let (_, kind) = found.ok_or("has a key that is none of RSA, EC on P-256 or P-384, Ed25519")?;
        let length = match kind {
            Kind::Rsa => {
                let modulus = element(&bytes, SEQUENCE).and_then(|(key, _)| element(key, INTEGER));
                let (modulus, _) = modulus.ok_or_else(broken)?;
                check_modulus(modulus)?;
                bytes.len()
            }
            Kind::P256 => 65,
            Kind::P384 => 97,
            Kind::Ed25519 => 32,
        };
        if bytes.len() != length {
            return Err(broken());
        }
        Ok(Self { kind, bytes })
    }
}

/// Whether an RSA key of this modulus is long enough.
///
/// # Errors
/// That it is not.
pub fn check_modulus(modulus: &[u8]) -> Result<(), String> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = (modulus.len() - zeros) * 8;
    if bits < LEAST_RSA {
        return Err(format!("has an RSA key of {bits} bits; {LEAST_RSA} are the least"));
    }
    Ok(())
}

/// The content of the first element of `der`, which has to have `tag`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let mut count = usize::from(length);
    if length >= 0x80 {
        let (bytes, after) = rest.split_at_checked(usize::from(length & 0x7f).min(4))?;
        count = bytes.iter().fold(0, |count, byte| count << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(count)?;
    (first == tag).then_some((content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_public_key_is_refused_with_its_remedy() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let [found] = PublicKey::parse(key.public_key_pem().as_bytes()).unwrap().try_into().unwrap();
        assert_eq!((found.kind, found.bytes), (Kind::P384, key.public_key_raw().to_vec()));
        let private = PublicKey::parse(key.serialize_pem().as_bytes()).unwrap_err();
        assert!(private.contains("-pubout"), "{private}");
        assert!(PublicKey::parse(b"hello").unwrap_err().contains("no section PUBLIC KEY"));
        let cut = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n";
        assert!(PublicKey::parse(cut.as_bytes()).unwrap_err().contains("can't be read"));
        let two = format!("{0}{0}", key.public_key_pem());
        assert_eq!(PublicKey::parse(two.as_bytes()).unwrap().len(), 2);
    }
}
