//! Whose a table of this library is: a process's, or that of the one that it was forked from.
//!
//! A forked child has its parent's memory and none of its threads but one. A lock that another thread held stays locked for
//! ever, and so does whatever that thread was in the middle of; not even trying it is safe. So who wants the table is asked
//! here first, without a lock.
//!
//! What always holds: as long as somebody is in a table, or something is left there that has threads, no child takes it for
//! its own; two threads of one process never take each other for children.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// See the [module](self).
pub(super) struct Owner {
    /// 0: nobody's yet.
    pid: AtomicU32,
    uses: AtomicUsize,
}

/// The table is in use.
pub(super) struct InUse(&'static Owner);

impl Owner {
    pub(super) const fn new() -> Owner {
        Owner { pid: AtomicU32::new(0), uses: AtomicUsize::new(0) }
    }

    /// Begins a use, by the process `pid`. `None`: it was forked while its parent used the table.
    pub(super) fn enter(&'static self, pid: u32) -> Option<InUse> {
        loop {
            let owner = self.pid.load(Ordering::SeqCst);
            if owner == pid {
                self.uses.fetch_add(1, Ordering::SeqCst);
                return Some(InUse(self));
            }
            let used = self.uses.load(Ordering::SeqCst) > 0;
            // Where another thread of this process was faster, the uses are its own: it claims the table before it counts.
            if used && self.pid.load(Ordering::SeqCst) == owner {
                return None;
            }
            if !used {
                // Fails where another thread was faster.
                let _ = self.pid.compare_exchange(owner, pid, Ordering::SeqCst, Ordering::SeqCst);
            }
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.uses.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_of_one_that_uses_it_is_refused_and_of_one_that_does_not_is_not() {
        static TABLE: Owner = Owner::new();
        let (parent, child, grandchild) = (10, 11, 12);
        let first = TABLE.enter(parent).unwrap();
        let second = TABLE.enter(parent).unwrap();
        drop(first);
        assert!(TABLE.enter(child).is_none());
        drop(second);
        let own = TABLE.enter(child).unwrap();
        assert!(TABLE.enter(child).is_some() && TABLE.enter(grandchild).is_none());
        drop(own);
        assert!(TABLE.enter(grandchild).is_some());
    }

    #[test]
    fn threads_of_one_process_are_not_taken_for_children() {
        static TABLE: Owner = Owner::new();
        // As often as a process is forked; at first all of them see that it is not theirs yet.
        for pid in 1..200 {
            let begin = std::sync::Barrier::new(4);
            let enter = || {
                begin.wait();
                let entered = TABLE.enter(pid);
                begin.wait();
                entered.is_some()
            };
            let entered = std::thread::scope(|scope| {
                let all = [(); 4].map(|()| scope.spawn(enter));
                all.map(|thread| thread.join().unwrap())
            });
            assert_eq!(entered, [true; 4], "process {pid}");
        }
    }
}
