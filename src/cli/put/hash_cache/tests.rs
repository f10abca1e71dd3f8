//! Which digests are known, for how long, and what happens when the file of the cache is damaged.

use super::*;

const DAY: i64 = 20_000;

fn stamp(n: i64) -> Stamp {
    // Like those of real files: large numbers take more room.
    let ns = 1_700_000_000_123_456_789 + n * 1_000_003;
    let path = i64::MAX - n * 1_000_000_007;
    Stamp { device: 0xfd00, inode: 5_000_000 + n, path, bytes: 100_000 + n, mtime_ns: ns, ctime_ns: ns + n }
}

fn digest(n: i64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn remember(cache: &HashCache, files: impl IntoIterator<Item = i64>) {
    files.into_iter().for_each(|n| cache.remember(stamp(n), digest(n)));
    cache.close();
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("cache/progimage/digests.sqlite")
    }

    fn on(&self, day: i64) -> HashCache {
        self.waiting(day, BUSY_TIMEOUT)
    }

    /// A cache that writes only when many changes wait and when it is closed, however long a test takes.
    fn waiting(&self, day: i64, busy_timeout: Duration) -> HashCache {
        let cache = HashCache::open_on(Some(self.file()), BYTES_MAX, day, busy_timeout);
        cache.changes.lock().since = Instant::now() + Duration::from_secs(3_600);
        cache
    }

    fn open(&self) -> HashCache {
        self.on(DAY)
    }

    /// Remembers, in a run of its own.
    fn remember(&self, day: i64, files: impl IntoIterator<Item = i64>) {
        remember(&self.on(day), files);
    }

    fn knows(&self, n: i64) -> bool {
        let known = self.open().recall(&[stamp(n)]);
        assert!(known == [None] || known == [Some(digest(n))]);
        known[0].is_some()
    }

    fn sql(&self, statements: &str) {
        Connection::open(self.file()).and_then(|sqlite| sqlite.execute_batch(statements)).expect(statements);
    }

    fn bytes(&self) -> u64 {
        fs::metadata(self.file()).expect("it is there").len()
    }
}

#[test]
fn what_was_remembered_is_known_in_later_runs() {
    let place = Place::new();
    place.remember(DAY, [1, 2]);
    let known = place.open().recall(&[stamp(2), stamp(3), stamp(1)]);
    assert_eq!(known, [Some(digest(2)), None, Some(digest(1))]);
    assert_eq!(place.open().recall(&[]), []);
}

#[test]
fn a_file_that_differs_in_anything_is_another_one() {
    let place = Place::new();
    place.remember(DAY, [1]);
    let same = stamp(1);
    let others = [
        Stamp { device: 1, ..same },
        Stamp { inode: 1, ..same },
        Stamp { path: 1, ..same },
        Stamp { bytes: 1, ..same },
        Stamp { mtime_ns: same.mtime_ns + 1, ..same },
        Stamp { ctime_ns: same.ctime_ns - 1, ..same },
    ];
    assert_eq!(place.open().recall(&others), [None; 6]);
    // A file has one row: the later one is right.
    let cache = place.open();
    cache.remember(others[5], digest(9));
    cache.close();
    assert_eq!(place.open().recall(&[same, others[5]]), [None, Some(digest(9))]);
}

#[test]
fn a_stamp_is_that_of_the_file_and_of_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, link) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&path, "abc").expect("written");
    let of = |path: &Path| Stamp::of(path, &fs::metadata(path).expect("there"));
    let before = of(&path);
    assert_eq!((before, before.bytes()), (of(&path), 3));
    fs::hard_link(&path, &link).expect("linked");
    let (first, second) = (of(&path), of(&link));
    assert_eq!(Stamp { path: first.path, ..second }, first);
    assert_ne!(first, second, "the same file by another name");
    let here = fs::metadata(".").expect("there");
    let absolute = std::env::current_dir().expect("there").join("x");
    assert_eq!(Stamp::of(Path::new("x"), &here), Stamp::of(&absolute, &here));
}

