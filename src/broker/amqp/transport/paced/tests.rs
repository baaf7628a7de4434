use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Longer than any of it takes.
const LIMIT: Duration = Duration::from_secs(60);

async fn pair() -> (Paced, TcpStream, Arc<Pace>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (ours, (theirs, _)) = (ours.unwrap(), theirs.unwrap());
    theirs.set_nodelay(true).unwrap();
    let pace = Arc::new(Pace::default());
    (Paced::new(ours, Arc::clone(&pace)), theirs, pace)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.unwrap()
}

/// Reads until so much has come; how many reads that took.
async fn reads(paced: &mut Paced, bytes: usize) -> u32 {
    let (mut came, mut reads, mut room) = (0, 0, vec![0; 4 << 10]);
    while came < bytes {
        came += within(paced.read(&mut room)).await.unwrap();
        reads += 1;
    }
    assert_eq!(came, bytes);
    reads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_much_comes_one_read_takes_what_many_writes_brought() {
    const WRITES: usize = 2_000;
    for much in [false, true] {
        let (mut paced, mut theirs, pace) = pair().await;
        pace.begins(much);
        let writer = std::thread::spawn(move || {
            // A broker's: each by itself, at even distances.
            let begin = Instant::now();
            for n in 0..WRITES {
                while begin.elapsed() < Duration::from_micros(50) * u32::try_from(n).unwrap() {
                    std::hint::spin_loop();
                }
                assert_eq!(theirs.try_write(b"x").unwrap(), 1);
            }
            theirs
        });
        let count = reads(&mut paced, WRITES).await;
        theirs = writer.join().unwrap();
        if much {
            assert!(count < 600, "{count}");
        }
        // Whichever it was, the end is noticed, and both sides' last words come.
        theirs.write_all(b"last").await.unwrap();
        drop(theirs);
        let mut rest = String::new();
        within(paced.read_to_string(&mut rest)).await.unwrap();
        assert_eq!(rest, "last");
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
    within(async {
        while pace.is_much() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    theirs.write_all(b"!").await.unwrap();
    let (paced, byte) = reader.await.unwrap();
    assert_eq!(byte, b'!');
    assert!(matches!(paced.socket, Some(Socket::Watched(_))));
}

#[tokio::test]
async fn whoever_writes_is_woken_when_the_other_side_reads_and_loses_nothing() {
    const BYTES: usize = 16 << 20;
    let (paced, mut theirs, pace) = pair().await;
    pace.begins(true);
    let (mut read, mut write) = tokio::io::split(paced);
    let writer = tokio::spawn(async move {
        let bytes: Vec<u8> = (0..BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
        within(write.write_all(&bytes)).await.unwrap();
        within(write.shutdown()).await.unwrap();
    });
    // Meanwhile the other half waits for something.
    let reader = tokio::spawn(async move {
        let mut bytes = [0; 5];
        within(read.read_exact(&mut bytes)).await.unwrap();
        bytes
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (mut came, mut room) = (0, vec![0; 64 << 10]);
    loop {
        pace.begins(came % 3 != 0);
        let count = within(theirs.read(&mut room)).await.unwrap();
        if count == 0 {
            break;
        }
        assert!(room[..count].iter().zip(came..).all(|(byte, n)| usize::from(*byte) == n % 251), "at {came}");
        came += count;
    }
    assert_eq!(came, BYTES);
    theirs.write_all(b"hello").await.unwrap();
    assert_eq!(&reader.await.unwrap(), b"hello");
    writer.await.unwrap();
}
