//! What a broker takes away or refuses while a session lives.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_not_consume_is_not_asked_several_times_a_second() {
    let rabbit = Rabbit::start();
    let _publisher = Publisher::new(&rabbit.url()).await;
    let permit = |read: &str| rabbit.ctl(&["set_permissions", "-p", "/", "guest", ".*", ".*", read]);
    permit("^(chat3_updates|bridge_lookout.*)$");
    let (broker, inbox) = broker(settings(&rabbit.url()));
    broker.start();
    broker.want(&id("a"), None);
    eventually("refused", 8, || inbox.sessions.lock().len() > 1).await;
    let mut reasons = std::collections::BTreeSet::new();
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        reasons.extend(broker.session().borrow().last_error.clone());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let begun = inbox.sessions.lock().iter().filter(|up| **up).count();
    println!("{begun} sessions in 8 s: {reasons:?}");
    assert!(begun <= 8, "{begun}");
    assert!(reasons.iter().all(|reason| reason.contains("ACCESS_REFUSED")), "{reasons:?}");
    permit(".*");
    live(&broker, 1).await;
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_comes_back_at_once_is_bound_anew() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    for topology in [Topology::PerUser, Topology::PerInstance, Topology::Firehose] {
        let (broker, inbox) = broker(Rabbitmq { topology, ..settings(&rabbit.url()) });
        broker.start();
        (0..50).for_each(|n| broker.want(&id(&format!("u{n}")), None));
        live(&broker, 50).await;
        // Two looks find nothing to complain of.
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(inbox.live.lock().len(), 50, "{topology:?}");
        let before = Clock::default().now();
        publisher.delete().await;
        publisher.declare(ExchangeKind::Topic).await;
        let told = eventually("told", 8, || inbox.live.lock().len() == 100).await;
        println!("{topology:?}: bound anew after {told:?}");
        for (user, gap) in &inbox.live.lock()[50..] {
            let (reason, since) = gap.expect("a gap");
            assert_eq!(reason, GapReason::QueueLost, "{user}");
            assert!(since <= before && before.since(since) < 4_000, "{user}: {since:?} {before:?}");
        }
        for n in 0..50 {
            publisher.publish(&format!("user.u{n}.x"), "once").await;
        }
        eventually("delivered", 5, || inbox.deliveries.lock().len() >= 50).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!((inbox.deliveries.lock().len(), inbox.live.lock().len()), (50, 100), "{topology:?}");
        assert_eq!(*inbox.sessions.lock(), [true], "{topology:?}: the session lived on");
        broker.stop(Duration::from_secs(5)).await;
        assert!(rabbit.queues().is_empty(), "{topology:?} after stop: {:?}", rabbit.queues());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_not_publish_keeps_its_session() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    rabbit.ctl(&["add_user", "reader", "reader"]);
    rabbit.ctl(&["set_permissions", "-p", "/", "reader", "^user_", "^user_", "^(user_.*|chat3_updates)$"]);
    let (broker, inbox) = broker(settings(&rabbit.url().replace("guest:guest", "reader:reader")));
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    for round in 1..4 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        publisher.publish("user.a.x", "1").await;
        eventually("delivered", 5, || inbox.deliveries.lock().len() == round).await;
    }
    // What can be seen without it still is.
    publisher.delete().await;
    eventually("noticed", 8, || broker.session().borrow().exchange_ok == Some(false)).await;
    publisher.declare(ExchangeKind::Topic).await;
    live(&broker, 1).await;
    publisher.publish("user.a.x", "1").await;
    eventually("delivered", 5, || inbox.deliveries.lock().len() == 4).await;
    assert_eq!(*inbox.sessions.lock(), [true, false, true]);
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_no_loss_and_blocks_no_delivery() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = broker(settings(&rabbit.url()));
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    publisher.publish("user.a.x", "1").await;
    rabbit.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
    tokio::time::sleep(Duration::from_secs(9)).await;
    broker.want(&id("b"), None);
    live(&broker, 2).await;
    // The sentinel's loss is none of the others'.
    let sentinel =
        rabbit.queues().into_iter().map(|[name, ..]| name).find(|name| name.starts_with("bridge_lookout"));
    rabbit.ctl(&["delete_queue", &sentinel.expect("a sentinel")]);
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    tokio::time::sleep(Duration::from_secs(9)).await;
    publisher.publish("user.b.x", "2").await;
    eventually("delivered", 5, || inbox.deliveries.lock().len() == 2).await;
    assert!(inbox.live.lock().iter().all(|(_, gap)| gap.is_none()), "{:?}", inbox.live.lock());
    assert_eq!(*inbox.sessions.lock(), [true]);
    let queues = rabbit.queues();
    assert_eq!(queues.len(), 2 + workers(), "two users and a new sentinel on each line: {queues:?}");
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_to_be_declared_is_declared_again() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, inbox) = broker(Rabbitmq { declare_exchange: true, ..settings(&rabbit.url()) });
    broker.start();
    broker.want(&id("a"), None);
    live(&broker, 1).await;
    publisher.delete().await;
    eventually("told", 8, || inbox.live.lock().len() == 2).await;
    publisher.publish("user.a.x", "1").await;
    eventually("delivered", 5, || inbox.deliveries.lock().len() == 1).await;
    assert!(matches!(inbox.live.lock()[1].1, Some((GapReason::QueueLost, _))));
    broker.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_at_an_exchange_that_goes_does_not_declare_it() {
    let rabbit = Rabbit::start();
    let publisher = Publisher::new(&rabbit.url()).await;
    let (broker, _inbox) = broker(settings(&rabbit.url()));
    let looking = tokio::spawn(futures::future::join_all((0..4).map(|_| {
        let broker = Arc::clone(&broker);
        async move {
            loop {
                broker.preflight(Duration::from_secs(5)).await;
            }
        }
    })));
    let mut declared = 0;
    for round in 0..150 {
        publisher.declare(ExchangeKind::Topic).await;
        tokio::time::sleep(Duration::from_millis(round % 7)).await;
        publisher.delete().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let channel = publisher.connection.create_channel().await.unwrap();
        let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let seen = channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, passive, FieldTable::default());
        declared += usize::from(seen.await.is_ok());
    }
    looking.abort();
    println!("declared {declared} of 150");
    // With an answer between the two questions it is nearly all of them. What is left is between two steps inside
    // the broker, with four that look without a pause.
    assert!(declared <= 7, "{declared} of 150");
}
