//! `health`: for images that have no curl.

use std::time::Duration;

use clap::Args;

use super::{Failure, print};

/// A check that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks one gateway.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// What is asked: /healthz (the process lives) or /readyz (it may be sent clients). Good is any answer of 2xx.
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:3001/healthz")]
    url: String,
}

pub(super) async fn run(args: HealthArgs) -> Result<(), Failure> {
    let url: url::Url = args.url.parse().map_err(|error| {
        Failure::Usage(format!("{}: must be a URL such as http://127.0.0.1:3001/readyz: {error}", args.url))
    })?;
    let client = reqwest::Client::builder().timeout(LIMIT).no_proxy().build()?;
    let failed = |why: String| Failure::Code(1, format!("{}: {why}", args.url));
    let answer = match client.get(url).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return Err(failed(format!("no answer within {} s", LIMIT.as_secs()))),
        Err(error) if error.is_connect() => {
            return Err(failed("no connection: is the gateway running, and is this its http.listen?".into()));
        }
        Err(error) => return Err(failed(error.without_url().to_string())),
    };
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    print::data(body.trim_end());
    if status.is_success() { Ok(()) } else { Err(failed(format!("HTTP {}", status.as_u16()))) }
}
