//! `POST /api/messages/dialog/{dialogId}`: to Chat3, to the room, to the caller, in this order.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bridge_core::Json;
use bridge_core::update::{Object, repair};
use bridge_core::{DialogId, UserId};
use http::{HeaderMap, StatusCode, header};
use serde::de::IgnoredAny;
use serde_json::value::to_raw_value;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::forwards::Place;
use super::path::Route;
use super::proxy::Proxy;
use super::{Api, Failure, body};
use crate::auth::AuthError;
use crate::chat3::{Act, Chat3Error, MemberAnswer, NewMessage, created_by_backend};
use crate::config::{MembershipMode, PostTo};

/// An answer of Chat3 that comes within this time is still broadcast, whether or not somebody waits for it.
const FORWARD: Duration = Duration::from_secs(30);

/// A message on its way.
enum Outgoing {
    /// To Chat3.
    Chat3(NewMessage),
    /// To the backend, as the client wrote it.
    Backend(reqwest::RequestBuilder),
}

impl Outgoing {
    /// Posts it, once.
    async fn post(self, api: &Api, dialog: &DialogId) -> Result<Json, Chat3Error> {
        match self {
            Self::Chat3(message) => api.chat3.create_message(dialog, &message).await,
            Self::Backend(request) => created_by_backend(request).await,
        }
    }
}

/// Posts to `route`; `None` when the path names no dialog that can be.
pub(super) async fn create(api: Arc<Api>, proxy: &Proxy, route: Option<Route>, request: Request) -> Response {
    match accept(&api, proxy, route, request).await {
        Ok(data) => created(&data),
        Err(failure) => failure.into_response(),
    }
}

async fn accept(api: &Arc<Api>, proxy: &Proxy, route: Option<Route>, request: Request) -> Result<Json, Failure> {
    let (parts, body) = request.into_parts();
    let caller = caller(api, &parts.headers).await?;
    let route = route.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "dialog not found"))?;
    if let Some(user) = &caller {
        api.posts.take(user)?;
    }
    let is_named = caller.is_some();
    let place = api.forwards.place(caller.as_ref());
    let (body, place) = body::read(body, place, api.max_body).await?;
    let _in_flight = api.in_flight.token();
    let (sender, message) = message(api, caller, &body)?;
    if !is_named {
        api.posts.take(&sender)?;
    }
    let place = place.belongs_to(&sender)?;
    let outgoing = match api.post {
        PostTo::Chat3 => Outgoing::Chat3(message),
        PostTo::Backend => {
            let away = || Failure::new(StatusCode::BAD_GATEWAY, "the backend is away");
            let request = proxy.message(&route.path(), parts.uri.query(), &parts.headers, body);
            Outgoing::Backend(request.ok_or_else(away)?)
        }
    };
    let deadline = Instant::now() + api.chat3_timeout;
    timeout_at(deadline, check_membership(api, &route.dialog, &sender)).await.map_err(|_| too_slow())??;
    forward(api, (route.dialog, sender), outgoing, (deadline, place)).await
}

fn too_slow() -> Failure {
    Failure::new(StatusCode::GATEWAY_TIMEOUT, "the chat service did not answer in time")
}

fn bad(error: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, error)
}

/// The token's user; `None` in trusted mode, where the body says it.
async fn caller(api: &Api, headers: &HeaderMap) -> Result<Option<UserId>, Failure> {
    if api.auth.is_trusted() {
        return Ok(None);
    }
    let unauthorized = |error: &str| Failure::new(StatusCode::UNAUTHORIZED, error);
    let token = crate::auth::bearer(headers).ok_or_else(|| unauthorized("No token provided"))?;
    match api.auth.verify(token).await {
        Ok(identity) => Ok(Some(identity.user)),
        Err(error @ (AuthError::Invalid | AuthError::UserId)) => Err(unauthorized(&error.to_string())),
        Err(error @ AuthError::Unavailable) => {
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
        }
    }
}

