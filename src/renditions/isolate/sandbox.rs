//! What a worker may ask of the system: to read and write what it has, and memory. It shuts itself in before it sees an
//! image, and proves it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use libc::{PROT_EXEC, c_long};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::process::{set_dumpable_behavior, set_parent_process_death_signal, setrlimit};
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter};

/// Descriptors that a worker can have: 0, 1, 2, its socket, and the images of a batch.
const DESCRIPTORS_MAX: u64 = 6;

/// System calls that a worker may make, whatever their arguments. Each works on memory, on this thread, or on a
/// descriptor that the worker has.
const ALLOWED: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // A panic, and the end of the process.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Why a worker cannot shut itself in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call of the system failed.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// The filter of system calls cannot be made or installed.
    #[error("system calls cannot be filtered: {0}")]
    Filter(String),
    /// The filter is installed, but the worker can still do this.
    #[error("a worker could still {0}")]
    Open(&'static str),
}

/// Closes what the process has inherited, all but standard input, output and error. It must be called first.
pub fn close_inherited() -> Result<(), Error> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: no value of this process owns any of these descriptors, since it has opened none.
    let closed = unsafe { libc::close_range(FIRST, libc::c_uint::MAX, 0) };
    // Kernels before 5.9 do not have the call, and filters of old container systems deny what they do not know.
    if closed == 0 { Ok(()) } else { close_listed(FIRST) }
}

/// Closes the descriptors from `first` on, by their list.
fn close_listed(first: libc::c_uint) -> Result<(), Error> {
    let listed = fs::read_dir("/proc/self/fd").map_err(|error| Error::System("a list of descriptors", error))?;
    let numbers = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<libc::c_int> = numbers.filter(|number| *number >= first as libc::c_int).collect();
    for number in numbers {
        // SAFETY: as above. The list itself had one, which is closed by now: that this number is none is no harm.
        _ = unsafe { libc::close(number) };
    }
    Ok(())
}

/// Gives up all rights of the process but those to compute, and proves it.
pub fn enter() -> Result<(), Error> {
    let system = |call| move |error: rustix::io::Errno| Error::System(call, error.into());
    // When memory runs out, the system ends a worker and not the server. Without /proc it chooses by size.
    _ = fs::write("/proc/self/oom_score_adj", "1000");
    // A worker whose thread has ended, or whose server was killed, ends with it.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(system("PR_SET_PDEATHSIG"))?;
    // No core file, and no debugger of the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(system("PR_SET_DUMPABLE"))?;
    let most = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Core, most(0)).map_err(system("RLIMIT_CORE"))?;
    setrlimit(Resource::Nofile, most(DESCRIPTORS_MAX)).map_err(system("RLIMIT_NOFILE"))?;
    let filter = filter().map_err(|error| Error::Filter(error.to_string()))?;
    apply_filter(&filter).map_err(|error| Error::Filter(error.to_string()))?;
    canary()
}

/// The list of system calls. All others fail with EPERM, and `clone3` too: with one thread there is no `clone` for it to
/// fall back to.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let when = |condition| Ok(vec![SeccompRule::new(vec![condition?])?]);
    let not_executable = || when(SeccompCondition::new(2, Dword, MaskedEq(PROT_EXEC as u64), 0));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_mmap, not_executable()?);
    rules.insert(libc::SYS_mprotect, not_executable()?);
    // `abort` sends itself a signal.
    rules.insert(libc::SYS_tgkill, when(SeccompCondition::new(0, Dword, Eq, u64::from(process::id())))?);
    let arch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)?.try_into()
}

/// Tries what must fail.
fn canary() -> Result<(), Error> {
    let denied = |error: io::Error| error.raw_os_error() == Some(libc::EPERM);
    if !File::open("/").err().is_some_and(denied) {
        return Err(Error::Open("open a file"));
    }
    if !socket(AddressFamily::INET, SocketType::STREAM, None).is_err_and(|error| denied(error.into())) {
        return Err(Error::Open("open a socket"));
    }
    // A folder: if the call were allowed, it would fail with EACCES.
    if !denied(Command::new("/").exec()) {
        return Err(Error::Open("run a program"));
    }
    Ok(())
}
