//! `demo`: everything that a newcomer needs on one machine.

pub mod chat3;
mod conversation;
mod page;
mod rehearsal;

pub use chat3::{Chat3StandIn, Publisher, StandInOptions, Version};
pub use rehearsal::Rehearsal;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::app::{App, Options, Signals};
use crate::config::Sources;
use conversation::Talker;

/// A demo to run.
pub struct Demo {
    /// A real RabbitMQ; `None`: the exchange in this process.
    pub amqp_url: Option<String>,
    /// How the stand-in answers.
    pub version: Version,
    /// Users in the conversation.
    pub users: u8,
}

const NAMES: [&str; 4] = ["Anna", "Boris", "Clara", "Dmitri"];
/// The API key that the stand-in and the gateway share.
const KEY: &str = "demo";

impl Demo {
    /// Runs until a signal ends it; `say` prints the addresses.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn run(self, signals: Signals, say: fn(&str)) -> anyhow::Result<()> {
        let state = tempfile::tempdir().context("no temporary folder for the demo's state")?;
        let publisher = Arc::new(chat3::LatePublisher::default());
        let options = StandInOptions {
            version: self.version,
            api_key: KEY.into(),
            plants: true,
            ..StandInOptions::default()
        };
        let stand_in = Chat3StandIn::start(options, Arc::clone(&publisher) as Arc<dyn Publisher>)
            .await
            .context("the Chat3 stand-in could not be started")?;
        let users: Vec<(String, String)> = (0..self.users).map(person).collect();
        let members: Vec<&str> = users.iter().map(|(id, _)| id.as_str()).collect();
        let dialog = stand_in.add_dialog(&members);
        let sources = self.sources(&stand_in.url(), state.path(), free_port(3001), free_port(3002));
        let loaded = sources.load()?;
        crate::telemetry::log(&loaded.settings.log);
        let metrics = crate::telemetry::metrics().context("the metrics could not be started")?;
        let people = users.iter().map(|(id, name)| json!({"id": id, "name": name})).collect::<Vec<_>>();
        let admin = Arc::<OnceLock<std::net::SocketAddr>>::default();
        let routes = page::router(&dialog, &people, Arc::clone(&admin))?;
        let options = Options { routes, embedded: self.amqp_url.is_none() };
        let app = App::start(loaded, sources, options, metrics).await?;
        let _first = admin.set(app.admin);
        match (&app.embedded, &self.amqp_url) {
            (Some(embedded), _) => publisher.set(Arc::new(chat3::EmbeddedPublisher(Arc::clone(embedded)))),
            (None, Some(url)) => {
                let amqp = chat3::AmqpPublisher::connect(url, "chat3_updates").await;
                publisher.set(Arc::new(amqp.map_err(anyhow::Error::msg).context("RabbitMQ")?));
            }
            (None, None) => {}
        }
        say(&format!("chat     http://{}/", app.http));
        say(&format!("console  http://{}/console", app.admin));
        say(&format!("gateway  http://{}  (stage shadow, no token needed)", app.http));
        say(&format!("chat3    {}  (stand-in for Chat3 of {})", stand_in.url(), self.version));
        say("Ctrl-C ends it. What came of the conversation so far:");
        let gateway = format!("http://{}", app.http);
        let talker = |(id, _): &(String, String)| Talker { gateway: gateway.clone(), id: id.clone(), token: None };
        let talkers = users.iter().map(talker).collect();
        let talk = tokio::spawn(conversation::run(dialog, talkers, PACE, REPORT, say));
        app.run(signals).await;
        talk.abort();
        Ok(())
    }

    fn sources(&self, chat3: &str, state: &std::path::Path, http: u16, admin: u16) -> Sources {
        let mut set = BTreeMap::from([
            ("flag.use_rabbitmq_updates", "false".to_owned()),
            ("flag.shadow_mode", "true".to_owned()),
            ("chat3.url", chat3.to_owned()),
            ("chat3.api_key", KEY.to_owned()),
            ("auth.mode", "trusted".to_owned()),
            ("http.listen", format!("127.0.0.1:{http}")),
            ("admin.listen", format!("127.0.0.1:{admin}")),
            ("state_dir", state.display().to_string()),
            ("rabbitmq.declare_exchange", "true".to_owned()),
            ("shadow.sample", "1".to_owned()),
            // Nobody's text, and a verdict while somebody looks.
            ("shadow.reveal_content", "true".to_owned()),
            ("shadow.target_rate", "0.05".to_owned()),
            ("log.level", "warn".to_owned()),
            ("rabbitmq.url", self.amqp_url.clone().unwrap_or_else(|| "amqp://embedded".into())),
        ]);
        set.insert("instance_id", "demo".to_owned());
        let set = set.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        // Neither files nor variables: the demo is the same wherever it runs. An empty directory has no files.
        Sources {
            config_dir: Some(state.to_owned()),
            environment: Some("development".into()),
            set,
            ..Sources::default()
        }
    }
}

fn person(number: u8) -> (String, String) {
    let place = usize::from(number);
    let name = NAMES.get(place).map_or_else(|| format!("User {}", number + 1), |name| (*name).to_owned());
    (format!("usr_demo{number:04}"), name)
}

/// The usual port, or any when it is taken.
fn free_port(usual: u16) -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", usual)).map_or(0, |_| usual)
}

/// Messages come this often: about a hundred have to match, and nobody waits for two minutes.
const PACE: Duration = Duration::from_millis(700);
/// Between two lines on stdout.
const REPORT: Duration = Duration::from_secs(10);
