//! A context: key-value cache, compute buffers, and the decode call.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::{Batch, Model, SeqId, ThreadPool};
use crate::lane::KvType;

/// Most sequences llama.cpp can hold (`LLAMA_MAX_SEQ`).
pub const MAX_SEQUENCES: u32 = 256;

/// How a context is made.
pub struct ContextParams {
    /// Cells of the key-value cache, shared by all sequences.
    pub n_ctx: u32,
    /// Most tokens in one [`Batch`]. All of them go through the graph at once.
    pub n_batch: u32,
    /// Most sequences, and most outputs in one batch. At most [`MAX_SEQUENCES`].
    pub n_seq: u32,
    /// Element type of the key-value cache.
    pub kv_type: KvType,
}

/// How a decode call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// Logits are there; the tokens are in the key-value cache.
    Done,
    /// The key-value cache has no room. Nothing changed.
    NoRoom,
    /// The watch function asked for it. Some of the tokens may be in the key-value cache: trim their sequences.
    Aborted,
    /// llama.cpp's status. As for `Aborted`, trim or drop the sequences.
    Failed(i32),
}

/// Called on the decoding thread after each graph node that the CPU computes; `true` ends the graph.
pub type WatchFn = Box<dyn Fn() -> bool>;

/// A context and its threads. Not shared between threads.
pub struct Context {
    ptr: NonNull<sys::llama_context>,
    pool: Option<ThreadPool>,
    /// Pools that llama.cpp may still know. Attaching another only notes it; at the next graph, llama.cpp's CPU backend
    /// pauses the one it used last, which must exist until then.
    retired: Vec<ThreadPool>,
    n_batch: usize,
    n_seq: i32,
    n_vocab: usize,
    on_gpu: bool,
    /// Owned; a raw pointer because llama.cpp calls through its copy while `self` is borrowed.
    watch: *mut WatchFn,
    /// Sequence pointers for `llama_batch`; kept to save an allocation per step.
    seq_ptrs: Vec<*mut SeqId>,
    ones: Vec<i32>,
    /// Last, so that it is dropped after the context was freed in `drop`.
    _model: Arc<Model>,
}

impl Context {
    /// Allocates the cache and the compute buffers. `Err` holds llama.cpp's reasons.
    pub fn new(model: Arc<Model>, params: &ContextParams, watch: WatchFn) -> Result<Context, String> {
        // SAFETY: plain data.
        let mut c = unsafe { sys::llama_context_default_params() };
        c.n_ctx = params.n_ctx;
        // One micro-batch per batch: an aborted or failed decode then concerns the whole batch or nothing.
        c.n_batch = params.n_batch;
        c.n_ubatch = params.n_batch;
        c.n_seq_max = params.n_seq.clamp(1, MAX_SEQUENCES);
        // Without this llama.cpp plans for logits after every token: n_batch × n_vocab floats.
        c.n_outputs_max = c.n_seq_max;
        c.kv_unified = true;
        // A sliding-window cache that forgets would make cached prefixes useless and trims fail.
        c.swa_full = true;
        c.n_threads = 1;
        c.n_threads_batch = 1;
        // The cache lies where the layers are. What is left on the CPU (the rows of the token embedding) stays there.
        c.offload_kqv = model.on_gpu();
        c.op_offload = false;
        let kv = match params.kv_type {
            KvType::F16 => sys::GGML_TYPE_F16,
            KvType::Q8_0 => sys::GGML_TYPE_Q8_0,
            KvType::Q4_0 => sys::GGML_TYPE_Q4_0,
        };
        c.type_k = kv;
        c.type_v = kv;
        let watch = Box::into_raw(Box::new(watch));
        c.abort_callback = Some(on_node);
        c.abort_callback_data = watch.cast();

        // SAFETY: the model lives as long as the context (`_model`), the watch function until `drop`. Contexts of one
        // model are made by one thread: the engine's.
        let ptr = unsafe { sys::llama_init_from_model(model.as_ptr(), c) };
        let Some(ptr) = NonNull::new(ptr) else {
            // SAFETY: no context holds it.
            drop(unsafe { Box::from_raw(watch) });
            return Err(super::process::take_errors().join("; "));
        };
        // SAFETY: a live context.
        let (n_batch, n_seq) = unsafe { (sys::llama_n_batch(ptr.as_ptr()), sys::llama_n_seq_max(ptr.as_ptr())) };
        Ok(Context {
            ptr,
            pool: None,
            retired: Vec::new(),
            n_batch: n_batch as usize,
            n_seq: n_seq as i32,
            n_vocab: model.n_vocab() as usize,
            on_gpu: model.on_gpu(),
            watch,
            seq_ptrs: Vec::new(),
            ones: Vec::new(),
            _model: model,
        })
    }