#[test]
fn a_young_file_and_one_of_the_future_are_not_settled() {
    let at = |ns: i64| UNIX_EPOCH + Duration::from_nanos(ns.cast_unsigned());
    let file = Stamp { mtime_ns: 5_000_000_000, ctime_ns: 7_000_000_000, ..stamp(0) };
    for (now_ns, settled) in [(9_000_000_000, true), (8_999_999_999, false), (7_000_000_000, false), (1, false)] {
        assert_eq!(file.is_settled(at(now_ns)), settled, "{now_ns}");
        let swapped = Stamp { mtime_ns: file.ctime_ns, ctime_ns: file.mtime_ns, ..file };
        assert_eq!(swapped.is_settled(at(now_ns)), settled, "{now_ns}");
    }
    assert!(Stamp { mtime_ns: i64::MIN, ..file }.is_settled(at(9_000_000_000)));
    assert!(!Stamp { mtime_ns: i64::MAX, ..file }.is_settled(SystemTime::now()));
}

#[test]
fn changes_are_written_in_their_order_and_many_at_once() {
    let place = Place::new();
    let cache = place.open();
    cache.remember(stamp(1), digest(8));
    cache.forget(stamp(1));
    cache.forget(stamp(2));
    cache.remember(stamp(2), digest(2));
    (5..WRITTEN_MAX as i64).for_each(|n| cache.remember(stamp(n - 1), digest(n - 1)));
    let waiting = || cache.changes.lock().list.len();
    assert_eq!(waiting(), WRITTEN_MAX - 1);
    cache.forget(stamp(0));
    assert_eq!((waiting(), place.knows(2)), (0, true), "many are written although nothing was closed");
    assert!(!place.knows(1) && place.knows(4));
    cache.remember(stamp(1), digest(1));
    assert_eq!((waiting(), place.knows(1)), (1, false), "one waits for others");
    cache.changes.lock().since =
        Instant::now().checked_sub(WRITTEN_EVERY).expect("a machine that has run for a second");
    cache.remember(stamp(3), digest(3));
    assert_eq!((waiting(), place.knows(1) && place.knows(3)), (0, true), "but not for long");
}

#[test]
fn a_full_file_takes_corrections_and_nothing_new() {
    let place = Place::new();
    place.remember(DAY, [1]);
    let run = |bytes_max: u64, n: i64, of: i64| {
        let cache = HashCache::open_on(Some(place.file()), bytes_max, DAY, BUSY_TIMEOUT);
        cache.remember(stamp(n), digest(of));
        cache.close();
        place.open().recall(&[stamp(n)])[0]
    };
    let full = place.bytes();
    assert_eq!(run(full, 2, 2), None);
    assert_eq!(run(full, 1, 9), Some(digest(9)), "a correction");
    assert_eq!(run(full + 1, 2, 2), Some(digest(2)));
    assert!(place.bytes() <= full + 100_000, "one write past it");
}

#[test]
fn a_file_takes_as_many_bytes_as_is_said() {
    let place = Place::new();
    place.remember(DAY, []);
    let (count, empty) = (20_011, place.bytes());
    // Not in the order of their inodes.
    place.remember(DAY, (0..count).map(|n| n * 7_919 % count));
    let each = (place.bytes() - empty) as f64 / count as f64;
    assert!((80.0..110.0).contains(&each), "{each}");
}

#[test]
fn what_is_not_seen_for_long_is_forgotten() {
    let place = Place::new();
    place.remember(DAY, [1, 2]);
    // Looked up: 1 too soon for it to be written down.
    let seen = |day: i64, n: i64| {
        let cache = place.on(day);
        assert_eq!(cache.recall(&[stamp(n)]), [Some(digest(n))]);
        cache.close();
    };
    seen(DAY + 6, 1);
    seen(DAY + 7, 2);
    place.remember(DAY + 90, [3]);
    assert!(place.knows(1) && place.knows(2));
    place.remember(DAY + 91, []);
    assert!(place.knows(1), "nothing was written");
    place.remember(DAY + 96, [4]);
    assert!(place.knows(1), "they were looked for less than a week ago");
    place.remember(DAY + 97, [5]);
    assert!(!place.knows(1) && place.knows(2) && place.knows(3));
    // Days by a clock that was wrong.
    place.remember(DAY + 100_000, [6]);
    seen(DAY + 100, 6);
    place.remember(DAY + 191, [7]);
    assert!(!place.knows(6));
}

