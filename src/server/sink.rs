//! The bounded queue between the service's thread and a connection's task.
//!
//! [`Sender`] is the [`Sink`] the service pushes into; [`Queue`] is what the connection polls. Updates that wait are
//! merged (text is appended, progress replaced), so that a slow writer costs one write and not one per token.
//! It neither formats nor cancels.
//!
//! What always holds: a push never blocks; text that waits never exceeds the limit; after the end was queued nothing
//! follows; once the queue is closed every push is refused.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::error::{Code, Error};
use crate::service::{Outcome, Sink, SinkClosed, Update};

/// Who is woken by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Every update is passed on as it comes.
    Stream,
    /// Only the end matters; text is collected until then.
    Collect,
}

/// What [`Update::Started`] said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Started {
    pub model: String,
}

/// What has come since the last look.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub loading: Option<f32>,
    pub started: Option<Started>,
    pub text: String,
    pub end: Option<Result<Box<Outcome>, Error>>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.loading.is_none() && self.started.is_none() && self.text.is_empty() && self.end.is_none()
    }

    /// The request runs or has ended: what its answer's head must say is known.
    fn decided(&self) -> bool {
        self.started.is_some() || !self.text.is_empty() || self.end.is_some()
    }
}

struct Inner {
    batch: Batch,
    ended: bool,
    /// The service knows that it has ended.
    over: bool,
    closed: bool,
    waker: Option<Waker>,
}

/// The connection's side.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    mode: Mode,
    limit: usize,
}

impl Queue {
    /// A queue that holds at most `limit` bytes of text.
    pub(super) fn new(mode: Mode, limit: usize) -> Arc<Queue> {
        let inner = Inner { batch: Batch::default(), ended: false, over: false, closed: false, waker: None };
        Arc::new(Queue { inner: Mutex::new(inner), mode, limit })
    }

    /// The service's side. One for each queue.
    pub(super) fn sender(self: &Arc<Self>) -> Box<dyn Sink> {
        Box::new(Sender(Arc::clone(self)))
    }

    /// Everything that waits.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Batch> {
        self.poll_when(cx, |b| !b.is_empty()).map(|mut b| std::mem::take(&mut *b))
    }

    /// Waits until the request runs or has ended. Takes nothing.
    pub(super) async fn decided(&self) {
        poll_fn(|cx| self.poll_when(cx, |b| b.decided()).map(|_| ())).await
    }

    /// Waits for the end and takes everything.
    pub(super) async fn collect(&self) -> Batch {
        poll_fn(|cx| self.poll_when(cx, |b| b.end.is_some()).map(|mut b| std::mem::take(&mut *b))).await
    }

    /// Takes the error if the request failed before any text came.
    pub(super) fn early_failure(&self) -> Option<Error> {
        let mut inner = self.inner.lock();
        match &inner.batch.end {
            Some(Err(_)) if inner.batch.text.is_empty() => inner.batch.end.take().and_then(Result::err),
            _ => None,
        }
    }

    /// Ends the queue from our side; the service's pushes are refused from now on.
    pub(super) fn fail(&self, error: Error) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            if inner.ended {
                return;
            }
            inner.ended = true;
            inner.batch.end = Some(Err(error));
            inner.waker.take()
        };
        if let Some(w) = waker {
            w.wake();
        }
    }

    /// The connection is gone; what comes now is refused. Says whether the service has ended the request.
    pub(super) fn close(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.batch = Batch::default();
        inner.over
    }

    fn poll_when(
        &self,
        cx: &mut Context<'_>,
        ready: impl Fn(&Batch) -> bool,
    ) -> Poll<parking_lot::MappedMutexGuard<'_, Batch>> {
        let mut inner = self.inner.lock();
        if ready(&inner.batch) {
            return Poll::Ready(parking_lot::MutexGuard::map(inner, |i| &mut i.batch));
        }
        if !inner.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// The service's side of a [`Queue`].
struct Sender(Arc<Queue>);

