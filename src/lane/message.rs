//! What `service` and a lane say to each other: [`ToLane`] and [`FromLane`]. Plain data, no behaviour.
//!
//! The same enums travel over the worker's socketpair, encoded by `worker::ipc`; a message has one parcel at most beside
//! its bytes. What always holds of them is told [above](super).

use serde::{Deserialize, Serialize};

use super::{trust, Carries, Finish, Job, LaneConfig, LaneInfo, Pace, Parcel, RequestId, Usage};
use crate::error::Error;

/// What the service says to a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToLane {
    /// Come up. The first message, sent once.
    Load(Box<LaneConfig>),
    /// Run this request. Never more at once than [`LaneConfig::slots`].
    Start(Box<Job>),
    /// Run the probe of [`trust`] as soon as what runs has ended; what came later waits for it. Answered by
    /// [`FromLane::Probed`].
    Probe,
    /// Compute this request's prompt but its last token, and hand the sequence's state over. Answered by
    /// [`FromLane::Exported`], or by `Done` where it comes to nothing.
    Prefill(Box<Job>),
    /// Run this request, of which another lane of the same model has computed the prompt. Where the state does not fit
    /// this lane, the prompt is computed here.
    Resume(Box<Job>, SequenceState),
    /// End this request within one step. Answered by `Done` with [`Finish::Cancelled`], unless it ended before.
    Cancel(RequestId),
    /// Work like this from the next step on.
    Pace(Pace),
    /// From now on this request may use so much CPU time in all, as [`Job::allowance_us`].
    Allow {
        /// Which.
        id: RequestId,
        /// Microseconds of CPU time since its start.
        cpu_us: u64,
    },
    /// End everything and exit.
    Quit,
}

/// The state of a sequence: what is computed of a prompt, on its way from one lane to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SequenceState {
    /// Stands for the model's file and the key-value cache's type: a lane takes a state only from one with the same.
    pub model: u64,
    /// Tokens that are computed: the prompt's but the last, whose logits the receiver needs.
    pub tokens: u32,
    /// Stands for these tokens.
    pub tokens_hash: u64,
    /// Bytes of `memory`.
    pub bytes: u64,
    /// llama.cpp's state, in a sealed memory file.
    pub memory: Parcel,
}

impl Carries for ToLane {
    fn parcel(&self) -> Option<&Parcel> {
        match self {
            ToLane::Resume(_, state) => Some(&state.memory),
            _ => None,
        }
    }

    fn parcel_mut(&mut self) -> Option<&mut Parcel> {
        match self {
            ToLane::Resume(_, state) => Some(&mut state.memory),
            _ => None,
        }
    }
}

impl Carries for FromLane {
    fn parcel(&self) -> Option<&Parcel> {
        match self {
            FromLane::Exported { state, .. } => Some(&state.memory),
            _ => None,
        }
    }

    fn parcel_mut(&mut self) -> Option<&mut Parcel> {
        match self {
            FromLane::Exported { state, .. } => Some(&mut state.memory),
            _ => None,
        }
    }
}

/// A request's part in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPart {
    /// Which request.
    pub id: RequestId,
    /// Prompt tokens processed in this step.
    pub prefill: u32,
    /// Tokens decoded in this step (0 or 1).
    pub decode: u32,
    /// Cells of the key-value cache the request occupies after the step.
    pub context: u32,
}

/// One engine step: who took part, how long it took, and the text that came out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Step {
    /// Duration in microseconds.
    pub us: u64,
    /// CPU time that the lane's process used since the step before, or since it became busy, in microseconds. On a GPU, how
    /// long the step took: the CPU does not show what a GPU does.
    pub cpu_us: u64,
    /// The lane's clock at its end, in microseconds: CPU time since the process was started; on a GPU, `cpu_us` of all
    /// steps since it came up. 0 where it is not known.
    pub cpu_end_us: u64,
    /// Who took part. A step that was broken off because all of it was cancelled, or that failed, is told as well:
    /// somebody has to pay for it. A part without tokens is a prompt that was refused after it had been tokenized.
    pub parts: Vec<StepPart>,
    /// Text to send on, whole UTF-8 characters only.
    pub text: Vec<(RequestId, String)>,
}

/// What a lane says to the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromLane {
    /// The child is up. The first message: it bounds what follows.
    Hello {
        /// Must equal ours, or the binary was replaced under us.
        version: String,
    },
    /// Loading, from 0 to 1.
    Loading(f32),
    /// The CPU variant that was loaded, before its first computation: should it die of an illegal instruction, this is
    /// the one to leave out.
    Kernels(String),
    /// The model is mapped and the lane takes requests.
    Ready(Box<LaneInfo>),
    /// The model could not be loaded. The lane exits.
    LoadFailed(Error),
    /// The request's prompt is tokenized and it runs.
    Started {
        /// Which.
        id: RequestId,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of these, found in the cache.
        cached_tokens: u32,
    },
    /// One step was made.
    Step(Step),
    /// The request ended. The last message about it.
    Done {
        /// Which.
        id: RequestId,
        /// How, or why not.
        result: Result<Finish, Error>,
        /// What it took.
        usage: Usage,
    },
    /// The prompt of a [`ToLane::Prefill`] is computed: its state. The last message about the request from this lane.
    Exported {
        /// Which.
        id: RequestId,
        /// What [`ToLane::Resume`] wants.
        state: SequenceState,
        /// What it took: a prompt, and no tokens.
        usage: Usage,
    },
    /// The answer to [`ToLane::Probe`], or why there is none.
    Probed(Box<Result<trust::Probed, Error>>),
    /// Alive. Sent while busy; `progress` grows as long as the engine computes.
    Beat {
        /// Grows with every graph node or step.
        progress: u64,
    },
    /// A line for the daemon's log: level as in the `log` crate (1 error to 5 trace).
    Log {
        /// 1 to 5.
        level: u8,
        /// The line.
        text: String,
    },
    /// The last words of an engine that is about to abort.
    Fatal(String),
}
