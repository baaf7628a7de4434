//! Who a client is, at first and again, and until when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bridge_core::UserId;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::{Front, Link, Refused, SignOn, Signed, TOO_MANY_SOCKETS};
use super::answer::{emit, failure, reply};
use super::{Ack, Connection, Credentials};
use crate::auth::{AuthError, Authenticator, Identity};

impl Connection {
    /// Does `then` once the user's queue is live, or is not in time; unless the connection is over before. `place` is
    /// held until then.
    pub(super) fn when_ready(
        &self,
        signed: Signed,
        place: Option<OwnedSemaphorePermit>,
        then: impl FnOnce(&dyn Front, &Arc<dyn Link>, &Signed, bool) + Send + 'static,
    ) {
        // Without one, nobody waits for the answer.
        let Some(place) = place else { return };
        let (front, link) = (Arc::clone(&self.room.front), Arc::clone(&self.link));
        let over = self.over.clone();
        tokio::spawn(async move {
            let _until_it_is_answered = place;
            if let Some(ready) = over.run_until_cancelled(front.ready(&signed)).await {
                then(&*front, &link, &signed, ready);
            }
        });
    }

    pub(super) async fn authenticate(
        &mut self,
        data: Value,
        ack: Option<Ack>,
        waits: Option<OwnedSemaphorePermit>,
    ) {
        let trusted = self.room.auth.is_trusted();
        let credentials = match Credentials::read(data, trusted) {
            Ok(credentials) => credentials,
            Err(Refused(error)) => return self.unauthorized(ack, &error),
        };
        let identity = if trusted {
            match credentials.user.as_deref().map(UserId::new) {
                Some(Ok(user)) => Identity { user, name: None, expires: None },
                Some(Err(error)) => return self.unauthorized(ack, &error.to_string()),
                None => return self.unauthorized(ack, "a user id is required"),
            }
        } else {
            let Some(token) = credentials.token.as_deref() else {
                return self.unauthorized(ack, "Authentication token required");
            };
            match self.room.auth.verify(token).await {
                Ok(identity) => identity,
                Err(AuthError::Invalid) => return self.unauthorized(ack, "Authentication failed"),
                Err(error @ (AuthError::UserId | AuthError::Unavailable)) => {
                    return self.unauthorized(ack, &error.to_string());
                }
            }
        };
        self.sign_on(identity, credentials, ack, waits);
    }

    pub(super) fn sign_on(
        &mut self,
        identity: Identity,
        credentials: Credentials,
        ack: Option<Ack>,
        waits: Option<OwnedSemaphorePermit>,
    ) {
        let expires = identity.expires;
        // What the handshake declared counts for the first time only.
        let declared = std::mem::take(&mut self.declared);
        let sign_on = SignOn {
            user: identity.user,
            name: identity.name,
            accepts: credentials.accepts.or(declared.accepts),
            subscribe: credentials.subscribe.or(declared.subscribe),
            resume: credentials.resume.or(declared.resume),
            link: Arc::clone(&self.link),
        };
        let signed = match &self.signed {
            Some(signed) if signed.user != sign_on.user => {
                return self.unauthorized(ack, "this socket belongs to another user");
            }
            Some(signed) => self.room.front.renew(signed, sign_on),
            None => self.room.front.sign_on(sign_on),
        };
        let signed = match signed {
            Ok(signed) => signed,
            Err(Refused(error)) => {
                if self.signed.is_none() && error == TOO_MANY_SOCKETS {
                    self.is_one_too_many = true;
                    self.sign_on_by = Some(Instant::now());
                }
                return self.unauthorized(ack, &error);
            }
        };
        self.link.belongs_to(&signed.user);
        self.expires = expires;
        self.sign_on_by = None;
        self.signed = Some(signed.clone());
        self.when_ready(signed, waits, |front, link, signed, ready| {
            let answer = json!({"ok": true, "userId": signed.user, "ready": ready, "resume": signed.resume,
                "recovered": signed.recovered});
            emit(&**link, "authenticated", &answer);
            reply(ack, answer);
            front.greeted(signed);
        });
    }

    pub(super) fn unauthorized(&self, ack: Option<Ack>, error: &str) {
        self.room.refused.increment(1);
        self.emit("unauthorized", &failure(error));
        reply(ack, failure(error));
    }
}

/// Waits until the token has expired, or the time to authenticate is over. Tokens are judged by the clock on the wall,
/// which may be set: it is looked at `every` now and then.
pub(super) async fn over(
    auth: &Authenticator,
    expires: Option<SystemTime>,
    sign_on_by: Option<Instant>,
    every: Duration,
) {
    let expired = async {
        let Some(expires) = expires else { return std::future::pending().await };
        while let Some(left) = expires.duration_since(auth.now()).ok().filter(|left| !left.is_zero()) {
            sleep(left.min(every)).await;
        }
    };
    let late = async {
        match sign_on_by {
            Some(moment) => sleep_until(moment).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = expired => {}
        () = late => {}
    }
}
