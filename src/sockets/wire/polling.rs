//! A client that polls: what one answer carried is taken when that answer was written whole, and goes into the next
//! one when it was not.

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{Path, Shared, Wire, is_connect};
use crate::sockets::frame::server_short;

/// Between two packets of an answer.
const SEPARATOR: char = '\u{1e}';
/// An answer with more bytes takes no further packet.
const LONGEST_ANSWER: usize = 256 * 1024;
/// How long a poll waits for the fate of the answer before it.
const SETTLED: Duration = Duration::from_secs(3);
/// While an upgrade is tried, polls are let go so that the client can leave them: the first at once, the others after
/// a wait that doubles from this, so that a client whose upgrade hangs does not poll all the time.
const RELEASE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct State {
    /// The answer that is being written.
    answer: Option<Answer>,
    answers: u64,
    /// The library's packets of an answer that was not taken.
    again: String,
    probe: Option<Probe>,
    probes: u64,
}

struct Answer {
    id: u64,
    control: String,
    packets: usize,
    outbox: Option<Shared>,
}

/// An upgrade that is being tried.
struct Probe {
    id: u64,
    /// Since when the client knows that the way is free.
    since: Option<Instant>,
    /// Polls that were let go.
    released: u32,
}

/// What a poll does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is something for it.
    Packets,
    /// It is let go with nothing.
    LetGo,
    /// It waits, until then at most.
    Wait(Option<Instant>),
}

impl State {
    /// The answer, if it is being written, must not be completed: its packets are not taken.
    fn revoke(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.again = answer.control;
        }
    }

    pub(super) fn revoke_of(&mut self, outbox: &Shared) {
        let is_its = |answer: &Answer| answer.outbox.as_ref().is_some_and(|own| Arc::ptr_eq(own, outbox));
        if self.answer.as_ref().is_some_and(is_its) {
            self.revoke();
        }
    }

    /// The client goes on to a WebSocket: the library's packets that it lacks, as frames.
    pub(super) fn leave(&mut self) -> Vec<u8> {
        self.revoke();
        let packets = self.again.split(SEPARATOR).filter(|packet| !packet.is_empty());
        packets.flat_map(|packet| server_short(1, packet.as_bytes())).collect()
    }
}

impl Wire {
    /// What a poll that came at `arrived` does next.
    pub(crate) fn turn(&self, arrived: Instant) -> Turn {
        let state = self.state.lock();
        let Path::Polling(polling) = &state.path else { return Turn::LetGo };
        let open = |outbox: &&Shared| {
            let outbox = outbox.lock();
            !outbox.is_empty() && outbox.opens_at <= state.answered
        };
        if !polling.again.is_empty() || state.outbox.as_ref().filter(open).is_some() {
            return Turn::Packets;
        }
        let Some((probe, since)) = polling.probe.as_ref().and_then(|probe| Some((probe, probe.since?))) else {
            return Turn::Wait(None);
        };
        let wait = match probe.released {
            0 => Duration::ZERO,
            released => RELEASE * 2_u32.pow(released.min(5) - 1),
        };
        let due = since.max(arrived) + wait;
        if Instant::now() >= due { Turn::LetGo } else { Turn::Wait(Some(due)) }
    }

    /// The text for a poll: the library's packets, then what waits. With its receipt, which says what became of it.
    pub(crate) fn compose(self: &Arc<Self>, control: String) -> (Bytes, Option<Receipt>) {
        let mut state = self.state.lock();
        let answered = control.split(SEPARATOR).filter(|packet| is_connect(packet.as_bytes())).count();
        state.answered += u64::try_from(answered).unwrap_or(0);
        let outbox = state.outbox.clone();
        let answered = state.answered;
        let Path::Polling(polling) = &mut state.path else { return (Bytes::from_static(b"6"), None) };
        polling.revoke();
        let mut text = std::mem::take(&mut polling.again);
        if !text.is_empty() && !control.is_empty() {
            text.push(SEPARATOR);
        }
        text.push_str(&control);
        let control = text.clone();
        let packets = outbox.as_ref().map_or(0, |outbox| {
            let outbox = outbox.lock();
            if outbox.opens_at > answered { 0 } else { outbox.append_to(&mut text, SEPARATOR, LONGEST_ANSWER) }
        });
        if text.is_empty() {
            if let Some(probe) = &mut polling.probe {
                probe.released += 1;
            }
            text.push('6');
        }
        polling.answers += 1;
        let id = polling.answers;
        polling.answer = Some(Answer { id, control, packets, outbox });
        (text.into(), Some(Receipt { wire: Arc::clone(self), id }))
    }