impl Sink for Sender {
    fn push(&mut self, update: Update) -> Result<(), SinkClosed> {
        let queue = &*self.0;
        let mut inner = queue.inner.lock();
        if inner.closed || inner.ended {
            return Err(SinkClosed::Gone);
        }
        let mut result = Ok(());
        let wakes = match update {
            Update::Loading(share) => {
                inner.batch.loading = Some(share);
                queue.mode == Mode::Stream
            }
            Update::Started { model, .. } => {
                inner.batch.started = Some(Started { model });
                queue.mode == Mode::Stream
            }
            Update::Text(text) => {
                if inner.batch.text.len() + text.len() > queue.limit {
                    (inner.ended, inner.over) = (true, true);
                    inner.batch.end = Some(Err(too_slow(queue.mode, queue.limit)));
                    result = Err(SinkClosed::Full);
                    true
                } else {
                    inner.batch.text.push_str(&text);
                    queue.mode == Mode::Stream
                }
            }
            Update::Done(outcome) => {
                (inner.ended, inner.over) = (true, true);
                inner.batch.end = Some(Ok(outcome));
                true
            }
            Update::Failed(error) => {
                (inner.ended, inner.over) = (true, true);
                inner.batch.end = Some(Err(error));
                true
            }
        };
        let waker = if wakes { inner.waker.take() } else { None };
        drop(inner);
        if let Some(w) = waker {
            w.wake();
        }
        result
    }
}

impl Drop for Sender {
    /// A service that lets go of a request without ending it has a defect or is gone; the client must not wait for it.
    fn drop(&mut self) {
        self.0.fail(Error::new(Code::Internal, "the service dropped the request; see the daemon's log"));
    }
}

fn too_slow(mode: Mode, limit: usize) -> Error {
    match mode {
        Mode::Stream => Error::new(
            Code::SlowClient,
            format!("the answer was not read and its buffer of {limit} bytes is full; read the stream as it comes"),
        ),
        Mode::Collect => Error::new(
            Code::EngineFailed,
            format!("the answer exceeds {limit} bytes; ask with \"stream\": true or a smaller max_tokens"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    struct Counter(AtomicU32);
    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counted() -> (Arc<Counter>, Waker) {
        let c = Arc::new(Counter(AtomicU32::new(0)));
        (Arc::clone(&c), Waker::from(c))
    }

    #[test]
    fn text_is_merged_and_wakes_once() {
        let (count, waker) = counted();
        let mut cx = Context::from_waker(&waker);
        let queue = Queue::new(Mode::Stream, 100);
        let mut sink = queue.sender();
        assert!(queue.poll_take(&mut cx).is_pending());
        for _ in 0..10 {
            sink.push(Update::Text("ab".into())).unwrap();
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        match queue.poll_take(&mut cx) {
            Poll::Ready(b) => assert_eq!(b.text, "ab".repeat(10)),
            Poll::Pending => panic!("nothing to take"),
        }
        assert!(queue.poll_take(&mut cx).is_pending());
    }

    #[test]
    fn a_full_queue_refuses_and_tells_the_reader() {
        let (_, waker) = counted();
        let mut cx = Context::from_waker(&waker);
        let queue = Queue::new(Mode::Stream, 4);
        let mut sink = queue.sender();
        assert_eq!(sink.push(Update::Text("abc".into())), Ok(()));
        assert_eq!(sink.push(Update::Text("de".into())), Err(SinkClosed::Full));
        assert_eq!(sink.push(Update::Text("f".into())), Err(SinkClosed::Gone));
        let Poll::Ready(batch) = queue.poll_take(&mut cx) else { panic!("nothing to take") };
        assert_eq!(batch.text, "abc");
        assert_eq!(batch.end.unwrap().unwrap_err().code, Code::SlowClient);
    }

    #[test]
    fn collecting_wakes_at_the_end_only() {
        let (count, waker) = counted();
        let mut cx = Context::from_waker(&waker);
        let queue = Queue::new(Mode::Collect, 100);
        let mut sink = queue.sender();
        assert!(queue.poll_when(&mut cx, |b| b.end.is_some()).is_pending());
        sink.push(Update::Loading(0.5)).unwrap();
        sink.push(Update::Text("a".into())).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        sink.push(Update::Failed(Error::new(Code::Cancelled, "x"))).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_dropped_sender_ends_the_request() {
        let queue = Queue::new(Mode::Stream, 100);
        drop(queue.sender());
        assert_eq!(queue.early_failure().unwrap().code, Code::Internal);
    }

    #[test]
    fn a_closed_queue_refuses() {
        let queue = Queue::new(Mode::Stream, 100);
        let mut sink = queue.sender();
        queue.close();
        assert_eq!(sink.push(Update::Text("a".into())), Err(SinkClosed::Gone));
    }
}
