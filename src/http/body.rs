//! Reading the body of a message: bounded in bytes, in time, and for each user.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt as _};
use http::StatusCode;
use tokio::time::timeout;

use super::Failure;
use super::forwards::{Full, Place};

/// A body has to be there within this time.
const UPLOAD: Duration = Duration::from_secs(30);
/// Bytes of a piece of a body.
const PIECE: usize = 16 * 1024;
/// So much of a body that is refused is read and dropped: a client that is still sending when the connection closes
/// meets a reset instead of the answer.
const DISCARD: usize = 64 * 1024 * 1024;

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        let text = match full {
            Full::User => "the chat service is slow and too many messages of this user wait for it",
            Full::All => "the chat service is slow and too many messages wait for it",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

/// What was kept of a body, or why nothing is.
type Kept = Result<(Pieces, Place), Failure>;

/// A body in pieces: one that grows as a whole leaves its smaller predecessors behind, and what many large ones leave
/// when they are refused is given back late.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Vec<u8>>,
    length: usize,
}

impl Pieces {
    fn push(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len();
        while !bytes.is_empty() {
            let room = self.pieces.last().map_or(0, |last| PIECE - last.len());
            if room == 0 {
                self.pieces.push(Vec::with_capacity(PIECE));
                continue;
            }
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if let Some(last) = self.pieces.last_mut() {
                last.extend_from_slice(now);
            }
            bytes = rest;
        }
    }
}

/// The whole body, at most `most` bytes, each counted in `place` before it is kept.
pub(super) async fn read(body: Body, place: Result<Place, Full>, most: usize) -> Result<(String, Place), Failure> {
    let mut kept = place.map(|place| (Pieces::default(), place)).map_err(Failure::from);
    let filled = timeout(UPLOAD, fill(body.into_data_stream(), &mut kept, most)).await;
    let (body, place) = kept?;
    filled.map_err(|_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))??;
    let body = String::from_utf8(body.pieces.concat())
        .map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "the body is not JSON"))?;
    Ok((body, place))
}

async fn fill(
    mut body: impl Stream<Item = Result<Bytes, axum::Error>> + Unpin,
    kept: &mut Kept,
    most: usize,
) -> Result<(), Failure> {
    let mut dropped = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "the body could not be read"))?;
        if let Ok((bytes, place)) = kept {
            let length = bytes.length + chunk.len();
            if length > most {
                *kept = Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "Message is too large"));
            } else if let Err(full) = place.grow(length) {
                *kept = Err(full.into());
            } else {
                bytes.push(&chunk);
                continue;
            }
        }
        dropped += chunk.len();
        if dropped > DISCARD {
            break;
        }
    }
    Ok(())
}
