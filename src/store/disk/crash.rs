//! The crash model: two uploads, a duplicate and a delete in every order, cut short after every call in every state
//! that a power cut or a kill may leave. Recovery runs on each, and the invariants of the store must hold. If any one
//! sync is left out, the model must find a violation.

mod failure;
mod rot;
mod shortage;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use super::fs::Errno;
use super::sim::{Call, SimFs, State};
use super::{Disk, layout};
use crate::digest::Digest;
use crate::store::{Commit, Error, Options, Stage, Store, Uploads};

const BODIES: [&[u8]; 2] = [b"first", b"second, long enough to be spilled"];
const UUID: u128 = 7;

/// A call of a client with the blob number `blob`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Upload(usize),
    Delete(usize),
}

const STEPS: [Step; 4] = [Step::Upload(0), Step::Upload(1), Step::Upload(0), Step::Delete(0)];

#[derive(Clone, Copy, Debug)]
struct Note {
    call: usize,
    step: Step,
    ends: bool,
}

fn digest(blob: usize) -> Digest {
    Digest::of(BODIES[blob])
}

fn options() -> Options {
    Options { memory_bytes_max: 16, sync_threads: 4, read_threads: 1, ..Options::default() }
}

/// An initialised folder, all of it durable.
fn initialised() -> State {
    static STATE: OnceLock<State> = OnceLock::new();
    let make = || {
        let fs = SimFs::new(State::default());
        layout::init(&fs, UUID).unwrap();
        fs.lock().state.sync_all();
        fs.lock().state.clone()
    };
    STATE.get_or_init(make).clone()
}

fn start(fs: &SimFs) -> Result<Arc<Disk<SimFs>>, Error> {
    start_with(fs, 0)
}

fn start_with(fs: &SimFs, syncfs_batch_min: usize) -> Result<Arc<Disk<SimFs>>, Error> {
    Disk::start(fs.clone(), Options { syncfs_batch_min, ..options() }, None).map(Arc::new)
}

/// Uploads without the shared commits of `Uploads`, so that the disk backend itself meets the duplicate.
async fn put(store: &dyn Store, blob: usize) -> Result<(), Error> {
    commit(store, blob).await.map(drop)
}

async fn commit(store: &dyn Store, blob: usize) -> Result<Commit, Error> {
    let mut stage: Box<dyn Stage> = store.stage(None).await?;
    stage.write(Bytes::from_static(BODIES[blob])).await?;
    stage.commit(digest(blob)).await
}

async fn put_through_uploads(uploads: &Uploads, blob: usize) -> Result<(), Error> {
    let mut upload = uploads.begin(None).await?;
    upload.write(Bytes::from_static(BODIES[blob])).await?;
    upload.seal(Some(digest(blob))).await?.commit().await.map(drop)
}

/// Enumerates all orders of the steps in waves. The steps of one wave run at once.
fn scripts() -> Vec<Vec<Vec<Step>>> {
    let waves = 4_usize.pow(STEPS.len() as u32);
    let script = |code: usize| {
        let wave_of = |i: usize| code / 4_usize.pow(i as u32) % 4;
        let used: BTreeSet<usize> = (0..STEPS.len()).map(wave_of).collect();
        let dense = used.iter().copied().eq(0..used.len());
        let wave = |wave: usize| (0..STEPS.len()).filter(|&i| wave_of(i) == wave).map(|i| STEPS[i]).collect();
        dense.then(|| (0..used.len()).map(wave).collect::<Vec<Vec<Step>>>())
    };
    let distinct: BTreeSet<_> = (0..waves).filter_map(script).collect();
    distinct.into_iter().collect()
}

