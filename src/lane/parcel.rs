//! Memory that travels beside a message.
//!
//! A sequence's state is megabytes: it goes from lane to lane as a sealed memory file, of which the message carries the
//! descriptor. Encoding a [`Parcel`] writes nothing; `worker::ipc` sends its descriptor with the message's first byte
//! and puts it back on the other side. In one process it is simply shared.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A descriptor inside a message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Parcel {
    #[serde(skip)]
    fd: Option<Arc<OwnedFd>>,
}

impl Parcel {
    /// Of this descriptor.
    pub fn new(fd: OwnedFd) -> Parcel {
        Parcel { fd: Some(Arc::new(fd)) }
    }

    /// The descriptor. `None` in a message that was decoded and not yet given its own.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_deref().map(AsFd::as_fd)
    }
}

/// The same descriptor, or both none.
impl PartialEq for Parcel {
    fn eq(&self, other: &Parcel) -> bool {
        match (&self.fd, &other.fd) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

/// A message that may hold a [`Parcel`].
pub trait Carries {
    /// Its parcel.
    fn parcel(&self) -> Option<&Parcel>;
    /// Its parcel, to be filled.
    fn parcel_mut(&mut self) -> Option<&mut Parcel>;
}
