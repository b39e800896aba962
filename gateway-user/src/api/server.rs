//! The server side: routes, and how refusals become HTTP statuses.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;
use zeroize::Zeroizing;

use super::command::{Change, Command, Commander, Configure, Refusal};
use super::trace::TraceReport;
use super::types::{
    ApplyReport, ConnectionStatus, ErrorBody, EventRecord, Gateway, KeyDocument, LocalNetwork, RekeyDocument,
    Status, Vnet,
};
use crate::model::SharedKey;
use crate::netcfg;
use crate::store::{KeyText, make_private_dir};

/// Longest path of a unix socket (`sun_path` less its final zero).
const SOCKET_PATH_MAX: usize = 107;

/// Longest body with a key: 128 characters, each escaped to at most six, and the JSON around them.
const KEY_BODY_MAX: usize = 1024;

/// A bound API socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct ApiSocket {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl ApiSocket {
    /// Binds the socket with mode 0600 in a directory of mode 0700. A socket file left by an earlier agent is replaced;
    /// the caller holds the lock that shows there is no other. Clients may connect from now on; they are answered once
    /// [`ApiSocket::serve`] runs.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            anyhow::bail!(
                "the path {} is too long for a unix socket ({length} bytes, at most {SOCKET_PATH_MAX}): choose a shorter --run-dir",
                path.display()
            );
        }
        make_private_dir(path.parent().context("a socket path without a directory")?)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", path.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).with_context(|| format!("cannot bind {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot restrict {}", path.display()))?;
        Ok(Self { listener: Some(listener), path: path.to_owned() })
    }

    /// Answers requests until dropped.
    pub async fn serve(mut self, commander: Commander) -> std::io::Result<()> {
        let listener = self.listener.take().expect("taken only here, and serve consumes the socket");
        axum::serve(listener, router(commander)).await
    }
}

