//! The tier on a real folder: what is found, what is not, and how much there is.

mod shortage;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::super::generation::Generations;
use super::*;
use crate::pipeline::codec::CODECS;

const BLOCK_BYTES: u64 = 4096;

fn digest(n: usize) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn rendition(len: usize) -> Rendition {
    Rendition { bytes: Bytes::from(vec![7; len]), codec: CODECS[0], query: "w=1".into(), missing: None }
}

fn counted(folder: &Path, bytes_max: u64) -> Shards {
    let shards = Shards::new(folder.to_owned(), Budget::new(bytes_max, 0));
    shards.count();
    shards
}

fn insert(shards: &Shards, source: usize, key: usize) {
    let generation = Generations::default().of(&digest(source));
    shards.insert(&generation, &digest(key), &rendition(100)).expect("written");
}

fn get(shards: &Shards, source: usize, key: usize) -> Option<Rendition> {
    shards.open(&digest(source), &digest(key)).and_then(|opened| shards.read(&opened))
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let paths = found.map(|entry| entry.expect("readable").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn the_file(folder: &Path, source: usize, key: usize) -> PathBuf {
    let name = format!("{}.{}", digest(source), digest(key));
    files(folder).into_iter().find(|path| path.ends_with(&name)).expect("there is one")
}

fn used_ago(path: &Path, age: Duration) {
    File::open(path).and_then(|file| file.set_modified(SystemTime::now() - age)).expect("our own file");
}

#[test]
fn a_rendition_comes_back_as_it_was_also_to_another_process() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 1 << 20);
    insert(&shards, 1, 2);
    insert(&shards, 1, 2);
    assert_eq!((shards.entries(), shards.bytes()), (1, BLOCK_BYTES));
    let again = counted(folder.path(), 1 << 20);
    assert_eq!((again.entries(), again.bytes()), (1, BLOCK_BYTES));
    for shards in [shards, again] {
        let found = get(&shards, 1, 2).expect("kept");
        assert_eq!((found.bytes, found.codec, &*found.query), (rendition(100).bytes, CODECS[0], "w=1"));
        assert!(get(&shards, 2, 1).is_none() && get(&shards, 1, 1).is_none());
    }
}

#[test]
fn what_is_surely_not_there_is_known_without_looking() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 1 << 20);
    assert!(shards.surely_lacks(&digest(1)));
    insert(&shards, 1, 2);
    assert!(!shards.surely_lacks(&digest(1)) && shards.surely_lacks(&digest(2)));
    let uncounted = Shards::new(folder.path().to_owned(), Budget::new(1 << 20, 0));
    assert!(!uncounted.surely_lacks(&digest(1)) && !uncounted.surely_lacks(&digest(2)));
    shards.forget(&digest(1));
    assert!(shards.surely_lacks(&digest(1)));
}

#[test]
fn no_damaged_file_is_answered_and_it_is_removed() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 1 << 20);
    insert(&shards, 1, 2);
    let path = the_file(folder.path(), 1, 2);
    let whole = fs::read(&path).expect("readable");
    let flipped = (0..whole.len()).map(|place| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        bytes
    });
    let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
    let longer = [whole.clone(), vec![0]].concat();
    let other_version = [b"progimage rendition 2\n", &whole[22..]].concat();
    for damaged in flipped.chain(cut).chain([longer, other_version]) {
        fs::write(&path, damaged).expect("writable");
        assert!(get(&shards, 1, 2).is_none());
        assert!(!path.exists());
    }
    // A rendition with the name of another one.
    insert(&shards, 1, 2);
    fs::rename(&path, path.with_file_name(format!("{}.{}", digest(1), digest(3)))).expect("renamed");
    assert!(get(&shards, 1, 3).is_none());
    fs::write(&path, whole).expect("writable");
    assert!(get(&shards, 1, 2).is_some());
}

#[test]
fn the_budget_is_reached_and_not_passed() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 3 * BLOCK_BYTES);
    for source in 0..3 {
        insert(&shards, source, 0);
        used_ago(&the_file(folder.path(), source, 0), Duration::from_secs(1000 * (3 - source as u64)));
    }
    assert_eq!((shards.entries(), shards.bytes(), shards.evictions()), (3, 3 * BLOCK_BYTES, 0));
    insert(&shards, 3, 0);
    assert_eq!((shards.entries(), shards.bytes(), shards.evictions()), (3, 3 * BLOCK_BYTES, 1));
    let left: Vec<bool> = (0..4).map(|source| get(&shards, source, 0).is_some()).collect();
    assert_eq!(left, [false, true, true, true], "the one that was not used for longest went");
    // What fits is kept, whatever is removed for it. What does not fit is not kept, and removes nothing.
    let generation = Generations::default().of(&digest(4));
    let head = file::len(&rendition(0));
    let largest = (3 * BLOCK_BYTES - head) as usize;
    shards.insert(&generation, &digest(1), &rendition(largest + 1)).expect("refused quietly");
    assert_eq!((shards.entries(), shards.evictions()), (3, 1));
    shards.insert(&generation, &digest(2), &rendition(largest)).expect("written");
    assert_eq!((shards.entries(), shards.bytes()), (1, 3 * BLOCK_BYTES));
    assert!(get(&shards, 4, 2).is_some() && get(&shards, 4, 1).is_none());
}

