//! One instance, asked over its admin side.

use std::time::Duration;

use http::Method;
use serde_json::Value;

/// Said of an instance where nobody listens.
pub const NO_CONNECTION: &str = "no connection";

/// One instance.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its admin address, as it is shown.
    pub url: String,
    token: String,
    http: reqwest::Client,
    /// Why it has no address at the moment.
    fault: Option<String>,
}

/// What an instance answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 2xx.
    Ok(Value),
    /// Anything else, with its body.
    Refused(u16, Value),
    /// No answer.
    Unreachable(String),
}

impl Answer {
    /// The body of a 2xx.
    #[must_use]
    pub const fn ok(&self) -> Option<&Value> {
        match self {
            Self::Ok(body) => Some(body),
            Self::Refused(..) | Self::Unreachable(_) => None,
        }
    }
}

impl Node {
    pub(super) fn new(url: &str, token: &str, http: &reqwest::Client) -> Self {
        Self { url: url.into(), token: token.into(), http: http.clone(), fault: None }
    }

    /// It has no address, and why.
    pub(super) fn without(mut self, fault: String) -> Self {
        self.fault = Some(fault);
        self
    }

    /// It has no address at the moment.
    pub(super) const fn is_nameless(&self) -> bool {
        self.fault.is_some()
    }

    /// Another instance, with the same token.
    #[must_use]
    pub fn beside(&self, url: &str) -> Self {
        Self { url: url.into(), fault: None, ..self.clone() }
    }

    /// One call, at most `limit` long.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>, limit: Duration) -> Answer {
        if let Some(fault) = &self.fault {
            return Answer::Unreachable(fault.clone());
        }
        let mut request = self.request(method, path).timeout(limit);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Answer::Unreachable(reason(error)),
        };
        let status = answer.status();
        let body = match answer.bytes().await {
            Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
            // It may have done what it was asked for.
            Err(error) => return Answer::Unreachable(reason(error)),
        };
        if status.is_success() { Answer::Ok(body) } else { Answer::Refused(status.as_u16(), body) }
    }

    /// `GET`, with what went wrong as text.
    ///
    /// # Errors
    /// What went wrong, with the instance's name.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        match self.call(Method::GET, path, None, super::ASK).await {
            Answer::Ok(value) => Ok(value),
            Answer::Refused(status, body) => Err(format!("{}: {}", self.url, said(status, &body))),
            Answer::Unreachable(reason) => Err(format!("{}: {reason}", self.url)),
        }
    }

    /// An answer that is read as it comes.
    ///
    /// # Errors
    /// What went wrong, with the instance's name.
    pub async fn open(&self, path: &str) -> Result<reqwest::Response, String> {
        if let Some(fault) = &self.fault {
            return Err(format!("{}: {fault}", self.url));
        }
        let answer = self.request(Method::GET, path).send().await;
        let answer = answer.map_err(|error| format!("{}: {}", self.url, error.without_url()))?;
        if answer.status().is_success() { Ok(answer) } else { Err(format!("{}: {}", self.url, answer.status())) }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }
}

fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".into()
    } else if error.is_connect() {
        NO_CONNECTION.into()
    } else {
        error.without_url().to_string()
    }
}

/// A refusal in one line.
#[must_use]
pub fn said(status: u16, body: &Value) -> String {
    if status == 401 {
        return "unauthorized: give --token or BRIDGE_ADMIN__TOKEN".into();
    }
    let text = body.get("message").or_else(|| body.get("error")).and_then(Value::as_str);
    text.map_or_else(|| format!("HTTP {status}"), ToOwned::to_owned)
}
