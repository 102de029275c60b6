//! Prompts that are computed once: who follows whom in a lane, by the engine's own rule.
//!
//! It computes nothing and takes no time: what the first of them has computed is there for the others at the next boundary.
//! What always holds: a request follows only one that stands before it in its lane, so that nobody waits in a circle.

use super::lane::Run;
use super::world::World;
use crate::lane::sharing;

impl World<'_> {
    fn is_of(&self, run: &Run, session: usize) -> bool {
        self.trace.asks[run.ask].session.is_some_and(|(other, _)| other == session)
    }

    /// Tokens that a lane holds of those that a prompt shares with its session, or computes for another request.
    pub fn holds(&self, lane: usize, session: usize, shared: u32) -> u32 {
        let lane = &self.lanes[lane];
        let computed = lane.running.iter().filter(|run| self.is_of(run, session)).map(|run| run.shares(shared));
        computed.fold(lane.held[session].min(shared), u32::max)
    }

    /// Which of the first `before` requests of a lane this one had best follow, of whose prompt `have` tokens are there, and
    /// for how many: the engine's own rule.
    pub(super) fn source(&self, index: usize, ask: usize, have: u32, before: usize) -> Option<(usize, u32)> {
        let (session, shared) = self.trace.asks[ask].session?;
        let prompt = self.trace.asks[ask].prompt;
        let gain = |run: &Run| {
            // One that has ended computes no more.
            let all = if run.ends.is_some() { run.cells.min(shared) } else { run.shares(shared) };
            let tokens = sharing::gains(prompt, all.min(prompt - 1), run.cells, have)?;
            Some((run.ask, tokens))
        };
        let all = self.lanes[index].running[..before].iter().filter(|run| self.is_of(run, session)).filter_map(gain);
        all.rev().max_by_key(|(_, tokens)| *tokens)
    }

    /// Gives those who follow what they wait for, once it is there.
    pub(super) fn follow(&mut self, index: usize) {
        for at in 0..self.lanes[index].running.len() {
            while let Some((source, tokens)) = self.lanes[index].running[at].follows {
                let running = &mut self.lanes[index].running;
                let source = running[..at].iter().find(|run| run.ask == source);
                let there = source.map_or(0, |run| run.cells.min(tokens));
                if there < tokens && source.is_some_and(|run| run.ends.is_none()) {
                    break;
                }
                let run = &mut running[at];
                let more = there.saturating_sub(run.cells);
                (run.cells, run.pending) = (run.cells + more, run.pending - more);
                let (ask, have) = (run.ask, run.cells);
                let next = if have < tokens { self.source(index, ask, have, at) } else { None };
                self.lanes[index].running[at].follows = next;
            }
        }
    }
}