impl Drop for ApiSocket {
    fn drop(&mut self) {
        // At worst a stale file stays, which the next agent replaces.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn router(commander: Commander) -> Router {
    let connection = "/v1/vnets/{vnet}/connections/{site}";
    Router::new()
        .route("/v1/vnets", get(vnets))
        .route("/v1/vnets/{vnet}/status", get(status))
        .route("/v1/vnets/{vnet}/gateway", get(gateway))
        .route("/v1/vnets/{vnet}/bandwidth", put(set_bandwidth))
        .route("/v1/vnets/{vnet}/events", get(events))
        .route("/v1/vnets/{vnet}/trace", post(trace))
        .route("/v1/vnets/{vnet}/capture", post(capture))
        .route("/v1/vnets/{vnet}/connections", get(connections))
        .route(connection, get(show_connection))
        .route(&format!("{connection}/connect"), post(connect))
        .route(&format!("{connection}/disconnect"), post(disconnect))
        .route(&format!("{connection}/parameters"), patch(change_parameters).put(replace_parameters))
        .route(&format!("{connection}/rekey"), post(rekey))
        .route(&format!("{connection}/key"), get(get_key).put(set_key))
        .route(&format!("{connection}/key/reset"), post(reset_key))
        .route(
            "/v1/netcfg",
            get(export_netcfg).put(apply_netcfg).layer(DefaultBodyLimit::max(netcfg::MAX_BYTES)),
        )
        .route("/v1/local-networks", get(local_networks))
        .route("/v1/local-networks/{name}", put(set_local_network))
        .fallback(async || Refusal::NotFound("no such path; the API begins at /v1".to_owned()))
        .with_state(commander)
}

type Answer<T> = Result<Json<T>, Refusal>;
type Done = Result<StatusCode, Refusal>;

async fn vnets(State(agent): State<Commander>) -> Answer<Vec<Vnet>> {
    agent.ask(Command::Vnets).await.map(Json)
}

async fn status(State(agent): State<Commander>, UrlPath(vnet): UrlPath<String>) -> Answer<Status> {
    check_vnet(&agent, &vnet)?;
    agent.ask(Command::Status).await.map(Json)
}

async fn gateway(State(agent): State<Commander>, UrlPath(vnet): UrlPath<String>) -> Answer<Gateway> {
    check_vnet(&agent, &vnet)?;
    agent.ask(Command::Gateway).await.map(Json)
}

async fn set_bandwidth(State(agent): State<Commander>, UrlPath(vnet): UrlPath<String>, body: Bytes) -> Done {
    check_vnet(&agent, &vnet)?;
    let document = parse(&body)?;
    agent.change(|reply| Change::SetBandwidth(document, reply)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn events(State(agent): State<Commander>, UrlPath(vnet): UrlPath<String>) -> Answer<Vec<EventRecord>> {
    check_vnet(&agent, &vnet)?;
    agent.ask(Command::Events).await.map(Json)
}

async fn trace(
    State(agent): State<Commander>,
    UrlPath(vnet): UrlPath<String>,
    body: Bytes,
) -> Answer<TraceReport> {
    check_vnet(&agent, &vnet)?;
    let request = Box::new(parse(&body)?);
    agent.ask(|reply| Command::Trace(request, reply)).await.map(Json)
}

/// The answer begins at once and goes on until the client goes away, which ends the capture.
async fn capture(
    State(agent): State<Commander>,
    UrlPath(vnet): UrlPath<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    check_vnet(&agent, &vnet)?;
    let request = Box::new(parse(&body)?);
    let feed = agent.ask(|reply| Command::Capture(request, reply)).await?;
    let pieces = futures::stream::unfold(feed, async |mut feed| {
        let piece = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), feed))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-pcapng")], Body::from_stream(pieces)).into_response())
}

async fn connections(
    State(agent): State<Commander>,
    UrlPath(vnet): UrlPath<String>,
) -> Answer<Vec<ConnectionStatus>> {
    check_vnet(&agent, &vnet)?;
    Ok(Json(agent.ask(Command::Status).await?.connections))
}

async fn show_connection(State(agent): State<Commander>, path: ConnectionPath) -> Answer<ConnectionStatus> {
    let site = site_of(&agent, path)?;
    agent.ask(|reply| Command::Connection(site, reply)).await.map(Json)
}

async fn connect(State(agent): State<Commander>, path: ConnectionPath) -> Done {
    let site = site_of(&agent, path)?;
    agent.change(|reply| Change::Connect(site, reply)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn disconnect(State(agent): State<Commander>, path: ConnectionPath) -> Done {
    let site = site_of(&agent, path)?;
    agent.change(|reply| Change::Disconnect(site, reply)).await.map(|()| StatusCode::NO_CONTENT)
}

/// Changes the parameters that the body names.
async fn change_parameters(state: State<Commander>, path: ConnectionPath, body: Bytes) -> Done {
    configure(state, path, &body, false).await
}

/// Sets the parameters that the body names and takes the others back.
async fn replace_parameters(state: State<Commander>, path: ConnectionPath, body: Bytes) -> Done {
    configure(state, path, &body, true).await
}

async fn configure(State(agent): State<Commander>, path: ConnectionPath, body: &[u8], replace: bool) -> Done {
    let site = site_of(&agent, path)?;
    let request = Box::new(Configure { parameters: parse(body)?, replace });
    agent.change(|reply| Change::Configure(site, request, reply)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn rekey(State(agent): State<Commander>, path: ConnectionPath, body: Bytes) -> Done {
    let site = site_of(&agent, path)?;
    let RekeyDocument { sa } = parse(&body)?;
    agent.ask(|reply| Command::Rekey(site, sa, reply)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn get_key(State(agent): State<Commander>, path: ConnectionPath) -> Answer<KeyDocument> {
    let site = site_of(&agent, path)?;
    agent.ask(|reply| Command::GetKey(site, reply)).await.map(key_document)
}

async fn set_key(State(agent): State<Commander>, path: ConnectionPath, body: Body) -> Done {
    let site = site_of(&agent, path)?;
    // The parser's own message could quote the key.
    let wrong = || Refusal::Invalid {
        message: "expected {\"key\": \"…\"} with 1 to 128 printable ASCII characters".to_owned(),
        details: Vec::new(),
    };
    let secret = read_secret(body).await.ok_or_else(wrong)?;
    let KeyDocument { key } = serde_json::from_slice(&secret).map_err(|_| wrong())?;
    agent.change(|reply| Change::SetKey(site, key.0, reply)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn reset_key(State(agent): State<Commander>, path: ConnectionPath) -> Answer<KeyDocument> {
    let site = site_of(&agent, path)?;
    agent.change(|reply| Change::ResetKey(site, reply)).await.map(key_document)
}

async fn export_netcfg(State(agent): State<Commander>) -> Result<Response, Refusal> {
    let xml = agent.ask(Command::ExportNetcfg).await?;
    Ok(([(header::CONTENT_TYPE, "application/xml")], xml).into_response())
}

async fn apply_netcfg(State(agent): State<Commander>, body: Bytes) -> Answer<ApplyReport> {
    let xml = String::from_utf8(body.into()).map_err(|error| Refusal::Invalid {
        message: format!("the network configuration is not UTF-8: {error}"),
        details: Vec::new(),
    })?;
    agent.change(|reply| Change::ApplyNetcfg(xml, reply)).await.map(Json)
}

async fn local_networks(State(agent): State<Commander>) -> Answer<Vec<LocalNetwork>> {
    agent.ask(Command::LocalNetworks).await.map(Json)
}

async fn set_local_network(
    State(agent): State<Commander>,
    UrlPath(name): UrlPath<String>,
    body: Bytes,
) -> Answer<ApplyReport> {
    let change = parse(&body)?;
    agent.change(|reply| Change::SetLocalNetwork(name, change, reply)).await.map(Json)
}

/// The whole body in memory that is wiped; `None` if it is too long or breaks off. Nothing can be done about the pieces
/// that it comes in: they are the HTTP library's.
async fn read_secret(mut body: Body) -> Option<Zeroizing<Vec<u8>>> {
    // Reserved in one piece: a growing vector would leave copies behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(KEY_BODY_MAX));
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.ok()?.into_data() else { continue };
        if secret.len() + piece.len() > KEY_BODY_MAX {
            return None;
        }
        secret.extend_from_slice(&piece);
    }
    Some(secret)
}

fn key_document(key: SharedKey) -> Json<KeyDocument> {
    Json(KeyDocument { key: KeyText(key) })
}

type ConnectionPath = UrlPath<(String, String)>;

fn site_of(agent: &Commander, UrlPath((vnet, site)): ConnectionPath) -> Result<String, Refusal> {
    check_vnet(agent, &vnet)?;
    Ok(site)
}

fn check_vnet(agent: &Commander, vnet: &str) -> Result<(), Refusal> {
    if vnet == agent.vnet {
        return Ok(());
    }
    Err(Refusal::NotFound(format!("this agent runs the gateway of VNet {}, not of {vnet}", agent.vnet)))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Invalid {
        message: format!("the request's body is wrong: {error}"),
        details: Vec::new(),
    })
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let error = self.to_string();
        let details = if let Self::Invalid { details, .. } = self { details } else { Vec::new() };
        (status, Json(ErrorBody { error, details })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_read_into_memory_that_does_not_grow() {
        let secret = read_secret(Body::from(vec![b'x'; KEY_BODY_MAX])).await.unwrap();
        assert_eq!((secret.len(), secret.capacity()), (KEY_BODY_MAX, KEY_BODY_MAX));
        assert!(read_secret(Body::from(vec![b'x'; KEY_BODY_MAX + 1])).await.is_none());
    }
}
