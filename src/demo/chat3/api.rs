//! The stand-in's HTTP side.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{Path, Query, State as Extract};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use rand::RngExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::plant::Plant;
use super::shapes::Message;
use super::{Faults, State, Version};

/// Identical requests within this time are refused by later versions.
const REPEAT: Duration = Duration::from_millis(500);

pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/api/dialogs", get(dialogs))
        .route("/api/dialogs/{dialog}", get(dialog))
        .route("/api/dialogs/{dialog}/members", get(members))
        .route("/api/dialogs/{dialog}/messages", post(create))
        .fallback(|| async { failure(404, "Not Found", "Route not found") })
        .with_state(state)
}

fn failure(status: u16, error: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({"error": error, "message": message}))).into_response()
}

fn authorized(state: &State, headers: &HeaderMap) -> Result<(), Box<Response>> {
    match headers.get("X-API-Key").and_then(|key| key.to_str().ok()) {
        Some(key) if key == state.options.api_key => Ok(()),
        Some(_) => Err(Box::new(failure(401, "Unauthorized", "Invalid API key"))),
        None => {
            let text = "API key is required. Please provide it in the X-API-Key header.";
            Err(Box::new(failure(401, "Unauthorized", text)))
        }
    }
}

async fn dialogs(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    if let Err(refused) = authorized(&state, &headers) {
        return *refused;
    }
    let ids: Vec<Value> = state.dialogs.lock().keys().map(|id| json!({"dialogId": id})).collect();
    Json(json!({"data": ids})).into_response()
}

async fn dialog(Extract(state): Extract<Arc<State>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Err(refused) = authorized(&state, &headers) {
        return *refused;
    }
    let Some(dialog) = state.dialogs.lock().get(&id).cloned() else { return no_dialog(&state, &id) };
    let mut data = json!({"dialogId": id, "name": dialog.name});
    if state.options.version == Version::November5 {
        let member = |user: &String| json!({"userId": user, "isActive": true, "unreadCount": 0});
        data["_id"] = dialog.mongo.clone().into();
        data["id"] = dialog.mongo.clone().into();
        data["members"] = dialog.members.iter().map(member).collect();
    } else {
        data["memberCount"] = dialog.members.len().into();
    }
    Json(json!({"data": data})).into_response()
}

#[derive(Deserialize)]
struct Paging {
    page: Option<usize>,
    limit: Option<usize>,
}

async fn members(
    Extract(state): Extract<Arc<State>>,
    Path(id): Path<String>,
    Query(paging): Query<Paging>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = authorized(&state, &headers) {
        return *refused;
    }
    if state.options.version == Version::November5 {
        return failure(404, "Not Found", "Route not found");
    }
    state.asked.fetch_add(1, Ordering::Relaxed);
    let late = state.faults.lock().members_late_ms;
    tokio::time::sleep(Duration::from_millis(late)).await;
    let Some(dialog) = state.dialogs.lock().get(&id).cloned() else { return no_dialog(&state, &id) };
    let (page, limit) = (paging.page.unwrap_or(1).max(1), paging.limit.unwrap_or(10).clamp(1, 100));
    let member = |user: &String| json!({"userId": user, "dialogId": id, "isActive": true});
    let data: Vec<Value> = dialog.members.iter().skip((page - 1) * limit).take(limit).map(member).collect();
    let total = dialog.members.len();
    let pagination = json!({"page": page, "limit": limit, "total": total, "pages": total.div_ceil(limit)});
    Json(json!({"data": data, "pagination": pagination})).into_response()
}

fn no_dialog(state: &State, id: &str) -> Response {
    let shaped = id.strip_prefix("dlg_").is_some_and(|rest| rest.len() == 20);
    if shaped || state.options.version == Version::November5 {
        return failure(404, "Not Found", "Dialog not found");
    }
    let text = "Invalid dialog ID format. Expected format: dlg_[20 lowercase alphanumeric characters]";
    failure(400, "Bad Request", text)
}

