//! `config check`, `config explain`.

use clap::Subcommand;

use super::{ConfigArgs, Failure, load, print};
use crate::config::{is_key, nearest_key};

const NO_FILE: &str = "no configuration file was read: there is no default.toml and no file of the environment in \
                       ./config; --config-dir names another directory";

/// Checks or explains the settings.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Validates: every error as one line, and exit code 2.
    Check(ConfigArgs),
    /// Prints every effective value with the layer that set it; secrets are masked.
    Explain {
        #[command(flatten)]
        config: ConfigArgs,
        /// One key, or the beginning of some: `rabbitmq.url`, `shadow`.
        key: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Config) -> Result<(), Failure> {
    match command {
        Config::Check(args) => {
            let loaded = load(&args.sources())?;
            let (environment, stage) = (loaded.environment.name(), loaded.settings.stage());
            if loaded.files.is_empty() {
                print::say(&format!("warning: {NO_FILE}"));
            }
            let files = if loaded.files.is_empty() { "no file".into() } else { loaded.files.join(", ") };
            print::data(&format!("ok: environment {environment}, stage {stage}, from {files}"));
            Ok(())
        }
        Config::Explain { config, key, json } => explain(config, key.as_deref(), json),
    }
}

fn explain(config: ConfigArgs, key: Option<&str>, json: bool) -> Result<(), Failure> {
    // Before the settings are read: what is asked for may not be there at all, whatever is wrong with them.
    if let Some(key) = key.filter(|key| !is_key(key)) {
        let hint = nearest_key(key)
            .map_or_else(|| "; without KEY all are listed".into(), |near| format!("; did you mean {near}?"));
        return Err(Failure::Usage(format!("{key}: unknown key{hint}")));
    }
    let mut values = load(&config.sources())?.explain();
    if let Some(key) = key {
        let below = format!("{key}.");
        values.retain(|value| value.key == key || value.key.starts_with(&below));
    }
    if json {
        print::json(&values);
        return Ok(());
    }
    let mut table = print::table(&["key", "value", "set by"]);
    for value in values {
        table.add_row([value.key, value.value.to_string(), value.origin]);
    }
    print::data(&table.to_string());
    Ok(())
}
