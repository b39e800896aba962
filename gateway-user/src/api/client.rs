//! The client side: one request, one connection.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::types::ErrorBody;

/// How long an agent may take to answer. It answers at once unless it is starting or hangs.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// A client of the agent behind one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    time_limit: Duration,
}

/// Why a request had no success.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens at the socket.
    #[error("no agent answers at {socket}", socket = .0.display())]
    NoAgent(PathBuf),
    /// The socket belongs to somebody else.
    #[error("no permission to use {socket}: it belongs to the agent's user, usually root", socket = .0.display())]
    NoPermission(PathBuf),
    /// The agent took the request, or did not even do that, and said nothing in time.
    #[error(
        "the agent at {socket} does not answer (still starting?); a change that was asked for may still be made",
        socket = .0.display()
    )]
    NoAnswer(PathBuf),
    /// The socket exists but cannot be used.
    #[error("cannot talk to the agent at {socket}: {reason}", socket = .0.display(), reason = .1)]
    Transport(PathBuf, String),
    /// The agent refused.
    #[error("{}", with_details(.0))]
    Refused(ErrorBody),
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Stream {
    client: Client,
    body: Incoming,
    connection: JoinHandle<hyper::Result<()>>,
}

/// A request's body.
#[derive(Debug)]
enum Body {
    Empty,
    Json(Zeroizing<Vec<u8>>),
    Xml(String),
}

impl Client {
    /// A client for the agent at `socket`; nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), time_limit: TIME_LIMIT }
    }

    /// The same client with another limit on the time that an answer may take.
    #[cfg(test)]
    pub(super) fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// The socket it talks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET` with a JSON answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(&self.send(Method::GET, path, Body::Empty).await?)
    }

    /// `GET` with a text answer.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let bytes = self.send(Method::GET, path, Body::Empty).await?;
        String::from_utf8(bytes.into()).map_err(|_| self.transport(&"the answer is not UTF-8"))
    }

    /// `POST` without a body and with a JSON answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(&self.send(Method::POST, path, Body::Empty).await?)
    }

    /// `POST` without a body or an answer.
    pub async fn post_only(&self, path: &str) -> Result<(), ClientError> {
        self.send(Method::POST, path, Body::Empty).await.map(drop)
    }

    /// `POST` of a JSON body with a JSON answer.
    pub async fn post_for<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.json(&self.send(Method::POST, path, Body::Json(to_json(body))).await?)
    }

    /// `POST` of a JSON body, without an answer.
    pub async fn post_json(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.send(Method::POST, path, Body::Json(to_json(body))).await.map(drop)
    }

    /// `PATCH` of a JSON body, without an answer.
    pub async fn patch_only(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.send(Method::PATCH, path, Body::Json(to_json(body))).await.map(drop)
    }

    /// `PUT` of a JSON body, without an answer.
    pub async fn put_only(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.send(Method::PUT, path, Body::Json(to_json(body))).await.map(drop)
    }

    /// `PUT` of a JSON body with a JSON answer.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.json(&self.send(Method::PUT, path, Body::Json(to_json(body))).await?)
    }

    /// `PUT` of an XML body with a JSON answer.
    pub async fn put_xml<T: DeserializeOwned>(&self, path: &str, xml: String) -> Result<T, ClientError> {
        self.json(&self.send(Method::PUT, path, Body::Xml(xml)).await?)
    }

    /// `POST` of a JSON body, with an answer that comes piece by piece. Only its beginning must come in time.
    pub async fn stream(&self, path: &str, body: &impl Serialize) -> Result<Stream, ClientError> {
        let body = Body::Json(to_json(body));
        let answer = tokio::time::timeout(self.time_limit, self.begin(Method::POST, path, body)).await;
        let (response, connection) =
            answer.unwrap_or_else(|_| Err(ClientError::NoAnswer(self.socket.clone())))?;
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(Stream { client: self.clone(), body, connection });
        }
        let bytes = body.collect().await.map_err(|error| self.transport(&error))?.to_bytes();
        Err(self.refusal(status, &bytes))
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Result<Bytes, ClientError> {
        let answer = tokio::time::timeout(self.time_limit, self.exchange(method, path, body));
        answer.await.unwrap_or_else(|_| Err(ClientError::NoAnswer(self.socket.clone())))
    }

    async fn exchange(&self, method: Method, path: &str, body: Body) -> Result<Bytes, ClientError> {
        let (response, connection) = self.begin(method, path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| self.transport(&error))?.to_bytes();
        connection.abort();
        if status.is_success() {
            return Ok(bytes);
        }
        Err(self.refusal(status, &bytes))
    }

    /// Sends a request; the beginning of the answer.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.connect_error(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.transport(&error))?;
        // Ends by itself when the request is answered; its error reaches the request as well.
        let connection = tokio::spawn(connection);
        let builder = Request::builder().method(method).uri(path).header("host", "agent");
        let request = match body {
            Body::Empty => builder.body(Full::default()),
            Body::Json(json) => {
                builder.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from_owner(json)))
            }
            Body::Xml(xml) => {
                builder.header(CONTENT_TYPE, "application/xml").body(Full::new(Bytes::from(xml)))
            }
        };
        let request = request.map_err(|error| self.transport(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.transport(&error))?;
        Ok((response, connection))
    }

    fn connect_error(&self, error: &io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NoAgent(self.socket.clone())
            }
            io::ErrorKind::PermissionDenied => ClientError::NoPermission(self.socket.clone()),
            _ => self.transport(error),
        }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(refusal) => ClientError::Refused(refusal),
            Err(_) => self.transport(&format!("status {status} without a reason")),
        }
    }

    fn json<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(bytes).map_err(|error| {
            self.transport(&format!(
                "the answer is not understood (is the agent of another version?): {error}"
            ))
        })
    }

    fn transport(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Transport(self.socket.clone(), reason.to_string())
    }
}

impl Stream {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    // Trailers, which no answer has, are skipped.
                    if let Ok(piece) = frame.into_data() {
                        return Some(Ok(piece));
                    }
                }
                Err(error) => return Some(Err(self.client.transport(&error))),
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Escapes a name for use as one segment of a path (RFC 3986 section 2.3: everything but unreserved characters).
pub fn segment(name: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a string");
        }
    }
    escaped
}

fn to_json(body: &impl Serialize) -> Zeroizing<Vec<u8>> {
    // Large enough for every body that holds a key, so that no copy is left behind by growing.
    let mut json = Zeroizing::new(Vec::with_capacity(512));
    serde_json::to_writer(&mut *json, body).expect("bodies always serialize into memory");
    json
}

fn with_details(body: &ErrorBody) -> String {
    let mut text = body.error.clone();
    for detail in &body.details {
        text.push_str("\n  ");
        text.push_str(detail);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_connect_is_told_so() {
        let error =
            Client::new("/run/vgw/VNet1/agent.sock").connect_error(&io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            error.to_string(),
            "no permission to use /run/vgw/VNet1/agent.sock: it belongs to the agent's user, usually root"
        );
    }

    #[test]
    fn names_become_one_segment() {
        assert_eq!(segment("VNet1"), "VNet1");
        assert_eq!(segment("my site/a?b%\u{e9}"), "my%20site%2Fa%3Fb%25%C3%A9");
    }
}
