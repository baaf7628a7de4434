use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;

use super::super::frame::tests::frame;
use super::super::inbound::tests::{message, messages_of};
use super::super::{Consumer, Outlet, Tap};
use super::*;
use crate::broker::Delivery;

const MAX: u32 = 4_096;
const PREFETCH: u16 = 20;
/// Longer than any of it takes.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Taken {
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    strays: Arc<Mutex<usize>>,
    ended: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Outlet for Taken {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
    fn take(&mut self, _consumer: &Consumer, delivery: Option<Delivery>) -> Disposition {
        self.bodies.lock().push(delivery.unwrap().body.to_vec());
        Disposition::Ack
    }
    fn batch_end(&mut self) {}
    fn ended(&mut self, consumer: Consumer) {
        self.ended.lock().push(consumer.queue);
    }
    fn stray(&mut self) {
        *self.strays.lock() += 1;
    }
}

/// A broker that is a pipe, the library that is one, and a consumer of channel 1 with the tag `0`.
struct World {
    broker: DuplexStream,
    library: DuplexStream,
    tap: Tap,
    taken: Taken,
}

impl World {
    async fn new(heartbeat: Duration) -> Self {
        let (broker, socket) = tokio::io::duplex(4 << 10);
        let (tap, mut library) = Tap::insert(socket, MAX, heartbeat, Arc::default());
        let taken = Taken::default();
        tap.serve(taken.clone()).await;
        tap.own(1).await;
        library.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        let mut this = Self { broker, library, tap, taken };
        assert_eq!(this.read(8).await, b"AMQP\0\0\x09\x01");
        let consumer = Consumer { queue: "queue".into(), user: None, prefetch: PREFETCH };
        let consumed = async {
            let mut header = [0; 7];
            this.broker.read_exact(&mut header).await.unwrap();
            let mut rest = vec![0; usize::from(header[6]) + 1];
            this.broker.read_exact(&mut rest).await.unwrap();
            assert_eq!(rest[..4], [0, 60, 0, 20]);
            this.broker.write_all(&frame(1, 1, b"\0\x3c\0\x15\x010")).await.unwrap();
        };
        let (confirmed, ()) = tokio::join!(this.tap.consume(1, consumer), consumed);
        confirmed.unwrap();
        this
    }

    async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        timeout(LIMIT, self.broker.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }
}

#[tokio::test]
async fn a_library_that_does_not_read_holds_up_no_delivery() {
    let mut world = World::new(Duration::ZERO).await;
    let other = frame(1, 2, &[9; 1_000]);
    let (mut read, mut write) = tokio::io::split(world.broker);
    let sent = tokio::spawn(async move {
        for tag in 1..=200_u64 {
            write.write_all(&other).await.unwrap();
            write.write_all(&message(1, "0", tag, &tag.to_be_bytes())).await.unwrap();
        }
        write
    });
    let mut acknowledged = 0;
    while acknowledged < 200 {
        let mut ack = [0; 21];
        timeout(LIMIT, read.read_exact(&mut ack)).await.unwrap().unwrap();
        assert_eq!((&ack[7..11], ack[19]), (&[0, 60, 0, 80][..], 1), "an acknowledgement of all up to");
        acknowledged = u64::from_be_bytes(ack[11..19].try_into().unwrap());
        let taken = world.taken.bodies.lock().len();
        assert!(taken >= usize::try_from(acknowledged).unwrap(), "handed over first");
    }
    // What the library had not read is there yet, in order.
    let mut others = vec![0; 200 * 1_008];
    timeout(LIMIT, world.library.read_exact(&mut others)).await.unwrap().unwrap();
    // The broker goes: the library sees the end, after what was before it.
    let mut write = sent.await.unwrap();
    write.write_all(&frame(1, 2, b"last")).await.unwrap();
    write.shutdown().await.unwrap();
    let mut last = Vec::new();
    timeout(LIMIT, world.library.read_to_end(&mut last)).await.unwrap().unwrap();
    assert_eq!(last, frame(1, 2, b"last"));
}

