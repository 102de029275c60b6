//! Endpoints: which path and method mean what, and what each answers.
//!
//! What always holds: every answer that is not a success is OpenAI's error object with one of our codes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{json, Value};
use tokio::sync::oneshot;

use super::answer::{self, Head};
use super::body::{self, Answer, Events, Format, Ticket};
use super::io::State;
use super::openai::{self, Endpoint};
use super::sink::{Mode, Queue};
use super::{account, metrics, Backend, ServerConfig, Shared, Stage};
use crate::clock::unix_seconds;
use crate::error::{Code, Error, Result};
use crate::lane::Finish;
use crate::service::{request_id, request_name, Peer, Reply, Status};

/// A connection as its requests see it.
pub(super) struct Context<B> {
    pub shared: Rc<Shared<B>>,
    pub peer: Peer,
    pub config: ServerConfig,
    pub state: Rc<State>,
}

/// The service answers from memory; if this takes longer it is stuck.
const PATIENCE: Duration = Duration::from_secs(5);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Generate(Endpoint),
    Estimate,
    Profiles,
    Models,
    Model(String),
    Health,
    Metrics,
    Status,
    Budget,
    Energy,
    Account,
    Load(String),
    Unload(String),
    Request(String),
}

impl Target {
    fn find(path: &str) -> Option<Target> {
        let own = path.strip_prefix("/wattlm/v1/");
        Some(match path {
            "/v1/chat/completions" => Target::Generate(Endpoint::Chat),
            "/v1/completions" => Target::Generate(Endpoint::Completions),
            "/v1/models" => Target::Models,
            "/health" => Target::Health,
            "/metrics" => Target::Metrics,
            "/wattlm/v1/status" => Target::Status,
            "/wattlm/v1/budget" => Target::Budget,
            "/wattlm/v1/energy" => Target::Energy,
            "/wattlm/v1/account" => Target::Account,
            "/wattlm/v1/estimate" => Target::Estimate,
            "/wattlm/v1/profiles" => Target::Profiles,
            _ => {
                // Model names may hold slashes.
                if let Some(id) = path.strip_prefix("/v1/models/") {
                    Target::Model(unescape(id)?)
                } else if let Some(id) = own.and_then(|p| p.strip_prefix("requests/")) {
                    Target::Request(unescape(id)?)
                } else {
                    let (id, verb) = own?.strip_prefix("models/")?.rsplit_once('/')?;
                    match verb {
                        "load" => Target::Load(unescape(id)?),
                        "unload" => Target::Unload(unescape(id)?),
                        _ => return None,
                    }
                }
            }
        })
    }

    fn allow(&self) -> &'static str {
        match self {
            Target::Generate(_) | Target::Estimate | Target::Load(_) | Target::Unload(_) => "POST, OPTIONS",
            Target::Request(_) => "GET, HEAD, DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    fn takes(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|m| m == method.as_str())
    }
}

/// Whose budget is asked for; `None`: the peer's own.
fn uid(query: &str) -> Result<Option<u32>> {
    let bad = |what: &str| Error::new(Code::InvalidRequest, what.to_owned()).at("uid");
    let mut uid = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let number =
            pair.strip_prefix("uid=").ok_or_else(|| bad("the only thing to ask for is uid, such as ?uid=1000"))?;
        uid = Some(number.parse().map_err(|_| bad("uid is a user's number, such as ?uid=1000"))?);
    }
    Ok(uid)
}

/// Undoes percent-encoding. `None` where it is broken, empty, or not UTF-8.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => {
                let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b => b,
        });
    }
    String::from_utf8(out).ok().filter(|s| !s.is_empty())
}

/// Answers one request.
pub(super) async fn answer<B: Backend>(context: Rc<Context<B>>, request: Request<Incoming>) -> Response<Answer<B>> {
    let theirs = request.headers().get(REQUEST_ID).filter(|v| v.len() <= 128).cloned();
    let mut response = match handle(&context, request).await {
        Ok(response) => response,
        Err(e) => failure(&context, &e),
    };
    if let Some(id) = theirs {
        response.headers_mut().insert(CLIENT_REQUEST_ID, id);
    }
    response
}

