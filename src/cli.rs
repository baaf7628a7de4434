//! The command line: one file for each command. Data goes to stdout, messages to stderr.

mod by;
mod config;
mod drill;
mod flag;
mod health;
mod node;
mod preflight;
mod print;
mod serve;
mod shadow;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{Faults, Loaded, Sources};

/// Moves a chat's real-time delivery from room broadcast to RabbitMQ per-user queues, compares both, and flips
/// between them without losing or doubling a message.
#[derive(Debug, Parser)]
#[command(name = "updates-bridge", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 failure; 2 bad usage or bad configuration (stdout stays empty). \
                          `flag`, `shadow report` and `shadow wait` have more, which their --help lists.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway.
    Serve(ConfigArgs),
    /// Runs everything that a newcomer needs on this machine: a conversation of two, with nothing installed.
    Demo(serve::DemoArgs),
    /// Checks or explains the settings.
    Config {
        #[command(subcommand)]
        command: config::Config,
    },
    /// Asks the configured broker and Chat3 for everything that a forward move needs; 1 if something fails.
    Preflight(preflight::PreflightArgs),
    /// Shows or changes the stage of running instances.
    #[command(after_help = flag::EXIT_CODES)]
    Flag {
        #[command(subcommand)]
        command: flag::Flag,
    },
    /// QA's view of the comparison.
    Shadow {
        #[command(subcommand)]
        command: shadow::Shadow,
    },
    /// Plants each fault class into running shadows and checks that each is found; 1 if one was not.
    Drill(drill::DrillArgs),
    /// Asks whether a gateway lives or is ready, as a container's health check does; 1 if not.
    Health(health::HealthArgs),
    /// Prints the completions of a shell: bash, elvish, fish, powershell or zsh.
    Completions {
        /// The shell.
        #[arg(hide_possible_values = true)]
        shell: clap_complete::Shell,
    },
}

/// Where the settings come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// Directory of default.toml and {env}.toml [default: ./config].
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// development, staging or production [default: $BRIDGE_ENV, else development].
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Sets one key, over every other layer. Can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    fn sources(self) -> Sources {
        Sources::of_process(self.config_dir, self.env, self.set)
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Everything wrong with the settings: 2.
    Settings(Faults),
    /// Wrong use: 2.
    Usage(String),
    /// A code of the command's own, with what is said on stderr.
    Code(u8, String),
    /// Anything else: 1.
    Other(anyhow::Error),
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Settings(faults)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure
where
    E: std::error::Error + Send + Sync + 'static,
    E: NotFaults,
{
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Errors that are no list of faults in the settings.
pub(crate) trait NotFaults {}
impl NotFaults for std::io::Error {}
impl NotFaults for reqwest::Error {}
impl NotFaults for serde_json::Error {}
impl NotFaults for crate::app::StartError {}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout, usage errors to stderr.
            let _nowhere_to_say_it = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = match threads(1) {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("no threads: {error}")),
    };
    let ended = runtime.block_on(run(cli.command));
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(faults)) => fail(2, &faults.to_string()),
        Err(Failure::Usage(text)) => fail(2, &text),
        Err(Failure::Code(code, text)) => fail(code, &with_next_step(text)),
        Err(Failure::Other(error)) => fail(1, &format!("{error:#}")),
    }
}

/// A runtime with so many threads. One alone has nobody to share its tasks with, and needs no scheduler that could.
fn threads(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    let mut builder = if workers == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if workers > 1 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build()
}

/// Where nobody listened, what names an instance.
fn with_next_step(text: String) -> String {
    if text.contains(crate::fleet::NO_CONNECTION) && !text.contains("http.listen") {
        return text
            + "\nis it running? --node or BRIDGE_NODES name admin addresses (admin.listen of each instance)";
    }
    text
}

fn fail(code: u8, text: &str) -> ExitCode {
    if !text.is_empty() {
        print::say(text);
    }
    ExitCode::from(code)
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::serve(args).await,
        Command::Demo(args) => serve::demo(args).await,
        Command::Config { command } => config::run(command),
        Command::Preflight(args) => preflight::run(args).await,
        Command::Flag { command } => flag::run(command).await,
        Command::Shadow { command } => shadow::run(command).await,
        Command::Drill(args) => drill::run(args).await,
        Command::Health(args) => health::run(args).await,
        Command::Completions { shell } => print::completions(&mut Cli::command(), shell),
    }
}

/// Settings, with what is unwise said on stderr.
fn load(sources: &Sources) -> Result<Loaded, Failure> {
    let loaded = sources.load()?;
    for warning in &loaded.warnings {
        print::say(&format!("warning: {warning}"));
    }
    Ok(loaded)
}
