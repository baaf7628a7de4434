//! Is the exchange of Updates there, and a topic?

use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ExchangeKind};

use super::connect::{ANSWER, expendable};

/// What a look at the exchange showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// There, durable, a topic.
    Topic,
    /// There; its type can't be proved without the permission to configure it.
    Unproved,
    /// Not there.
    Missing,
    /// There, and something else.
    Wrong(String),
}

impl Seen {
    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Topic | Self::Unproved => None,
            Self::Missing => Some("is missing: it appears when Chat3 has started".into()),
            Self::Wrong(text) => Some(format!("is not a durable topic exchange: {text}")),
        }
    }
}

/// Looks at the exchange. Bindings on an exchange of another type succeed and deliver nothing, and a passive declare
/// does not tell the type: an active one, with the type that it should have, does.
pub(super) async fn look(connection: &Connection, name: &str, declare: bool) -> Result<Seen, String> {
    let answers = if declare { None } else { Some(ask_twice(connection, name).await?) };
    let active = match answers {
        Some((Err((404, _)), _)) => return Ok(Seen::Missing),
        Some((Ok(()), active)) => active,
        Some((Err((403, _)), _)) | None => {
            let channel = expendable(connection).await?;
            refusal(declare_on(&channel, name, false).await)?
        }
        Some((Err((_, text)), _)) => return Err(text),
    };
    match active {
        Ok(()) => Ok(Seen::Topic),
        Err((406, text)) => Ok(Seen::Wrong(text)),
        Err((403, _)) => Ok(Seen::Unproved),
        Err((_, text)) => Err(text),
    }
}

/// An answer; a refusal is the AMQP reply code with its text.
type Answer = Result<(), (u16, String)>;

/// A passive declare with an active one right behind it on the same channel. The broker drops what follows a refusal:
/// an exchange that is not there is not declared by the second, however short a time ago it went.
async fn ask_twice(connection: &Connection, name: &str) -> Result<(Answer, Answer), String> {
    let channel = expendable(connection).await?;
    let (passive, active) = tokio::join!(declare_on(&channel, name, true), declare_on(&channel, name, false));
    let passive = refusal(passive)?;
    // Behind a refusal there is no answer.
    let active = if passive.is_ok() { refusal(active)? } else { Ok(()) };
    Ok((passive, active))
}

async fn declare_on(channel: &Channel, name: &str, passive: bool) -> Option<lapin::Result<()>> {
    let options = ExchangeDeclareOptions { passive, durable: !passive, ..ExchangeDeclareOptions::default() };
    let declare = channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default());
    tokio::time::timeout(ANSWER, declare).await.ok()
}

fn refusal(result: Option<lapin::Result<()>>) -> Result<Answer, String> {
    match result {
        Some(Ok(())) => Ok(Ok(())),
        Some(Err(error)) => match code(&error) {
            Some(code) => Ok(Err((code, error.to_string()))),
            None => Err(error.to_string()),
        },
        None => Err("the broker did not answer".into()),
    }
}

/// The AMQP reply code of a refusal.
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refusal) => Some(refusal.get_id()),
        _ => None,
    }
}