#[test]
fn a_note_takes_room_and_none_goes_without_its_rendition() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 3 * BLOCK_BYTES);
    let insert_with_note = || {
        let lineage = Lineage::of(&Generations::default(), &digest(1), &[digest(2)]);
        shards.insert(lineage, &digest(3), &rendition(100)).expect("written");
        files(folder.path())
            .into_iter()
            .find(|path| path.ends_with(format!("{}.{}.{}", digest(2), digest(3), digest(1))))
    };
    let note = insert_with_note().expect("a note");
    assert_eq!((shards.entries(), shards.bytes()), (2, 2 * BLOCK_BYTES));
    used_ago(&note, Duration::from_secs(1000));
    insert(&shards, 4, 0);
    insert(&shards, 5, 0);
    assert!(get(&shards, 1, 3).is_none() && get(&shards, 4, 0).is_some() && get(&shards, 5, 0).is_some());
    assert_eq!((shards.entries(), shards.bytes()), (2, 2 * BLOCK_BYTES));
    shards.forget(&digest(4));
    assert!(insert_with_note().is_some());
    assert_eq!(shards.forget(&digest(2)), [digest(3)]);
    assert!(get(&shards, 1, 3).is_none() && get(&shards, 5, 0).is_some());
    assert_eq!((shards.entries(), shards.bytes()), (1, BLOCK_BYTES));
    assert_eq!(counted(folder.path(), 1 << 20).bytes(), BLOCK_BYTES);
}

#[test]
fn a_lower_budget_holds_from_the_next_start_on() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 1 << 20);
    (0..40).for_each(|source| insert(&shards, source, 0));
    let smaller = counted(folder.path(), 10 * BLOCK_BYTES);
    // Each of eight threads may remove its last file while the others remove theirs.
    let left = smaller.entries();
    assert!((3..=10).contains(&left), "{left}");
    assert_eq!((smaller.bytes(), smaller.evictions()), (left * BLOCK_BYTES, 40 - left));
    assert_eq!(files(folder.path()).len() as u64, left);
}

#[test]
fn a_hit_makes_a_file_younger_at_most_once_a_day() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 1 << 20);
    insert(&shards, 1, 2);
    let path = the_file(folder.path(), 1, 2);
    let age =
        || fs::metadata(&path).and_then(|found| found.modified()).expect("there").elapsed().expect("past").as_secs();
    for (hours, after) in [(23, 23 * 3600), (25, 0)] {
        used_ago(&path, Duration::from_secs(hours * 3600));
        get(&shards, 1, 2).expect("kept");
        assert_eq!(age() / 3600 * 3600, after, "{hours} hours ago");
    }
}

#[test]
fn forgetting_a_source_leaves_its_neighbours() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 1 << 20);
    let shard = |source: usize| digest(source).hex().as_str()[..3].to_owned();
    let neighbour = (2..).find(|other| shard(*other) == shard(1)).expect("one of some thousands");
    for (source, key) in [(1, 0), (1, 1), (neighbour, 0)] {
        insert(&shards, source, key);
    }
    shards.forget(&digest(1));
    assert!(get(&shards, 1, 0).is_none() && get(&shards, 1, 1).is_none() && get(&shards, neighbour, 0).is_some());
    assert_eq!((shards.entries(), shards.bytes(), shards.evictions()), (1, BLOCK_BYTES, 0));
}

#[test]
fn a_delete_that_races_with_inserts_leaves_nothing() {
    let folder = TempDir::new().expect("a folder");
    let (shards, generations) = (counted(folder.path(), 1 << 30), Generations::default());
    let source = digest(0);
    let delete = || {
        generations.end(&source);
        shards.forget(&source);
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (shards, generations) = (&shards, &generations);
            scope.spawn(move || {
                for n in 0..100 {
                    let generation = generations.of(&source);
                    shards.insert(&generation, &digest(thread * 1000 + n), &rendition(n)).expect("written or refused");
                    if n % 7 == 0 {
                        generations.end(&source);
                        shards.forget(&source);
                    }
                }
            });
        }
    });
    let late = generations.of(&source);
    delete();
    shards.insert(&late, &digest(9), &rendition(9)).expect("refused");
    assert!(files(folder.path()).is_empty());
    assert_eq!((shards.entries(), shards.bytes()), (0, 0));
}

