//! The composition root: everything is made here, and ends here.

mod doorkeeper;
mod flag;
mod guard;
mod parts;
mod reading;
mod ready;
mod signals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::admin::{self, Admin};
use crate::auth::Authenticator;
use crate::broker::{Broker, EmbeddedBroker};
use crate::chat3::{Chat3, Membership};
use crate::clock::Clock;
use crate::config::{Faults, Loaded, Sources};
use crate::delivery::{Hub, Members, Relay, Tap};
use crate::flag::{Actor, Configured, Control, Store, StoreError};
use crate::fleet::{FleetRelay, Identity, Inbox};
use crate::http::{self, Api};
use crate::memory::Budget;
use crate::notice::Notifier;
use crate::shadow::{Desk, DeskSettings, Note, Recorder, RecorderLimits};
use crate::sockets::{Server, ServerSettings};

pub use signals::Signals;

use self::reading::Reading;

/// The HTTP answer to a client that was waiting, and acks, may take this long to leave after SIGTERM.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Broadcasts for other instances may take this long to be handed over after SIGTERM.
const HANDED_OVER: Duration = Duration::from_secs(1);

/// What differs between `serve` and `demo`.
#[derive(Default)]
pub struct Options {
    /// Routes of its own on the client side.
    pub routes: Router,
    /// The broker is an exchange in this process.
    pub embedded: bool,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listener.
    #[error("{key} = {address}: can't listen: {error}")]
    Listen {
        /// The setting.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

fn other(error: impl std::fmt::Display) -> StartError {
    StartError::Other(error.to_string())
}

/// A gateway that listens.
pub struct App {
    /// Address of the client side.
    pub http: SocketAddr,
    /// Address of the admin side.
    pub admin: SocketAddr,
    /// The flag.
    pub control: Arc<Control>,
    /// The exchange in this process, where the options asked for one.
    pub embedded: Option<Arc<EmbeddedBroker>>,
    loaded: Loaded,
    sources: Sources,
    hub: Arc<Hub>,
    desk: Arc<Desk>,
    recorder: Arc<Recorder>,
    broker: Option<Arc<dyn Broker>>,
    server: Arc<Server>,
    auth: Arc<Authenticator>,
    relay: Option<Arc<FleetRelay>>,
    posts: TaskTracker,
    draining: Arc<std::sync::atomic::AtomicBool>,
    /// Ends the background tasks.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl App {
    /// Makes everything, and listens.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        loaded: Loaded,
        sources: Sources,
        options: Options,
        metrics: PrometheusHandle,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let store = Store::open(&settings.state_dir, &settings.instance_id)?;
        let clock = Clock::default();
        let (notifier, postman) =
            Notifier::new(&settings.notify.url, &settings.instance_id, loaded.environment.name())
                .map_err(other)?;
        let desk_settings = DeskSettings {
            instance: settings.instance_id.clone(),
            dir: settings.shadow_dir(),
            state_dir: settings.state_dir.clone(),
            shadow: settings.shadow.clone(),
            relayed: settings.legacy.relay,
            notifier: notifier.clone(),
        };
        let desk = Desk::new(desk_settings, clock).map_err(other)?;
        let memory = usize::try_from(settings.shadow.max_memory.as_u64()).unwrap_or(usize::MAX);
        let limits = RecorderLimits { events: 65_536, bytes: memory / 4 };
        let recorder = Recorder::start(limits, clock, Arc::clone(&desk)).map_err(other)?;
        let chat3 = Chat3::new(&settings.chat3).map_err(other)?;
        let membership = Arc::new(Membership::new(
            chat3.clone(),
            settings.membership.cache,
            settings.membership.user_questions,
        ));
        let mode = settings.membership_mode(loaded.environment);
        let members: Arc<dyn Members> =
            Arc::new(doorkeeper::Doorkeeper::new(Arc::clone(&membership), mode, settings.membership.cache));
        let tap: Arc<dyn Tap> = Arc::clone(&recorder) as Arc<dyn Tap>;
        let served = parts::served(settings);
        let hub = Hub::new(parts::hub_settings(settings), clock, tap, members, served);
        let learner = Arc::downgrade(&hub);
        membership.tell_dialogs(move |mongo, dialog| {
            if let Some(hub) = learner.upgrade() {
                hub.dialog_is(mongo, dialog);
            }
        });
        let (broker, embedded) = parts::broker(settings, options.embedded, &hub, clock);
        if let Some(broker) = &broker {
            hub.set_broker(Arc::clone(broker));
        }
        let control =
            flag::control(&loaded, &hub, &broker, &chat3, &desk, (store, notifier.clone())).map_err(other)?;
        if let Some(broker) = broker.as_ref().filter(|_| control.stage().runs_rabbitmq()) {
            broker.start();
        }
        let draining = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let ready = Arc::new(ready::Ready::new(&hub, &broker, &draining, settings));
        let auth = Authenticator::new(&settings.auth, &settings.chat3.tenant_id).map(Arc::new).map_err(other)?;
        let posts = TaskTracker::new();
        let budget = Budget::new(settings.memory_limit(), settings.shadow.max_memory.as_u64());
        budget.counts(Arc::new(crate::delivery::Replays::new(&hub)));
        let api = Arc::new(Api {
            hub: Arc::clone(&hub),
            chat3: chat3.clone(),
            membership,
            membership_mode: mode,
            auth: Arc::clone(&auth),
            types: settings.chat3.message_type_map.clone(),
            chat3_timeout: settings.chat3.timeout,
            max_body: usize::try_from(settings.http.max_body.as_u64()).unwrap_or(usize::MAX),
            backend: settings.upstream.backend_url.clone(),
            post: settings.upstream.post,
            readiness: Arc::clone(&ready) as Arc<dyn http::Readiness>,
            in_flight: posts.clone(),
            proxied: usize::try_from(settings.upstream.in_flight).unwrap_or(usize::MAX),
            posts: http::PostRates::new(settings.http.user_posts),
            forwards: http::Forwards::new(
                settings.http.user_forwards,
                settings.http.max_body.as_u64(),
                Arc::clone(&budget),
            ),
        });
        let listener = parts::listen("http.listen", settings.http.listen).await?;
        let admin_listener = parts::listen("admin.listen", settings.admin.listen).await?;
        let cors = http::cors(&settings.allowed_origins(loaded.environment));
        let server_settings = ServerSettings {
            socket: settings.socket.clone(),
            handshake: settings.auth.handshake,
            limits: crate::listener::Limits {
                keep_alive: settings.http.keep_alive,
                head: settings.http.head_timeout,
            },
            connections: parts::connections(settings),
            trusted_proxies: settings.trusted_proxies(),
        };
        let routes = options.routes.merge(http::router(api));
        let front = Arc::clone(&hub) as Arc<dyn crate::sockets::Front>;
        let http = listener.local_addr().map_err(other)?;
        let server = Arc::new(Server::new(
            listener,
            routes,
            cors,
            (front, Arc::clone(&auth), Arc::clone(&budget)),
            posts.clone(),
            &server_settings,
        ));
        let guard = Arc::new(ArcSwap::from_pointee(guard::GuardView::new(settings.guard.mode)));
        let membership =
            parts::membership(settings, admin_listener.local_addr().map_err(other)?).map_err(other)?;
        let identity = Identity::new(&settings.instance_id);
        let relay = (!settings.fleet.nodes.is_empty())
            .then(|| FleetRelay::new(membership.fleet.clone(), identity.clone(), clock, settings.legacy.relay));
        if let Some(relay) = &relay {
            hub.set_relay(Arc::clone(relay) as Arc<dyn Relay>);
        }
        let admin_state = Arc::new(Admin {
            control: Arc::clone(&control),
            hub: Arc::clone(&hub),
            broker: broker.clone(),
            desk: Arc::clone(&desk),
            metrics: metrics.clone(),
            tokens: admin::Tokens::new(&settings.admin, &settings.fleet.token),
            membership,
            inbox: Arc::new(Inbox::new(Arc::clone(&hub), identity)),
            open_metrics: settings.admin.open_metrics,
            window: settings.shadow.window,
            tenant: settings.chat3.tenant_id.clone(),
            about: parts::about(&loaded, clock),
            sight: Arc::new(parts::Sight { ready: Arc::clone(&ready), guard: Arc::clone(&guard) }),
        });
        let app = Self {
            http,
            admin: admin_listener.local_addr().map_err(other)?,
            control,
            embedded,
            hub,
            desk,
            recorder,
            broker,
            server,
            auth,
            relay,
            posts,
            draining,
            sources,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            loaded,
        };
        if let Some(postman) = postman {
            app.vital("notices", postman.run(app.stop.clone()));
        }
        app.vital("memory", budget.watch(app.stop.clone()));
        app.spawn(admin_listener, admin_state, (ready, guard, notifier), chat3, metrics);
        Ok(app)
    }

    fn spawn(
        &self,
        admin_listener: TcpListener,
        admin_state: Arc<Admin>,
        (ready, guard_view, notifier): (Arc<ready::Ready>, Arc<ArcSwap<guard::GuardView>>, Notifier),
        chat3: Chat3,
        metrics: PrometheusHandle,
    ) {
        let (stop, settings) = (self.stop.clone(), &self.loaded.settings);
        let mode = settings.membership_mode(self.loaded.environment);
        let every = doorkeeper::every(mode, settings.membership.cache);
        self.vital("delivery", Arc::clone(&self.hub).run(every, stop.clone()));
        let server = Arc::clone(&self.server);
        self.vital("listener", async move { server.run().await });
        if let Some(relay) = &self.relay {
            self.vital("relay", Arc::clone(relay).run(stop.clone()));
        }
        self.vital("readiness", ready::watch(ready, chat3, stop.clone()));
        let guard = guard::Guard::new(
            settings.guard.clone(),
            settings.shadow.window,
            Arc::clone(&self.control),
            Arc::clone(&self.hub),
            Arc::clone(&self.desk),
            (guard_view, notifier),
        );
        self.vital("guard", guard.run(stop.clone()));
        let ended = stop.clone();
        self.vital("metrics", async move {
            ended.run_until_cancelled(crate::telemetry::keep(metrics)).await;
        });
        let keep_alive = settings.http.keep_alive;
        self.vital("admin listener", admin::serve(admin_listener, admin::router(admin_state), keep_alive, stop));
    }

    /// Runs `work` in the background; where it panics, the process ends.
    fn vital(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(crate::vital::task(name, work));
    }

    /// Runs until a signal ends it.
    pub async fn run(mut self, mut signals: Signals) {
        // Its first hint comes at once: nobody watched while the gateway came up.
        let mut watcher = crate::config::watch::Watcher::new(&self.sources.dir());
        let mut reading = Reading::default();
        let mut retry = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    signals::Signal::Stop => break,
                    signals::Signal::Reload => reading.ask(&self.sources),
                    signals::Signal::Rollback => {
                        warn!("SIGUSR1: rolling back to legacy");
                        self.control.rollback(Actor::own("signal"), "SIGUSR1", "signal", false).await;
                    }
                },
                loaded = reading.next(&self.sources) => self.reload(loaded),
                () = watcher.changed() => reading.ask(&self.sources),
                _ = retry.tick() => {
                    self.control.retry_disk().await;
                    for Note { action, actor, reason } in self.desk.take_notes() {
                        self.control.audit(action, (Actor::own(&actor), &reason), || ()).await;
                    }
                }
            }
        }
        self.end().await;
    }

    /// Takes a configuration that was read again; with errors the old one stays.
    fn reload(&mut self, loaded: Result<Loaded, Faults>) {
        let mut loaded = match loaded {
            Ok(loaded) => loaded,
            Err(faults) => {
                error!("the configuration has errors, the old one stays:\n{faults}");
                return;
            }
        };
        let mut settings = loaded.settings.clone();
        settings.instance_id.clone_from(&self.loaded.settings.instance_id);
        // Files of keys may have changed where the settings did not.
        if let Err(wrong) = self.auth.reload(&settings.auth, &self.loaded.settings.chat3.tenant_id) {
            error!("the former keys of tokens stay: {wrong}");
        }
        if settings == self.loaded.settings {
            return;
        }
        info!("the configuration has changed");
        let restart = parts::restart_keys(&self.loaded.settings, &settings);
        if !restart.is_empty() {
            warn!(keys = ?restart, "these keys need a restart");
        }
        if settings.shadow != self.loaded.settings.shadow {
            self.desk.reload(&settings.shadow);
        }
        let configured = Configured { stage: settings.stage(), rollout: settings.flag.rollout.clone() };
        let origin = flag::origin(&loaded);
        loaded.settings = settings;
        self.loaded = loaded;
        // A forward move takes its time; signals are served meanwhile.
        let control = Arc::clone(&self.control);
        self.vital("configuration", async move { control.configure(configured, origin).await });
    }

    /// Stops accepting, lets what is in flight finish, deletes the queues, cuts the clients.
    async fn end(self) {
        info!("stopping");
        let limit = self.loaded.settings.http.drain_timeout;
        self.draining.store(true, std::sync::atomic::Ordering::Release);
        self.server.stop_accepting();
        self.posts.close();
        if tokio::time::timeout(limit, self.posts.wait()).await.is_err() {
            warn!(limit_s = limit.as_secs(), "messages are still in flight: not waited for any longer");
        }
        if let Some(relay) = &self.relay {
            relay.flush(HANDED_OVER).await;
        }
        tokio::time::sleep(LAST_WORDS).await;
        self.hub.cool(Duration::from_secs(3)).await;
        self.server.cut_clients(Duration::from_secs(1)).await;
        self.stop.cancel();
        self.tasks.close();
        let _background_tasks_are_not_waited_for =
            tokio::time::timeout(Duration::from_millis(500), self.tasks.wait()).await;
        let recorder = Arc::clone(&self.recorder);
        let finished = tokio::task::spawn_blocking(move || recorder.stop());
        let _a_slow_disk_is_not_waited_for = tokio::time::timeout(Duration::from_secs(1), finished).await;
        let desk = Arc::clone(&self.desk);
        let finished = tokio::task::spawn_blocking(move || desk.finish());
        let _it_waits_a_bounded_time = finished.await;
        drop(self.broker);
        info!("stopped");
    }
}
