//! Workers that lie: a thread speaks in their place, while their process does nothing.

use std::io::Write;
use std::thread;

use super::*;

/// A worker for which `play` speaks, on a thread of its own.
fn played(play: impl FnOnce(UnixStream) + Send + 'static) -> Worker {
    let (socket, theirs) = UnixStream::pair().expect("a pair");
    let mut command = Command::new("/bin/cat");
    let child = command.stdin(Stdio::piped()).spawn().expect("it reads what never comes");
    thread::spawn(move || play(theirs));
    Worker::of(child, socket).expect("a worker")
}

/// Both kinds of limit, with no time at all.
const NO_TIME: [TimeLimit; 2] = [TimeLimit::Elapsed(Duration::ZERO), TimeLimit::OfThread(Duration::ZERO)];

fn wait(limit: TimeLimit) -> Wait<'static> {
    Wait::new(limit, &NEVER)
}

#[test]
fn a_worker_that_sends_byte_by_byte_is_late() {
    for limit in NO_TIME {
        let worker = played(|mut socket| {
            while socket.write_all(b"x").is_ok() {
                thread::sleep(LOOK / 5);
            }
        });
        assert_eq!(worker.fill(&mut [0; 64 << 10], &wait(limit)), Err(Ended::Late), "{limit:?}");
    }
}

#[test]
fn a_result_comes_whole_in_parts_or_ends_as_its_worker_does() {
    let sent: Vec<u8> = (0..1_000_000u32).map(|number| number as u8).collect();
    let (result, wait) = (sent.clone(), wait(TimeLimit::Elapsed(START)));
    let worker = played(move |mut socket| sent.chunks(65_521).for_each(|part| _ = socket.write_all(part)));
    assert_eq!(worker.result(result.len(), &wait), Ok(result));
    assert_eq!(worker.result(0, &wait), Ok(Vec::new()));
    assert_eq!(worker.result(1, &wait), Err(Ended::Died));
}

#[test]
fn a_result_whose_end_does_not_come_is_late() {
    for limit in NO_TIME {
        let worker = played(|mut socket| {
            _ = socket.write_all(b"x");
            _ = socket.read(&mut [0]);
        });
        assert_eq!(worker.result(2, &wait(limit)), Err(Ended::Late), "{limit:?}");
    }
}

#[test]
fn a_worker_that_takes_no_request_is_late() {
    for limit in NO_TIME {
        let worker = played(|socket| {
            loop {
                thread::park();
                _ = &socket;
            }
        });
        assert_eq!(worker.write(&[0; 4 << 20], None, &wait(limit)), Err(Ended::Late), "{limit:?}");
    }
}

#[test]
fn a_reply_whose_end_does_not_come_is_late_or_cancelled() {
    let unfinished = || {
        played(|mut socket| {
            _ = socket.write_all(&[9, 0, 0, 0, b'"']);
            _ = socket.read(&mut [0]);
        })
    };
    for limit in NO_TIME {
        assert_eq!(unfinished().reply(&wait(limit)).err(), Some(Ended::Late), "{limit:?}");
    }
    let cancelled = AtomicBool::new(true);
    let wait = Wait::new(TimeLimit::Elapsed(START), &cancelled);
    assert_eq!(unfinished().reply(&wait).err(), Some(Ended::Cancelled));
}

#[test]
fn a_worker_that_speaks_first_or_is_gone_is_not_silent() {
    let worker = played(|mut socket| {
        _ = socket.read(&mut [0]);
        _ = socket.write_all(b"x");
        _ = socket.read(&mut [0]);
    });
    assert!(worker.is_silent());
    assert_eq!(worker.write(b"y", None, &wait(TimeLimit::Elapsed(START))), Ok(()));
    while worker.is_silent() {
        thread::sleep(Duration::from_millis(1));
    }
    let gone = played(drop);
    assert_eq!(gone.fill(&mut [0], &wait(TimeLimit::Elapsed(START))), Err(Ended::Died));
    assert!(!gone.is_silent());
}

#[test]
fn a_start_within_a_render_ends_with_its_time() {
    let silent = WorkerCommand {
        args: ["--exact", "renditions::isolate::tests::the_worker_of_these_tests"].map(Into::into).to_vec(),
        environment: vec![(super::super::tests::WORKER.into(), "silent".into())],
    };
    let ended = |limit, cancelled: bool| {
        let cancelled = AtomicBool::new(cancelled);
        Worker::start(&silent, &Wait::for_start_within(limit, &cancelled)).err()
    };
    for limit in NO_TIME {
        let ended = ended(limit, false);
        assert!(matches!(ended, Some(NotStarted::Ended(Ended::Late))), "{limit:?}: {ended:?}");
    }
    let ended = ended(TimeLimit::Elapsed(START), true);
    assert!(matches!(ended, Some(NotStarted::Ended(Ended::Cancelled))), "{ended:?}");
}
