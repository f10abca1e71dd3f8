//! The images of a batch in memory that two processes share. It is sealed before a worker gets it, so no worker changes
//! it: what a worker that ended has seen is what the next one sees.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::ptr;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create};
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

/// The most bytes that [`Kept`] holds: enough for most photographs of the web, and little beside a worker.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Memory for the images of many batches, one after the other. New pages for each batch cost the system several times
/// what the copy into old ones does. Only this process can change it, by the mapping here, which is older than the seals.
pub struct Kept {
    memory: OwnedFd,
    start: *mut u8,
    /// Bytes from the start that have pages.
    allocated: usize,
}

// SAFETY: the memory belongs to no thread, and is changed through a unique borrow alone.
unsafe impl Send for Kept {}

impl Kept {
    /// Memory without pages yet. Linux before 5.1 cannot seal it.
    pub fn new() -> io::Result<Kept> {
        let memory = memfd_create(c"progimage-images", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memory, KEPT_BYTES_MAX as u64)?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address that the system chooses covers no other memory.
        let start = unsafe { mmap(ptr::null_mut(), KEPT_BYTES_MAX, prot, MapFlags::SHARED, &memory, 0) }?;
        let kept = Kept { memory, start: start.cast(), allocated: 0 };
        let seals = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&kept.memory, seals)?;
        Ok(kept)
    }

    /// Whether `len` bytes fit.
    pub fn fits(len: usize) -> bool {
        len <= KEPT_BYTES_MAX
    }

    /// Memory that holds `parts`, one after the other, until the next call. No worker may still work on what it held.
    pub fn hold<'a>(&mut self, parts: impl Iterator<Item = &'a Bytes> + Clone) -> io::Result<OwnedFd> {
        let len = parts.clone().map(Bytes::len).sum::<usize>();
        if !Kept::fits(len) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // The last page is zero after the images: a worker that reads beyond them finds no other image there.
        let end = len.next_multiple_of(rustix::param::page_size()).min(KEPT_BYTES_MAX);
        if end > self.allocated {
            // Here missing memory is an error. It would be a signal at the first access to a page.
            fallocate(&self.memory, FallocateFlags::empty(), 0, end as u64)?;
            self.allocated = end;
        }
        let mut at = 0;
        for part in parts {
            // SAFETY: `len` bytes are mapped, of which `at` are written and `part.len()` follow. Processes that map them, too,
            // can only read them, and no slice of them exists in this process.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), self.start.add(at), part.len()) };
            at += part.len();
        }
        // SAFETY: `end` is at most the length of the mapping, and not less than `at`.
        unsafe { ptr::write_bytes(self.start.add(at), 0, end - at) };
        self.memory.try_clone()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no slice of it exists.
        _ = unsafe { munmap(self.start.cast(), KEPT_BYTES_MAX) };
    }
}

/// The first `len` bytes of sealed memory, without a copy. They stay as they are until the batch is closed.
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
        // SAFETY: `len` bytes are mapped from `start` while this value lives. The server sealed them, so they do not go
        // away; `len` is what it wrote. It changes them, if at all, for another batch, when this value is dropped.
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

    /// What the first `len` bytes of shared memory are.
    fn seen(memory: &OwnedFd, len: usize) -> Bytes {
        Bytes::copy_from_slice(&mapped(memory.try_clone().expect("a second descriptor"), len).expect("mapped"))
    }

    #[test]
    fn kept_memory_holds_one_batch_after_the_other_and_nothing_of_the_last_beside_it() {
        let mut kept = Kept::new().expect("Linux 5.1");
        let page = rustix::param::page_size();
        let long = Bytes::from(vec![7; page + 9]);
        let memory = kept.hold([&long, &Bytes::new(), &Bytes::from_static(b"ab")].into_iter()).expect("it fits");
        assert_eq!(seen(&memory, page + 11), [&long[..], b"ab"].concat());
        let memory = kept.hold([&Bytes::from_static(b"short")].into_iter()).expect("it fits");
        assert_eq!(seen(&memory, page), [&b"short"[..], &vec![0; page - 5]].concat());
        let most = Bytes::from(vec![1; KEPT_BYTES_MAX]);
        let memory = kept.hold([&most].into_iter()).expect("it fits");
        assert_eq!(seen(&memory, KEPT_BYTES_MAX), most);
        assert!(Kept::fits(KEPT_BYTES_MAX) && !Kept::fits(KEPT_BYTES_MAX + 1));
        assert!(kept.hold([&most, &Bytes::from_static(b"x")].into_iter()).is_err());
        assert!(kept.hold(std::iter::empty()).is_ok());
    }

    #[test]
    fn kept_memory_cannot_be_changed_by_a_process_that_gets_it() {
        let mut kept = Kept::new().expect("Linux 5.1");
        let memory = kept.hold([&Bytes::from_static(b"abc")].into_iter()).expect("it fits");
        let file = File::from(memory.try_clone().expect("a second descriptor"));
        assert!((&file).write_all(b"x").is_err());
        assert!(file.set_len(0).is_err() && file.set_len(2 * KEPT_BYTES_MAX as u64).is_err());
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert!(fallocate(&file, punch, 0, 4096).is_err());
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address that the system chooses covers no other memory; there is none.
        assert!(unsafe { mmap(ptr::null_mut(), 3, prot, MapFlags::SHARED, &file, 0) }.is_err());
        assert_eq!(seen(&memory, 3), "abc");
    }
}
