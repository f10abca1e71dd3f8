//! Which hashes of files `progimage put` remembers, and when it reads the files again.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use progimage::digest::Digest;
use rusqlite::{Connection, params};

use super::{Ran, folder, program, text};
use crate::http::{Server, ppm, until};

/// A server, files, and the cache of their hashes.
struct Setting {
    server: Server,
    files: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl Setting {
    fn new() -> Setting {
        Setting { server: Server::start(), files: folder(), cache: folder() }
    }

    fn put(&self, files: &Path, more: &[&str]) -> Ran {
        let url = format!("http://{}", self.server.address);
        let mut command = program(&[&["put", "-r", text(files), "--server", &url], more].concat());
        command.env("XDG_CACHE_HOME", self.cache.path()).output().unwrap().into()
    }

    /// Puts one file; its id, and whether it was not read.
    fn one(&self, file: &Path, more: &[&str]) -> (String, bool) {
        let ran = self.put(file, more).with(0);
        (ran.stdout.split("  ").next().unwrap().to_owned(), ran.stderr.contains("1 not read again"))
    }

    /// A file that the program never remembers by itself, since its time of modification is in the future.
    fn file(&self, image: &[u8]) -> PathBuf {
        let path = self.files.path().join("a.ppm");
        fs::write(&path, image).unwrap();
        let ahead = SystemTime::now() + Duration::from_secs(3_600);
        File::options().write(true).open(&path).unwrap().set_modified(ahead).unwrap();
        path
    }

    fn database(&self) -> Connection {
        Connection::open(self.cache.path().join("progimage/digests.sqlite")).unwrap()
    }

    fn rows(&self) -> usize {
        self.database().query_row("SELECT count(*) FROM file", [], |row| row.get::<_, i64>(0)).unwrap() as usize
    }

    /// Makes the program remember `id` for the file as it is, which by itself it does only for older files.
    fn plant(&self, file: &Path, id: &Digest) {
        let there = fs::metadata(file).unwrap();
        let ns = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
        let start = |bytes: &[u8]| Digest::of(bytes).as_bytes()[..8].try_into().map(i64::from_le_bytes).unwrap();
        let path = start(text(file).as_bytes());
        let [device, inode, bytes] = [there.dev(), there.ino(), there.len()].map(u64::cast_signed);
        let (mtime, ctime) = (ns(there.mtime(), there.mtime_nsec()), ns(there.ctime(), there.ctime_nsec()));
        let sealed = [&[device, inode, path, bytes, mtime, ctime].map(i64::to_le_bytes).concat(), &id.as_bytes()[..]];
        let row = params![device, inode, path, bytes, mtime, ctime, id.as_bytes(), start(&sealed.concat())];
        self.database().execute("REPLACE INTO file VALUES (?1, ?2, ?3, ?4, ?5, ?6, 20000, ?7, ?8)", row).unwrap();
    }
}

/// A folder of images that are old enough to be remembered. A checkout may have just written them, and no program can
/// set a ctime, so this waits until they are 3 s old: the bound is 2 s, and these times are whole seconds.
fn fixtures() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/readme");
    let is_old = |file: fs::Metadata| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        file.mtime().max(file.ctime()) + 3 < now
    };
    until(|| fs::read_dir(&folder).unwrap().all(|entry| is_old(entry.unwrap().metadata().unwrap())));
    folder
}

#[test]
fn files_are_read_once() {
    let setting = Setting::new();
    let first = setting.put(&fixtures(), &[]).with(0);
    assert!(!first.stderr.contains("not read"), "{}", first.stderr);
    let count = first.lines().len();
    assert_eq!(setting.rows(), count);
    for _ in 0..2 {
        let again = setting.put(&fixtures(), &[]).with(0);
        assert_eq!(again.lines(), first.lines());
        assert!(again.stderr.contains(&format!(", {count} not read again")), "{}", again.stderr);
    }
    let all = setting.put(&fixtures(), &["--checksum"]).with(0);
    assert_eq!(all.lines(), first.lines());
    assert!(!all.stderr.contains("not read"), "{}", all.stderr);
    // Another server lacks them, and is sent what it lacks.
    let other = Setting { server: Server::start(), ..setting };
    let sent = other.put(&fixtures(), &[]).with(0);
    assert_eq!(sent.lines(), first.lines());
    assert!(sent.stderr.contains(&format!("{count} stored, 0 there before")), "{}", sent.stderr);
    assert!(sent.stderr.contains(&format!(", {count} not read again")), "{}", sent.stderr);
}

#[test]
fn a_file_that_may_still_change_unseen_is_not_remembered() {
    let setting = Setting::new();
    let image = ppm(9, 9, [1, 2, 3]);
    let file = setting.file(&image);
    for _ in 0..2 {
        assert_eq!(setting.one(&file, &[]), (Digest::of(&image).to_string(), false));
    }
    assert_eq!(setting.rows(), 0);
}

