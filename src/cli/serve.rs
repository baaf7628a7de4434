//! `serve`, `demo`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::{ConfigArgs, Failure, load, print, threads};
use crate::app::{App, Options, Signals};
use crate::config::Faults;
use crate::demo;

/// Runs everything on one machine.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DemoArgs {
    #[command(subcommand)]
    command: Option<DemoCommand>,
    /// Use this RabbitMQ instead of the embedded broker.
    #[arg(long, value_name = "URL")]
    amqp_url: Option<String>,
    /// The Chat3 version that the stand-in answers as: 2025-11-05, 2025-11-26 or 2026-06.
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "2025-11-26",
        value_parser = one_of_versions(),
        hide_possible_values = true
    )]
    chat3: demo::Version,
    /// Users in the conversation.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=20))]
    users: u8,
}

#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// Runs the stand-in for Chat3 alone, to rehearse a move of several instances without Chat3. Prints its key, a dialog
    /// and tokens of its members, as a shell reads them.
    Chat3(Chat3Args),
}

#[derive(Debug, Args)]
struct Chat3Args {
    /// The RabbitMQ that it publishes to.
    #[arg(long, value_name = "URL", env = "RABBITMQ_URL", hide_env_values = true)]
    amqp_url: String,
    /// The Chat3 version that it answers as: 2025-11-05, 2025-11-26 or 2026-06.
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "2025-11-26",
        value_parser = one_of_versions(),
        hide_possible_values = true
    )]
    chat3: demo::Version,
    /// Members of the dialog.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=20))]
    users: u8,
    /// Address of its API.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    listen: std::net::IpAddr,
    /// Port of its API [default: any that is free].
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// The key that it takes [default: one of its own].
    #[arg(long)]
    key: Option<String>,
    /// The secret by which the tokens are signed [default: one of its own].
    #[arg(long, value_name = "SECRET")]
    jwt_secret: Option<String>,
    /// Base URL of a gateway over which members talk, as soon as it is there; several: in turn. Can be repeated.
    #[arg(long, value_name = "URL")]
    talk: Vec<String>,
}

/// A misspelt one is told what it is like.
fn one_of_versions() -> impl TypedValueParser<Value = demo::Version> {
    PossibleValuesParser::new(["2025-11-05", "2025-11-26", "2026-06"])
        .try_map(|name| name.parse::<demo::Version>())
}

pub(super) async fn serve(args: ConfigArgs) -> Result<(), Failure> {
    // Before anything else: SIGUSR1 rolls back from the first moment.
    let mut signals = Signals::listen()?;
    let sources = args.sources();
    let reading = sources.clone();
    let loaded = tokio::task::spawn_blocking(move || load(&reading));
    // A mount that hangs can't keep the process from ending.
    let loaded = tokio::select! {
        loaded = loaded => loaded.map_err(|error| Failure::Other(error.into()))??,
        () = signals.stopped() => return Ok(()),
    };
    crate::telemetry::log(&loaded.settings.log);
    tracing::info!(files = ?loaded.files, environment = loaded.environment.name(), "the settings were read");
    let metrics = crate::telemetry::metrics().map_err(|error| Failure::Other(error.into()))?;
    let workers = loaded.settings.runtime.workers;
    let app = async move {
        let app = App::start(loaded, sources, Options::default(), metrics).await?;
        let addresses = serde_json::json!({"http": app.http.to_string(), "admin": app.admin.to_string()});
        print::data(&addresses.to_string());
        app.run(signals).await;
        Ok(())
    };
    if workers == 1 {
        return app.await;
    }
    // How many threads there are to be stands in the settings, which one thread has read.
    let runtime = threads(workers)?;
    let ended = runtime.spawn(app).await;
    runtime.shutdown_background();
    ended.map_err(|error| Failure::Other(error.into()))?
}

pub(super) async fn demo(args: DemoArgs) -> Result<(), Failure> {
    let signals = Signals::listen()?;
    if let Some(DemoCommand::Chat3(args)) = args.command {
        let Chat3Args { amqp_url, chat3: version, users, listen, port, key, jwt_secret, talk } = args;
        let address = (listen, port).into();
        let rehearsal = demo::Rehearsal { amqp_url, version, users, address, key, jwt_secret, talk };
        return rehearsal.run(signals, print::data, print::say).await.map_err(Failure::Other);
    }
    let demo = demo::Demo { amqp_url: args.amqp_url, version: args.chat3, users: args.users };
    demo.run(signals, print::data).await.map_err(|error| match error.downcast::<Faults>() {
        Ok(faults) => Failure::Settings(faults),
        Err(error) => Failure::Other(error),
    })
}