async fn handle<B: Backend>(context: &Rc<Context<B>>, request: Request<Incoming>) -> Result<Response<Answer<B>>> {
    // A page in a browser on this device must not reach the models through a proxy that somebody set up.
    if request.headers().contains_key(header::ORIGIN) {
        return Err(Error::new(Code::Forbidden, "requests from browsers (with an Origin header) are not taken"));
    }
    let path = request.uri().path();
    let Some(target) = Target::find(path) else {
        let shown: String = path.chars().take(80).collect();
        return Err(Error::new(
            Code::NotFound,
            format!("there is no endpoint {shown}; see the protocol's description"),
        ));
    };
    if !target.takes(request.method()) {
        let error = Error::new(
            Code::MethodNotAllowed,
            format!("{} is not possible here; use {}", request.method(), target.allow()),
        );
        let mut response = failure(context, &error);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(target.allow()));
        return Ok(response);
    }
    if request.method() == Method::OPTIONS {
        let mut response = Response::new(Answer::whole(&context.state, ""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(target.allow()));
        return Ok(response);
    }
    let backend = &context.shared.backend;
    let config = &context.config;
    let deletes = request.method() == Method::DELETE;
    match target {
        Target::Estimate => {
            let body = body::read(request.into_body(), config.body_bytes, config.body_time).await?;
            let ask = openai::parse_either(&body, config.json_depth)?;
            serving(context)?;
            let estimate = soon(context, |reply| backend.estimate(context.peer, ask.generate, reply)).await??;
            Ok(json_response(context, StatusCode::OK, &named("wattlm.estimate", json!(estimate))))
        }
        Target::Profiles => {
            let profiles = soon(context, |reply| backend.profiles(reply)).await?;
            let page = json!({"object": "wattlm.profiles", "profiles": profiles});
            Ok(json_response(context, StatusCode::OK, &page))
        }
        Target::Generate(endpoint) => {
            let body = body::read(request.into_body(), config.body_bytes, config.body_time).await?;
            generate(context, endpoint, &body).await
        }
        Target::Models => {
            let list = soon(context, |reply| backend.models(reply)).await?;
            let data: Vec<Value> = list.iter().map(answer::model).collect();
            Ok(json_response(context, StatusCode::OK, &json!({"object": "list", "data": data})))
        }
        Target::Model(id) => {
            let list = soon(context, |reply| backend.models(reply)).await?;
            let found = list.iter().find(|m| m.name == id || m.variants.iter().any(|v| v.name == id));
            match found {
                Some(m) => Ok(json_response(context, StatusCode::OK, &answer::model(m))),
                None => Err(no_model(&id)),
            }
        }
        Target::Health => {
            serving(context)?;
            soon(context, |reply| backend.status(reply)).await?;
            Ok(json_response(context, StatusCode::OK, &json!({"status": "ok"})))
        }
        Target::Status => Ok(json_response(context, StatusCode::OK, &json!(status(context).await?))),
        Target::Energy if !context.peer.admin => Err(Error::new(
            Code::Forbidden,
            "only administrators may see the meter: run as root, or join the group named by server.admin_group; what \
             your own requests used is in their receipts and in /wattlm/v1/account",
        )),
        Target::Energy => Ok(json_response(context, StatusCode::OK, &json!(status(context).await?.energy))),
        Target::Account => {
            let query = account::parse(request.uri().query())?;
            let report = soon(context, |reply| backend.account(context.peer, query, reply)).await??;
            Ok(json_response(context, StatusCode::OK, &json!(report)))
        }
        Target::Budget => {
            let uid = uid(request.uri().query().unwrap_or_default())?;
            let budget = soon(context, |reply| backend.budget(context.peer, uid, reply)).await??;
            Ok(json_response(context, StatusCode::OK, &json!(budget)))
        }
        Target::Metrics => {
            let status = status(context).await?;
            let text = metrics::text(&status, &context.shared.counts.borrow());
            Ok(typed(Response::new(Answer::whole(&context.state, text)), metrics::CONTENT_TYPE))
        }
        Target::Load(model) => load(context, model, &request).await,
        Target::Unload(model) => {
            let name = model.clone();
            ask(context, |reply| backend.unload(context.peer, model, reply)).await??;
            Ok(json_response(context, StatusCode::OK, &json!({"model": name, "state": "unloaded"})))
        }
        Target::Request(name) => {
            let bare = name.strip_prefix("chatcmpl-").or(name.strip_prefix("cmpl-")).unwrap_or(&name);
            let id = request_id(bare).ok_or_else(|| Error::new(Code::NotFound, "no such request is known"))?;
            if !deletes {
                let report = soon(context, |reply| backend.explain(context.peer, id, reply)).await??;
                return Ok(json_response(context, StatusCode::OK, &named("wattlm.request", json!(report))));
            }
            ask(context, |reply| backend.cancel(context.peer, id, reply)).await??;
            Ok(json_response(
                context,
                StatusCode::OK,
                &json!({"id": bare, "object": "wattlm.request", "cancelled": true}),
            ))
        }
    }
}

