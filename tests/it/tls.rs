//! A broker behind TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use updates_bridge::demo::StandInOptions;

use crate::kit::js::Js;
use crate::kit::world::World;
use crate::kit::{eventually, runtime, s};

/// What a server proves itself with, and who vouches for it (PEM).
fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (own.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into(), pem)
}

#[test]
fn updates_come_over_tls_from_a_broker_that_proves_itself() {
    let world = World::shared(StandInOptions::default());
    let (own, key, authority) = certificate();
    let trusted = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(trusted.path(), authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![own], key).unwrap()));
    let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let node = world.rabbit_url.rsplit('@').next().unwrap().trim_end_matches("/%2f").to_owned();
    runtime().spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            let (acceptor, node) = (acceptor.clone(), node.clone());
            tokio::spawn(async move {
                let mut from = acceptor.accept(from).await?;
                let mut to = TcpStream::connect(node).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    let url = format!("amqps://guest:guest@localhost:{port}/%2f");
    let setup = || world.setup("complete").env("RABBITMQ_URL", &url);

    let strict = setup().start();
    eventually("refused", s(30), || strict.log().contains("invalid peer certificate").then_some(()));
    drop(strict);

    let bridge = setup().env("SSL_CERT_FILE", trusted.path().to_str().unwrap()).start().ready();
    let mut js = Js::start();
    assert_eq!(js.sign_on("a", &bridge, "tls_a")["ready"], true);
    let large = "x".repeat(200_000);
    let body = json!({"tenantId": "tnt_default", "userId": "tls_a", "entityId": "msg_0", "eventType": "message.create",
        "data": {"dialogId": "dlg_x", "content": large}});
    world.publish("user.user.tls_a.messageupdate", Vec::new(), body.to_string().as_bytes());
    for n in 1..50 {
        world.update("tls_a", "message.create", &format!("msg_{n}"));
    }
    let got = js.wait_count("a", "update", 50, s(30));
    assert_eq!(got[0], body);
    let ids: Vec<_> = got.iter().map(|update| update["entityId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..50).map(|n| format!("msg_{n}")).collect::<Vec<_>>());
}