/// Runs a script from an initialised folder. Returns the disk after each call, and what clients knew then.
async fn run(
    script: &[Vec<Step>],
    syncfs_batch_min: usize,
    set: impl FnOnce(&SimFs),
) -> (Vec<(State, usize)>, Vec<Note>) {
    let fs = SimFs::new(initialised());
    fs.lock().trace = Some(Vec::new());
    set(&fs);
    let store = start_with(&fs, syncfs_batch_min).unwrap();
    let uploads = Uploads::new(Arc::clone(&store) as Arc<dyn Store>, options());
    let notes = std::sync::Mutex::new(Vec::new());
    let note = |call, step, ends| {
        let mut sim = fs.lock();
        let mut notes = notes.lock().unwrap();
        notes.push(Note { call, step, ends });
        sim.notes = notes.len();
        sim.record();
    };
    for (wave, steps) in script.iter().enumerate() {
        let calls = steps.iter().enumerate().map(async |(place, &step)| {
            let call = wave * STEPS.len() + place;
            note(call, step, false);
            let done = match step {
                Step::Upload(blob) if place % 2 == 0 => put_through_uploads(&uploads, blob).await,
                Step::Upload(blob) => put(&*store, blob).await,
                Step::Delete(blob) => store.delete(&digest(blob)).await.map(drop),
            };
            if done.is_ok() {
                note(call, step, true);
            }
        });
        join_all(calls).await;
    }
    drop((uploads, store));
    let trace = fs.lock().trace.take().unwrap();
    (trace, notes.into_inner().unwrap())
}

/// The state that a blob must have, by the answers that clients have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Duty {
    There,
    Gone,
    Either,
}

fn duty(notes: &[Note], blob: usize) -> Duty {
    let spans = |step: Step| -> Vec<(usize, Option<usize>)> {
        let begins = notes.iter().enumerate().filter(|(_, note)| note.step == step && !note.ends);
        let end = |call| notes.iter().position(|note| note.ends && note.call == call);
        begins.map(|(at, note)| (at, end(note.call))).collect()
    };
    let (uploads, deletes) = (spans(Step::Upload(blob)), spans(Step::Delete(blob)));
    // An acknowledged call decides if every call of the other kind ended before it began.
    let last = |calls: &[(usize, Option<usize>)], others: &[(usize, Option<usize>)]| {
        let after = |begin: usize| others.iter().all(|(_, end)| end.is_some_and(|end| end < begin));
        calls.iter().any(|(begin, end)| end.is_some() && after(*begin))
    };
    match (last(&uploads, &deletes), last(&deletes, &uploads)) {
        (true, _) => Duty::There,
        (_, true) => Duty::Gone,
        _ => Duty::Either,
    }
}

/// Checks invariant 1: every file in `blobs/` has the bytes of its name.
fn names_hold_their_bytes(state: &State) -> Result<(), String> {
    for (path, inode) in &state.names {
        let bytes = &state.inodes[inode].bytes;
        if let Some(name) = path.strip_prefix("blobs/").and_then(|path| path.split_once('/')).map(|(_, name)| name)
            && Digest::of(bytes).to_string() != name
        {
            return Err(format!("I1: {path} holds {:?}", String::from_utf8_lossy(bytes)));
        }
    }
    Ok(())
}

/// Recovers `state` and checks the invariants, then uploads everything and cuts the power again.
async fn survives(state: State, duties: [Duty; 2], lie: Option<Call>) -> Result<(), String> {
    names_hold_their_bytes(&state)?;
    let fs = SimFs::new(state);
    fs.lock().lie = lie;
    let store = start(&fs).map_err(|error| format!("I7: {error}"))?;
    let mut there = Vec::new();
    for (blob, duty) in duties.into_iter().enumerate() {
        let name = digest(blob);
        let found = store.stat(&[name]).await.map_err(|error| format!("stat: {error}"))?[0];
        match (duty, found) {
            (Duty::There, None) => return Err(format!("I2: acknowledged blob {blob} is lost")),
            (Duty::Gone, Some(_)) => return Err(format!("I2: deleted blob {blob} is back")),
            _ => {}
        }
        if found.is_some() {
            let bytes = async { store.open(&name).await?.bytes().await }.await;
            if bytes.as_deref() != Ok(BODIES[blob]) {
                return Err(format!("I5: blob {blob} is served as {bytes:?}"));
            }
            there.push(blob);
        }
    }
    keeps(&fs, &there).map_err(|lost| format!("I4: {lost} after it was said to exist"))?;
    put(&*store, 0).await.map_err(|error| format!("upload after recovery: {error}"))?;
    there.push(0);
    keeps(&fs, &there).map_err(|lost| format!("I4: {lost} after it was acknowledged again"))?;
    drop(store);
    let left = fs.lock().state.names.keys().filter(|path| path.starts_with("tmp/")).count();
    if left == 0 { Ok(()) } else { Err(format!("{left} files are left in tmp")) }
}