async fn create(
    Extract(state): Extract<Arc<State>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refused) = authorized(&state, &headers) {
        return *refused;
    }
    let faults = state.faults.lock().clone();
    if let Some(status) = faults.answer_status {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, "<html>").into_response();
    }
    let tenant = headers.get("X-TENANT-ID").and_then(|tenant| tenant.to_str().ok()).unwrap_or("tnt_default");
    let message = match read(&state, &id, tenant, &body) {
        Ok(message) => message,
        Err(refused) => return *refused,
    };
    state.posted.fetch_add(1, Ordering::Relaxed);
    let version = state.options.version;
    let answer = json!({"data": message.answer(version), "message": "Message created successfully"});
    let late = faults.answer_late_ms;
    let plant = Plant::of(&message.content).filter(|_| state.options.plants);
    tokio::spawn(publish(Arc::clone(&state), message, faults, plant));
    let delay = state.options.answer_delay.clone();
    let delay = if delay.is_empty() { 0 } else { rand::rng().random_range(delay) };
    let held = plant.map_or(Duration::ZERO, |plant| plant.holds_the_answer(state.options.late));
    tokio::time::sleep(Duration::from_millis(delay + late) + held).await;
    if plant.is_some_and(Plant::hides_the_answer) {
        return failure(500, "Internal Server Error", "planted");
    }
    (StatusCode::CREATED, Json(answer)).into_response()
}

fn read(state: &State, id: &str, tenant: &str, body: &[u8]) -> Result<Message, Box<Response>> {
    let version = state.options.version;
    let refuse = |message: &str| Err(Box::new(failure(400, "Bad Request", message)));
    let Ok(Value::Object(mut fields)) = serde_json::from_slice::<Value>(body) else {
        return refuse("Invalid JSON");
    };
    let mut text = |name: &str| match fields.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (content, sender) = (text("content"), text("senderId"));
    let (Some(content), Some(sender)) = (content, sender) else {
        if version == Version::November5 {
            return refuse("Missing required fields: content, senderId");
        }
        let details = json!([{"field": "senderId", "message": "\"senderId\" is required"}]);
        let body = json!({"error": "Bad Request", "message": "Validation error", "details": details});
        return Err(Box::new((StatusCode::BAD_REQUEST, Json(body)).into_response()));
    };
    let (kind, quoted) = (text("type"), text("quotedMessageId"));
    let default = if version == Version::November5 { "text" } else { "internal.text" };
    let kind = kind.unwrap_or_else(|| default.to_owned());
    if version != Version::November5 {
        let known = ["internal.", "system.", "user."].iter().any(|prefix| kind.starts_with(prefix));
        if !known {
            return refuse("type must be one of the predefined internal.* values or match system.* / user.*");
        }
        if content.trim().is_empty() || content.encode_utf16().count() > 10_000 {
            return refuse("Validation error");
        }
    }
    let Some(dialog) = state.dialogs.lock().get(id).cloned() else { return Err(Box::new(no_dialog(state, id))) };
    if version != Version::November5 && state.options.refuse_repeats && repeats(state, id, body) {
        let text = "Duplicate request detected. Please retry shortly.";
        return Err(Box::new(failure(429, "Too Many Requests", text)));
    }
    let meta = match fields.shift_remove("meta") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    let content = if version == Version::November5 { content.as_str() } else { content.trim() };
    Ok(Message::new(version, id, dialog, tenant, &sender, content, &kind, meta, quoted, now()))
}

fn repeats(state: &State, id: &str, body: &[u8]) -> bool {
    let mut hasher = DefaultHasher::new();
    (id, body).hash(&mut hasher);
    let mut repeats = state.repeats.lock();
    repeats.retain(|_, at| at.elapsed() < REPEAT);
    repeats.insert(hasher.finish(), Instant::now()).is_some()
}

/// The update worker: one message after the other, one update for each member.
async fn publish(state: Arc<State>, message: Message, faults: Faults, plant: Option<Plant>) {
    let delay = state.options.update_delay.clone();
    let delay = if delay.is_empty() { 0 } else { rand::rng().random_range(delay) };
    tokio::time::sleep(Duration::from_millis(delay)).await;
    if faults.worker_down {
        return;
    }
    let _one_at_a_time = state.order.lock().await;
    while state.faults.lock().worker_stopped {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for user in &message.dialog.members {
        if faults.silent_users.contains(user) {
            continue;
        }
        let mut shown = message.clone();
        if faults.altered {
            shown.content.push_str(" (altered)");
        }
        let version = state.options.version;
        let (later, due) = match plant {
            Some(plant) => plant.updates(&shown, version, user, (now(), state.options.late)),
            None => (Duration::ZERO, shown.updates(version, user, now())),
        };
        if !later.is_zero() {
            let publisher = Arc::clone(&state.publisher);
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                for update in due {
                    publisher.publish(update).await;
                }
            });
            continue;
        }
        for update in due {
            if faults.doubled {
                state.publisher.publish(update.clone()).await;
            }
            state.publisher.publish(update).await;
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
