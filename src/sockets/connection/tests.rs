use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::super::{Packet, SignOn};
use super::*;
use crate::auth::Authenticator;
use crate::config::{Auth, AuthMode};

/// Whose queues are never live.
#[derive(Default)]
struct Pending {
    waiting: AtomicUsize,
    served: AtomicUsize,
    signed_off: AtomicUsize,
}

struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[async_trait::async_trait]
impl Front for Pending {
    fn sign_on(&self, sign_on: SignOn) -> Result<Signed, Refused> {
        let (socket, resume) = (bridge_core::SocketId(1), String::new());
        Ok(Signed { socket, user: sign_on.user, resume, recovered: false })
    }

    async fn ready(&self, _signed: &Signed) -> bool {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waits = Waits(&self.waiting);
        std::future::pending().await
    }

    fn renew(&self, signed: &Signed, _sign_on: SignOn) -> Result<Signed, Refused> {
        Ok(signed.clone())
    }

    fn greeted(&self, _signed: &Signed) {}

    fn sign_off(&self, _signed: &Signed, _link: &Arc<dyn Link>, _for_good: bool) {
        self.signed_off.fetch_add(1, Ordering::AcqRel);
    }

    fn expect(&self, _signed: &Signed, _dialog: &DialogId) {}

    async fn join(&self, _signed: &Signed, dialog: &DialogId) -> Result<(), Refused> {
        assert_ne!(dialog.as_str(), "dlg_panics", "planted");
        Ok(())
    }

    fn leave(&self, _signed: &Signed, _dialog: &DialogId) -> Result<(), Refused> {
        Ok(())
    }

    fn subscribe(&self, _signed: &Signed, types: Vec<String>) -> Result<Vec<String>, Refused> {
        self.served.fetch_add(1, Ordering::AcqRel);
        Ok(types)
    }

    fn unsubscribe(&self, _signed: &Signed, types: Vec<String>) -> Result<Vec<String>, Refused> {
        Ok(types)
    }

    fn typing(&self, _signed: &Signed, _dialog: &DialogId, _start: bool) -> Result<(), Refused> {
        self.served.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

#[derive(Default)]
struct Far {
    full: AtomicBool,
    emitted: Mutex<Vec<&'static str>>,
    cuts: Mutex<Vec<Cut>>,
}

impl Link for Far {
    fn emit(&self, packet: Packet) {
        self.emitted.lock().push(packet.event);
    }

    fn flush(&self) {}

    fn skip(&self, _serial: u64) {}

    fn handed(&self) -> u64 {
        0
    }

    fn close(&self) -> u64 {
        0
    }

    fn cut(&self, why: Cut) {
        self.cuts.lock().push(why);
    }

    fn is_idle(&self) -> bool {
        true
    }
    fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    fn transport(&self) -> &'static str {
        "none"
    }
}

fn event(event: &str, data: Value) -> Box<Incoming> {
    Box::new(Incoming { event: event.into(), data, ack: None, place: None, counted: None, expected: false })
}

const LIMIT: Duration = Duration::from_secs(60);

async fn until(so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, waiting).await.expect("in time");
}

fn connect() -> (Arc<Pending>, Arc<Far>, mpsc::Sender<Box<Incoming>>, tokio::task::JoinHandle<()>) {
    let (front, link) = (Arc::<Pending>::default(), Arc::<Far>::default());
    let auth = Authenticator::new(&Auth { mode: AuthMode::Trusted, ..Auth::default() }, "tnt_default").unwrap();
    let room = Room::new(
        Arc::clone(&front) as Arc<dyn Front>,
        Arc::new(auth),
        TaskTracker::new(),
        Duration::from_secs(10),
    );
    let (sender, events) = mpsc::channel(WAITING);
    let connection = Connection::new(room, Arc::clone(&link) as Arc<dyn Link>, false, Credentials::default());
    let serving = tokio::spawn(connection.run(None, events));
    sender.try_send(event("authenticate", json!("usr_a"))).expect("room");
    (front, link, sender, serving)
}

#[tokio::test]
async fn answers_that_wait_for_a_queue_are_few_and_end_with_the_connection() {
    let (front, _link, sender, serving) = connect();
    for _ in 0..1_000 {
        sender.try_send(event("subscribe", json!(["messageupdate"]))).expect("room");
    }
    until(|| front.waiting.load(Ordering::Acquire) >= ANSWERS).await;
    sleep(4 * LOOK).await;
    assert_eq!(front.waiting.load(Ordering::Acquire), ANSWERS, "no more than may wait do");
    drop(sender);
    timeout(LIMIT, serving).await.expect("it does not wait for answers").expect("served");
    assert_eq!(front.signed_off.load(Ordering::Acquire), 1);
    // Nobody waits for them.
    until(|| front.waiting.load(Ordering::Acquire) == 0).await;
    assert_eq!(front.served.load(Ordering::Acquire), 1_000, "what was asked for counts");
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_not_served() {
    let (front, link, sender, _serving) = connect();
    until(|| front.waiting.load(Ordering::Acquire) == 1).await;
    link.full.store(true, Ordering::Release);
    // One may be on its way already.
    for _ in 0..100 {
        sender.try_send(event("typing:stop", json!({"dialogId": "dlg_a"}))).expect("room");
    }
    sleep(4 * LOOK).await;
    assert!(front.served.load(Ordering::Acquire) <= 1);
    too_many(&*link, "typing:stop", None);
    assert!(link.emitted.lock().is_empty(), "not even of what is refused");
    link.full.store(false, Ordering::Release);
    until(|| front.served.load(Ordering::Acquire) == 100).await;
}

#[tokio::test]
async fn a_connection_that_panics_is_cut_alone_and_signed_off() {
    let (front, link, sender, serving) = connect();
    until(|| front.waiting.load(Ordering::Acquire) == 1).await;
    sender.try_send(event("dialog:join", json!("dlg_panics"))).expect("room");
    timeout(LIMIT, serving).await.expect("in time").expect("the panic goes no further");
    assert_eq!(*link.cuts.lock(), [Cut::Failed], "its client would wait for ever");
    assert_eq!(front.signed_off.load(Ordering::Acquire), 1);
    until(|| front.waiting.load(Ordering::Acquire) == 0).await;
}

#[tokio::test]
async fn an_open_socket_ends_when_the_clock_is_set_past_its_token_and_not_before() {
    let hour = Duration::from_secs(3_600);
    let start = SystemTime::now();
    let now = Arc::new(parking_lot::Mutex::new(start));
    let wall = Arc::clone(&now);
    let auth = Authenticator::at(
        &Auth { mode: AuthMode::Trusted, ..Auth::default() },
        "t",
        Arc::new(move || *wall.lock()),
    );
    let auth = Arc::new(auth.unwrap());
    let end = start + 2 * hour;
    let waiting = tokio::spawn(async move { over(&auth, Some(end), None, Duration::from_millis(5)).await });
    for set in [start - hour, start + hour, end - Duration::from_secs(1)] {
        *now.lock() = set;
        sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
    }
    *now.lock() = end;
    timeout(LIMIT, waiting).await.expect("in time").expect("it ends");
}
