use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::*;

/// Longer than any of it takes.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

async fn pair() -> (Paced, std::net::TcpStream, Arc<Pace>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_nodelay(true).unwrap();
    let pace = Arc::new(Pace::default());
    (Paced::new(ours, Arc::clone(&pace)), theirs, pace)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.unwrap()
}

async fn until(holds: impl Fn() -> bool) {
    within(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

fn is_ticking(paced: &Paced) -> bool {
    matches!(paced.socket, Some(Socket::Ticking(_)))
}

/// Polls for a read once.
fn poll(paced: &mut Paced, cx: &mut Context<'_>) -> Poll<usize> {
    let mut room = [0; 4 << 10];
    let mut buf = ReadBuf::new(&mut room);
    Pin::new(paced).poll_read(cx, &mut buf).map(|read| read.map(|()| buf.filled().len()).unwrap())
}

#[tokio::test]
async fn where_much_comes_a_millisecond_brings_one_read_however_often_is_written() {
    for much in [false, true] {
        let (mut paced, mut theirs, pace) = pair().await;
        pace.begins(much);
        let (begin, mut came, mut reads, mut room) = (Instant::now(), 0, 0, [0; 4 << 10]);
        for _ in 0..200 {
            theirs.write_all(b"x").unwrap();
            if much {
                tokio::task::yield_now().await;
                if let Poll::Ready(count) = poll(&mut paced, &mut Context::from_waker(Waker::noop())) {
                    (came, reads) = (came + count, reads + 1);
                }
            } else {
                came += within(paced.read(&mut room)).await.unwrap();
                reads += 1;
            }
        }
        assert_eq!(is_ticking(&paced), much);
        if much {
            assert!(reads <= begin.elapsed().as_millis(), "{reads} in {:?}", begin.elapsed());
        } else {
            assert_eq!((came, reads), (200, 200), "each as soon as it comes");
        }
        // The end is noticed, after what came before it.
        theirs.write_all(b"last").unwrap();
        drop(theirs);
        let mut rest = String::new();
        within(paced.read_to_string(&mut rest)).await.unwrap();
        assert!(rest.len() == 204 - came && rest.ends_with("last"), "{rest}");
    }
}

#[tokio::test]
async fn where_nothing_comes_any_more_the_socket_wakes_again() {
    let (mut paced, mut theirs, pace) = pair().await;
    pace.begins(true);
    let reader = tokio::spawn(async move {
        let mut byte = [0];
        within(paced.read_exact(&mut byte)).await.unwrap();
        (paced, byte[0])
    });
    until(|| !pace.is_much()).await;
    theirs.write_all(b"!").unwrap();
    let (paced, byte) = reader.await.unwrap();
    assert_eq!((byte, is_ticking(&paced)), (b'!', false));
}

#[tokio::test]
async fn whoever_writes_is_woken_when_the_other_side_reads_and_so_is_whoever_waited_for_a_tick() {
    let (mut paced, mut theirs, pace) = pair().await;
    let (reads, writes) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let [reader, writer] = [&reads, &writes].map(|woken| Waker::from(Arc::clone(woken)));
    let (mut reader, mut writer) = (Context::from_waker(&reader), Context::from_waker(&writer));
    pace.begins(true);
    assert!(poll(&mut paced, &mut reader).is_pending() && is_ticking(&paced));
    let (chunk, mut sent) = ([7; 64 << 10], 0);
    while let Poll::Ready(written) = Pin::new(&mut paced).poll_write(&mut writer, &chunk) {
        sent += written.unwrap();
    }
    assert!(!is_ticking(&paced) && paced.blocked, "the socket tells when there is room");
    assert_eq!(reads.times(), 1, "no tick comes any more");
    assert!(poll(&mut paced, &mut reader).is_pending() && !is_ticking(&paced));
    let (before, drain) = (writes.times(), theirs.try_clone().unwrap());
    let drained = std::thread::spawn(move || (&drain).take(sent as u64).read_to_end(&mut Vec::new()).unwrap());
    until(|| writes.times() > before).await;
    let written = within(std::future::poll_fn(|cx| Pin::new(&mut paced).poll_write(cx, b"more"))).await.unwrap();
    assert_eq!(written, 4);
    assert!(poll(&mut paced, &mut reader).is_pending() && is_ticking(&paced), "and then ticks again");
    assert_eq!(drained.join().unwrap(), sent);
    theirs.write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    within(paced.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn more_than_one_read_takes_is_read_at_once_but_not_for_ever() {
    let (mut paced, mut theirs, pace) = pair().await;
    pace.begins(true);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(poll(&mut paced, &mut Context::from_waker(&waker)).is_pending());
    let writer = std::thread::spawn(move || theirs.write_all(&vec![7; 8 << 20]).map(|()| theirs));
    until(|| woken.times() > 0).await;
    // Nobody else has a turn meanwhile: a reader that never stops would read on.
    let (mut came, mut reads) = (0, 0);
    while let Poll::Ready(count) = poll(&mut paced, &mut Context::from_waker(&waker)) {
        (came, reads) = (came + count, reads + 1);
    }
    assert!(reads <= u32::from(RUN), "{reads}");
    while came < 8 << 20 {
        let mut room = [0; 4 << 10];
        let count = within(paced.read(&mut room)).await.unwrap();
        assert!(count > 0 && room[..count].iter().all(|byte| *byte == 7));
        came += count;
    }
    drop(writer.join().unwrap());
}
