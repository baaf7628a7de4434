//! What is believed, and what is not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{EncodingKey, encode};
use rcgen::PublicKeyData as _;
use serde_json::json;

use std::time::{Duration, UNIX_EPOCH};

use super::*;

const LATER: u64 = 4_000_000_000;

fn verify(authenticator: &Authenticator, token: &str) -> Result<Identity, AuthError> {
    futures::executor::block_on(authenticator.verify(token))
}

fn token(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn authenticator() -> Authenticator {
    Authenticator::new(&Auth { jwt_secret: "secret".into(), ..Auth::default() }, "tnt_default").unwrap()
}

#[test]
fn user_id_comes_from_its_claim_or_the_subject() {
    let verify = |claims: &Value| verify(&authenticator(), &token(Algorithm::HS256, "secret", claims));
    let both = verify(&json!({"userId": "usr_a", "sub": "x", "name": "Anna", "exp": LATER, "aud": "y"})).unwrap();
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
        verify(&authenticator(), &signed(header, claims, algorithm, b"secret"))
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
        let judged = futures::executor::block_on(authenticator().verify(&token));
        assert_eq!(judged, Err(AuthError::Invalid), "{token}");
    }
}

#[test]
fn claims_that_nobody_needs_refuse_nobody() {
    let claims = format!(
        r#"{{"userId":"usr_a","sub":7,"exp":4000000000,"nbf":{},"name":"Anna \ud83d","aud":["x"],"odd":"\ud83d"}}"#,
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 1
    );
    let token = signed(r#"{"alg":"HS256","b64":true,"kid":"1"}"#, &claims, Algorithm::HS256, b"secret");
    let identity = verify(&authenticator(), &token).unwrap();
    assert_eq!((identity.user.as_str(), identity.name.as_deref()), ("usr_a", Some("Anna \u{fffd}")));
    let token =
        signed(r#"{"alg":"HS256"}"#, r#"{"userId":null,"sub":"usr_b","exp":4e9}"#, Algorithm::HS256, b"secret");
    assert_eq!(verify(&authenticator(), &token).unwrap().user.as_str(), "usr_b");
}

/// The matrix over kinds of keys: each is believed by its own algorithms and no others, in whatever way it was given.
#[test]
fn a_key_is_believed_by_the_algorithms_of_its_kind_alone() {
    let (rsa, p256) =
        (rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(), pair(&rcgen::PKCS_ECDSA_P256_SHA256));
    let (p384, ed) = (pair(&rcgen::PKCS_ECDSA_P384_SHA384), pair(&rcgen::PKCS_ED25519));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.pem");
    let pems: Vec<String> = [&rsa, &p256, &p384, &ed].map(rcgen::KeyPair::public_key_pem).into();
    std::fs::write(&path, pems.concat()).unwrap();
    let settings =
        Auth { jwt_secrets: vec!["old".into(), "new".into()], public_keys: vec![path], ..Auth::default() };
    let all = Authenticator::new(&settings, "t").unwrap();
    let good = json!({"userId": "usr_a", "exp": LATER});
    let token = |algorithm, key: &EncodingKey| encode(&Header::new(algorithm), &good, key).unwrap();
    // PKCS #1, which the last element of PKCS #8 holds.
    let rsa_key = EncodingKey::from_rsa_der(&rsa.serialized_der()[26..]);
    for algorithm in [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS512] {
        assert!(verify(&all, &token(algorithm, &rsa_key)).is_ok(), "{algorithm:?}");
    }
    let ec = |pair: &rcgen::KeyPair| EncodingKey::from_ec_der(pair.serialized_der());
    assert!(verify(&all, &token(Algorithm::ES256, &ec(&p256))).is_ok());
    assert!(verify(&all, &token(Algorithm::ES384, &ec(&p384))).is_ok());
    assert!(verify(&all, &token(Algorithm::EdDSA, &EncodingKey::from_ed_der(ed.serialized_der()))).is_ok());
    for secret in ["old", "new"] {
        assert!(verify(&all, &token(Algorithm::HS256, &EncodingKey::from_secret(secret.as_bytes()))).is_ok());
        let strong = token(Algorithm::HS512, &EncodingKey::from_secret(secret.as_bytes()));
        assert_eq!(verify(&all, &strong), Err(AuthError::Invalid), "only where it is named");
        let named = Auth { algorithms: vec!["HS512".into()], ..settings.clone() };
        assert!(verify(&Authenticator::new(&named, "t").unwrap(), &strong).is_ok());
    }
    let others = [token(Algorithm::ES256, &ec(&pair(&rcgen::PKCS_ECDSA_P256_SHA256)))];
    // What anybody can have of a public key, taken for a secret.
    let public = [&rsa, &p256, &ed].into_iter().flat_map(|pair| -> [Vec<u8>; 3] {
        [pair.public_key_pem().into_bytes(), pair.public_key_raw().to_vec(), pair.subject_public_key_info()]
    });
    let confused = public.flat_map(|bytes| {
        [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]
            .map(|hmac| token(hmac, &EncodingKey::from_secret(&bytes)))
    });
    let settings = Auth {
        algorithms: ["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"].map(String::from).into(),
        ..settings
    };
    let any = Authenticator::new(&settings, "t").unwrap();
    for token in others.into_iter().chain(confused) {
        assert_eq!(verify(&all, &token), Err(AuthError::Invalid), "{token}");
        assert_eq!(verify(&any, &token), Err(AuthError::Invalid), "{token}");
    }
    let narrow = Auth { algorithms: vec!["ES256".into()], ..settings };
    let narrow = Authenticator::new(&narrow, "t").unwrap();
    assert_eq!(verify(&narrow, &token(Algorithm::RS256, &rsa_key)), Err(AuthError::Invalid));
    assert!(verify(&narrow, &token(Algorithm::ES256, &ec(&p256))).is_ok());
}

fn pair(kind: &'static rcgen::SignatureAlgorithm) -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(kind).unwrap()
}

#[test]
fn issuer_audience_tenant_and_names_of_claims_are_what_the_settings_say() {
    let settings = Auth {
        jwt_secret: "secret".into(),
        issuer: vec!["https://id.example".into(), "https://old.example".into()],
        audience: vec!["chat".into()],
        user_claims: vec!["https://id.example/user".into(), "uid".into()],
        name_claim: "nickname".into(),
        tenant_claim: "tenant".into(),
        ..Auth::default()
    };
    let authenticator = Authenticator::new(&settings, "tnt_a").unwrap();
    let good = json!({"uid": "usr_a", "exp": LATER, "iss": "https://id.example", "aud": ["web", "chat"],
        "tenant": "tnt_a", "nickname": "Anna", "name": "x", "userId": "usr_x", "sub": "usr_y"});
    let verify = |claims: &Value| verify(&authenticator, &token(Algorithm::HS256, "secret", claims));
    let identity = verify(&good).unwrap();
    assert_eq!((identity.user.as_str(), identity.name.as_deref()), ("usr_a", Some("Anna")));
    for (claim, values) in [
        ("iss", [json!("https://id.example/"), json!(null), json!(["https://id.example"])]),
        ("aud", [json!("web"), json!([]), json!({"chat": 1})]),
        ("tenant", [json!("tnt_b"), json!(null), json!(["tnt_a"])]),
        ("uid", [json!(7), json!(null), json!(["usr_a"])]),
    ] {
        for value in values {
            let mut claims = good.clone();
            claims[claim] = value.clone();
            assert_eq!(verify(&claims), Err(AuthError::Invalid), "{claim}: {value}");
        }
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(verify(&claims), Err(AuthError::Invalid), "without {claim}");
    }
    let mut one = good;
    one["aud"] = json!("chat");
    one["iss"] = json!("https://old.example");
    assert!(verify(&one).is_ok());
}

#[test]
fn a_clock_that_is_set_by_an_hour_moves_the_end_of_tokens_with_it() {
    let now = Arc::new(parking_lot::Mutex::new(UNIX_EPOCH + Duration::from_secs(1_000_000)));
    let wall: Wall = {
        let now = Arc::clone(&now);
        Arc::new(move || *now.lock())
    };
    let at = |leeway| {
        let settings = Auth { jwt_secret: "secret".into(), leeway, ..Auth::default() };
        Authenticator::at(&settings, "t", Arc::clone(&wall)).unwrap()
    };
    let (strict, lenient) = (at(Duration::ZERO), at(Duration::from_secs(30)));
    let token = token(Algorithm::HS256, "secret", &json!({"sub": "a", "exp": 1_000_060, "nbf": 999_940}));
    let both = || [&strict, &lenient].map(|one| verify(one, &token).is_ok());
    let set = |seconds: u64| *now.lock() = UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(both(), [true, true]);
    for (at, believed) in [
        (1_000_059, [true, true]),
        (1_000_060, [false, true]),
        (1_000_090, [false, false]),
        (1_003_600, [false, false]),
        (999_940, [true, true]),
        (999_939, [false, true]),
        (999_909, [false, false]),
        (996_400, [false, false]),
        (1_000_000, [true, true]),
    ] {
        set(at);
        assert_eq!(both(), believed, "at {at}");
    }
}

/// An issuer's keys of every kind, by what `published` says of each.
#[test]
fn keys_that_an_issuer_publishes_are_bound_to_their_kind_use_and_algorithm() {
    use jsonwebtoken::jwk::Jwk;

    let rsa = pair(&rcgen::PKCS_RSA_SHA256);
    let (p256, ed) = (pair(&rcgen::PKCS_ECDSA_P256_SHA256), pair(&rcgen::PKCS_ED25519));
    // PKCS #1, which the last element of PKCS #8 holds.
    let rsa = EncodingKey::from_rsa_der(&rsa.serialized_der()[26..]);
    let p256 = EncodingKey::from_ec_der(p256.serialized_der());
    let x = URL_SAFE_NO_PAD.encode(ed.public_key_raw());
    let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    let ed = EncodingKey::from_ed_der(ed.serialized_der());
    let claims = json!({"sub": "a", "exp": LATER});
    let opens = |jwk: &Value, key: &EncodingKey, algorithm: Algorithm| {
        let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
        let token = encode(&Header::new(algorithm), &claims, key).unwrap();
        Key::published(&jwk).is_some_and(|key| key.claims(&token, algorithm).is_some())
    };
    let jwk = |key: &EncodingKey, algorithm| -> Value {
        if algorithm == Algorithm::EdDSA {
            return okp.clone();
        }
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    };
    let published =
        [(&rsa, Algorithm::RS256), (&rsa, Algorithm::PS512), (&p256, Algorithm::ES256), (&ed, Algorithm::EdDSA)];
    for (key, algorithm) in published {
        let own = jwk(key, algorithm);
        assert!(opens(&own, key, algorithm), "{own}");
        let with = |name: &str, value: Value| {
            let mut jwk = own.clone();
            jwk[name] = value;
            opens(&jwk, key, algorithm)
        };
        assert!(with("use", json!("sig")) && with("key_ops", json!(["verify"])));
        assert!(with("alg", json!(format!("{algorithm:?}"))));
        assert!(!with("use", json!("enc")) && !with("key_ops", json!(["encrypt"])));
        assert!(!with("alg", json!("RS384")), "another algorithm than it is for");
    }
    // A secret that everybody can read is none.
    let secret = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("secret")});
    assert!(!opens(&secret, &EncodingKey::from_secret(b"secret"), Algorithm::HS256));
}
