//! A pool of compute threads that we own: how many, on which CPUs, and how long they spin for the next graph.
//!
//! Within a graph the threads meet at spinning barriers, which no parameter changes. `poll` says how long they spin
//! *after* a graph before they sleep. Without a pool of ours llama.cpp would start threads anew for every graph.

use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::modules::cpu_proc;

type New = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> *mut sys::ggml_threadpool;
type Free = unsafe extern "C" fn(*mut sys::ggml_threadpool);

/// Compute threads. Dropping it joins them; llama.cpp must not know it any more then, which is [`super::Context`]'s
/// business.
pub struct ThreadPool {
    pub(super) ptr: NonNull<sys::ggml_threadpool>,
    free: Free,
    threads: u32,
}

impl ThreadPool {
    /// Starts `threads - 1` threads; the caller of `decode` is the other one. On `cpus` only, if it names any. The
    /// calling thread is moved there, too.
    pub fn new(threads: u32, cpus: &[u32], poll: u32) -> Result<ThreadPool, String> {
        let new = cpu_proc(c"ggml_threadpool_new").ok_or("the CPU backend has no thread pool")?;
        let free = cpu_proc(c"ggml_threadpool_free").ok_or("the CPU backend has no thread pool")?;
        // SAFETY: ggml-cpu.h declares these signatures for these names.
        let (new, free) = unsafe {
            (
                std::mem::transmute::<*mut std::ffi::c_void, New>(new),
                std::mem::transmute::<*mut std::ffi::c_void, Free>(free),
            )
        };
        let threads = threads.clamp(1, 256);
        // SAFETY: plain data, no pointers.
        let mut params = unsafe { sys::ggml_threadpool_params_default(threads as i32) };
        params.poll = poll;
        for &cpu in cpus {
            let slot = params.cpumask.get_mut(cpu as usize).ok_or(format!("CPU {cpu} is out of ggml's range"))?;
            *slot = true;
        }
        // SAFETY: `params` is initialised and only read during the call.
        let ptr = unsafe { new(&mut params) };
        let ptr = NonNull::new(ptr).ok_or("ggml could not create a thread pool")?;
        Ok(ThreadPool { ptr, free, threads })
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> u32 {
        self.threads
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: we own it; `Context` drops a pool only when llama.cpp uses another, or after the context.
        unsafe { (self.free)(self.ptr.as_ptr()) }
    }
}