#[test]
fn unknown_files_stay_and_stop_nothing() {
    let folder = TempDir::new().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let (source, shard) = (digest(1), digest(1).hex().as_str()[..3].to_owned());
    let wrong_shard = if shard == "000" { "001" } else { "000" };
    fs::create_dir_all(place(wrong_shard)).expect("made");
    fs::create_dir_all(place(&shard)).expect("made");
    let strange = [
        place("README"),
        place(&format!("{shard}/notes.txt")),
        place(&format!("{shard}/{source}.new")),
        place(&format!("{wrong_shard}/{source}.{}", digest(2))),
        place(&format!("{shard}/{source}.{}", digest(3).hex().as_str().to_uppercase())),
    ];
    strange.iter().for_each(|path| fs::write(path, "strange").expect("written"));
    // A folder and a link in the places of renditions, and a rendition that was not finished.
    fs::create_dir(place(&format!("{shard}/{source}.{}", digest(4)))).expect("made");
    std::os::unix::fs::symlink(&strange[0], place(&format!("{shard}/{source}.{}", digest(5)))).expect("made");
    let unfinished = place(&format!("{shard}/{source}.{}.new", digest(6)));
    fs::write(&unfinished, "torn").expect("written");

    let shards = counted(folder.path(), 2 * BLOCK_BYTES);
    assert_eq!((shards.entries(), shards.bytes()), (0, 0));
    assert!(!unfinished.exists());
    for key in [4, 5] {
        assert!(get(&shards, 1, key).is_none());
    }
    (10..20).for_each(|key| insert(&shards, 1, key));
    assert_eq!(shards.bytes(), 2 * BLOCK_BYTES);
    shards.forget(&source);
    assert_eq!((shards.entries(), shards.bytes()), (0, 0));
    assert!(strange.iter().all(|path| path.exists()));
    // A file where the folder of a shard should be, or no folder at all: an error that ends nothing.
    fs::remove_dir_all(place(&shard)).expect("removed");
    fs::write(place(&shard), "strange").expect("written");
    let generation = Generations::default().of(&source);
    assert!(shards.insert(&generation, &digest(7), &rendition(1)).is_err());
    assert_eq!((shards.entries(), shards.bytes()), (0, 0));
}

#[test]
fn a_tier_works_after_its_files_were_removed() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 3 * BLOCK_BYTES);
    (0..3).for_each(|source| insert(&shards, source, 0));
    fs::remove_dir_all(folder.path()).expect("removed");
    assert!(get(&shards, 0, 0).is_none());
    (3..6).for_each(|source| insert(&shards, source, 0));
    assert!((3..6).all(|source| get(&shards, source, 0).is_some()));
    assert_eq!((shards.entries(), shards.bytes(), shards.evictions()), (3, 3 * BLOCK_BYTES, 0));
}

#[tokio::test]
async fn a_few_renditions_that_were_asked_for_twice_are_kept_at_a_time() {
    use super::super::{KEEPING_MAX, Options, Renditions};
    let folder = TempDir::new().expect("a folder");
    let options = Options { tier_folder: Some(folder.path().to_owned()), ..Options::default() };
    let store = crate::store::open("memory:", &crate::store::Options::default()).await.expect("opens");
    let renditions = Renditions::new(store, crate::pipeline::Limits::default(), options);
    let generation = renditions.engine.generations.of(&digest(1));
    renditions.cache.insert(digest(2), &rendition(100), &generation, false);
    let busy = renditions.keeping.clone().try_acquire_many_owned(KEEPING_MAX as u32).expect("nothing is on its way");
    assert!(renditions.cached(&digest(1), &digest(2)).is_some());
    assert_eq!(renditions.keeping.available_permits(), 0);
    drop(busy);
    assert!(renditions.cached(&digest(1), &digest(2)).is_some());
    assert_eq!(renditions.keeping.available_permits(), KEEPING_MAX - 1, "the next hit tries again");
    while renditions.keeping.available_permits() < KEEPING_MAX {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(files(folder.path()).len(), 1);
    assert!(renditions.cached(&digest(1), &digest(2)).is_some());
    assert_eq!(renditions.keeping.available_permits(), KEEPING_MAX, "and no later one");
}

#[test]
fn an_insertion_that_would_take_too_long_is_given_up() {
    let folder = TempDir::new().expect("a folder");
    // One file in a folder: a round removes half of a sample.
    let files_max = 2 * 64 * 16;
    let shards = counted(folder.path(), files_max * BLOCK_BYTES);
    let mut taken = std::collections::HashSet::new();
    let sources = (0..).filter(|source| taken.insert(digest(*source).hex().as_str()[..3].to_owned()));
    for source in sources.take(files_max as usize) {
        insert(&shards, source, 0);
    }
    assert_eq!(shards.bytes(), files_max * BLOCK_BYTES);
    let generation = Generations::default().of(&digest(usize::MAX));
    let room = |blocks: u64| rendition((blocks * BLOCK_BYTES - file::len(&rendition(0))) as usize);
    shards.insert(&generation, &digest(1), &room(64 * 16 + 1)).expect("given up");
    assert_eq!(shards.entries(), files_max - 64 * 16);
    assert!(shards.open(&digest(usize::MAX), &digest(1)).is_none());
    shards.insert(&generation, &digest(1), &room(64 * 16)).expect("written");
    assert!(shards.open(&digest(usize::MAX), &digest(1)).is_some());
    // With this many, room is made for two at once.
    assert_eq!(shards.bytes(), files_max * BLOCK_BYTES);
    for (key, blocks) in [(2, files_max - 1), (3, files_max)] {
        insert(&shards, usize::MAX, key);
        assert_eq!((shards.bytes(), shards.evictions()), (blocks * BLOCK_BYTES, 64 * 16 + 2));
    }
}