/// Whether every power cut at this moment leaves `blobs`.
fn keeps(fs: &SimFs, blobs: &[usize]) -> Result<(), String> {
    let state = fs.lock().state.clone();
    for cut in state.power_cuts() {
        names_hold_their_bytes(&cut)?;
        for &blob in blobs {
            if !cut.names.contains_key(&layout::blob(&digest(blob))) {
                return Err(format!("blob {blob} is lost"));
            }
        }
    }
    Ok(())
}

/// The call that is broken, and in which run: the one that is cut short, or the recovery.
#[derive(Clone, Copy, Default)]
struct Broken {
    lie: Option<Call>,
    lie_in_recovery: Option<Call>,
    /// Nothing is broken, and batches of this many are synced by `syncfs`.
    syncfs_batch_min: usize,
}

/// Runs scripts and cuts them short at every call. Returns the number of distinct cases, or the first violation.
fn explore(scripts: &[Vec<Vec<Step>>], broken: Broken) -> Result<usize, String> {
    let runtime = Runtime::new().unwrap();
    let (mut moments, mut cases) = (HashSet::new(), HashSet::new());
    for script in scripts {
        let (trace, notes) = runtime.block_on(run(script, broken.syncfs_batch_min, |fs| fs.lock().lie = broken.lie));
        for (state, noted) in &trace {
            let duties = [duty(&notes[..*noted], 0), duty(&notes[..*noted], 1)];
            if !moments.insert((state.text(), duties)) {
                continue;
            }
            for after in state.power_cuts().into_iter().chain([state.clone()]) {
                if cases.insert((after.text(), duties)) {
                    let survived = runtime.block_on(survives(after.clone(), duties, broken.lie_in_recovery));
                    survived.map_err(|why| format!("{why}\n{script:?}, {duties:?}, after:\n{}", after.text()))?;
                }
            }
        }
    }
    Ok(cases.len())
}

/// Cases that are explored at least; on an idle machine there are some 600. How many commits share a batch, and so the number
/// of calls, is up to the scheduler.
const CASES_MIN: usize = 250;

#[test]
fn every_crash_leaves_every_acknowledged_blob() {
    let scripts = scripts();
    let cases = explore(&scripts, Broken::default()).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{} scripts, {cases} cases", scripts.len());
    assert!(
        scripts.len() > 30 && cases > CASES_MIN,
        "{} scripts, {cases} cases: the model has become too small",
        scripts.len()
    );
}

/// Cuts runs short in which all batches, or batches of two or more, are synced by `syncfs`.
#[test]
fn every_crash_leaves_every_acknowledged_blob_where_the_file_system_is_synced() {
    for syncfs_batch_min in [1, 2] {
        let cases = explore(&scripts(), Broken { syncfs_batch_min, ..Broken::default() });
        assert!(cases.unwrap_or_else(|violation| panic!("{violation}")) > CASES_MIN);
    }
    let broken = Broken { lie: Some(Call::Syncfs), syncfs_batch_min: 1, ..Broken::default() };
    let violation = explore(&in_sequence(), broken).unwrap_err();
    assert!(violation.starts_with("I1"), "{violation}");
}