/// An object that says what it is.
fn named(object: &str, mut value: Value) -> Value {
    value["object"] = object.into();
    value
}

async fn generate<B: Backend>(
    context: &Rc<Context<B>>,
    endpoint: Endpoint,
    body: &[u8],
) -> Result<Response<Answer<B>>> {
    let ask = openai::parse(endpoint, body, context.config.json_depth)?;
    serving(context)?;
    let model = ask.generate.model.clone();
    let (mode, limit) = match ask.stream {
        true => (Mode::Stream, context.config.write_buffer),
        false => (Mode::Collect, context.config.answer_bytes),
    };
    let backend = &context.shared.backend;
    let queue = enqueue(context, mode, limit);
    let id = backend.generate(context.peer, ask.generate, queue.sender());
    let ticket = Ticket::new(backend.clone(), Some(id), queue);
    let request = request_name(id);
    let mut head =
        Head { endpoint, request: request.clone(), model, created: unix_seconds(), include_usage: ask.include_usage };
    let result = if ask.stream {
        events(context, ticket, Format::Completion { head, frame: None }).await
    } else {
        let batch = ticket.queue.collect().await;
        if let Some(started) = batch.started {
            head.model = started.model;
        }
        match batch.end {
            Some(Ok(o)) if o.finish != Finish::Cancelled => {
                Ok(json_response(context, StatusCode::OK, &head.whole(&batch.text, &o)))
            }
            Some(Err(e)) => Err(e),
            _ => Err(answer::cancelled()),
        }
    };
    let mut response = result.unwrap_or_else(|e| failure(context, &e));
    if let Ok(value) = HeaderValue::from_str(&request) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// A queue that the connection ends when the daemon stops.
fn enqueue<B: Backend>(context: &Context<B>, mode: Mode, limit: usize) -> Arc<Queue> {
    let queue = Queue::new(mode, limit);
    context.state.queue.replace(Some(Arc::clone(&queue)));
    queue
}

async fn load<B: Backend>(
    context: &Rc<Context<B>>,
    model: String,
    request: &Request<Incoming>,
) -> Result<Response<Answer<B>>> {
    serving(context)?;
    let asked = request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "stream=true"));
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let stream = asked || accept.is_some_and(|a| a.contains("text/event-stream"));
    let mode = if stream { Mode::Stream } else { Mode::Collect };
    let queue = enqueue(context, mode, context.config.write_buffer);
    let backend = &context.shared.backend;
    backend.load(context.peer, model.clone(), queue.sender());
    let ticket = Ticket::new(backend.clone(), None, queue);
    if stream {
        return events(context, ticket, Format::Load { model }).await;
    }
    match ticket.queue.collect().await.end {
        Some(Err(e)) => Err(e),
        _ => Ok(json_response(context, StatusCode::OK, &json!({"model": model, "state": "loaded"}))),
    }
}

/// Holds the head back for a moment, so that an early error is a plain HTTP error, then streams.
async fn events<B: Backend>(
    context: &Rc<Context<B>>,
    ticket: Ticket<B>,
    format: Format,
) -> Result<Response<Answer<B>>> {
    let _ = tokio::time::timeout(context.config.head_hold, ticket.queue.decided()).await;
    if let Some(e) = ticket.queue.early_failure() {
        return Err(e);
    }
    let body = Answer::events(&context.state, Events::new(ticket, format, context.config.keepalive));
    let mut response = typed(Response::new(body), "text/event-stream");
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// The service's status, of whose energy only administrators see more than whole joules.
async fn status<B: Backend>(context: &Context<B>) -> Result<Status> {
    let mut status = soon(context, |reply| context.shared.backend.status(reply)).await?;
    if !context.peer.admin {
        status.energy = status.energy.rounded();
    }
    Ok(status)
}

/// Asks the service something that it answers from memory.
async fn soon<B: Backend, T: Send + 'static>(context: &Context<B>, call: impl FnOnce(Reply<T>)) -> Result<T> {
    let stuck = || Error::new(Code::Internal, "the service does not answer; see the daemon's log");
    tokio::time::timeout(PATIENCE, ask(context, call)).await.unwrap_or_else(|_| Err(stuck()))
}

