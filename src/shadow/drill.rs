//! The drill: plants each fault class into the running shadow and checks that each was found. The checker, checked.
//!
//! Faults are planted at the gate's inputs for users `drill_…` in a dialog that no real user is in.

use std::sync::Arc;
use std::time::Duration;

use bridge_core::Json;
use bridge_core::{DialogId, Stage, UserId};
use serde_json::json;

use super::desk::Desk;
use super::fault::{DrillReport, Fault, Found};
use crate::broker::Delivery;
use crate::delivery::{DrillSocket, Hub};

/// Why a drill could not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrillError {
    /// Neither `shadow` nor `live`.
    #[error("nothing is compared in stage {0}: a drill needs shadow or live")]
    NothingCompared(Stage),
    /// One at a time.
    #[error("another drill is running")]
    Running,
    /// The synthetic users could not be made.
    #[error("the drill's users could not be signed on: {0}")]
    Users(String),
    /// The process ends.
    #[error("the drill was interrupted")]
    Interrupted,
}

/// Plants every fault, waits for the window, and looks for each. It runs to its end without its caller, and what it
/// found is noted at the desk.
///
/// # Errors
/// [`DrillError`] when it can't run.
pub async fn drill(
    hub: &Arc<Hub>,
    desk: &Arc<Desk>,
    tenant: &str,
    window: Duration,
) -> Result<DrillReport, DrillError> {
    let stage = hub.served().stage;
    if !stage.shadow_mode() {
        return Err(DrillError::NothingCompared(stage));
    }
    let pass = Desk::begin_drill(desk).ok_or(DrillError::Running)?;
    let (hub, desk, tenant) = (Arc::clone(hub), Arc::clone(desk), tenant.to_owned());
    let task = tokio::spawn(async move {
        let report = plant_and_look(&hub, &desk, &tenant, window).await?;
        desk.drilled(&report);
        drop(pass);
        Ok(report)
    });
    task.await.unwrap_or(Err(DrillError::Interrupted))
}

async fn plant_and_look(
    hub: &Hub,
    desk: &Desk,
    tenant: &str,
    window: Duration,
) -> Result<DrillReport, DrillError> {
    let run = Run { hub, tenant, tag: tag() };
    let mut planted = Vec::new();
    for fault in Fault::ALL {
        planted.push((fault, run.plant(fault)?));
    }
    tokio::time::sleep(window + Duration::from_millis(800)).await;
    let faults: Vec<Found> = planted.iter().map(|(fault, user)| judge(*fault, user, desk)).collect();
    let ok = faults.iter().all(|found| found.ok);
    Ok(DrillReport { ok, at: crate::clock::iso(hub.now()), faults })
}

fn judge(fault: Fault, user: &UserId, desk: &Desk) -> Found {
    let (class, cause) = fault.expected();
    let found = desk.units_of_drill(user.as_str());
    let wanted = cause.map_or_else(|| class.to_owned(), |cause| format!("{class}/{cause}"));
    let is_wanted = |unit: &String| *unit == wanted || (cause.is_none() && unit.split('/').next() == Some(class));
    // A leaked update opens a unit beside the one of the message; nothing else may be there.
    let ok = !found.is_empty() && found.iter().all(is_wanted);
    Found { fault, expected_class: class, expected_cause: cause, user: user.as_str().into(), found, ok }
}

struct Run<'a> {
    hub: &'a Hub,
    tenant: &'a str,
    tag: String,
}

/// However it ends, its users go.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        for fault in Fault::ALL {
            self.users(fault).iter().for_each(|user| self.hub.drill_sign_off(user));
        }
    }
}