    /// Waits for the fate of the answer before; one that can't be written is taken back.
    pub(crate) async fn settled(&self) {
        let settled = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                match &self.state.lock().path {
                    Path::Polling(polling) if polling.answer.is_some() => {}
                    _ => return,
                }
                changed.await;
            }
        };
        if timeout(SETTLED, settled).await.is_err()
            && let Path::Polling(polling) = &mut self.state.lock().path
        {
            polling.revoke();
        }
    }

    /// An upgrade is tried; an earlier one is given up. `None`: the client does not poll.
    pub(crate) fn probe(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let Path::Polling(polling) = &mut state.path else { return None };
        polling.probes += 1;
        polling.probe = Some(Probe { id: polling.probes, since: None, released: 0 });
        let id = polling.probes;
        drop(state);
        self.changed.notify_waiters();
        Some(id)
    }

    /// The upgrade is still the one that is tried.
    pub(crate) fn is_probed(&self, id: u64) -> bool {
        match &self.state.lock().path {
            Path::Polling(polling) => polling.probe.as_ref().is_some_and(|probe| probe.id == id),
            _ => false,
        }
    }

    /// The client was told that the way is free: it leaves its polls, so they are let go.
    pub(crate) fn probe_answered(&self, id: u64) {
        if let Path::Polling(polling) = &mut self.state.lock().path
            && let Some(probe) = polling.probe.as_mut().filter(|probe| probe.id == id)
        {
            probe.since = Some(Instant::now());
        }
        self.changed.notify_waiters();
    }

    /// The upgrade came to nothing: the client stays where it is.
    pub(crate) fn probe_failed(&self, id: u64) {
        if let Path::Polling(polling) = &mut self.state.lock().path
            && polling.probe.as_ref().is_some_and(|probe| probe.id == id)
        {
            polling.probe = None;
        }
        self.changed.notify_waiters();
    }

    fn settle(&self, id: u64, taken: bool) {
        let mut state = self.state.lock();
        self.settle_locked(&mut state, id, taken);
    }

    fn settle_locked(&self, state: &mut super::State, id: u64, taken: bool) {
        let Path::Polling(polling) = &mut state.path else { return };
        let Some(answer) = polling.answer.take_if(|answer| answer.id == id) else { return };
        if !taken {
            polling.again = answer.control;
        } else if let Some(outbox) = &answer.outbox {
            outbox.lock().answered(answer.packets);
        }
        self.changed.notify_waiters();
    }
}

/// What becomes of one answer. Dropped before it was written, it says that it was not.
pub(crate) struct Receipt {
    wire: Arc<Wire>,
    id: u64,
}

impl Receipt {
    /// Writes a part of the answer: `offered` is all that is left of it. An answer that was taken back is not
    /// completed. Says, too, whether it is written whole now.
    pub(crate) fn write(
        &self,
        offered: usize,
        write: impl FnOnce() -> Poll<io::Result<usize>>,
    ) -> (Poll<io::Result<usize>>, bool) {
        // Held while it is written: whoever asks what was taken gets the one answer or the other.
        let mut state = self.wire.state.lock();
        let is_in_force = match &state.path {
            Path::Polling(polling) => polling.answer.as_ref().is_some_and(|answer| answer.id == self.id),
            _ => false,
        };
        if !is_in_force {
            return (Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())), false);
        }
        let result = write();
        let whole = matches!(&result, Poll::Ready(Ok(count)) if *count == offered);
        if whole {
            self.wire.settle_locked(&mut state, self.id, true);
        }
        (result, whole)
    }

    /// It was written whole.
    pub(crate) fn taken(self) {
        self.wire.settle(self.id, true);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.wire.settle(self.id, false);
    }
}