fn in_sequence() -> Vec<Vec<Vec<Step>>> {
    vec![STEPS.iter().map(|&step| vec![step]).collect()]
}

#[test]
fn without_fdatasync_the_model_finds_a_violation() {
    let violation = explore(&in_sequence(), Broken { lie: Some(Call::Fdatasync), ..Broken::default() }).unwrap_err();
    assert!(violation.starts_with("I1"), "{violation}");
}

#[test]
fn without_the_shard_fsync_the_model_finds_a_violation() {
    let violation = explore(&in_sequence(), Broken { lie: Some(Call::FsyncShard), ..Broken::default() }).unwrap_err();
    assert!(violation.starts_with("I2"), "{violation}");
}

#[test]
fn without_the_start_up_syncfs_the_model_finds_a_violation() {
    let violation =
        explore(&in_sequence(), Broken { lie_in_recovery: Some(Call::Syncfs), ..Broken::default() }).unwrap_err();
    assert!(violation.starts_with("I4"), "{violation}");
}

/// More than one thread writes.
#[test]
fn a_batch_that_is_synced_with_the_file_system_stores_everything() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start_with(&fs, 1).unwrap();
        let bodies: Vec<Vec<u8>> = (0..100_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let put = async |body: &Vec<u8>| {
            let mut stage = store.stage(None).await?;
            stage.write(body.clone().into()).await?;
            stage.commit(Digest::of(body)).await
        };
        let commits = join_all(bodies.iter().map(put)).await;
        assert!(commits.into_iter().all(|commit| commit == Ok(Commit::New)));
        let digests: Vec<_> = bodies.iter().map(|body| Digest::of(body)).collect();
        assert!(store.stat(&digests).await.unwrap().iter().all(Option::is_some));
        let before = store.counters();
        assert_eq!((before.fdatasync, before.published), (0, 100));
        // Blobs that are there cost no sync.
        assert!(join_all(bodies.iter().map(put)).await.into_iter().all(|commit| commit == Ok(Commit::Present)));
        assert_eq!(store.counters().syncs(), before.syncs());
    });
}

#[test]
fn initialising_may_be_cut_short_anywhere() {
    let calls = {
        let fs = SimFs::new(State::default());
        layout::init(&fs, UUID).unwrap();
        fs.lock().calls
    };
    let runtime = Runtime::new().unwrap();
    for cut_after in [1, 5, 1000, 4100, 6000].into_iter().chain(calls - 9..=calls) {
        let fs = SimFs::new(State::default());
        fs.lock().calls_max = Some(cut_after);
        let _ = layout::init(&fs, UUID);
        let state = fs.lock().state.clone();
        // Too many to try each: every ninth, all kept and nothing kept among them.
        for cut in state.power_cuts().into_iter().step_by(9).chain([state]) {
            let again = SimFs::new(cut);
            layout::init(&again, UUID + 1)
                .unwrap_or_else(|errno| panic!("after {cut_after} of {calls} calls: {errno}"));
            runtime.block_on(async {
                let store = start(&again).unwrap();
                for blob in 0..BODIES.len() {
                    put(&*store, blob).await.unwrap();
                }
                keeps(&again, &[0, 1]).unwrap_or_else(|lost| panic!("after {cut_after} of {calls} calls: {lost}"));
            });
        }
    }
}

#[test]
fn starting_looks_at_as_many_files_whatever_is_stored() {
    let looks = |blobs: usize| {
        let fs = SimFs::new(initialised());
        Runtime::new().unwrap().block_on(async {
            let store = start(&fs).unwrap();
            for blob in 0..blobs {
                put(&*store, blob).await.unwrap();
            }
            drop(store);
            fs.lock().looks = 0;
            drop(start(&fs).unwrap());
        });
        fs.lock().looks
    };
    assert_eq!(looks(0), looks(BODIES.len()));
}

#[test]
fn uploads_are_durable_by_default() {
    assert_eq!(Options::default().level, crate::store::Level::Strict);
}
