//! From polling to a WebSocket. The library ends a session whose upgrade breaks, and answers its polls with nothing
//! while one is tried; so the probe is answered here, and the library gets a WebSocket that is confirmed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::admission::Places;
use super::{Engine, Transport, open_request, refusal};
use crate::sockets::frame::{Header, client_text, server_short};
use crate::sockets::handshake;
use crate::sockets::wire::Wire;

/// How long an upgrade may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Frames before the confirmation are short.
const LONGEST: usize = 125;
const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Engine {
    pub(super) fn upgrade(self: Arc<Self>, sid: String, wire: &Arc<Wire>, mut request: Request<Body>) -> Response {
        let Some(accept) = handshake::accept(request.headers()) else { return refusal(3, "Bad request") };
        let Some(probe) = wire.probe() else { return refusal(3, "Bad request") };
        let wire = Arc::clone(wire);
        let upgraded = hyper::upgrade::on(&mut request);
        let places = request.extensions().get::<Places>().cloned();
        tokio::spawn(async move {
            let confirmed = async {
                let (stream, read) = handshake::stream(upgraded).await?;
                confirmed(stream, read, &wire, probe).await
            };
            let (stream, rest) = match timeout(LIMIT, confirmed).await {
                Ok(Some(confirmed)) if wire.is_probed(probe) => confirmed,
                _ => return wire.probe_failed(probe),
            };
            // The library goes through the same again, and its answer does not go out.
            let mut ahead = client_text("2probe");
            ahead.extend_from_slice(&client_text("5"));
            ahead.extend_from_slice(&rest);
            wire.hold(places);
            let lane = wire.attach(stream, ahead.into(), true);
            (self.library.serve)(lane, open_request(Transport::WebSocket, Some(&sid), &wire, ()));
        });
        handshake::switching(accept)
    }
}

/// Answers the probe and waits for the confirmation; gives what was read beyond it. `None`: nothing comes of it.
async fn confirmed(
    mut stream: TcpStream,
    read: Bytes,
    wire: &Arc<Wire>,
    probe: u64,
) -> Option<(TcpStream, BytesMut)> {
    let mut read = BytesMut::from(read);
    let mut answered = false;
    loop {
        let (opcode, payload) = loop {
            if let Some(frame) = short_frame(&mut read)? {
                break frame;
            }
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        };
        match (opcode, payload.as_slice()) {
            (PING, payload) => stream.write_all(&server_short(PONG, payload)).await.ok()?,
            (PONG, _) => {}
            (TEXT, b"2probe") => {
                stream.write_all(&server_short(TEXT, b"3probe")).await.ok()?;
                wire.probe_answered(probe);
                answered = true;
            }
            (TEXT, b"5") if answered => return Some((stream, read)),
            _ => return None,
        }
    }
}

/// Takes a client's frame out of `read`, once it is there as a whole. `None`: it is none that may come here.
#[expect(clippy::option_option, reason = "what can't come, and what is not there yet")]
fn short_frame(read: &mut BytesMut) -> Option<Option<(u8, Vec<u8>)>> {
    let Some(header) = Header::read(read) else { return Some(None) };
    let mask = header.mask.filter(|_| header.is_final && header.payload <= LONGEST)?;
    if read.len() < header.total() {
        return Some(None);
    }
    read.advance(header.length);
    let payload = read.split_to(header.payload);
    Some(Some((header.opcode, payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_out_whole() {
        let mut all = client_text("2probe");
        // "5" under a mask.
        all.extend_from_slice(&[0x81, 0x81, 1, 2, 3, 4, b'5' ^ 1]);
        all.extend_from_slice(b"rest");
        let mut read = BytesMut::new();
        let mut frames = Vec::new();
        for byte in all {
            read.extend_from_slice(&[byte]);
            if frames.len() < 2
                && let Some(frame) = short_frame(&mut read).expect("no nonsense")
            {
                frames.push(frame);
            }
        }
        assert_eq!(frames, [(TEXT, b"2probe".to_vec()), (TEXT, b"5".to_vec())]);
        assert_eq!(&read[..], b"rest");
        let unmasked = &mut BytesMut::from(&server_short(TEXT, b"5")[..]);
        assert_eq!(short_frame(unmasked), None);
    }
}
