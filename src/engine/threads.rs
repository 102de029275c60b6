//! The lane's compute threads: how many, and how long they spin.

use super::governor::{Governor, Sample, Setting};
use super::llama::{Context, ThreadPool};

/// The pool and who decides about it.
pub struct Threads {
    cpus: Vec<u32>,
    governor: Governor,
    current: Setting,
    /// Threads at most.
    most: u32,
    /// Threads that the service wants for answers, and for prompts.
    wanted: (u32, u32),
    /// The step that comes has a piece of a prompt in it.
    prompts: bool,
    /// There are pauses between steps: spinning into them would draw what they shall save.
    pausing: bool,
}

impl Threads {
    /// Starts `threads` threads on `cpus` (empty: any) and gives them to the context.
    pub fn new(threads: u32, cpus: &[u32], context: &mut Context) -> Result<Threads, String> {
        let most = threads.clamp(1, 256);
        let governor = Governor::new(most);
        let current = governor.setting();
        context.set_pool(ThreadPool::new(current.threads, cpus, current.poll)?);
        Ok(Threads {
            cpus: cpus.to_vec(),
            governor,
            current,
            most,
            wanted: (most, most),
            prompts: false,
            pausing: false,
        })
    }

    /// The service wants this many threads from now on, for answers and for prompts, and pauses between steps or none.
    pub fn set(&mut self, answers: u32, prompts: u32, pausing: bool, context: &mut Context) {
        self.wanted = (answers.clamp(1, self.most), prompts.clamp(1, self.most));
        self.pausing = pausing;
        self.allow(context);
    }

    /// The step that comes has a piece of a prompt in it, or none.
    pub fn turn(&mut self, prompts: bool, context: &mut Context) {
        if self.prompts != prompts {
            self.prompts = prompts;
            if self.wanted.0 != self.wanted.1 {
                self.allow(context);
            }
        }
    }

    fn allow(&mut self, context: &mut Context) {
        self.governor.allow(if self.prompts { self.wanted.1 } else { self.wanted.0 });
        self.apply(context);
    }

    /// Threads in use.
    pub fn count(&self) -> u32 {
        self.current.threads
    }

    /// Before a decode.
    pub fn begin(&self) -> Sample {
        Sample::now()
    }

    /// After it: learns whether the CPUs were ours.
    pub fn end(&mut self, begun: Sample, context: &mut Context) {
        self.governor.learn(begun, Sample::now());
        self.apply(context);
    }

    fn apply(&mut self, context: &mut Context) {
        let mut wanted = self.governor.setting();
        if self.pausing {
            wanted.poll = 0;
        }
        if wanted == self.current {
            return;
        }
        // On failure the old pool goes on; the next step tries again.
        if let Ok(pool) = ThreadPool::new(wanted.threads, &self.cpus, wanted.poll) {
            context.set_pool(pool);
            self.current = wanted;
        }
    }
}
