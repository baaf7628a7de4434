//! Is the exchange of Updates there, and a topic?

use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ExchangeKind};

use super::connect::{answer, expendable};

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

/// Looks at the exchange. Bindings on an exchange of another type succeed and deliver nothing, and a passive declare
/// does not tell the type: an active one, with the type that it should have, does.
pub(super) async fn look(connection: &Connection, name: &str, declare: bool) -> Result<Seen, String> {
    if !declare {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        match ask(connection, name, passive).await? {
            Ok(()) => {}
            Err((404, _)) => return Ok(Seen::Missing),
            Err((403, _)) => {}
            Err((_, text)) => return Err(text),
        }
    }
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    match ask(connection, name, durable).await? {
        Ok(()) => Ok(Seen::Topic),
        Err((406, text)) => Ok(Seen::Wrong(text)),
        Err((403, _)) => Ok(Seen::Unproved),
        Err((_, text)) => Err(text),
    }
}

/// One declare on a channel of its own; a refusal is the AMQP reply code with its text.
async fn ask(
    connection: &Connection,
    name: &str,
    options: ExchangeDeclareOptions,
) -> Result<Result<(), (u16, String)>, String> {
    let channel = expendable(connection).await?;
    let declare = channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default());
    let result = tokio::time::timeout(super::connect::ANSWER, declare).await;
    match result {
        Ok(Ok(())) => {
            let _closed = answer(channel.close(200, "OK".into())).await;
            Ok(Ok(()))
        }
        Ok(Err(error)) => match code(&error) {
            Some(code) => Ok(Err((code, error.to_string()))),
            None => Err(error.to_string()),
        },
        Err(_) => Err("the broker did not answer".into()),
    }
}

/// The AMQP reply code of a refusal.
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refusal) => Some(refusal.get_id()),
        _ => None,
    }
}
