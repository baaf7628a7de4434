//! The Chat3 API: createMessage, members, health.

mod members;
mod message;

pub use members::{Act, MemberAnswer, Membership};
pub(crate) use message::created_by_backend;
pub use message::{Chat3Error, NewMessage};

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};

use crate::config;

/// A call to Chat3 other than createMessage may take this long.
const CALL: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// A client of one Chat3.
#[derive(Clone, Debug)]
pub struct Chat3 {
    http: reqwest::Client,
    /// Without a slash at its end; ends in `/api`.
    base: String,
}

impl Chat3 {
    /// A client for `settings`.
    ///
    /// # Errors
    /// When a header can't carry the key or the tenant, or TLS can't be set up.
    pub fn new(settings: &config::Chat3) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_str(&settings.api_key)?;
        key.set_sensitive(true);
        headers.insert("X-API-Key", key);
        headers.insert("X-TENANT-ID", HeaderValue::from_str(&settings.tenant_id)?);
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(5))
            // A proxy of the environment is for the way out of the house; the key is for Chat3 alone.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        Ok(Self { http, base: settings.url.trim_end_matches('/').to_owned() })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// `GET /health`, which stands beside `/api`; `Err` says what was seen instead of a 200.
    pub async fn health(&self) -> Result<(), String> {
        let root = self.base.strip_suffix("/api").unwrap_or(&self.base);
        self.expect_ok(format!("{root}/health")).await
    }

    /// `GET /dialogs?limit=1`: the key and the tenant are accepted; `Err` says what was seen instead.
    pub async fn authorized(&self) -> Result<(), String> {
        self.expect_ok(self.url("/dialogs?limit=1")).await
    }

    async fn expect_ok(&self, url: String) -> Result<(), String> {
        match self.http.get(url).timeout(CALL).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("answered {}", answer.status())),
            Err(error) => Err(reason(&error)),
        }
    }
}

/// What went wrong, without the URL (it may carry a password) and in one line.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".into()
    } else if error.is_connect() {
        "no connection".into()
    } else {
        "the connection was lost".into()
    }
}

/// Reads a bounded body.
async fn body(mut answer: reqwest::Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}
