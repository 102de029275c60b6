//! A model: weights, metadata and vocabulary.

use std::ffi::{c_char, c_void, CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::modules::BackendDevice;
use super::Token;

/// Layers on the GPU: all there are.
const ALL_LAYERS: i32 = i32::MAX;

/// How a model is loaded.
pub struct ModelParams {
    /// Lock the weights in memory. Without effect on a GPU, whose weights are not in it.
    pub mlock: bool,
    /// The GPU that takes all layers. `None`: the CPU alone.
    pub gpu: Option<BackendDevice>,
}

/// A loaded model. Immutable.
pub struct Model {
    ptr: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
    on_gpu: bool,
}

// SAFETY: nothing changes a model after it was loaded; llama.cpp reads it from many threads itself.
unsafe impl Send for Model {}
// SAFETY: as above. Contexts, whose creation writes to the model, are made by the engine's thread only.
unsafe impl Sync for Model {}

impl Model {
    /// Maps the file, or copies it to a GPU. `progress` hears 0 to 1 and ends the load with `false`.
    ///
    /// `Err` holds llama.cpp's reasons; it is empty when `progress` ended the load.
    pub fn load(path: &Path, params: &ModelParams, progress: &mut dyn FnMut(f32) -> bool) -> Result<Model, String> {
        let c_path =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| "the path contains a NUL byte".to_string())?;
        // The list ends with null. An empty one: the CPU, even where a GPU is registered. Zero layers on a GPU would not
        // do: the GPU would be used for buffers and large products all the same, and weights would not be repacked.
        let mut devices: [sys::ggml_backend_dev_t; 2] =
            [params.gpu.map_or(std::ptr::null_mut(), |gpu| gpu.0), std::ptr::null_mut()];
        let mut progress = progress;
        // SAFETY: plain data.
        let mut c = unsafe { sys::llama_model_default_params() };
        c.devices = devices.as_mut_ptr();
        c.split_mode = sys::LLAMA_SPLIT_MODE_NONE;
        (c.n_gpu_layers, c.load_mode) = match (params.gpu, params.mlock) {
            // Weights are copied; llama.cpp knows for which devices it should map the file for that.
            (Some(_), _) => (ALL_LAYERS, sys::LLAMA_LOAD_MODE_AUTO),
            (None, true) => (0, sys::LLAMA_LOAD_MODE_MMAP_MLOCK),
            (None, false) => (0, sys::LLAMA_LOAD_MODE_MMAP),
        };
        c.progress_callback = Some(on_progress);
        c.progress_callback_user_data = std::ptr::from_mut(&mut progress).cast();
        super::process::take_errors();
        // SAFETY: the path, the device list and the callback's data outlive the call.
        let ptr = unsafe { sys::llama_model_load_from_file(c_path.as_ptr(), c) };
        let Some(ptr) = NonNull::new(ptr) else { return Err(super::process::take_errors().join("; ")) };
        // SAFETY: a live model.
        let vocab = unsafe { sys::llama_model_get_vocab(ptr.as_ptr()) };
        let Some(vocab) = NonNull::new(vocab.cast_mut()) else {
            // SAFETY: nothing else holds it.
            unsafe { sys::llama_model_free(ptr.as_ptr()) };
            return Err("the model has no vocabulary".into());
        };
        Ok(Model { ptr, vocab, on_gpu: params.gpu.is_some() })
    }

    /// Whether its layers are on a GPU.
    pub fn on_gpu(&self) -> bool {
        self.on_gpu
    }

    pub(super) fn as_ptr(&self) -> *mut sys::llama_model {
        self.ptr.as_ptr()
    }

    fn vocab(&self) -> *const sys::llama_vocab {
        self.vocab.as_ptr()
    }

    /// A metadata value as text. `None` if there is none, or if it is an array.
    pub fn meta(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut buf = vec![0u8; 256];
        loop {
            // SAFETY: the buffer's length is passed along; llama.cpp terminates what it writes.
            let n = unsafe {
                sys::llama_model_meta_val_str(self.as_ptr(), key.as_ptr(), buf.as_mut_ptr().cast::<c_char>(), buf.len())
            };
            let n = usize::try_from(n).ok()?;
            if n < buf.len() {
                buf.truncate(n);
                return String::from_utf8(buf).ok();
            }
            buf = vec![0u8; n + 1];
        }
    }

    /// The model's default chat template.
    pub fn chat_template(&self) -> Option<String> {
        // SAFETY: a live model; the string is the model's own.
        let text = unsafe { sys::llama_model_chat_template(self.as_ptr(), std::ptr::null()) };
        // SAFETY: non-null is NUL-terminated.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }

    /// Context the model was trained for, in tokens.
    pub fn n_ctx_train(&self) -> u32 {
        // SAFETY: a live model.
        unsafe { sys::llama_model_n_ctx_train(self.as_ptr()) }.max(0) as u32
    }

    /// What a cell of context adds to the cost of a token: see [`crate::lane::step_weights`].
    pub fn cell_cost(&self) -> f32 {
        // SAFETY: a live model.
        let (n_embd, n_layer, parameters) = unsafe {
            (
                sys::llama_model_n_embd(self.as_ptr()),
                sys::llama_model_n_layer(self.as_ptr()),
                sys::llama_model_n_params(self.as_ptr()),
            )
        };
        crate::lane::cell_cost(n_embd.max(0) as u64, n_layer.max(0) as u64, parameters)
    }

    /// Bytes of weights.
    pub fn size(&self) -> u64 {
        // SAFETY: a live model.
        unsafe { sys::llama_model_size(self.as_ptr()) }
    }

    /// Whether it keeps state that cannot be rolled back token by token (Mamba, RWKV, and hybrids).
    pub fn is_recurrent(&self) -> bool {
        // SAFETY: a live model.
        unsafe { sys::llama_model_is_recurrent(self.as_ptr()) || sys::llama_model_is_hybrid(self.as_ptr()) }
    }

    /// Why this model cannot generate text token by token, if it cannot.
    pub fn not_a_generator(&self) -> Option<&'static str> {
        // SAFETY: a live model.
        unsafe {
            if sys::llama_model_has_encoder(self.as_ptr()) {
                Some("it has an encoder (T5 and the like)")
            } else if !sys::llama_model_has_decoder(self.as_ptr()) {
                Some("it has no decoder")
            } else if sys::llama_model_is_diffusion(self.as_ptr()) {
                Some("it is a diffusion model")
            } else {
                None
            }
        }
    }

    /// Tokens in the vocabulary.
    pub fn n_vocab(&self) -> u32 {
        // SAFETY: a live vocabulary.
        unsafe { sys::llama_vocab_n_tokens(self.vocab()) }.max(0) as u32
    }

    /// The token that begins a text, if there is one.
    pub fn bos(&self) -> Option<Token> {
        // SAFETY: a live vocabulary.
        self.valid(unsafe { sys::llama_vocab_bos(self.vocab()) })
    }

    /// The token that ends a text, if there is one.
    pub fn eos(&self) -> Option<Token> {
        // SAFETY: a live vocabulary.
        self.valid(unsafe { sys::llama_vocab_eos(self.vocab()) })
    }

    fn valid(&self, token: Token) -> Option<Token> {
        (0..self.n_vocab() as i32).contains(&token).then_some(token)
    }

    /// Whether the tokenizer puts BOS first.
    pub fn adds_bos(&self) -> bool {
        // SAFETY: a live vocabulary.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab()) }
    }

    /// Whether the tokenizer puts EOS last.
    pub fn adds_eos(&self) -> bool {
        // SAFETY: a live vocabulary.
        unsafe { sys::llama_vocab_get_add_eos(self.vocab()) }
    }

    /// Whether the tokenizer cuts a text into words by regular expressions first.
    pub fn cuts_words(&self) -> bool {
        // SAFETY: a live vocabulary.
        unsafe { sys::llama_vocab_type(self.vocab()) == sys::LLAMA_VOCAB_TYPE_BPE }
    }

    /// Whether this token ends the answer.
    pub fn is_eog(&self, token: Token) -> bool {
        // SAFETY: a live vocabulary; the token is checked first.
        self.valid(token).is_some_and(|t| unsafe { sys::llama_vocab_is_eog(self.vocab(), t) })
    }

    /// The tokens that end an answer. Looks at the whole vocabulary.
    pub fn ends(&self) -> Vec<Token> {
        (0..self.n_vocab() as i32).filter(|t| self.is_eog(*t)).collect()
    }

    /// The token as the vocabulary spells it: `<|im_end|>`.
    pub fn token_text(&self, token: Token) -> String {
        let Some(token) = self.valid(token) else { return String::new() };
        // SAFETY: a valid token of a live vocabulary.
        let text = unsafe { sys::llama_vocab_get_text(self.vocab(), token) };
        if text.is_null() {
            return String::new();
        }
        // SAFETY: non-null is NUL-terminated and the vocabulary's own.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// Text to tokens. `add_special`: BOS and EOS where the model asks for them. `parse_special`: special tokens
    /// spelled out in the text become those tokens. `Err`: the text is over 2 GB or the tokenizer failed. Long texts of
    /// strangers go through [`prompt`](crate::engine::prompt), which bounds the stack this takes.
    pub fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<Token>, String> {
        let len = i32::try_from(text.len()).map_err(|_| "the text is over 2 GB".to_string())?;
        // A token is at least a byte, except for a space that some tokenizers put first; two more for BOS and EOS.
        let mut tokens: Vec<Token> = vec![0; text.len() + 4];
        loop {
            let room = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
            // SAFETY: both buffers' lengths are passed along.
            let n = unsafe {
                sys::llama_tokenize(
                    self.vocab(),
                    text.as_ptr().cast::<c_char>(),
                    len,
                    tokens.as_mut_ptr(),
                    room,
                    add_special,
                    parse_special,
                )
            };
            if let Ok(n) = usize::try_from(n) {
                tokens.truncate(n);
                return Ok(tokens);
            }
            let needed = n.checked_neg().filter(|n| *n > room).ok_or("the tokenizer failed")?;
            tokens.resize(needed as usize, 0);
        }
    }

    /// Appends the token's bytes; control tokens have none.
    pub fn piece(&self, token: Token, out: &mut Vec<u8>) {
        let Some(token) = self.valid(token) else { return };
        let start = out.len();
        let mut room = 32;
        loop {
            out.resize(start + room, 0);
            // SAFETY: the buffer's length is passed along; the token is valid.
            let n = unsafe {
                sys::llama_token_to_piece(
                    self.vocab(),
                    token,
                    out[start..].as_mut_ptr().cast::<c_char>(),
                    room as i32,
                    0,
                    false,
                )
            };
            if n >= 0 {
                out.truncate(start + n as usize);
                return;
            }
            room = n.unsigned_abs() as usize;
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: contexts hold the model by `Arc`, so none is left.
        unsafe { sys::llama_model_free(self.ptr.as_ptr()) }
    }
}

unsafe extern "C" fn on_progress(fraction: f32, data: *mut c_void) -> bool {
    // SAFETY: `data` is the `&mut dyn FnMut` on the stack of `Model::load`, which waits for this call.
    let progress = unsafe { &mut *data.cast::<&mut dyn FnMut(f32) -> bool>() };
    progress(fraction)
}
