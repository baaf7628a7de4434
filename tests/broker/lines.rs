//! Several connections, one for each worker.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LINES: usize = 3;
const USERS: usize = 30;
/// Rounds of five seconds: a probe has proved something.
const WARM: usize = 25;

fn user(n: usize) -> String {
    format!("l{n}")
}

async fn begun(settings: Rabbitmq, lines: usize) -> (Arc<AmqpBroker>, Arc<Recorder>) {
    let (broker, inbox) = broker_of(settings, lines);
    broker.start();
    (0..USERS).for_each(|n| broker.want(&id(&user(n)), None));
    live(&broker, USERS).await;
    (broker, inbox)
}

/// The connections that have queues of users.
fn owners(rabbit: &Rabbit) -> BTreeSet<String> {
    let list = rabbit.ctl(&["list_queues", "--no-table-headers", "name", "owner_pid"]);
    let rows = list.lines().filter_map(|line| line.split_once('\t'));
    rows.filter(|(name, _)| name.starts_with("user_")).map(|(_, owner)| owner.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn users_are_spread_over_lines_and_each_gets_all_in_order() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = begun(settings(&rabbit.url()), LINES).await;
    assert_eq!(owners(&rabbit).len(), LINES);
    for number in 0..50 {
        for n in 0..USERS {
            publisher.publish(&format!("user.user.{}.messageupdate", user(n)), &number.to_string()).await;
        }
    }
    eventually("all delivered", 10, || inbox.deliveries.lock().len() >= 50 * USERS).await;
    let mut by_user = HashMap::<String, Vec<String>>::new();
    for (of, _, body) in inbox.deliveries.lock().drain(..) {
        by_user.entry(of.unwrap()).or_default().push(body);
    }
    let all: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    (0..USERS).for_each(|n| assert_eq!(by_user[&user(n)], all, "{}", user(n)));

    // What only the connection may that declared a queue: ask for it, bind it otherwise, delete it.
    let queues = broker.queues(Duration::from_secs(10)).await;
    assert_eq!(queues.iter().filter(|queue| queue.lag == Some(0)).count(), USERS, "{queues:?}");
    (0..USERS).for_each(|n| broker.want(&id(&user(n)), Some(["message".to_owned()].into())));
    live(&broker, USERS).await;
    (0..10).for_each(|n| broker.release(&id(&user(n))));
    eventually("those of ten are deleted", 10, || carriers(&rabbit).len() == USERS - 10).await;
    broker.stop(Duration::from_secs(10)).await;
    assert!(rabbit.queues().is_empty(), "{:?}", rabbit.queues());
    assert_eq!(*inbox.sessions.lock(), [true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_one_line_the_session_is_lost_and_everybody_is_told() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = begun(settings(&rabbit.url()), LINES).await;
    let owners = owners(&rabbit);
    rabbit.ctl(&["close_connection", owners.first().unwrap(), "one of three"]);
    eventually("noticed", 5, || inbox.sessions.lock().contains(&false)).await;
    live(&broker, USERS).await;
    let told = |inbox: &Recorder| {
        let live = inbox.live.lock();
        live.iter().filter(|(_, gap)| matches!(gap, Some((GapReason::BrokerLost, _)))).count()
    };
    eventually("each is told once", 5, || told(&inbox) == USERS).await;
    assert_eq!(self::owners(&rabbit).intersection(&owners).count(), 0, "those that were left are closed too");
    broker.stop(Duration::from_secs(10)).await;
    assert_eq!(*inbox.sessions.lock(), [true, false, true, false]);
}

/// One queue of the lookout that is there and gets nothing proves it, whatever became of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn bindings_that_went_with_a_queue_of_the_lookout_are_missed() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = begun(settings(&rabbit.url()), LINES).await;
    let queues = rabbit.queues();
    let mut lookouts = queues.iter().map(|[name, ..]| name).filter(|name| name.starts_with("bridge_lookout"));
    rabbit.ctl(&[
        "eval",
        &format!(
            r#"X = rabbit_misc:r(<<"/">>, exchange, <<"{EXCHANGE}">>),
               {{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{}">>)),
               rabbit_amqqueue:delete(Q, false, false, <<"t">>),
               rabbit_exchange:delete(X, false, <<"t">>),
               rabbit_exchange:declare(X, topic, true, false, false, [], <<"t">>)."#,
            lookouts.next().unwrap()
        ),
    ]);
    assert_eq!(lookouts.count(), LINES - 1);
    let told = || inbox.live.lock().iter().filter(|(_, gap)| gap.is_some()).count();
    eventually("each is told", 10, || told() == USERS).await;
    (0..USERS).for_each(|n| assert!(broker.queue(&id(&user(n))).borrow().eq(&QueueState::Live)));
    publisher.publish(&format!("user.user.{}.messageupdate", user(0)), "again").await;
    eventually("delivered", 5, || !inbox.deliveries.lock().is_empty()).await;
    broker.stop(Duration::from_secs(10)).await;
}

/// What was held back goes on, or a little of it and then the end.
const GOES_ON: usize = usize::MAX;
const ENDS: usize = usize::MAX - 1;

/// A way to the node. Nothing comes any more over the connection of this number, from 1, until it is one of the above.
async fn muted(rabbit: &Rabbit, mute: Arc<AtomicUsize>) -> String {
    let node = rabbit.url().rsplit('@').next().unwrap().trim_end_matches("/%2f").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((client, _)) = listener.accept().await {
            number += 1;
            let broker = TcpStream::connect(&node).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_broker, mut to_broker)) =
                (client.into_split(), broker.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_broker).await });
            let mute = Arc::clone(&mute);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(count @ 1..) = from_broker.read(&mut buffer).await {
                    if mute.load(Ordering::SeqCst) == number {
                        while mute.load(Ordering::SeqCst) == number {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        if mute.load(Ordering::SeqCst) == ENDS {
                            let _ends = to_client.write_all(&buffer[..count]).await;
                            break;
                        }
                    }
                    if to_client.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    format!("amqp://guest:guest@{address}/%2f")
}

/// What was published in a round and did not come, is told.
async fn told_of_what_lacks(inbox: &Recorder, sent: &[(String, Millis, String)]) -> BTreeSet<String> {
    let gaps = || inbox.live.lock().iter().filter(|(_, gap)| gap.is_some()).count();
    eventually("each has a gap", 20, || gaps() == USERS).await;
    let came: BTreeSet<String> = inbox.deliveries.lock().iter().map(|(_, _, body)| body.clone()).collect();
    let gaps: HashMap<String, Millis> = {
        let live = inbox.live.lock();
        live.iter().filter_map(|(user, gap)| gap.map(|(_, since)| (user.clone(), since))).collect()
    };
    let lacking: Vec<_> = sent.iter().filter(|(_, _, body)| !came.contains(body)).collect();
    println!("{} of {} updates did not come", lacking.len(), sent.len());
    for (user, at, body) in lacking {
        let since = gaps[user];
        assert!(since <= *at, "{body} was published at {at:?}, told is what came since {since:?}");
    }
    came
}

/// To each user one update, whose body says which of his it is.
async fn publish_round(publisher: &Publisher, round: usize, sent: &mut Vec<(String, Millis, String)>) {
    for n in 0..USERS {
        let body = format!("{n} {round}");
        sent.push((user(n), now(), body.clone()));
        publisher.publish(&format!("user.user.{}.messageupdate", user(n)), &body).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// What comes at last was published long ago: it proves nothing of what was published since.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_a_line_that_stalled_had_not_brought_is_told() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let mute = Arc::new(AtomicUsize::new(0));
    let url = muted(&rabbit, Arc::clone(&mute)).await;
    let (broker, inbox) = begun(settings(&url), 1).await;
    let mut sent = Vec::new();
    for round in 0..WARM {
        publish_round(&publisher, round, &mut sent).await;
    }
    mute.store(1, Ordering::SeqCst);
    // Shorter than heartbeats would notice.
    let begun = Instant::now();
    let mut round = WARM;
    while begun.elapsed() < Duration::from_secs(5) {
        publish_round(&publisher, round, &mut sent).await;
        round += 1;
    }
    mute.store(ENDS, Ordering::SeqCst);
    eventually("the end is noticed", 10, || inbox.sessions.lock().contains(&false)).await;
    live(&broker, USERS).await;
    let came = told_of_what_lacks(&inbox, &sent).await;
    assert!(!came.contains(&format!("0 {}", round - 1)) && came.contains("0 1"), "it stalled");
    broker.stop(Duration::from_secs(10)).await;
}

/// What was proved before it could be looked at on a line that is slow stays so.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn bindings_that_went_while_a_line_was_slow_are_missed() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let mute = Arc::new(AtomicUsize::new(0));
    let url = muted(&rabbit, Arc::clone(&mute)).await;
    let (broker, inbox) = begun(settings(&url), LINES).await;
    // A probe has gone out before: there is a connection for them.
    tokio::time::sleep(Duration::from_secs(4)).await;
    mute.store(2, Ordering::SeqCst);
    publisher.delete().await;
    publisher.declare(ExchangeKind::Topic).await;
    // A look every three seconds, and two for each of its questions on that line.
    tokio::time::sleep(Duration::from_millis(7_500)).await;
    mute.store(GOES_ON, Ordering::SeqCst);
    let gaps = || inbox.live.lock().iter().filter(|(_, gap)| gap.is_some()).count();
    eventually("each is told", 10, || gaps() >= USERS).await;
    live(&broker, USERS).await;
    publisher.publish(&format!("user.user.{}.messageupdate", user(0)), "again").await;
    eventually("delivered", 5, || !inbox.deliveries.lock().is_empty()).await;
    broker.stop(Duration::from_secs(10)).await;
}

/// Others go on to hear on theirs, which says nothing of the one that is mute.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_a_line_holds_back_is_told_however_much_comes_on_the_others() {
    tokio::join!(one_is_mute(true), one_is_mute(false));
}

async fn one_is_mute(watch_bindings: bool) {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let mute = Arc::new(AtomicUsize::new(0));
    let url = muted(&rabbit, Arc::clone(&mute)).await;
    let heartbeat = Duration::from_secs(2);
    let (broker, inbox) = begun(Rabbitmq { watch_bindings, heartbeat, ..settings(&url) }, LINES).await;
    let mut sent = Vec::new();
    let mut round = 0;
    while inbox.sessions.lock().len() == 1 {
        assert!(round < 200, "a mute line is noticed by its heartbeats");
        // Something is proved before. What is done on one line alone is done on the first.
        if round == WARM {
            mute.store(2, Ordering::SeqCst);
        }
        publish_round(&publisher, round, &mut sent).await;
        round += 1;
    }
    live(&broker, USERS).await;
    let came = told_of_what_lacks(&inbox, &sent).await;
    let deaf = (0..USERS).filter(|n| !came.contains(&format!("{n} {}", WARM + 2))).count();
    assert!(deaf > 0 && deaf < USERS, "the others heard");
    broker.stop(Duration::from_secs(10)).await;
}
