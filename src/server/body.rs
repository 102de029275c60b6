//! Bodies: requests read within bounds, answers whole or as a stream of events.
//!
//! What always holds: an answer that is dropped before its end abandons its request; a stream that began ends with
//! `[DONE]` or an error event unless its client is gone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use serde_json::json;
use tokio::time::{sleep, Instant, Sleep};

use super::answer::{self, Head, TextFrame, DONE};
use super::io::{Phase, State};
use super::sink::{Batch, Queue};
use super::Backend;
use crate::error::{Code, Error, Result};
use crate::lane::{Finish, RequestId};

/// Reads a request's body.
pub(super) async fn read(body: Incoming, limit: usize, time: Duration) -> Result<Vec<u8>> {
    let too_large =
        || Error::new(Code::PayloadTooLarge, format!("the body has more than {limit} bytes; shorten the prompt"));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let read = async {
        let mut body = body;
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Error::new(Code::InvalidRequest, format!("the body is malformed: {e}")))?;
            if let Ok(data) = frame.into_data() {
                if all.len() + data.len() > limit {
                    return Err(too_large());
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(all)
    };
    tokio::time::timeout(time, read).await.unwrap_or_else(|_| {
        let seconds = time.as_secs_f32();
        Err(Error::new(Code::RequestTimeout, format!("the body did not come within {seconds} s")))
    })
}

/// A request in the service. Dropped before its end, it is abandoned.
pub(super) struct Ticket<B: Backend> {
    backend: B,
    id: Option<RequestId>,
    pub queue: Arc<Queue>,
}

impl<B: Backend> Ticket<B> {
    /// `id` is `None` for what the service finishes anyway, such as loading a model.
    pub(super) fn new(backend: B, id: Option<RequestId>, queue: Arc<Queue>) -> Self {
        Ticket { backend, id, queue }
    }
}

impl<B: Backend> Drop for Ticket<B> {
    fn drop(&mut self) {
        let over = self.queue.close();
        if let Some(id) = self.id.filter(|_| !over) {
            self.backend.abandon(id);
        }
    }
}

/// An answer's body.
pub(super) struct Answer<B: Backend> {
    kind: Kind<B>,
    state: Rc<State>,
}

enum Kind<B: Backend> {
    Whole(Bytes),
    Events(Box<Events<B>>),
}

impl<B: Backend> Answer<B> {
    pub(super) fn whole(state: &Rc<State>, bytes: impl Into<Bytes>) -> Self {
        Answer { kind: Kind::Whole(bytes.into()), state: Rc::clone(state) }
    }

    pub(super) fn events(state: &Rc<State>, events: Events<B>) -> Self {
        Answer { kind: Kind::Events(Box::new(events)), state: Rc::clone(state) }
    }
}

impl<B: Backend> Drop for Answer<B> {
    /// hyper lets go of the body when it has taken all of it: the connection is idle again.
    fn drop(&mut self) {
        self.state.phase.set(Phase::Idle);
        self.state.queue.take();
    }
}

impl<B: Backend> Body for Answer<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.kind {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Events(events) => events.poll(cx).map(|e| e.map(|text| Ok(Frame::data(text.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Events(events) => events.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

/// How updates are written.
pub(super) enum Format {
    Completion { head: Head, frame: Option<TextFrame> },
    Load { model: String },
}

/// A stream of server-sent events.
pub(super) struct Events<B: Backend> {
    ticket: Ticket<B>,
    format: Format,
    keepalive: Duration,
    timer: Pin<Box<Sleep>>,
    last: Instant,
    comment: String,
    ended: bool,
}

impl<B: Backend> Events<B> {
    pub(super) fn new(ticket: Ticket<B>, format: Format, keepalive: Duration) -> Self {
        let comment = ": queued\n\n".to_owned();
        Events {
            ticket,
            format,
            keepalive,
            timer: Box::pin(sleep(keepalive)),
            last: Instant::now(),
            comment,
            ended: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        if self.ended {
            return Poll::Ready(None);
        }
        while let Poll::Ready(batch) = self.ticket.queue.poll_take(cx) {
            let text = self.write(batch);
            if !text.is_empty() {
                self.last = Instant::now();
                return Poll::Ready(Some(text));
            }
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            // One timer for the whole stream: text does not rearm it, its time is checked when it fires.
            let due = self.last + self.keepalive;
            if due <= Instant::now() {
                self.last = Instant::now();
                self.timer.as_mut().reset(self.last + self.keepalive);
                return Poll::Ready(Some(self.comment.clone()));
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn write(&mut self, batch: Batch) -> String {
        let mut out = String::new();
        if let Some(share) = batch.loading {
            self.comment = format!(": loading {share:.2}\n\n");
            if let Format::Load { model } = &self.format {
                out += &answer::event(&json!({"model": model, "state": "loading", "progress": share}));
            }
        }
        if batch.started.is_some() {
            self.comment = ": running\n\n".to_owned();
        }
        if let Format::Completion { head, frame } = &mut self.format {
            let runs = batch.started.is_some() || !batch.text.is_empty() || matches!(batch.end, Some(Ok(_)));
            if frame.is_none() && runs {
                if let Some(started) = batch.started {
                    head.model = started.model;
                }
                out += &head.first_event().unwrap_or_default();
                *frame = Some(head.text_frame());
            }
            if let Some(frame) = frame.as_ref().filter(|_| !batch.text.is_empty()) {
                out += &frame.event(&batch.text);
            }
        }
        match batch.end {
            None => {}
            Some(end) => {
                self.ended = true;
                match (end, &self.format) {
                    (Err(e), _) => out += &answer::event(&answer::error(&e)),
                    (Ok(o), Format::Completion { .. }) if o.finish == Finish::Cancelled => {
                        out += &answer::event(&answer::error(&answer::cancelled()));
                    }
                    (Ok(o), Format::Completion { head, .. }) => out += &head.last_events(&o),
                    (Ok(_), Format::Load { model }) => {
                        out += &answer::event(&json!({"model": model, "state": "loaded", "progress": 1.0}));
                        out += DONE;
                    }
                }
            }
        }
        out
    }
}