#[test]
fn a_digest_that_is_not_that_of_its_row_is_not_believed() {
    let place = Place::new();
    // As after a write that reached the device only in part.
    let swaps = ["digest", "seal", "path = 1, digest", "path = 1, bytes = 1, mtime_ns = 1, ctime_ns = 1, seal"];
    for swapped in swaps {
        place.remember(DAY, [1, 2]);
        assert!(place.knows(1) && place.knows(2));
        let column = swapped.rsplit(' ').next().expect("one");
        place.sql(&format!(
            "CREATE TEMP TABLE was AS SELECT * FROM file;
             UPDATE file SET {swapped} = (SELECT {column} FROM was WHERE was.inode <> file.inode)"
        ));
        let now = Stamp { path: 1, ..stamp(1) };
        let other = Stamp { bytes: 1, mtime_ns: 1, ctime_ns: 1, ..now };
        assert_eq!(place.open().recall(&[stamp(1), stamp(2), now, other]), [None; 4], "{swapped}");
    }
    place.remember(DAY, [1]);
    assert!(place.knows(1) && !place.knows(2), "it is remembered anew");
}

#[test]
fn a_broken_file_is_replaced() {
    let breaks: [fn(&Place); 4] = [
        |place| {
            fs::write(place.file(), "no database, but long enough to be taken for one ".repeat(99)).expect("written")
        },
        |place| {
            let mut bytes = fs::read(place.file()).expect("there");
            bytes[4_096..].fill(0xff);
            fs::write(place.file(), bytes).expect("written");
        },
        |place| place.sql("UPDATE file SET digest = x'00'"),
        |place| place.sql("ALTER TABLE file RENAME COLUMN digest TO other"),
    ];
    for (n, breaks) in breaks.iter().enumerate() {
        let place = Place::new();
        place.remember(DAY, [1]);
        // Also under a run that has begun.
        let cache = place.open();
        breaks(&place);
        assert_eq!(cache.recall(&[stamp(1)]), [None], "{n}");
        cache.remember(stamp(2), digest(2));
        cache.close();
        assert!(!place.knows(1) && !place.knows(2), "{n}");
        place.remember(DAY, [1]);
        assert!(place.knows(1), "{n}");
        breaks(&place);
        // A cache opens the damaged file. For two of four the fault shows at the first row.
        assert!(!place.knows(1), "{n}");
        place.remember(DAY, [1]);
        assert!(place.knows(1), "{n}");
    }
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let place = Place::new();
    place.remember(DAY, [1]);
    place.sql("PRAGMA user_version = 2");
    let before = fs::read(place.file()).expect("there");
    assert!(!place.knows(1));
    place.remember(DAY, [2]);
    assert!(fs::read(place.file()).expect("there") == before);
}

#[test]
fn a_cache_that_cannot_be_written_can_still_be_read() {
    let place = Place::new();
    place.remember(DAY, [1]);
    let mut other = Connection::open(place.file()).expect("open");
    let writing = other.transaction_with_behavior(TransactionBehavior::Immediate).expect("locked");
    let cache = place.open();
    cache.remember(stamp(2), digest(2));
    cache.close();
    assert_eq!(cache.recall(&[stamp(1), stamp(2)]), [Some(digest(1)), None]);
    // Given up for this run, so that it does not wait each time.
    drop(writing);
    cache.remember(stamp(2), digest(2));
    cache.close();
    assert!(!place.knows(2));
}

#[test]
fn two_runs_at_once_remember_what_both_have_found() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for start in [0, 3_000] {
            let place = &place;
            // However long the other one is kept from going on.
            let patient = Duration::from_secs(600);
            scope.spawn(move || remember(&place.waiting(DAY, patient), start..start + 3_000));
        }
    });
    let all: Vec<Stamp> = (0..6_000).map(stamp).collect();
    assert!(place.open().recall(&all).iter().all(Option::is_some));
}

#[test]
fn the_file_is_private_and_may_be_missing() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.remember(DAY, [1]);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&place.file()), mode(place.file().parent().expect("in a folder"))), (0o600, 0o700));
    for nowhere in [None, Some(PathBuf::from("/dev/null/x")), Some(place.0.path().to_owned())] {
        let cache = HashCache::open(nowhere, BYTES_MAX);
        (0..=WRITTEN_MAX as i64).for_each(|n| cache.remember(stamp(n), digest(n)));
        assert!(cache.changes.lock().list.len() < WRITTEN_MAX);
        cache.close();
        assert_eq!(cache.recall(&[stamp(1)]), [None]);
    }
}