impl Run<'_> {
    fn name(&self, fault: Fault, who: &str) -> UserId {
        let number = fault as usize;
        UserId::new(&format!("drill_{}_{number}{who}", self.tag)).expect("letters and digits")
    }

    fn users(&self, fault: Fault) -> [UserId; 2] {
        [self.name(fault, "a"), self.name(fault, "b")]
    }

    fn dialog(&self, fault: Fault) -> DialogId {
        let number = fault as usize;
        DialogId::new(&format!("dlg_drill{}{number}", self.tag)).expect("letters and digits")
    }

    /// Plants `fault`; returns the user in whose units it shows.
    fn plant(&self, fault: Fault) -> Result<UserId, DrillError> {
        let [user, other] = self.users(fault);
        let dialog = self.dialog(fault);
        let one = DrillSocket { joined: fault != Fault::NotJoined, ..DrillSocket::default() };
        let sockets = match fault {
            Fault::NotSubscribed => vec![DrillSocket { types: Some(vec!["dialog".into()]), ..one }],
            Fault::TabUnreached => vec![one.clone(), DrillSocket { unreached: true, ..one }],
            _ => vec![one],
        };
        let refused = |refused: crate::sockets::Refused| DrillError::Users(refused.0);
        self.hub.drill_sign_on(&user, &dialog, &sockets).map_err(refused)?;
        let message = format!("msg_drill{}{}", self.tag, fault as usize);
        self.act(fault, &user, &other, &dialog, &message)?;
        Ok(user)
    }

    fn act(
        &self,
        fault: Fault,
        user: &UserId,
        other: &UserId,
        dialog: &DialogId,
        message: &str,
    ) -> Result<(), DrillError> {
        let post =
            |broadcast| self.hub.drill_post(dialog, user, answer(self.tenant, dialog, user, message), broadcast);
        let update = |to: &UserId, named: &UserId, content: &str| {
            self.update(to, &body(self.tenant, named, dialog, user, message, content));
        };
        match fault {
            Fault::None | Fault::TabUnreached | Fault::NotJoined => {
                post(true);
                update(user, user, CONTENT);
            }
            Fault::ContentAltered => {
                post(true);
                update(user, user, "altered");
            }
            Fault::UpdateLost | Fault::NotSubscribed => post(true),
            Fault::UpdateLostForOne => {
                let joined = [DrillSocket { joined: true, ..DrillSocket::default() }];
                let signed_on = self.hub.drill_sign_on(other, dialog, &joined);
                signed_on.map_err(|refused| DrillError::Users(refused.0))?;
                post(true);
                update(other, other, CONTENT);
            }
            Fault::UpdateRejected => {
                post(true);
                self.deliver(user, Some(message), b"not JSON");
            }
            Fault::QueueNotReady => {
                self.hub.drill_queue(user, false);
                post(true);
            }
            Fault::BroadcastLost => {
                post(false);
                update(user, user, CONTENT);
            }
            Fault::PostedElsewhere => update(user, user, CONTENT),
            Fault::EventNotInLegacy => self.update(user, &typing(self.tenant, user, dialog)),
            Fault::UpdateTwice => {
                post(true);
                update(user, user, CONTENT);
                update(user, user, CONTENT);
            }
            Fault::WrongRecipient => update(user, other, CONTENT),
            Fault::QueueRenewed => {
                post(true);
                self.hub.drill_queue(user, true);
            }
            Fault::PostUnknown => {
                self.hub.drill_post_unknown(dialog, user);
                update(user, user, CONTENT);
            }
        }
        Ok(())
    }

    fn update(&self, to: &UserId, body: &serde_json::Value) {
        self.deliver(to, None, body.to_string().as_bytes());
    }

    fn deliver(&self, to: &UserId, entity: Option<&str>, body: &[u8]) {
        self.hub.drill_update(Delivery {
            queue_of: Some(to),
            routing_key: &format!("user.user.{to}.messageupdate"),
            redelivered: false,
            header_user: Some(to.as_str().into()),
            header_entity: entity.map(Into::into),
            published: None,
            body,
        });
    }
}

const CONTENT: &str = "drill";

fn answer(tenant: &str, dialog: &DialogId, sender: &UserId, message: &str) -> Json {
    let data = json!({"tenantId": tenant, "dialogId": dialog, "senderId": sender, "content": CONTENT,
        "type": "internal.text", "messageId": message, "meta": {}});
    Json::of(&data)
}

fn body(
    tenant: &str,
    user: &UserId,
    dialog: &DialogId,
    sender: &UserId,
    message: &str,
    content: &str,
) -> serde_json::Value {
    json!({"tenantId": tenant, "userId": user, "entityId": message, "eventId": format!("evt_{message}"),
        "eventType": "message.create", "published": false,
        "data": {"message": {"tenantId": tenant, "dialogId": dialog, "senderId": sender, "content": content,
            "type": "internal.text", "messageId": message}}})
}

fn typing(tenant: &str, user: &UserId, dialog: &DialogId) -> serde_json::Value {
    json!({"tenantId": tenant, "userId": user, "entityId": dialog, "eventId": format!("evt_{user}"),
        "eventType": "dialog.typing", "published": false, "data": {"dialog": {"dialogId": dialog}}})
}

fn tag() -> String {
    format!("{:08x}", rand::random::<u32>())
}
