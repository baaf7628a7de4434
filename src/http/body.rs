//! Reading the body of a message: bounded in bytes, in time, and for each user.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, StatusCode, header};
use tokio::time::timeout;

use super::Failure;
use super::forwards::{Full, Place};

/// A body has to be there within this time.
const UPLOAD: Duration = Duration::from_secs(30);
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
type Kept = Result<(Vec<u8>, Place), Failure>;

/// The whole body, at most `most` bytes, each counted in `place` before it is kept.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    place: Result<Place, Full>,
    most: usize,
) -> Result<(String, Place), Failure> {
    // A buffer that grows leaves its smaller predecessors behind; one that is not written to costs nothing.
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let buffer = Vec::with_capacity(announced.filter(|bytes| *bytes <= most).unwrap_or(0));
    let mut kept = place.map(|place| (buffer, place)).map_err(Failure::from);
    let filled = timeout(UPLOAD, fill(body.into_data_stream(), &mut kept, most)).await;
    let (body, place) = kept?;
    filled.map_err(|_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))??;
    let body =
        String::from_utf8(body).map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "the body is not JSON"))?;
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
            let length = bytes.len() + chunk.len();
            if length > most {
                *kept = Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "Message is too large"));
            } else if let Err(full) = place.grow(length) {
                *kept = Err(full.into());
            } else {
                bytes.extend_from_slice(&chunk);
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
