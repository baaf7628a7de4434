//! What a change leaves behind: the stored override, and an audit entry.

use std::sync::Arc;
use std::time::Instant;

use bridge_core::{Rollout, Stage};

use super::super::audit::AuditEntry;
use super::super::disk::Files;
use super::super::store::{Override, Stored};
use super::{Actor, Control, DISK, Refusal, State};

impl Control {
    pub(super) fn entry(
        &self,
        from: Stage,
        (actor, reason, source): (Actor<'_>, &str, &str),
        (forced, automatic): (bool, bool),
        started: Instant,
    ) -> AuditEntry {
        let (to, rollout) = {
            let state = self.state.lock();
            (state.stage, state.rollout.clone())
        };
        AuditEntry {
            at: crate::clock::iso(self.hub.now()),
            actor: actor.name.into(),
            on_behalf_of: actor.on_behalf_of.map(Into::into),
            reason: reason.into(),
            source: source.into(),
            from,
            to,
            rollout,
            forced,
            // What a file, a variable or the command line configures, nobody asked for at this moment.
            automatic: automatic || matches!(source, "default" | "file" | "env" | "cli"),
            action: None,
            refused: None,
            evidence: (self.evidence)(),
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Stores the flag as it is and appends `entry`; `false` when the disk did not take both in time. What it did not
    /// take waits in memory and is tried again.
    pub(super) async fn persist(self: &Arc<Self>, entry: AuditEntry) -> bool {
        self.settings.notifier.tell(entry.notice());
        let control = Arc::clone(self);
        self.on_disk(move |disk| {
            // Asked for at the last moment: what is written last must be what is so.
            let stored = stored(&control.state.lock());
            let written = disk.store.write(stored);
            if let Err(error) = &written {
                tracing::error!(%error, "THE FLAG COULD NOT BE STORED: a restart would not know of this change");
            }
            disk.append(&entry) && written.is_ok()
        })
        .await
    }

    /// Stores what is about to be, without an audit entry.
    pub(super) async fn store_ahead(
        self: &Arc<Self>,
        stage: Stage,
        rollout: &Rollout,
        (actor, reason, source): (Actor<'_>, &str, &str),
    ) -> Result<(), String> {
        let ahead = {
            let state = self.state.lock();
            let over = Override {
                stage,
                rollout: rollout.clone(),
                actor: actor.name.into(),
                reason: reason.into(),
                source: source.into(),
                changed_at: crate::clock::iso(self.hub.now()),
                configured: state.configured.clone(),
            };
            Stored { version: state.version + 1, over: Some(over) }
        };
        match self.disk.run(DISK * 5, |files| files.store.write(ahead)).await {
            Some(written) => written.map_err(|error| error.to_string()),
            None => Err("the disk does not answer".into()),
        }
    }

    /// The configured value is what an override had already set: only the override goes.
    /// With a change since `version` there is nothing left to say.
    pub(super) async fn note_dropped(self: &Arc<Self>, from: Stage, version: u64, origin: &str) {
        let reason = "the configured value is now what had been changed at run time";
        {
            let mut state = self.state.lock();
            if state.version != version || !state.is_overridden() {
                return;
            }
            let (to, rollout) = (state.stage, state.rollout.clone());
            self.take(&mut state, to, &rollout, (Actor::own("configuration"), reason, origin));
        }
        let entry = self.entry(from, (Actor::own("configuration"), reason, origin), (false, true), Instant::now());
        self.persist(entry).await;
    }

    pub(super) async fn note_refused(self: &Arc<Self>, from: Stage, to: Stage, origin: &str, refusal: &Refusal) {
        let reason = format!("the configured value changed to {to}");
        let mut entry =
            self.entry(from, (Actor::own("configuration"), &reason, origin), (false, true), Instant::now());
        entry.to = from;
        entry.refused = Some(refusal.message());
        // With it the store learns of the configured value: to a restart it is no news, and an override stays.
        self.persist(entry).await;
    }

    /// Audits what is no move; `act` does it, after the entry has noted the evidence as it was. `false` when the disk did
    /// not take the entry in time.
    pub async fn audit(
        self: &Arc<Self>,
        action: &str,
        (actor, reason): (Actor<'_>, &str),
        act: impl FnOnce(),
    ) -> bool {
        let mut entry = self.entry(self.stage(), (actor, reason, "admin"), (false, false), Instant::now());
        entry.action = Some(action.into());
        act();
        self.persist(entry).await
    }

    /// Tries again what the disk did not take; whether nothing is left.
    pub async fn retry_disk(self: &Arc<Self>) -> bool {
        if self.disk.hangs() {
            return false;
        }
        let control = Arc::clone(self);
        self.on_disk(move |disk| {
            let stored = stored(&control.state.lock());
            let flushed = disk.audit.flush() && disk.note_head();
            let known = *disk.store.stored() == stored;
            (known || disk.store.write(stored).is_ok()) && flushed
        })
        .await
    }

    async fn on_disk(&self, work: impl FnOnce(&mut Files) -> bool + Send + 'static) -> bool {
        self.disk.run(DISK, work).await == Some(true)
    }
}

/// At the start: the stored override from stage `from` was dropped.
pub(super) fn note_configuration(
    files: &mut Files,
    from: Stage,
    state: &State,
    evidence: serde_json::Value,
) -> AuditEntry {
    tracing::warn!(%from, to = %state.stage, "the configured stage has changed: it wins over the stored one");
    let entry = AuditEntry {
        at: state.changed_at.clone(),
        actor: "configuration".into(),
        on_behalf_of: None,
        reason: "the configured value changed while the instance was down".into(),
        source: state.source.clone(),
        from,
        to: state.stage,
        rollout: state.rollout.clone(),
        forced: false,
        automatic: true,
        action: None,
        refused: None,
        evidence,
        duration_ms: 0,
    };
    if let Err(error) = files.store.write(Stored { version: state.version, over: None }) {
        tracing::error!(%error, "the flag could not be stored");
    }
    files.append(&entry);
    entry
}

fn stored(state: &State) -> Stored {
    let over = Override {
        stage: state.stage,
        rollout: state.rollout.clone(),
        actor: state.actor.clone().unwrap_or_default(),
        reason: state.reason.clone().unwrap_or_default(),
        source: state.source.clone(),
        changed_at: state.changed_at.clone(),
        configured: state.configured.clone(),
    };
    Stored { version: state.version, over: state.is_overridden().then_some(over) }
}