    /// Most tokens in one batch.
    pub fn n_batch(&self) -> usize {
        self.n_batch
    }

    /// Whether it has a key-value cache (or recurrent state). Embedding models have none.
    pub fn has_memory(&self) -> bool {
        !self.memory().is_null()
    }

    fn memory(&self) -> sys::llama_memory_t {
        // SAFETY: a live context.
        unsafe { sys::llama_get_memory(self.ptr.as_ptr()) }
    }

    /// Uses these threads from the next decode on; the former ones end after it.
    pub fn set_pool(&mut self, pool: ThreadPool) {
        // SAFETY: no decode runs (`&mut self`); the former pool lives until a decode has gone over to this one.
        unsafe {
            sys::llama_attach_threadpool(self.ptr.as_ptr(), pool.ptr.as_ptr(), pool.ptr.as_ptr());
            sys::llama_set_n_threads(self.ptr.as_ptr(), pool.threads() as i32, pool.threads() as i32);
        }
        self.retired.extend(self.pool.replace(pool));
    }

    /// Runs the model over the batch.
    pub fn decode(&mut self, batch: &mut Batch) -> Decoded {
        let n = batch.len();
        let in_range = batch.sequences.iter().all(|s| (0..self.n_seq).contains(s));
        if n == 0 || n > self.n_batch || !in_range {
            return Decoded::Failed(-1);
        }
        self.ones.resize(n.max(self.ones.len()), 1);
        self.seq_ptrs.clear();
        self.seq_ptrs.extend(batch.sequences.iter_mut().map(std::ptr::from_mut));
        let raw = sys::llama_batch {
            n_tokens: n as i32,
            token: batch.tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: batch.positions.as_mut_ptr(),
            n_seq_id: self.ones.as_mut_ptr(),
            seq_id: self.seq_ptrs.as_mut_ptr(),
            logits: batch.outputs.as_mut_ptr(),
        };
        // SAFETY: all arrays hold `n` elements and outlive the call; the batch and its sequences are within the
        // context's limits; token ids are checked by llama.cpp.
        let status = unsafe { sys::llama_decode(self.ptr.as_ptr(), raw) };
        if self.on_gpu && status == 0 {
            // A GPU's part was only begun. Wait for it: a step takes as long as its work, and what is asked next is heard.
            // SAFETY: a live context.
            unsafe { sys::llama_synchronize(self.ptr.as_ptr()) };
        }
        super::process::cancelling(false);
        match status {
            0 => {
                // A graph was computed, so the backend uses the current pool.
                self.retired.clear();
                Decoded::Done
            }
            1 => Decoded::NoRoom,
            2 => Decoded::Aborted,
            code => Decoded::Failed(code),
        }
    }

    /// Logits after the batch's token `index`, if they were asked for in the last decode. They may be changed.
    pub fn logits(&mut self, index: usize) -> Option<&mut [f32]> {
        let index = i32::try_from(index).ok()?;
        // SAFETY: a live context; a bad index gives null.
        let row = unsafe { sys::llama_get_logits_ith(self.ptr.as_ptr(), index) };
        if row.is_null() {
            return None;
        }
        // SAFETY: a row holds n_vocab floats, valid until the next decode, which needs `&mut self`.
        Some(unsafe { std::slice::from_raw_parts_mut(row, self.n_vocab) })
    }

