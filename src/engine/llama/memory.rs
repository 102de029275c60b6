//! Memory files: a piece of memory with a descriptor, so that a sequence's state can go to another process.
//!
//! What always holds: what is read was sealed, so that nobody can cut it short under the reader (which would be the end
//! of its process) or change it after it was checked.

use std::ffi::c_void;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::fcntl::{fcntl, FcntlArg, SealFlag};
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};

/// Nothing about a memory file may change any more.
const SEALS: SealFlag =
    SealFlag::F_SEAL_SEAL.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_WRITE);

/// A mapping that is undone when it goes.
struct Mapping {
    at: NonNull<c_void>,
    bytes: NonZeroUsize,
}

impl Mapping {
    /// To be written, and seen by all who have the file.
    fn writable(fd: BorrowedFd<'_>, bytes: NonZeroUsize) -> Result<Mapping, String> {
        Mapping::new(fd, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED)
    }

    /// To be read. Private, because before Linux 6.7 a file that is sealed against writing cannot be mapped shared, not even to
    /// be read. What is sealed changes for nobody, and a page that is only read is not copied.
    fn readable(fd: BorrowedFd<'_>, bytes: NonZeroUsize) -> Result<Mapping, String> {
        Mapping::new(fd, bytes, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE)
    }

    fn new(fd: BorrowedFd<'_>, bytes: NonZeroUsize, prot: ProtFlags, flags: MapFlags) -> Result<Mapping, String> {
        // SAFETY: a new mapping at a place of the kernel's choice.
        let at = unsafe { mmap(None, bytes, prot, flags, fd, 0) };
        at.map(|at| Mapping { at, bytes }).map_err(|e| format!("cannot map {bytes} bytes: {e}"))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and no slice of it outlives us.
        let _ = unsafe { munmap(self.at, self.bytes.get()) };
    }
}

/// Makes a memory file of `bytes`, lets `fill` write it, and seals it.
pub fn write(bytes: usize, fill: impl FnOnce(&mut [u8]) -> bool) -> Result<OwnedFd, String> {
    let size = NonZeroUsize::new(bytes).ok_or("there is nothing to write")?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(c"wattlm-state", flags).map_err(|e| format!("no memory file: {e}"))?;
    let file = File::from(fd);
    file.set_len(bytes as u64).map_err(|e| format!("no memory file of {bytes} bytes: {e}"))?;
    let mapping = Mapping::writable(file.as_fd(), size)?;
    // SAFETY: the mapping has this size, is ours alone, and zeros are valid bytes.
    let filled = fill(unsafe { std::slice::from_raw_parts_mut(mapping.at.as_ptr().cast::<u8>(), bytes) });
    drop(mapping);
    if !filled {
        return Err("llama.cpp did not write the state".into());
    }
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(SEALS)).map_err(|e| format!("cannot seal the state: {e}"))?;
    Ok(file.into())
}

/// Lets `read` see a memory file of exactly `bytes`. `Err` where it is of another size or not sealed.
pub fn read<T>(fd: BorrowedFd<'_>, bytes: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, String> {
    let seals = fcntl(fd, FcntlArg::F_GET_SEALS).map_err(|e| format!("it is no memory file: {e}"))?;
    if !SealFlag::from_bits_truncate(seals).contains(SEALS) {
        return Err("it is not sealed".into());
    }
    let have = nix::sys::stat::fstat(fd).map_err(|e| e.to_string())?.st_size;
    if u64::try_from(have) != Ok(bytes) {
        return Err(format!("it has {have} bytes where {bytes} were announced"));
    }
    let size = usize::try_from(bytes).ok().and_then(NonZeroUsize::new).ok_or("it is empty")?;
    let mapping = Mapping::readable(fd, size)?;
    // SAFETY: the mapping has this size; the seals keep everybody from writing it or cutting it short.
    Ok(read(unsafe { std::slice::from_raw_parts(mapping.at.as_ptr().cast::<u8>(), size.get()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> OwnedFd {
        write(5000, |bytes| {
            bytes.fill(7);
            true
        })
        .unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let sum = read(sealed().as_fd(), 5000, |bytes| bytes.iter().map(|b| u32::from(*b)).sum::<u32>());
        assert_eq!(sum, Ok(35_000));
    }

    #[test]
    fn it_is_read_through_a_private_mapping_as_older_kernels_want_it() {
        let mapped = read(sealed().as_fd(), 5000, |bytes| {
            let at = format!("{:x}-", bytes.as_ptr() as usize);
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().find(|line| line.trim_start_matches('0').starts_with(&at)).map(str::to_owned)
        });
        let line = mapped.unwrap().expect("the mapping is listed");
        assert_eq!(line.split(' ').nth(1), Some("r--p"), "{line}");
    }

    #[test]
    fn nobody_changes_it_any_more() {
        let file = File::from(sealed());
        assert!(file.set_len(1).is_err());
        assert!(file.set_len(1 << 20).is_err());
        assert!(std::io::Write::write(&mut &file, b"x").is_err());
    }

    #[test]
    fn what_could_change_or_is_of_another_size_is_not_read() {
        let loose = File::from(memfd_create(c"loose", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap());
        loose.set_len(10).unwrap();
        assert!(read(loose.as_fd(), 10, |_| ()).unwrap_err().contains("not sealed"));
        assert!(read(sealed().as_fd(), 4999, |_| ()).unwrap_err().contains("5000"));
        let null = File::open("/dev/null").unwrap();
        assert!(read(null.as_fd(), 0, |_| ()).is_err());
        assert!(write(0, |_| true).is_err());
        assert!(write(10, |_| false).is_err());
    }
}