/// Who says what. Only what the gateway needs is read; everything else goes on as the client wrote it.
fn message(api: &Api, caller: Option<UserId>, body: &str) -> Result<(UserId, NewMessage), Failure> {
    // JavaScript can send half a surrogate pair, and Chat3 takes it.
    let body = repair(body);
    let Some(fields) = Object::read(&body) else {
        return Err(match serde_json::from_str::<IgnoredAny>(&body) {
            Ok(_) => bad("Message content is required"),
            Err(_) => bad("the body is not JSON"),
        });
    };
    let sender = match caller {
        Some(user) => user,
        None => {
            let id = fields.text("senderId").ok_or_else(|| bad("senderId is required"))?;
            UserId::new(&id).map_err(|error| bad(&error.to_string()))?
        }
    };
    let content = match (fields.text("content"), fields.raw("content")) {
        (Some(text), _) if !text.is_empty() => text.into_owned(),
        (None, Some(_)) => return Err(bad("Message content must be a text")),
        // An image may be without, for a backend that knows images.
        _ if api.post == PostTo::Backend => String::new(),
        _ => return Err(bad("Message content is required")),
    };
    let verbatim = |name: &str| fields.raw(name).map(ToOwned::to_owned);
    let mapped = fields.text("type").and_then(|kind| api.types.get(kind.as_ref()));
    let kind = match mapped.map(to_raw_value) {
        Some(Ok(other)) => Some(other),
        _ => verbatim("type"),
    };
    let (meta, quoted_message_id) = (verbatim("meta"), verbatim("quotedMessageId"));
    let message = NewMessage { content, sender_id: sender.to_string(), kind, meta, quoted_message_id };
    Ok((sender, message))
}

async fn check_membership(api: &Arc<Api>, dialog: &DialogId, sender: &UserId) -> Result<(), Failure> {
    match api.membership_mode {
        MembershipMode::Off => Ok(()),
        MembershipMode::Enforce => membership(api, dialog, sender, true).await,
        MembershipMode::Report => {
            // Who only watches holds nobody up.
            let (api, dialog, sender) = (Arc::clone(api), dialog.clone(), sender.clone());
            tokio::spawn(async move { membership(&api, &dialog, &sender, false).await });
            Ok(())
        }
    }
}

async fn membership(api: &Api, dialog: &DialogId, sender: &UserId, enforced: bool) -> Result<(), Failure> {
    let (status, why) = match api.membership.check(dialog, sender).await {
        MemberAnswer::Member => return Ok(()),
        MemberAnswer::NotMember => (StatusCode::FORBIDDEN, "not a member"),
        MemberAnswer::NoDialog => (StatusCode::NOT_FOUND, "dialog not found"),
        MemberAnswer::Unknown(reason) => {
            let error = format!("membership could not be checked: {reason}");
            return Err(Failure::new(StatusCode::BAD_GATEWAY, error));
        }
    };
    api.membership.note(Act::Post, enforced, dialog, sender, why);
    Err(Failure::new(status, why))
}

/// Forwards the message in a task of its own: it runs to its end without its caller.
async fn forward(
    api: &Arc<Api>,
    (dialog, sender): (DialogId, UserId),
    outgoing: Outgoing,
    (deadline, place): (Instant, Place),
) -> Result<Json, Failure> {
    let in_flight = api.in_flight.token();
    let post = api.hub.post(dialog.clone(), sender);
    let waiter = post.waiter();
    let (answer, answered) = oneshot::channel();
    let task = Arc::clone(api);
    tokio::spawn(async move {
        let _until_its_end = (place, in_flight);
        let created = timeout(FORWARD, outgoing.post(&task, &dialog)).await;
        let created = created.unwrap_or_else(|_| Err(Chat3Error::Failed("no answer in time".into())));
        match &created {
            Ok(data) => post.accepted(data.clone()).await,
            Err(error) if error.is_unknown() => drop(post),
            Err(_) => post.refused(),
        }
        let _the_caller_may_be_gone = answer.send(created);
    });
    match timeout_at(deadline, answered).await {
        Ok(Ok(created)) => created.map_err(Failure::from),
        Ok(Err(_)) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the message could not be forwarded")),
        Err(_) => {
            waiter.give_up();
            Err(too_slow())
        }
    }
}

/// 201 with Chat3's `data`, byte for byte.
fn created(data: &Json) -> Response {
    let body = format!("{{\"success\":true,\"data\":{}}}", data.get());
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
