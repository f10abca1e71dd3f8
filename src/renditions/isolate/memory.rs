//! The images of a batch in memory that two processes share. It is sealed before a worker gets it: what a worker that
//! ended has seen is what the next one sees.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::ptr;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Memory that holds `parts`, one after the other, and that nothing can change any more.
pub fn sealed<'a>(parts: impl IntoIterator<Item = &'a Bytes>) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"progimage-images", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    for part in parts {
        file.write_all(part)?;
    }
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

/// The `len` bytes of sealed memory, without a copy.
pub fn mapped(memory: OwnedFd, len: usize) -> io::Result<Bytes> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    // All pages at once: a fault for every sixteen of them costs more.
    let flags = MapFlags::SHARED | MapFlags::POPULATE;
    // SAFETY: a mapping at an address that the system chooses covers no other memory.
    let start = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ, flags, &memory, 0) }?;
    Ok(Bytes::from_owner(Mapping { start: start.cast(), len }))
}

/// Mapped memory, unmapped on drop.
struct Mapping {
    start: *const u8,
    len: usize,
}

// SAFETY: the memory is only read, and belongs to no thread.
unsafe impl Send for Mapping {}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped from `start` while this value lives. The server sealed them, so they neither
        // change nor go away; `len` is what it wrote.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and all slices of it borrow from this value.
        _ = unsafe { munmap(self.start.cast_mut().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_memory_is_what_was_written_and_stays_so() {
        let memory = sealed([&Bytes::from_static(b"abc"), &Bytes::from_static(b"de")]).expect("sealed");
        let file = File::from(memory.try_clone().expect("a second descriptor"));
        assert!((&file).write_all(b"x").is_err());
        assert!(file.set_len(0).is_err() && file.set_len(100).is_err());
        assert_eq!(mapped(memory, 5).expect("mapped"), "abcde");
    }
}
