//! The calls of the system that SQLite makes: one of a thread can be made to fail.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::ffi;

thread_local! {
    static LACK: Cell<Option<(usize, c_int)>> = const { Cell::new(None) };
}

/// Lets a call of this thread fail with an error of the system, after so many that do not; `None`: none. Returns whether
/// one that was asked for before has failed.
pub fn set(lack: Option<(usize, i32)>) -> bool {
    LACK.replace(lack).is_none()
}

/// Whether this call fails. Then `errno` is set.
fn lacks() -> bool {
    unsafe extern "C" {
        fn __errno_location() -> *mut c_int;
    }
    let Some((left, errno)) = LACK.get() else { return false };
    LACK.set(left.checked_sub(1).map(|left| (left, errno)));
    if left == 0 {
        // SAFETY: it is the address of this thread's number.
        unsafe { *__errno_location() = errno };
    }
    left == 0
}

/// Makes a function that fails or calls the one that SQLite had.
macro_rules! call {
    ($name:ident, $text:literal, ($($arg:ident: $type:ty),*) -> $result:ty, $failed:expr) => {
        mod $name {
            use super::*;

            pub static REAL: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
            pub const NAME: &CStr = $text;

            pub unsafe extern "C" fn call($($arg: $type),*) -> $result {
                if lacks() {
                    return $failed;
                }
                let real = REAL.load(Ordering::Relaxed);
                // SAFETY: it is the function of this name in SQLite's table, which has this type.
                unsafe { std::mem::transmute::<*mut (), unsafe extern "C" fn($($type),*) -> $result>(real)($($arg),*) }
            }
        }
    };
}

call!(open, c"open", (path: *const c_char, flags: c_int, mode: c_int) -> c_int, -1);
call!(stat, c"stat", (path: *const c_char, found: *mut c_void) -> c_int, -1);
call!(lstat, c"lstat", (path: *const c_char, found: *mut c_void) -> c_int, -1);
call!(fstat, c"fstat", (file: c_int, found: *mut c_void) -> c_int, -1);
call!(ftruncate, c"ftruncate", (file: c_int, len: i64) -> c_int, -1);
call!(read, c"read", (file: c_int, buffer: *mut c_void, len: usize) -> isize, -1);
call!(pread, c"pread", (file: c_int, buffer: *mut c_void, len: usize, at: i64) -> isize, -1);
call!(pread64, c"pread64", (file: c_int, buffer: *mut c_void, len: usize, at: i64) -> isize, -1);
call!(write, c"write", (file: c_int, bytes: *const c_void, len: usize) -> isize, -1);
call!(pwrite, c"pwrite", (file: c_int, bytes: *const c_void, len: usize, at: i64) -> isize, -1);
call!(pwrite64, c"pwrite64", (file: c_int, bytes: *const c_void, len: usize, at: i64) -> isize, -1);
call!(fallocate, c"fallocate", (file: c_int, at: i64, len: i64) -> c_int, super::lacked());
call!(unlink, c"unlink", (path: *const c_char) -> c_int, -1);
call!(mmap, c"mmap", (at: *mut c_void, len: usize, protection: c_int, flags: c_int, file: c_int, from: i64) -> *mut c_void, ptr::without_provenance_mut(usize::MAX));

/// The error that `posix_fallocate` returns.
fn lacked() -> c_int {
    12
}

/// Replaces the calls, once in the process.
pub fn replace() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        macro_rules! replace {
            ($($name:ident),*) => {
                $(replace_one($name::NAME, &$name::REAL, $name::call as *mut ());)*
            };
        }
        replace!(
            open, stat, lstat, fstat, ftruncate, read, pread, pread64, write, pwrite, pwrite64, fallocate, unlink, mmap
        );
    });
}

fn replace_one(name: &CStr, real: &AtomicPtr<()>, with: *mut ()) {
    // SAFETY: the default file system of SQLite has these functions, and changes its table only when it is asked to. A
    // function that this build has not is none.
    unsafe {
        let files = ffi::sqlite3_vfs_find(ptr::null());
        let (Some(get), Some(set)) = ((*files).xGetSystemCall, (*files).xSetSystemCall) else { return };
        let Some(found) = get(files, name.as_ptr()) else { return };
        real.store(found as *mut (), Ordering::Relaxed);
        set(files, name.as_ptr(), std::mem::transmute::<*mut (), ffi::sqlite3_syscall_ptr>(with));
    }
}
