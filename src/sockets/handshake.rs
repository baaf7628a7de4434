//! The WebSocket handshake, and the connection after it.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::receipt::ReceiptIo;

/// How long the answer to a handshake may take to leave.
const LEAVES: Duration = Duration::from_secs(10);

/// What `Sec-WebSocket-Accept` has to say; `None`: no handshake.
pub(crate) fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    // A list may be spread over several lines (RFC 9110, section 5.3).
    let has = |name, token: &str| {
        let lines = headers.get_all(name).into_iter().filter_map(|line: &HeaderValue| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let wanted = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| wanted)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// The answer that ends HTTP on the connection.
pub(crate) fn switching(accept: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response.into_response()
}

/// The connection itself once the answer has left, and what was read of it already.
pub(crate) async fn stream(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let upgraded = timeout(LEAVES, upgrade).await.ok()?.ok()?;
    let Some((io, read)) = crate::listener::upgraded::<ReceiptIo<TcpStream>>(upgraded) else {
        tracing::error!("a WebSocket came over a connection that the client side does not serve");
        return None;
    };
    // A copy: the buffer that the request was read into is given back.
    Some((io.into_inner(), Bytes::copy_from_slice(&read)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_spread_over_lines() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive"),
            ("connection", "Upgrade"),
            ("upgrade", "h2c, WebSocket"),
            ("sec-websocket-version", "13"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(accept(&headers), None, "no key");
        headers.insert("sec-websocket-key", HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(accept(&headers), Some(HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
        headers.insert("connection", HeaderValue::from_static("close"));
        assert_eq!(accept(&headers), None);
    }
}
