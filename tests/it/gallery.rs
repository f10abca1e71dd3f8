//! The pictures of the documents, made by the real pipeline: every operation's example on one photograph, and the row
//! at the head of the README. They are rewritten under `UPDATE=1` and otherwise compared, so that no picture goes
//! stale.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::fixtures::photo;
use progimage::digest::Digest;
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::{Deadline, Images, Limits, Pipeline, codec};

/// Wide enough to see an effect, small enough for a page of many.
const SOURCE: &str = "png;;resize(width=320)";

// The queries below the README's pictures, and the size of pictures without a query.
const ATTENTION: &str = "w=200&h=200&fit=cover&g=attention";
const AUTO: &str = "quality=auto";
const OVERLAY: &str = "w=300&overlay={id}&overlay_width=25%25&overlay_gravity=east";
const SHOWN: &str = "w=300";

/// Whether codecs write the stored bytes on this architecture: the stored ones are of one (see `determinism`).
const HERE: bool = cfg!(target_arch = "x86_64");

fn run(pipeline: &Pipeline, source: &Bytes, images: &Images) -> Bytes {
    pipeline.run(source, images, &Limits::default(), &Deadline::default()).expect("renders").bytes
}

/// A five-pointed star with soft edges on a transparent ground. In the examples of masks and overlays it is `{id}`.
fn star() -> Bytes {
    const SIDE: i32 = 160;
    let pixel = |x: i32, y: i32| {
        let (dx, dy) = (f64::from(x - SIDE / 2) + 0.5, f64::from(y - SIDE / 2) + 0.5);
        let spoke = (dx.atan2(-dy) / std::f64::consts::TAU * 5.0).rem_euclid(1.0) - 0.5;
        let edge = f64::from(SIDE) * (0.24 + 0.5 * (spoke.abs() - 0.25).max(-0.12));
        let alpha = (edge - dx.hypot(dy) + 0.5).clamp(0.0, 1.0) * 255.0;
        [255, 190, 40, alpha.round() as u8]
    };
    let header = format!("P7\nWIDTH {SIDE}\nHEIGHT {SIDE}\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n");
    let pixels = (0..SIDE).flat_map(|y| (0..SIDE).flat_map(move |x| pixel(x, y)));
    header.into_bytes().into_iter().chain(pixels).collect()
}

/// The sources of the pictures: one photograph, and the star that some examples lay on it.
struct Maker {
    photo: Bytes,
    star: Bytes,
    images: Images,
}

impl Maker {
    fn new() -> Maker {
        let star = star();
        let images = Images::from([(Digest::of(&star), star.clone())]);
        Maker { photo: photo("toy.jpg").into(), star, images }
    }

    /// The bytes that a server would return for `<id>.<format>?<query>`.
    fn rendition(&self, source: &Bytes, format: &str, query: &str) -> Bytes {
        let codec = codec::by_name(format).expect("a known format");
        let pipeline = Pipeline::from_query(codec, &crate::example(query, &Digest::of(&self.star))).expect(query);
        run(&pipeline, source, &self.images)
    }

    /// Every operation's picture, by file name.
    fn gallery(&self) -> Vec<(String, Bytes)> {
        let source = run(&SOURCE.parse().expect("canonical"), &self.photo, &Images::new());
        let examples = OPERATIONS.iter().map(|operation| (operation.name, operation.example));
        let pictures = std::iter::once(("source", "metadata=none")).chain(examples);
        pictures.map(|(name, query)| (format!("{name}.webp"), self.rendition(&source, "webp", query))).collect()
    }

    /// The pictures at the head of the README, by file name, made by the URLs below them. Not every viewer shows AVIF,
    /// so that picture is a WebP.
    fn front(&self) -> Vec<(String, Bytes)> {
        let avif = self.rendition(&self.photo, "avif", AUTO);
        let pictures = [
            ("original.webp", self.rendition(&self.photo, "webp", SHOWN)),
            ("attention.webp", self.rendition(&self.photo, "webp", ATTENTION)),
            ("auto.webp", self.rendition(&avif, "webp", SHOWN)),
            ("overlay.webp", self.rendition(&self.photo, "webp", OVERLAY)),
        ];
        assert_readme_says(&[
            &format!("look: {} kB", (avif.len() + 500) / 1000),
            &format!("The original: {} kB", (self.photo.len() + 500) / 1000),
            &format!("<id>.webp?{ATTENTION}`"),
            &format!("<id>.avif?{AUTO}`"),
            &format!("<id>.webp?{}`", OVERLAY.replace("{id}", "<id>")),
        ]);
        pictures.map(|(name, bytes)| (name.to_owned(), bytes)).into()
    }
}

/// Fails where the README does not contain the text, apart from line breaks. On other architectures nothing is checked.
fn assert_readme_says(words: &[&str]) {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let readme = readme.replace("`<br>`", "");
    let missing: Vec<_> = words.iter().filter(|words| HERE && !readme.contains(**words)).collect();
    assert!(missing.is_empty(), "the README does not say {missing:?}");
}

/// Writes the pictures of a folder of fixtures under `UPDATE=1`; otherwise they must be there.
fn kept(folder: &str, pictures: Vec<(String, Bytes)>) {
    let folder = self::folder(folder);
    let update = std::env::var_os("UPDATE").is_some();
    let mut stale = Vec::new();
    for (name, bytes) in pictures {
        let path = folder.join(&name);
        if update {
            std::fs::create_dir_all(&folder).expect("fixtures is writable");
            std::fs::write(&path, &bytes).expect("fixtures is writable");
        } else if std::fs::read(&path).ok().as_deref() != Some(&*bytes) {
            stale.push(name);
        }
    }
    assert!(stale.is_empty() || !HERE, "stale pictures, run UPDATE=1 cargo test gallery and look at them: {stale:?}");
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

#[test]
fn every_operation_has_its_picture() {
    kept("gallery", Maker::new().gallery());
}

#[test]
fn the_readme_begins_with_pictures() {
    kept("readme", Maker::new().front());
}

#[test]
fn no_picture_is_left_of_an_operation_that_is_gone() {
    let known = |name: &str| {
        matches!(name, "source.webp" | "README.md") || OPERATIONS.iter().any(|o| name == format!("{}.webp", o.name))
    };
    for entry in std::fs::read_dir(folder("gallery")).expect("fixtures/gallery") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(known(&name), "{name}");
    }
}
