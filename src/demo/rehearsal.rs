//! `demo chat3`: the stand-in for Chat3 alone, so that a set-up of several instances is moved without a real one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::json;

use super::chat3::{AmqpPublisher, Publisher};
use super::conversation::{self, Talker};
use super::{Chat3StandIn, StandInOptions, Version, person};
use crate::app::Signals;

/// How long the tokens that are printed last.
const TOKENS: Duration = Duration::from_secs(24 * 3_600);
/// A line is posted this often.
const PACE: Duration = Duration::from_millis(400);
/// Between two lines that say what came of it.
const REPORT: Duration = Duration::from_secs(30);

/// A stand-in to run.
pub struct Rehearsal {
    /// The RabbitMQ that it publishes to.
    pub amqp_url: String,
    /// How it answers.
    pub version: Version,
    /// Members of the dialog.
    pub users: u8,
    /// Address of its API; port 0: any.
    pub address: SocketAddr,
    /// The key that it takes; `None`: one of its own.
    pub key: Option<String>,
    /// The secret by which the tokens are signed; `None`: one of its own.
    pub jwt_secret: Option<String>,
    /// Base URLs of the gateways that the users talk over, in turn; none: nobody talks.
    pub talk: Vec<String>,
}

impl Rehearsal {
    /// Runs until a signal ends it; `data` prints what a shell reads as it stands, `say` what people read.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn run(self, mut signals: Signals, data: fn(&str), say: fn(&str)) -> anyhow::Result<()> {
        let key = self.key.unwrap_or_else(super::chat3::secret);
        let secret = self.jwt_secret.unwrap_or_else(super::chat3::secret);
        let publisher = AmqpPublisher::connect(&self.amqp_url, "chat3_updates").await;
        let publisher: Arc<dyn Publisher> =
            Arc::new(publisher.map_err(anyhow::Error::msg).context("RabbitMQ could not be reached")?);
        let options = StandInOptions {
            version: self.version,
            api_key: key.clone(),
            plants: true,
            ..StandInOptions::default()
        };
        let stand_in = Chat3StandIn::start_on(self.address, options, publisher)
            .await
            .context("the Chat3 stand-in could not be started")?;
        let people: Vec<(String, String)> = (0..self.users).map(person).collect();
        let members: Vec<&str> = people.iter().map(|(id, _)| id.as_str()).collect();
        let dialog = stand_in.add_dialog(&members);
        data(&format!("# Chat3 of {}, in memory. Read this file into a shell: . ./FILE", self.version));
        for (name, value) in [
            ("CHAT3_API_URL", stand_in.url().as_str()),
            ("CHAT3_API_KEY", &key),
            ("JWT_SECRET", &secret),
            ("RABBITMQ_URL", &self.amqp_url),
            ("DIALOG", &dialog),
        ] {
            data(&format!("export {name}='{value}'"));
        }
        data("# Tokens of the dialog's members, for a day.");
        let mut talkers = Vec::new();
        for (number, (id, name)) in people.iter().enumerate() {
            let token = token(id, name, &secret)?;
            data(&format!("export TOKEN_{}='{token}' # {id}, {name}", number + 1));
            if !self.talk.is_empty() {
                let gateway = self.talk[number % self.talk.len()].trim_end_matches('/').to_owned();
                talkers.push(Talker { gateway, id: id.clone(), token: Some(token) });
            }
        }
        data("# ready");
        say("The stand-in runs until Ctrl-C.");
        let talk =
            (!talkers.is_empty()).then(|| tokio::spawn(conversation::run(dialog, talkers, PACE, REPORT, say)));
        signals.stopped().await;
        if let Some(talk) = talk {
            talk.abort();
        }
        Ok(())
    }
}

fn token(id: &str, name: &str, secret: &str) -> anyhow::Result<String> {
    let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + TOKENS;
    let claims = json!({"userId": id, "name": name, "exp": ends.as_secs()});
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).context("a token could not be made")
}
