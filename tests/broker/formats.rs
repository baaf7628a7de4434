//! Formats of routing keys that nobody publishes in are not paid for, and are there again when somebody does.

use super::*;

/// Bindings of the carriers to the exchange.
fn bindings(rabbit: &Rabbit) -> usize {
    let listed = rabbit.ctl(&[
        "-q",
        "list_bindings",
        "source_name",
        "destination_name",
        "routing_key",
        "--no-table-headers",
    ]);
    listed.lines().filter(|line| line.starts_with(EXCHANGE) && !line.contains("bridge_lookout")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn formats_that_do_not_arrive_are_left_out_and_another_that_comes_is_told() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    for topology in [Topology::PerUser, Topology::PerInstance, Topology::Firehose] {
        let (broker, inbox) = broker(Rabbitmq { topology, ..settings(&rabbit.url()) });
        broker.start();
        (0..20).for_each(|n| broker.want(&id(&format!("u{n}")), None));
        live(&broker, 20).await;
        let each = if topology == Topology::Firehose { 1 } else { 20 };
        assert_eq!(bindings(&rabbit), 3 * each, "{topology:?}");
        for n in 0..1_000 {
            publisher.publish(&format!("update.dialog.user.u{}.message", n % 20), "new").await;
        }
        eventually("delivered", 10, || inbox.deliveries.lock().len() == 1_000).await;
        eventually("left out", 15, || bindings(&rabbit) == each).await;
        broker.want(&id("u20"), None);
        live(&broker, 21).await;
        let all = if topology == Topology::Firehose { 1 } else { 21 };
        assert_eq!(bindings(&rabbit), all, "{topology:?}: who comes later is bound like the others");
        // Another Chat3: somebody stands watch, whoever it is.
        let before = Clock::default().now();
        tokio::time::sleep(Duration::from_secs(4)).await;
        for n in 0..21 {
            publisher.publish(&format!("user.u{n}.messageupdate"), "missed").await;
        }
        let told =
            eventually("told", 12, || inbox.live.lock().iter().filter(|(_, gap)| gap.is_some()).count() == 21);
        println!("{topology:?}: told after {:?}", told.await);
        for (user, gap) in inbox.live.lock().iter().filter(|(_, gap)| gap.is_some()) {
            let (reason, since) = gap.unwrap();
            assert!(reason == GapReason::QueueLost && since <= before, "{user}: {since:?} {before:?}");
        }
        let count = inbox.deliveries.lock().len();
        for n in 0..21 {
            publisher.publish(&format!("user.u{n}.messageupdate"), "old").await;
            publisher.publish(&format!("update.dialog.user.u{n}.message"), "new").await;
        }
        eventually("both", 10, || inbox.deliveries.lock().len() == count + 42).await;
        broker.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_do_not_come_put_everything_in_doubt() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = broker(settings(&rabbit.url()));
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    for _ in 0..1_000 {
        publisher.publish("update.dialog.user.a.message", "new").await;
    }
    eventually("left out", 20, || bindings(&rabbit) == 1).await;
    broker.doubt();
    eventually("bound again", 5, || bindings(&rabbit) == 3).await;
    assert!(inbox.live.lock().iter().all(|(_, gap)| gap.is_none()), "nothing is known to be lost");
    broker.stop(Duration::from_secs(5)).await;
}
