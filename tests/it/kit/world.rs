//! Chat3's double with a real RabbitMQ behind it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use updates_bridge::demo::chat3::{AmqpPublisher, LatePublisher, Publication, Publisher};
use updates_bridge::demo::{Chat3StandIn, StandInOptions};

use super::bridge::Setup;
use super::{Turn, rabbit, runtime};

pub(crate) struct World {
    pub(crate) chat3: Chat3StandIn,
    pub(crate) rabbit_url: String,
    publisher: Arc<LatePublisher>,
    _turn: Turn,
}

impl World {
    /// On the node that tests share. Users are told apart by their names: give each test its own.
    pub(crate) fn shared(options: StandInOptions) -> Self {
        Self::on(rabbit::shared(|node| node.url()), options, Turn::beside())
    }

    /// Without a broker: nothing is published, for tests that stay in `legacy`.
    pub(crate) fn alone(options: StandInOptions) -> Self {
        let publisher = Arc::new(LatePublisher::default());
        let chat3 = runtime().block_on(Chat3StandIn::start(options, Arc::clone(&publisher) as Arc<dyn Publisher>));
        let chat3 = chat3.expect("a stand-in");
        Self { chat3, rabbit_url: String::new(), publisher, _turn: Turn::beside() }
    }

    pub(crate) fn on(rabbit_url: String, options: StandInOptions, turn: Turn) -> Self {
        let publisher = Arc::new(LatePublisher::default());
        let world = runtime().block_on(async {
            let chat3 = Chat3StandIn::start(options, Arc::clone(&publisher) as Arc<dyn Publisher>).await;
            Self { chat3: chat3.expect("a stand-in"), rabbit_url, publisher, _turn: turn }
        });
        world.connect();
        world
    }

    /// Connects the publisher, anew after the broker was away.
    pub(crate) fn connect(&self) {
        let publisher = runtime().block_on(AmqpPublisher::connect(&self.rabbit_url, "chat3_updates"));
        self.publisher.set(Arc::new(publisher.expect("a publisher")));
    }

    /// Everything is published by `publisher` from now on.
    pub(crate) fn publish_through(&self, publisher: Arc<dyn Publisher>) {
        self.publisher.set(publisher);
    }

    pub(crate) fn setup(&self, stage: &str) -> Setup {
        Setup::new(stage, &self.chat3.url()).rabbit(&self.rabbit_url)
    }

    /// Publishes a body as it is.
    pub(crate) fn publish(&self, routing_key: &str, headers: Vec<(&'static str, String)>, body: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
        let publication = Publication {
            routing_key: routing_key.into(),
            headers,
            timestamp: u64::try_from(now).expect("a time"),
            body: body.to_vec().into(),
        };
        runtime().block_on(self.publisher.publish(publication));
    }

    /// Publishes an update in November's shape.
    pub(crate) fn update(&self, user: &str, event: &str, entity: &str) -> Value {
        let body = serde_json::json!({"tenantId": "tnt_default", "userId": user, "entityId": entity,
            "eventId": format!("evt_{entity}"), "eventType": event, "data": {"dialogId": "dlg_x"}});
        self.publish(&format!("user.user.{user}.messageupdate"), Vec::new(), body.to_string().as_bytes());
        body
    }
}
