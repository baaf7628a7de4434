//! A stand-in for Chat3: answers and publishes in the real shapes of three of its versions, for
//! the demo and for tests. It keeps everything in memory.

mod api;
mod plant;
mod publish;
mod shapes;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use plant::Plant;
pub use publish::{AmqpPublisher, EmbeddedPublisher, LatePublisher, Publication, Publisher};

/// Which Chat3 it answers as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 2025-11-05, the seed's day: flat data, Mongo ids, populated `dialogId`, meta lost in updates.
    November5,
    /// 2025-11-26: the envelope, `dlg_` ids everywhere.
    #[default]
    November26,
    /// 2026-06: `updateType`, up to three updates for a message, content cut.
    June,
}

impl std::str::FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "2025-11-05" => Ok(Self::November5),
            "2025-11-26" => Ok(Self::November26),
            "2026-06" => Ok(Self::June),
            _ => Err("one of 2025-11-05, 2025-11-26, 2026-06".into()),
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::November5 => "2025-11-05",
            Self::November26 => "2025-11-26",
            Self::June => "2026-06",
        })
    }
}

/// How it behaves.
#[derive(Clone, Debug)]
pub struct StandInOptions {
    /// Which Chat3 it is.
    pub version: Version,
    /// The key that it accepts.
    pub api_key: String,
    /// When updates are published after the message was accepted, in ms.
    pub update_delay: Range<u64>,
    /// How long the HTTP answer takes, in ms: longer than an update takes, and the update comes first.
    pub answer_delay: Range<u64>,
    /// Refuse an identical request within 500 ms, as later versions do.
    pub refuse_repeats: bool,
    /// A message can ask for a fault, see [`Plant`].
    pub plants: bool,
    /// How late is late, for faults that a message asks for: longer than the window, shorter than what is still taken
    /// for a late twin.
    pub late: Duration,
}

impl Default for StandInOptions {
    fn default() -> Self {
        Self {
            version: Version::default(),
            api_key: "key".into(),
            update_delay: 5..60,
            answer_delay: 1..20,
            refuse_repeats: true,
            plants: false,
            late: Duration::from_secs(8),
        }
    }
}

/// What goes wrong from now on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// These users get no updates.
    pub silent_users: Vec<String>,
    /// No updates for anybody: the update worker is down.
    pub worker_down: bool,
    /// The update worker stands still: updates wait in its queue until it goes on.
    pub worker_stopped: bool,
    /// Updates carry another content.
    pub altered: bool,
    /// Every update is published twice.
    pub doubled: bool,
    /// POSTs are answered with this status and no readable body.
    pub answer_status: Option<u16>,
    /// POSTs are accepted, and answered after so many ms.
    pub answer_late_ms: u64,
    /// Who is a member is answered after so many ms.
    pub members_late_ms: u64,
}

#[derive(Clone, Debug)]
struct Dialog {
    mongo: String,
    name: String,
    members: Vec<String>,
}

struct State {
    options: StandInOptions,
    publisher: Arc<dyn Publisher>,
    dialogs: Mutex<HashMap<String, Dialog>>,
    faults: Mutex<Faults>,
    repeats: Mutex<HashMap<u64, Instant>>,
    posted: AtomicU64,
    asked: AtomicU64,
    /// Updates of one user go out in the order of their messages.
    order: tokio::sync::Mutex<()>,
}

/// A stand-in that listens on loopback until it is dropped.
pub struct Chat3StandIn {
    address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

impl Drop for Chat3StandIn {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Chat3StandIn {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(options: StandInOptions, publisher: Arc<dyn Publisher>) -> std::io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), options, publisher).await
    }

    /// Listens on this address.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn start_on(
        address: SocketAddr,
        options: StandInOptions,
        publisher: Arc<dyn Publisher>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            options,
            publisher,
            dialogs: Mutex::default(),
            faults: Mutex::default(),
            repeats: Mutex::default(),
            posted: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            order: tokio::sync::Mutex::default(),
        });
        let routes = api::router(Arc::clone(&state));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the Chat3 stand-in has ended");
            }
        });
        Ok(Self { address, state, serving })
    }

    /// The API's base URL, from this machine.
    #[must_use]
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}/api")
    }

    /// A dialog of `members`; returns its id.
    #[must_use]
    pub fn add_dialog(&self, members: &[&str]) -> String {
        let id = format!("dlg_{}", letters(20));
        let members = members.iter().map(ToString::to_string).collect();
        let dialog = Dialog { mongo: hex(24), name: "Dialog".into(), members };
        self.state.dialogs.lock().insert(id.clone(), dialog);
        id
    }

    /// Makes a user a member of a dialog.
    pub fn add_member(&self, dialog: &str, user: &str) {
        if let Some(dialog) = self.state.dialogs.lock().get_mut(dialog) {
            dialog.members.push(user.to_owned());
        }
    }

    /// Takes a member out of a dialog.
    pub fn remove_member(&self, dialog: &str, user: &str) {
        if let Some(dialog) = self.state.dialogs.lock().get_mut(dialog) {
            dialog.members.retain(|member| member != user);
        }
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.state.faults.lock() = faults;
    }

    /// Questions for members that came, answered or not.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::Relaxed)
    }

    /// Messages that were accepted.
    #[must_use]
    pub fn posted(&self) -> u64 {
        self.state.posted.load(Ordering::Relaxed)
    }
}

fn pick(letters: &[u8], count: usize) -> String {
    let mut rng = rand::rng();
    (0..count).map(|_| char::from(letters[rng.random_range(0..letters.len())])).collect()
}

/// A key or secret that nobody guesses.
pub(super) fn secret() -> String {
    letters(40)
}

fn letters(count: usize) -> String {
    pick(b"abcdefghijklmnopqrstuvwxyz0123456789", count)
}

fn hex(count: usize) -> String {
    pick(b"0123456789abcdef", count)
}