/// Asks the service something and waits as long as it takes, or until the daemon stops.
async fn ask<B: Backend, T: Send + 'static>(context: &Context<B>, call: impl FnOnce(Reply<T>)) -> Result<T> {
    let (answered, answer) = oneshot::channel();
    // A client that no longer waits wants no answer.
    call(Box::new(move |value| drop(answered.send(value))));
    let mut stage = context.shared.stage.clone();
    tokio::select! {
        value = answer => value.map_err(|_| shutting_down()),
        _ = stage.wait_for(|s| *s == Stage::Ending) => Err(shutting_down()),
    }
}

/// Refuses new work once the daemon is told to stop.
fn serving<B: Backend>(context: &Context<B>) -> Result<()> {
    match *context.shared.stage.borrow() {
        Stage::Serving => Ok(()),
        _ => Err(shutting_down()),
    }
}

pub(super) fn shutting_down() -> Error {
    Error::new(Code::ShuttingDown, "the daemon is stopping; try again when it is back")
        .retry_after(Duration::from_secs(5))
}

fn no_model(name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::new(Code::ModelNotFound, format!("there is no model {shown:?}; GET /v1/models lists them")).at("model")
}

/// Whole seconds, rounded up, at least one: what `Retry-After` takes.
pub(super) fn seconds_up(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn failure<B: Backend>(context: &Context<B>, e: &Error) -> Response<Answer<B>> {
    let status = StatusCode::from_u16(e.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(context, status, &answer::error(e));
    let headers = response.headers_mut();
    if let Some(wait) = e.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(wait)));
    }
    if matches!(e.code, Code::PayloadTooLarge | Code::RequestTimeout | Code::ShuttingDown) {
        // The rest of the body is not wanted.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn json_response<B: Backend>(context: &Context<B>, status: StatusCode, value: &Value) -> Response<Answer<B>> {
    let mut response = Response::new(Answer::whole(&context.state, value.to_string()));
    *response.status_mut() = status;
    typed(response, "application/json")
}

fn typed<T>(mut response: Response<T>, kind: &'static str) -> Response<T> {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_they_should() {
        for (path, target) in [
            ("/v1/models/a%2Fb:q4", Some(Target::Model("a/b:q4".into()))),
            ("/v1/models/a/b", Some(Target::Model("a/b".into()))),
            ("/wattlm/v1/models/a/b/load", Some(Target::Load("a/b".into()))),
            ("/wattlm/v1/models/x/unload", Some(Target::Unload("x".into()))),
            ("/wattlm/v1/requests/req-00000001", Some(Target::Request("req-00000001".into()))),
            ("/wattlm/v1/account", Some(Target::Account)),
            ("/wattlm/v1/energy", Some(Target::Energy)),
            ("/wattlm/v1/estimate", Some(Target::Estimate)),
            ("/wattlm/v1/profiles", Some(Target::Profiles)),
            ("/v1/models/", None),
            ("/v1/models/%", None),
            ("/v1/models/%zz", None),
            ("/v1/models/%ff", None),
            ("/wattlm/v1/budget", Some(Target::Budget)),
            ("/wattlm/v1/models//load", None),
            ("/wattlm/v1/models/load", None),
            ("/wattlm/v1/requests/", None),
            ("/v1/chat/completions/", None),
            ("/", None),
        ] {
            assert_eq!(Target::find(path), target, "{path}");
        }
    }

    #[test]
    fn a_budget_is_asked_for_by_number_or_is_ones_own() {
        assert_eq!(uid("").unwrap(), None);
        assert_eq!(uid("uid=1000").unwrap(), Some(1000));
        for bad in ["uid=", "uid=-1", "uid=root", "user=1", "uid=1&x"] {
            assert_eq!(uid(bad).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        assert_eq!(seconds_up(Duration::ZERO), 1);
        assert_eq!(seconds_up(Duration::from_millis(1001)), 2);
        assert_eq!(seconds_up(Duration::from_secs(3)), 3);
    }
}