#[tokio::test]
async fn who_was_removed_is_acknowledged_and_who_ended_is_told() {
    let mut world = World::new(Duration::ZERO).await;
    world.broker.write_all(&message(1, "77", 1, b"stray")).await.unwrap();
    world.read(21).await;
    assert_eq!((*world.taken.strays.lock(), world.taken.bodies.lock().len()), (1, 0));
    world.broker.write_all(&frame(1, 1, b"\0\x3c\0\x1e\x010\x01")).await.unwrap();
    world.broker.write_all(&message(1, "0", 2, b"late")).await.unwrap();
    world.read(21).await;
    assert_eq!((*world.taken.strays.lock(), &world.taken.ended.lock()[..]), (2, &["queue".to_owned()][..]));
    // When the session is over, what comes is left to the broker.
    world.taken.over.store(true, Ordering::Release);
    world.broker.write_all(&message(1, "0", 3, b"over")).await.unwrap();
    world.broker.write_all(&frame(1, 0, b"pass")).await.unwrap();
    let mut passed = vec![0; 12];
    timeout(LIMIT, world.library.read_exact(&mut passed)).await.unwrap().unwrap();
    drop(world.library);
    let mut rest = Vec::new();
    timeout(LIMIT, world.broker.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty(), "nothing more was acknowledged: {rest:?}");
}

#[tokio::test]
async fn a_refusal_reaches_who_asked_and_the_library() {
    let mut world = World::new(Duration::ZERO).await;
    let consumer = Consumer { queue: "forbidden".into(), user: None, prefetch: PREFETCH };
    let close = [b"\0\x14\0\x28\x01\x93\x07REFUSED".as_slice(), &[0, 60, 0, 20]].concat();
    let refused = async {
        timeout(LIMIT, world.broker.read_exact(&mut [0; 31])).await.unwrap().unwrap();
        world.broker.write_all(&frame(1, 1, &close)).await.unwrap();
    };
    let (answer, ()) = tokio::join!(timeout(LIMIT, world.tap.consume(1, consumer.clone())), refused);
    assert_eq!(answer.unwrap(), Err("REFUSED".into()));
    let mut told = vec![0; close.len() + 8];
    timeout(LIMIT, world.library.read_exact(&mut told)).await.unwrap().unwrap();
    assert_eq!(told, frame(1, 1, &close));
    let closed = timeout(LIMIT, world.tap.consume(1, consumer.clone())).await.unwrap();
    assert_eq!(closed, Err("the channel is closed".into()));
    drop(world.broker);
    let gone = timeout(LIMIT, async {
        while world.tap.consume(1, consumer.clone()).await != Err("the connection is gone".into()) {}
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn each_side_is_told_that_the_other_lives() {
    let mut world = World::new(Duration::from_millis(200)).await;
    world.broker.write_all(&frame(1, 0, &[0, 10, 0, 41])).await.unwrap();
    let mut open = [0; 12];
    timeout(LIMIT, world.library.read_exact(&mut open)).await.unwrap().unwrap();
    // Nothing comes from the library: the broker hears of it all the same.
    assert_eq!(world.read(8).await, HEARTBEAT);
    let mut heartbeat = [0; 8];
    let nothing = timeout(Duration::from_millis(500), world.library.read_exact(&mut heartbeat));
    assert!(nothing.await.is_err(), "the broker is silent: the library must notice");
    world.broker.write_all(&message(1, "0", 1, b"x")).await.unwrap();
    timeout(LIMIT, world.library.read_exact(&mut heartbeat)).await.unwrap().unwrap();
    assert_eq!(heartbeat, HEARTBEAT);
    assert_eq!(messages_of(&world.taken.bodies.lock()), ["x"]);
}

#[tokio::test]
async fn what_is_no_amqp_ends_the_connection() {
    let mut world = World::new(Duration::ZERO).await;
    world.broker.write_all(b"HTTP/1.1 400 Bad Request").await.unwrap();
    let mut rest = Vec::new();
    timeout(LIMIT, world.library.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn what_the_library_closes_is_acknowledged_before() {
    let mut world = World::new(Duration::ZERO).await;
    world.broker.write_all(&message(1, "0", 1, b"x")).await.unwrap();
    let handled = async {
        while world.taken.bodies.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, handled).await.unwrap();
    let close = frame(1, 1, &[0, 20, 0, 40]);
    world.library.write_all(&close).await.unwrap();
    let ack = world.read(21).await;
    assert_eq!((&ack[7..11], ack[18]), (&[0, 60, 0, 80][..], 1));
    assert_eq!(world.read(close.len()).await, close);
}

/// The library stops its heartbeats when it closes: nobody else would notice.
#[tokio::test]
async fn a_goodbye_that_nobody_answers_is_waited_for_a_while() {
    let mut world = World::new(Duration::ZERO).await;
    let goodbye = frame(1, 0, &[0, 10, 0, 50, 0, 0]);
    let said = Instant::now();
    world.library.write_all(&goodbye).await.unwrap();
    assert_eq!(world.read(goodbye.len()).await, goodbye);
    let read = timeout(LIMIT, world.library.read(&mut [0])).await.expect("the connection ends").unwrap();
    assert_eq!(read, 0);
    assert!(said.elapsed() >= FAREWELL, "{:?}", said.elapsed());
}
