//! Faults between the bridge and its broker that are not the broker's: a peer that was started anew, a name that means
//! nothing or another address, a certificate that has expired.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::kit::line::{Line, Quality};
use crate::kit::stand::Stand;
use crate::kit::{eventually, runtime, s};

#[test]
fn a_peer_that_was_started_anew_without_a_word_is_a_gap() {
    let mut line = None;
    let stand = Stand::in_host("reboot", |place, setup| {
        let made = line.insert(Line::to(&place.url()));
        setup.rabbit(format!("amqp://guest:guest@127.0.0.1:{}/{}", made.port, place.name()))
    });
    let line = line.expect("a line");
    // Off the network, and then there again, knowing nothing of the connection: what is sent to it is refused.
    line.becomes(Quality::Blackhole);
    stand.pass(s(2));
    line.becomes(Quality::Cut);
    stand.noticed();
    stand.pass(s(1));
    line.becomes(Quality::Good);
    let outcome = stand.whole("peer started anew");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn a_name_that_is_not_known_and_then_means_another_address_is_a_gap() {
    let unshared = std::process::Command::new("unshare").args(["--mount", "true"]).status();
    if !unshared.is_ok_and(|status| status.success()) {
        println!("SKIPPED: names of its own need the right to mount (root)");
        return;
    }
    let hosts = tempfile::NamedTempFile::new().unwrap();
    // In place: it is mounted.
    let means = |address: &str| std::fs::write(hosts.path(), format!("127.0.0.1 localhost\n{address}\n")).unwrap();
    means("127.0.0.1 broker.test");
    let mut lines = None;
    let stand = Stand::in_host("name", |place, setup| {
        let first = Line::to(&place.url());
        let port = first.port;
        lines = Some((first, Line::at("127.0.0.2", port, &place.url())));
        let within = format!(
            "[ -n \"$NAMED\" ] || exec env NAMED=1 unshare --mount sh -c 'mount --bind {} /etc/hosts && exec \"$0\" \"$@\"' \
             \"$0\" \"$@\"",
            hosts.path().display()
        );
        setup.under(&within).rabbit(format!("amqp://guest:guest@broker.test:{port}/{}", place.name()))
    });
    let (first, _second) = lines.expect("two lines");
    means("");
    first.becomes(Quality::Cut);
    stand.noticed();
    stand.pass(s(3));
    means("127.0.0.2 broker.test");
    let outcome = stand.whole("name unknown, then another address");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}

#[test]
fn what_a_silent_line_holds_back_until_after_a_way_back_is_told() {
    for back in ["shadow", "legacy"] {
        let mut line = None;
        let stand = Stand::in_host(&format!("silent_{back}"), |place, setup| {
            let made = line.insert(Line::to(&place.url()));
            setup
                .rabbit(format!("amqp://guest:guest@127.0.0.1:{}/{}", made.port, place.name()))
                .env("BRIDGE_SHADOW__WINDOW", "2s")
        });
        let line = line.expect("a line");
        line.becomes(Quality::Blackhole);
        stand.pass(s(1));
        let users = std::mem::take(&mut *stand.numbers.users.lock().unwrap());
        stand.pass(s(1));
        assert_eq!(stand.bridge.set(back, &json!({"reason": "an incident"})).0, 200);
        // Nobody has noticed yet, and it comes too late.
        stand.pass(s(8));
        assert!(stand.bridge.counted("bridge_broker_reconnects_total") == 0);
        line.becomes(Quality::Good);
        stand.pass(s(3));
        if back == "legacy" {
            assert_eq!(stand.bridge.set("shadow", &json!({"force": true, "reason": "over"})).0, 200);
        }
        assert_eq!(stand.bridge.set("live", &json!({"force": true, "reason": "over"})).0, 200);
        *stand.numbers.users.lock().unwrap() = users;
        let outcome = stand.whole(&format!("silent before a way back to {back}"));
        assert!(outcome.told > 0, "{outcome:?}");
        assert_eq!(outcome.resyncs["broker_lost"], 12, "each is told once");
    }
}

/// TLS in front of a broker; connections end when the certificate is replaced.
struct Front {
    port: u16,
    trusted: tempfile::NamedTempFile,
    authority: Issuer<'static, KeyPair>,
    proves: Arc<Mutex<TlsAcceptor>>,
    replaced: watch::Sender<()>,
}

impl Front {
    fn new(node: String) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let trusted = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(trusted.path(), authority.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Issuer::new(authority, key);
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let proves = Arc::new(Mutex::new(acceptor(&authority, 2_100)));
        let (replaced, seen) = watch::channel(());
        let current = Arc::clone(&proves);
        runtime().spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let (acceptor, node, mut replaced) = (current.lock().clone(), node.clone(), seen.clone());
                replaced.mark_unchanged();
                tokio::spawn(async move {
                    let mut from = acceptor.accept(from).await.ok()?;
                    let mut to = TcpStream::connect(node).await.ok()?;
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        _ = replaced.changed() => {}
                    }
                    Some(())
                });
            }
        });
        Self { port, trusted, authority, proves, replaced }
    }

    /// Proves itself from now on with a certificate until this year.
    fn until(&self, year: i32) {
        *self.proves.lock() = acceptor(&self.authority, year);
        self.replaced.send_replace(());
    }
}

fn acceptor(authority: &Issuer<'_, KeyPair>, year: i32) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    own.not_after = rcgen::date_time_ymd(year, 1, 1);
    let own = own.signed_by(&key, authority).unwrap().der().clone();
    let key: PrivateKeyDer<'_> = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![own], key).unwrap()))
}

#[test]
fn a_certificate_that_expires_is_named_and_a_gap_until_it_is_renewed() {
    let mut front = None;
    let stand = Stand::in_host("expires", |place, setup| {
        let node = place.url().rsplit('@').next().unwrap().split('/').next().unwrap().to_owned();
        let made = front.insert(Front::new(node));
        setup
            .rabbit(format!("amqps://guest:guest@localhost:{}/{}", made.port, place.name()))
            .env("SSL_CERT_FILE", made.trusted.path().to_str().unwrap())
    });
    let front = front.expect("a front");
    front.until(2_001);
    stand.noticed();
    eventually("the reason is said", s(20), || stand.bridge.log().contains("xpired").then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    front.until(2_100);
    let outcome = stand.whole("certificate expired, renewed");
    assert_eq!(outcome.resyncs["broker_lost"], 12);
}
