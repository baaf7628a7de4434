//! Running instances, asked over their admin side.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::Failure;

/// Which instances are asked.
#[derive(Clone, Debug, Args)]
pub(super) struct NodeArgs {
    /// Admin address of an instance, http://host:port or host:port; can be repeated. `dns+http://name:port` is every
    /// address of the name.
    #[arg(
        long = "node",
        value_name = "URL",
        env = "BRIDGE_NODES",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:3002"
    )]
    nodes: Vec<String>,
    /// Bearer token of the admin side.
    #[arg(long, env = "BRIDGE_ADMIN__TOKEN", hide_env_values = true, default_value = "")]
    token: String,
}

/// One instance.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its admin address, as it is shown.
    pub(super) url: String,
    token: String,
    http: reqwest::Client,
}

/// What an instance answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// 2xx.
    Ok(Value),
    /// Anything else, with its body.
    Refused(u16, Value),
    /// No answer.
    Unreachable(String),
}

impl NodeArgs {
    /// The instances that the arguments name.
    pub(super) async fn resolve(&self) -> Result<Vec<Node>, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            // The token is for the instance alone.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let mut nodes = Vec::new();
        for given in &self.nodes {
            for url in addresses(given).await? {
                nodes.push(Node { url, token: self.token.clone(), http: http.clone() });
            }
        }
        Ok(nodes)
    }
}

async fn addresses(given: &str) -> Result<Vec<String>, Failure> {
    let wrong = |text: &str| Failure::Usage(format!("--node {given}: {text}"));
    let (by_name, plain) = match given.strip_prefix("dns+") {
        Some(plain) => (true, plain),
        None => (false, given),
    };
    let plain = &if plain.contains("://") { plain.to_owned() } else { format!("http://{plain}") };
    let url = url::Url::parse(plain).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("must be http://host:port, host:port or dns+http://name:port"));
    }
    if !by_name {
        return Ok(vec![plain.trim_end_matches('/').to_owned()]);
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let found = tokio::net::lookup_host((host, port)).await;
    let found =
        found.map_err(|error| Failure::Code(4, format!("{given}: the name can't be resolved: {error}")))?;
    let mut urls: Vec<String> = found.map(|address| format!("{}://{address}", url.scheme())).collect();
    urls.sort();
    urls.dedup();
    Ok(urls)
}

impl Node {
    /// One call, at most `limit` long.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<Value>, limit: Duration) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).timeout(limit);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => return Answer::Unreachable("no answer in time".into()),
            Err(error) if error.is_connect() => return Answer::Unreachable("no connection".into()),
            Err(error) => return Answer::Unreachable(error.without_url().to_string()),
        };
        let status = answer.status();
        let body = answer.bytes().await.ok();
        let body = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
        if status.is_success() { Answer::Ok(body) } else { Answer::Refused(status.as_u16(), body) }
    }

    /// `GET`, with what went wrong as text.
    pub(super) async fn get(&self, path: &str) -> Result<Value, String> {
        match self.call(Method::GET, path, None, Duration::from_secs(10)).await {
            Answer::Ok(value) => Ok(value),
            Answer::Refused(status, body) => Err(format!("{}: {}", self.url, said(status, &body))),
            Answer::Unreachable(reason) => Err(format!("{}: {reason}", self.url)),
        }
    }

    /// An answer that is read as it comes.
    pub(super) async fn open(&self, path: &str) -> Result<reqwest::Response, String> {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        let answer = request.send().await.map_err(|error| format!("{}: {}", self.url, error.without_url()))?;
        if answer.status().is_success() { Ok(answer) } else { Err(format!("{}: {}", self.url, answer.status())) }
    }
}

/// A refusal in one line.
pub(super) fn said(status: u16, body: &Value) -> String {
    if status == 401 {
        return "unauthorized: give --token or BRIDGE_ADMIN__TOKEN".into();
    }
    let text = body.get("message").or_else(|| body.get("error")).and_then(Value::as_str);
    text.map_or_else(|| format!("HTTP {status}"), ToOwned::to_owned)
}