#[test]
fn a_file_that_was_changed_is_read_whatever_its_size_and_time() {
    let setting = Setting::new();
    let (image, other) = (ppm(9, 9, [1, 2, 3]), ppm(9, 9, [3, 2, 1]));
    let file = setting.file(&image);
    setting.one(&file, &[]);
    setting.plant(&file, &Digest::of(&image));
    assert_eq!(setting.one(&file, &[]), (Digest::of(&image).to_string(), true));
    let before = fs::metadata(&file).unwrap();
    // Until the clock of the file system has ticked. Before that, no program could see the change.
    while fs::metadata(&file).unwrap().ctime_nsec() == before.ctime_nsec() {
        fs::write(&file, &other).unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(before.modified().unwrap()).unwrap();
    }
    let after = fs::metadata(&file).unwrap();
    assert_eq!((after.len(), after.mtime_nsec(), after.ino()), (before.len(), before.mtime_nsec(), before.ino()));
    assert_eq!(setting.one(&file, &[]), (Digest::of(&other).to_string(), false));
}

#[test]
fn checksum_believes_nothing_and_corrects_what_is_remembered() {
    let setting = Setting::new();
    let file = fixtures().join(fs::read_dir(fixtures()).unwrap().next().unwrap().unwrap().file_name());
    let right = Digest::of(&fs::read(&file).unwrap()).to_string();
    setting.one(&file, &[]);
    let other = ppm(9, 9, [1, 2, 3]);
    setting.server.store(&other);
    setting.plant(&file, &Digest::of(&other));
    assert_eq!(
        setting.one(&file, &[]),
        (Digest::of(&other).to_string(), true),
        "the cache is trusted, so nothing was read"
    );
    assert_eq!(setting.one(&file, &["--checksum"]), (right.clone(), false));
    assert_eq!(setting.one(&file, &[]), (right, true));
}

#[test]
fn a_wrong_id_that_the_server_lacks_is_found_out() {
    let setting = Setting::new();
    let image = ppm(9, 9, [1, 2, 3]);
    let file = setting.file(&image);
    setting.one(&file, &[]);
    setting.plant(&file, &Digest::of(b"something else"));
    let ran = setting.put(&file, &["--json"]).with(0).json();
    assert_eq!((&ran[0]["id"], &ran[0]["created"]), (&Digest::of(&image).to_string().into(), &false.into()));
    assert_eq!(setting.rows(), 0, "forgotten, and not to be remembered");
    // A file that is refused for another reason is also hashed again.
    let note = setting.files.path().join("note");
    fs::write(&note, "no image").unwrap();
    setting.plant(&note, &Digest::of(b"no image"));
    setting.put(&note, &[]).with(1);
    assert_eq!(setting.rows(), 0);
}

#[test]
fn a_broken_memory_is_none() {
    let setting = Setting::new();
    let place = setting.cache.path().join("progimage/digests.sqlite");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, "no database at all").unwrap();
    let count = setting.put(&fixtures(), &[]).with(0).lines().len();
    let again = setting.put(&fixtures(), &[]).with(0);
    assert!(again.stderr.contains(&format!(", {count} not read again")), "{}", again.stderr);
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    let ran = setting.put(&fixtures(), &[]).with(0);
    assert!(ran.lines().len() == count && !ran.stderr.contains("not read"), "{}", ran.stderr);
}

#[test]
fn the_memory_lies_where_caches_do() {
    let (setting, home) = (Setting::new(), folder());
    let url = format!("http://{}", setting.server.address);
    let put = |cache: Option<&str>, home: Option<&Path>| {
        let mut command = program(&["put", "-r", text(&fixtures()), "--server", &url]);
        command.env_remove("XDG_CACHE_HOME").env_remove("HOME").current_dir(setting.files.path());
        command.envs(cache.map(|cache| ("XDG_CACHE_HOME", cache))).envs(home.map(|home| ("HOME", home)));
        Ran::from(command.output().unwrap()).with(0).stderr.contains("not read again")
    };
    let place = home.path().join(".cache/progimage/digests.sqlite");
    assert!(!put(None, None) && !put(None, None), "nowhere to remember anything");
    assert!(!put(None, Some(home.path())) && place.exists());
    assert!(put(None, Some(home.path())));
    // Not below the current folder.
    assert!(put(Some("relative"), Some(home.path())) && put(Some(""), Some(home.path())));
    assert_eq!(fs::read_dir(setting.files.path()).unwrap().count(), 0);
    let cache = text(setting.cache.path());
    assert!(!put(Some(cache), Some(home.path())) && put(Some(cache), None));
}
