//! Renders have the same bytes on every machine. They are compared with stored digests, and with those of child
//! processes that pretend to have another processor. Here and in one child several threads render at once, the last
//! case first. In the other child one thread renders the cases in order.
//!
//! Varied by their own switches: libaom, libwebp, rav1d and glibc's mathematics. Varied by what std reports of the
//! processor: fast_image_resize, fast-ssim2, moxcms with pxfm, zlib-rs and the checksums. That is for x86-64 only:
//! elsewhere these Rust crates run as always, and so does libwebp.
//!
//! Not varied: libjpeg-turbo, whose switches `mozjpeg-sys` compiles out; what is fixed at build time (the compilers,
//! and whether nasm was there); and AVX-512 where the machine has none. png,
//! fdeflate, gif, weezl, tiff and exr have one path only.

mod cases;
mod processor;
mod profiles;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::{Case, cases, images};
use processor::Processor;
use progimage::digest::Digest;
use progimage::pipeline::{self, Deadline, Limits};

/// Architectures with a stored file; on others runs are only compared with each other.
const STORED: &[&str] = &["x86_64"];

/// Known differences, and the processors that have them. moxcms computes tables of colours and uneven curves in floats:
/// at 16 bits with fused multiply-add where there is AVX2, at 8 bits in another way only without SSE4.1. Its cargo
/// features could leave these paths out, but `image` needs the crate with all of them.
const DIFFER: &[(&str, &[Processor])] = &[
    ("rgb_16bit.png+scanner", &[Processor::Sse4, Processor::Least]),
    ("rgba_16bit.png+uneven", &[Processor::Least]),
    ("rgba_8bit.png+scanner", &[Processor::Least]),
    ("cmyk_adobe.jpg+inks", &[Processor::Least]),
    ("ycck_adobe.jpg+inks", &[Processor::Least]),
];

/// Environment variable of a child: the processor that it pretends to have.
const PROCESSOR: &str = "PROGIMAGE_TEST_PROCESSOR";
const LINES: &str = "PROGIMAGE_TEST_LINES";

/// Renders at once in processes that render on several threads.
const THREADS: usize = 4;

/// One line of the stored file: `<digest> <revisions> <source> <canonical text>`.
fn line(case: &Case) -> String {
    let name = format!("{} {}", case.source, case.pipeline);
    let output = case.pipeline.run(&case.bytes, &images(), &Limits::default(), &Deadline::default());
    let bytes = output.unwrap_or_else(|error| panic!("{name}: {error}")).bytes;
    format!("{} {} {name}", Digest::of(&bytes), revisions(case))
}

/// The revisions of the codecs and operations of a case. One of them must be raised when its bytes change on purpose.
fn revisions(case: &Case) -> String {
    let steps = case.pipeline.steps().iter().map(|(operation, _)| (operation.name, operation.revision));
    let codec = case.pipeline.codec();
    let all = [("decode", pipeline::DECODE_REVISION), (codec.name, codec.revision)].into_iter().chain(steps);
    all.map(|(name, revision)| format!("{name}={revision}")).collect::<Vec<_>>().join(",")
}

/// The lines of this process, with all features of the processor.
static HERE: LazyLock<Vec<String>> = LazyLock::new(|| lines_at_once(&cases()));

/// The lines of cases, by one thread.
fn lines_one_by_one(cases: &[Case]) -> Vec<String> {
    cases.iter().map(line).collect()
}

/// The lines of cases, by several threads that take the last case first.
fn lines_at_once(cases: &[Case]) -> Vec<String> {
    let taken = AtomicUsize::new(0);
    let work = || {
        let turns = std::iter::from_fn(|| cases.len().checked_sub(1 + taken.fetch_add(1, Ordering::Relaxed)));
        turns.map(|place| (place, line(&cases[place]))).collect::<Vec<_>>()
    };
    let lines = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<BTreeMap<_, _>>()
    });
    lines.into_values().collect()
}

/// A case of the stored file: what is rendered, then its digest and revisions.
fn parsed(line: &str) -> (&str, (&str, &str)) {
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().expect("digest, revisions and case");
    let (digest, revisions) = (part(), part());
    (part(), (digest, revisions))
}

