//! Calls of the tier that fail for lack of descriptors, memory or threads: each call once. A rendition is missed then, none is
//! wrong, and the tier goes on by itself.

use rustix::io::Errno;

use super::super::calls::lack;
use super::*;
use crate::renditions::generation::Lineage;

const LACKS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];

/// A tier of three files: inserts, hits, room that is made, an overlay, and deletes.
fn ask(shards: &Shards) {
    let generations = Generations::default();
    let put = |source: usize, key: usize, others: &[Digest]| {
        let lineage = Lineage::of(&generations, &digest(source), others);
        let _ = shards.insert(lineage, &digest(key), &rendition(100));
    };
    let check = |source: usize, key: usize| {
        if let Some(found) = get(shards, source, key) {
            assert_eq!((found.bytes, &*found.query), (rendition(100).bytes, "w=1"));
        }
    };
    put(1, 2, &[]);
    check(1, 2);
    put(1, 3, &[digest(9)]);
    check(1, 3);
    // More than there is room for.
    put(4, 5, &[]);
    put(6, 7, &[]);
    check(6, 7);
    shards.forget(&digest(1));
    shards.forget(&digest(9));
}

/// The bytes of the files on the device, each in whole blocks.
fn bytes_of(folder: &Path) -> u64 {
    files(folder).iter().map(|file| fs::metadata(file).expect("ours").len().div_ceil(BLOCK_BYTES) * BLOCK_BYTES).sum()
}

#[test]
fn whatever_a_call_lacks_the_tier_misses_and_goes_on() {
    for errno in LACKS {
        let mut calls = 0..;
        loop {
            let nth = calls.next().expect("more");
            let folder = TempDir::new().expect("a folder");
            let shards = counted(folder.path(), 3 * BLOCK_BYTES);
            lack::after(nth, errno.raw_os_error());
            ask(&shards);
            let came = lack::end();
            let counted = (shards.entries(), shards.bytes());
            assert_eq!(counted, (files(folder.path()).len() as u64, bytes_of(folder.path())), "call {nth}: {errno}");
            assert!(shards.bytes() <= 3 * BLOCK_BYTES);
            // It works again.
            for source in 20..30 {
                insert(&shards, source, 1);
                assert_eq!(get(&shards, source, 1).map(|found| found.bytes), Some(rendition(100).bytes));
            }
            shards.forget(&digest(29));
            assert!(get(&shards, 29, 1).is_none());
            if !came {
                assert!(nth > 60, "{nth} calls: the steps have become too few");
                break;
            }
        }
    }
}

/// Most calls of a count are equal, so only those around the files fail.
#[test]
fn a_folder_that_cannot_be_listed_at_the_start_is_counted_later() {
    let folder = TempDir::new().expect("a folder");
    let shards = counted(folder.path(), 1 << 20);
    (0..3).for_each(|key| insert(&shards, 1, key));
    let near = usize::from_str_radix(&digest(1).to_string()[..3], 16).expect("hexadecimal");
    for (errno, nth) in LACKS.into_iter().flat_map(|errno| (near..near + 8).map(move |nth| (errno, nth))) {
        let shards = Shards::new(folder.path().to_owned(), Budget::new(1 << 20, 0));
        lack::after(nth, errno.raw_os_error());
        shards.count();
        assert!(lack::end(), "call {nth}");
        assert!(get(&shards, 1, 2).is_some(), "it is found meanwhile");
        shards.fit();
        assert_eq!((shards.entries(), shards.bytes()), (3, 3 * BLOCK_BYTES), "call {nth}: {errno}");
    }
}
