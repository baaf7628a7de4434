//! The flag's control, as the settings want it.

use std::sync::Arc;

use crate::broker::Broker;
use crate::chat3::Chat3;
use crate::config::Loaded;
use crate::delivery::Hub;
use crate::flag::{Configured, Control, ControlSettings, Preflight, Store};
use crate::notice::Notifier;
use crate::shadow::Desk;

pub(super) fn control(
    loaded: &Loaded,
    hub: &Arc<Hub>,
    broker: &Option<Arc<dyn Broker>>,
    chat3: &Chat3,
    desk: &Arc<Desk>,
    (store, notifier): (Store, Notifier),
) -> std::io::Result<Arc<Control>> {
    let settings = &loaded.settings;
    let (verdict, evidence) = (Arc::clone(desk), Arc::clone(desk));
    let preflight = Preflight {
        hub: Arc::clone(hub),
        broker: broker.clone(),
        chat3: chat3.clone(),
        state_dir: settings.state_dir.clone(),
        verdict: Arc::new(move || verdict.says()),
        require: settings.flag.require_verdict,
        probing: Arc::default(),
    };
    let control = ControlSettings {
        flip_timeout: settings.flag.flip_timeout,
        window: settings.shadow.window,
        has_broker: broker.is_some(),
        notifier,
    };
    let configured = Configured { stage: settings.stage(), rollout: settings.flag.rollout.clone() };
    let origin = origin(loaded);
    let evidence = Arc::new(move || evidence.evidence());
    Control::new(control, Arc::clone(hub), preflight, store, configured, origin, evidence)
}

/// The highest layer that says something of the stage.
pub(super) fn origin(loaded: &Loaded) -> &'static str {
    let keys = ["flag.use_rabbitmq_updates", "flag.shadow_mode"];
    let origin = keys.map(|key| loaded.origin(key)).into_iter().max();
    origin.map_or("default", |origin| origin.kind())
}