#[test]
fn renders_have_the_stored_digests() {
    let architecture = std::env::consts::ARCH;
    if !STORED.contains(&architecture) {
        println!("skipped: no digests are stored for {architecture}");
        return;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/digests-{architecture}.txt"));
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let known: BTreeMap<_, _> = stored.lines().map(parsed).collect();
    let update = std::env::var("UPDATE").ok();

    let mut changed = Vec::new();
    for (case, (digest, revisions)) in HERE.iter().map(|line| parsed(line)) {
        // A case that differs between processors is not compared: the processor of the stored file is not known.
        let comparable = Processor::ALL.iter().all(|processor| !known_to_differ(case, *processor));
        if comparable && known.get(case).is_some_and(|known| known.0 != digest && known.1 == revisions) {
            changed.push(format!("  {case} ({revisions})"));
        }
    }
    assert!(
        changed.is_empty() || update.as_deref() == Some("force"),
        "these renders give other bytes than before at the same revisions:\n{}\nIf that is meant, raise the revision of the codec \
         or operation (or pipeline::DECODE_REVISION), so that no client keeps the old bytes under the same ETag, and run \
         UPDATE=1 cargo test determinism. If not, find what depends on the machine.",
        changed.join("\n"),
    );
    let lines = HERE.iter().map(|line| format!("{line}\n")).collect::<String>();
    if update.is_some() {
        std::fs::write(&path, lines).expect("fixtures is writable");
    } else {
        let revisions =
            |lines: &str| lines.lines().map(|line| line[line.find(' ').unwrap_or(0)..].to_owned()).collect::<Vec<_>>();
        assert!(
            revisions(&stored) == revisions(&lines),
            "cases or revisions were added or taken away: run UPDATE=1 cargo test determinism"
        );
    }
}

/// Starts this test alone in another process.
fn child(processor: Processor, lines: &PathBuf) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.args(["--exact", "determinism::renders_do_not_depend_on_processor_threads_or_order", "--nocapture"]);
    command.env(PROCESSOR, format!("{processor:?}")).env(LINES, lines);
    processor.environment(&mut command);
    command.spawn().expect("we start again")
}

#[test]
fn renders_do_not_depend_on_processor_threads_or_order() {
    if let (Ok(processor), Some(lines)) = (std::env::var(PROCESSOR), std::env::var_os(LINES)) {
        return run_as(Processor::named(&processor), lines.into());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |processor: Processor| folder.path().join(format!("{processor:?}"));
    // All at once: one of them renders on one thread.
    let children = Processor::ALL.map(|processor| (processor, child(processor, &path(processor))));
    for (processor, mut child) in children {
        let status = child.wait().expect("our child");
        assert!(status.success(), "the run on {processor:?} failed: {status}");
        let lines = std::fs::read_to_string(path(processor)).expect("the child's lines");
        let others: Vec<&str> = lines.lines().collect();
        let here = HERE.iter().skip(processor.turn()).step_by(Processor::ALL.len());
        assert_eq!(others.len(), here.len());
        let differ = others.iter().zip(here).filter(|(other, here)| *other != here).map(|(other, _)| parsed(other).0);
        let differ: Vec<&str> = differ.filter(|case| !known_to_differ(case, processor)).collect();
        assert!(
            differ.is_empty(),
            "these renders give other bytes on {processor:?}, with another number of threads or in another order:\n  {}\nFind the \
             crate that chooses by the processor, pin it to one path, and raise a revision.",
            differ.join("\n  "),
        );
    }
}

fn known_to_differ(case: &str, processor: Processor) -> bool {
    let source = case.split(' ').next().expect("a source");
    DIFFER.iter().any(|(name, processors)| *name == source && processors.contains(&processor))
}

/// The work of a child process.
fn run_as(processor: Processor, path: PathBuf) {
    if !processor.assume() {
        println!("skipped: the Rust crates run as always, only C libraries and rav1d on {processor:?}");
    }
    // Every operation and every codec has several cases, of which each processor takes some.
    let cases: Vec<Case> = cases().into_iter().skip(processor.turn()).step_by(Processor::ALL.len()).collect();
    let lines = match processor {
        Processor::Sse4 => lines_one_by_one(&cases),
        Processor::Least => lines_at_once(&cases),
    };
    std::fs::write(path, lines.join("\n")).expect("the parent's folder is writable");
}
