//! The keys that an issuer publishes: asked for when they are old and when a token names one that is not known, by one at
//! a time and not too often. While the issuer is away, what is known goes on.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::Jwk;
use metrics::counter;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::AuthError;
use super::keys::Key;
use crate::config::Auth;

/// A question to the issuer may take this long.
const CALL: Duration = Duration::from_secs(5);
/// Largest set that is read, in bytes.
const LARGEST: usize = 1024 * 1024;
/// Most keys of a set that are kept.
const MOST_KEYS: usize = 100;
/// So many keys are tried for a token that names none.
const TRIED: usize = 8;
/// Most tokens that wait for the issuer.
const WAITING: usize = 1_024;

/// Keys that were published together.
pub(super) struct Set {
    keys: Vec<(Option<String>, Key)>,
    asked: Instant,
}

impl Set {
    /// The keys that a token which names `kid` may be signed with.
    pub(super) fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        let fits = move |own: &Option<String>| match (kid, own) {
            (Some(kid), Some(own)) => kid == own,
            _ => true,
        };
        self.keys.iter().filter(move |(own, _)| fits(own)).map(|(_, key)| key).take(TRIED)
    }

    fn knows(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|(own, key)| own.as_deref() == kid && key.is_for(algorithm))
    }

    fn read(body: &[u8], asked: Instant) -> Option<Self> {
        #[derive(Deserialize)]
        struct Published {
            keys: Vec<Value>,
        }
        let Published { keys } = serde_json::from_slice(body).ok()?;
        // Each on its own: one of a kind that is not known must not take the others with it.
        let read = |key| serde_json::from_value::<Jwk>(key).ok();
        let usable = |jwk: Jwk| Key::published(&jwk).map(|key| (jwk.common.key_id, key));
        let keys: Vec<_> = keys.into_iter().take(MOST_KEYS).filter_map(read).filter_map(usable).collect();
        (!keys.is_empty()).then_some(Self { keys, asked })
    }
}

/// Where an issuer publishes its keys, and those that it published last.
pub(super) struct Issuer {
    url: String,
    refresh: Duration,
    interval: Duration,
    http: reqwest::Client,
    set: ArcSwapOption<Set>,
    /// Whoever asks; with when that was done last, and how it ended.
    asking: tokio::sync::Mutex<()>,
    last: Mutex<Option<(Instant, bool)>>,
    waiting: Semaphore,
}

impl Issuer {
    pub(super) fn new(settings: &Auth) -> Result<Arc<Self>, String> {
        let http = reqwest::Client::builder()
            .connect_timeout(CALL)
            .timeout(CALL)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("auth.jwks_url: {error}"))?;
        let issuer = Arc::new(Self {
            url: settings.jwks_url.clone(),
            refresh: settings.jwks_refresh,
            interval: settings.jwks_interval,
            http,
            set: ArcSwapOption::empty(),
            asking: tokio::sync::Mutex::default(),
            last: Mutex::default(),
            waiting: Semaphore::new(WAITING),
        });
        issuer.renew();
        Ok(issuer)
    }

    /// Whether it is the one that `settings` name.
    pub(super) fn is_of(&self, settings: &Auth) -> bool {
        self.url == settings.jwks_url
            && self.refresh == settings.jwks_refresh
            && self.interval == settings.jwks_interval
    }

    /// What `find` finds among the keys that are known, or among newer ones where the key `kid` is not known.
    pub(super) async fn search<T>(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        find: impl Fn(&Set) -> Option<T>,
    ) -> Result<T, AuthError> {
        let came = Instant::now();
        // `Some` once that is all there is to say.
        let look = || {
            let set = self.set.load_full()?;
            let known = set.knows(kid, algorithm);
            // A forgery: no question to the issuer would change that.
            find(&set).map(Ok).or(known.then_some(Err(AuthError::Invalid)))
        };
        self.renew_if_old();
        if let Some(found) = look() {
            return found;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Err(AuthError::Unavailable) };
        let asked = async {
            let turn = self.asking.lock().await;
            if let Some(found) = look() {
                return found;
            }
            let last = *self.last.lock();
            let ok = match last {
                Some((at, ok)) if at >= came => ok,
                Some((at, _)) => {
                    sleep_until(at + self.interval).await;
                    self.fetch(&turn).await
                }
                None => self.fetch(&turn).await,
            };
            look().unwrap_or(Err(if ok { AuthError::Invalid } else { AuthError::Unavailable }))
        };
        timeout_at(came + self.interval + CALL * 2, asked).await.unwrap_or(Err(AuthError::Unavailable))
    }

    fn renew_if_old(self: &Arc<Self>) {
        let is_old = self.set.load().as_ref().is_some_and(|set| set.asked.elapsed() > self.refresh);
        let may_ask = || self.last.lock().is_none_or(|(at, _)| at.elapsed() > self.interval);
        if is_old && may_ask() {
            self.renew();
        }
    }

    /// Asks beside everything else.
    fn renew(self: &Arc<Self>) {
        let issuer = Arc::clone(self);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Who finds it being asked leaves it at that.
                if let Ok(turn) = issuer.asking.try_lock() {
                    issuer.fetch(&turn).await;
                }
            });
        }
    }

    async fn fetch(&self, _turn: &tokio::sync::MutexGuard<'_, ()>) -> bool {
        let asked = Instant::now();
        // A question that is given up has been put all the same.
        *self.last.lock() = Some((asked, false));
        let answer = self.get().await.and_then(|body| {
            Set::read(&body, asked).ok_or_else(|| "no key in it that can be used to verify signatures".into())
        });
        let ok = answer.is_ok();
        *self.last.lock() = Some((asked, ok));
        let outcome = if ok { "ok" } else { "failed" };
        counter!("bridge_jwks_fetches_total", "outcome" => outcome).increment(1);
        match answer {
            Ok(set) => self.set.store(Some(Arc::new(set))),
            Err(error) => {
                let known = self.set.load().as_ref().map_or(0, |set| set.keys.len());
                tracing::warn!(
                    error,
                    known,
                    "auth.jwks_url: the issuer's keys could not be read; the known ones go on"
                );
            }
        }
        ok
    }

    async fn get(&self) -> Result<Vec<u8>, String> {
        let short = |error: reqwest::Error| error.without_url().to_string();
        let mut answer = self.http.get(&self.url).send().await.map_err(short)?;
        if !answer.status().is_success() {
            return Err(format!("answered {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(short)? {
            if body.len() + chunk.len() > LARGEST {
                return Err(format!("the answer is larger than {LARGEST} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
