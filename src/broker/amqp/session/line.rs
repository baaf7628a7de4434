//! One of the session's connections, with what it is for: requests about the queues of its users, and their deliveries.

use lapin::options::BasicQosOptions;
use lapin::{Channel, Connection};
use tokio::sync::Mutex;

use super::outlet::{Outlet, SHARED_PREFETCH};
use crate::broker::amqp::connect::{ANSWER, Link, answer, close, expendable};
use crate::broker::amqp::tap::{Consumer, Tap};
use crate::config::{Rabbitmq, Topology};

/// Channels for requests that may be refused. A channel serves one request after the other; with a quarter of them the
/// broker took a fifth longer for the queues of 5,000 users, and with twice as many no less.
const CONTROL: usize = 16;
/// Channels that are left for looks at the exchange and at lags, and for the sentinel.
const SPARE: usize = 3;

/// A connection with its channels.
pub(super) struct Line {
    connection: Connection,
    control: Vec<Mutex<Option<Channel>>>,
    delivery: Vec<Channel>,
    /// Consumes on `delivery`.
    tap: Tap,
}

impl Line {
    /// Opens its channels; deliveries go to `outlet`.
    pub(super) async fn open(link: Link, settings: &Rabbitmq, outlet: Outlet) -> Result<Self, String> {
        let Link { connection, tap } = link;
        tap.serve(outlet).await;
        let one_for_all = settings.topology != Topology::PerUser;
        let most = usize::from(connection.configuration().channel_max()).saturating_sub(SPARE);
        let wanted = if one_for_all { 1 } else { usize::from(settings.channels) };
        let (count, control) = shares(most, wanted);
        let mut delivery = Vec::with_capacity(count);
        for _ in 0..count {
            let channel = expendable(&connection).await?;
            answer(channel.basic_qos(prefetch(settings), BasicQosOptions::default())).await?;
            tap.own(channel.id()).await;
            delivery.push(channel);
        }
        Ok(Self { connection, control: (0..control).map(|_| Mutex::new(None)).collect(), delivery, tap })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether it serves.
    pub(super) fn check(&self) -> Result<(), String> {
        let lame = self.delivery.iter().any(|channel| !channel.status().connected());
        match (self.connection.status().connected(), lame) {
            (false, _) => Err("the connection was closed".into()),
            (true, true) => Err("a channel was closed by the broker".into()),
            (true, false) => Ok(()),
        }
    }

    /// A channel for requests, the same for the same `place`; made anew when a refusal has closed it.
    pub(super) async fn control(&self, place: usize) -> Result<Channel, String> {
        let mut channel = self.control[place % self.control.len()].lock().await;
        match channel.as_ref() {
            Some(open) if open.status().connected() => Ok(open.clone()),
            _ => Ok(channel.insert(expendable(&self.connection).await?).clone()),
        }
    }

    /// Consumes on one of the channels for deliveries, the same for the same `place`.
    pub(super) async fn consume(&self, place: usize, consumer: Consumer) -> Result<(), String> {
        let channel = self.delivery[place % self.delivery.len()].id();
        let consumed = tokio::time::timeout(ANSWER, self.tap.consume(channel, consumer)).await;
        consumed.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs())))
    }

    /// So many channels may be opened besides those that are used all the time.
    pub(super) fn spare(&self) -> usize {
        let most = usize::from(self.connection.configuration().channel_max());
        most.saturating_sub(self.delivery.len() + self.control.len() + 2)
    }

    pub(super) async fn close(&self) {
        close(&self.connection).await;
    }
}

/// How many deliveries of one consumer may be unacknowledged.
pub(super) fn prefetch(settings: &Rabbitmq) -> u16 {
    match settings.topology {
        Topology::PerUser => settings.prefetch,
        Topology::PerInstance | Topology::Firehose => SHARED_PREFETCH,
    }
}

/// Channels for deliveries and for requests, of `most` in all; `wanted`: so many for deliveries.
fn shares(most: usize, wanted: usize) -> (usize, usize) {
    let control = CONTROL.min(most.saturating_sub(wanted).max(most / 2)).max(1);
    (wanted.min(most.saturating_sub(control)).max(1), control)
}

#[cfg(test)]
mod tests {
    use super::{CONTROL, shares};

    #[test]
    fn a_broker_with_few_channels_gets_some_of_each() {
        assert_eq!(shares(2_044, 4), (4, CONTROL));
        assert_eq!(shares(2_044, 3_000), (2_028, CONTROL));
        assert_eq!(shares(12, 4), (4, 8));
        assert_eq!([shares(5, 4), shares(4, 4), shares(2, 4), shares(0, 4)], [(3, 2), (2, 2), (1, 1), (1, 1)]);
        assert_eq!(shares(5, 1), (1, 4));
        assert!((2..3_000).all(|most| (1..40).all(|wanted| {
            let (delivery, control) = shares(most, wanted);
            delivery + control <= most && delivery <= wanted
        })));
    }
}
