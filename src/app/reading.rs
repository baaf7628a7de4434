//! Reading the configuration again, beside everything else: a mount that hangs must hold up nothing but itself.

use tokio::task::JoinHandle;

use crate::config::{Faults, Loaded, Sources};

/// One reading at a time; who asks meanwhile gets another one after it.
#[derive(Default)]
pub(super) struct Reading {
    running: Option<JoinHandle<Result<Loaded, Faults>>>,
    again: bool,
}

impl Reading {
    /// Begins to read `sources`.
    pub(super) fn ask(&mut self, sources: &Sources) {
        if self.running.is_some() {
            self.again = true;
            return;
        }
        let sources = sources.clone();
        self.running = Some(tokio::task::spawn_blocking(move || sources.load()));
    }

    /// What was read; pending while nobody has asked. Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self, sources: &Sources) -> Result<Loaded, Faults> {
        loop {
            let Some(running) = self.running.as_mut() else { return std::future::pending().await };
            let read = running.await;
            self.running = None;
            if std::mem::take(&mut self.again) {
                self.ask(sources);
            }
            match read {
                Ok(loaded) => return loaded,
                Err(error) => tracing::error!(%error, "the configuration could not be read"),
            }
        }
    }
}