    /// Forgets a sequence from position `from` on. `false`: this model cannot forget a part; drop it as a whole.
    #[must_use]
    pub fn trim(&mut self, sequence: SeqId, from: u32) -> bool {
        let from = i32::try_from(from).unwrap_or(i32::MAX);
        (0..self.n_seq).contains(&sequence)
            // SAFETY: a live context's memory, a sequence in range.
            && unsafe { sys::llama_memory_seq_rm(self.memory(), sequence, from, -1) }
    }

    /// Forgets a sequence.
    pub fn drop_sequence(&mut self, sequence: SeqId) {
        // Forgetting a whole sequence never fails.
        let _ = self.trim(sequence, 0);
    }

    /// Makes the first `tokens` tokens of `from` the beginning of `to` too, which must be empty. Both hold the same cells, so
    /// this takes neither memory nor time. Not for models that cannot forget the end of a sequence.
    pub fn share(&mut self, from: SeqId, to: SeqId, tokens: u32) {
        let sequences = 0..self.n_seq;
        if let (true, Ok(end)) = (sequences.contains(&from) && sequences.contains(&to), i32::try_from(tokens)) {
            // SAFETY: a live context's memory, sequences in range.
            unsafe { sys::llama_memory_seq_cp(self.memory(), from, to, 0, end) }
        }
    }

    /// Bytes that [`Context::save`] writes for this sequence.
    pub fn state_size(&mut self, sequence: SeqId) -> usize {
        match (0..self.n_seq).contains(&sequence) {
            // SAFETY: a live context, a sequence in range.
            true => unsafe { sys::llama_state_seq_get_size_ext(self.ptr.as_ptr(), sequence, 0) },
            false => 0,
        }
    }

    /// Writes the sequence's state to `to`; gives the bytes written, 0 where it did not fit or failed.
    pub fn save(&mut self, sequence: SeqId, to: &mut [u8]) -> usize {
        match (0..self.n_seq).contains(&sequence) {
            // SAFETY: a live context, a sequence in range, a buffer with its length.
            true => unsafe {
                sys::llama_state_seq_get_data_ext(self.ptr.as_ptr(), to.as_mut_ptr(), to.len(), sequence, 0)
            },
            false => 0,
        }
    }

    /// Makes `sequence` what was saved, `tokens` tokens from position 0. `false`: the state is of another kind of cache,
    /// damaged, or has no room; the sequence is empty then.
    #[must_use]
    pub fn restore(&mut self, sequence: SeqId, from: &[u8], tokens: u32) -> bool {
        self.drop_sequence(sequence);
        if !(0..self.n_seq).contains(&sequence) {
            return false;
        }
        // SAFETY: a live context, a sequence in range, a buffer with its length; llama.cpp checks what it reads against it.
        let read =
            unsafe { sys::llama_state_seq_set_data_ext(self.ptr.as_ptr(), from.as_ptr(), from.len(), sequence, 0) };
        // SAFETY: a live context's memory, a sequence in range.
        let last = unsafe { sys::llama_memory_seq_pos_max(self.memory(), sequence) };
        let whole = read == from.len() && i64::from(last) + 1 == i64::from(tokens);
        if !whole {
            self.drop_sequence(sequence);
        }
        whole
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        // SAFETY: a live context's memory. The data stays in place: it cannot be reached without a cell.
        unsafe { sys::llama_memory_clear(self.memory(), false) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is freed once, before its watch function, its pool and its model (fields drop after).
        unsafe {
            sys::llama_free(self.ptr.as_ptr());
            drop(Box::from_raw(self.watch));
        }
    }
}

unsafe extern "C" fn on_node(data: *mut c_void) -> bool {
    // SAFETY: `data` is the `WatchFn` that `Context` keeps alive. A panic in it aborts: this is `extern "C"`.
    let watch = unsafe { &*data.cast::<WatchFn>().cast_const() };
    let stop = watch();
    if stop {
        super::process::cancelling(true);
    }
    stop
}
