//! The gallery: every operation's example on one photograph, made by the real pipeline. Rewritten under `UPDATE=1`, otherwise
//! compared, so that no picture goes stale.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::fixtures::photo;
use progimage::digest::Digest;
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::{Deadline, Images, Limits, Pipeline, codec};

/// Wide enough to see an effect, small enough for a page of many.
const SOURCE: &str = "png;;resize(width=320)";

fn run(pipeline: &Pipeline, source: &Bytes, images: &Images) -> Bytes {
    pipeline.run(source, images, &Limits::default(), &Deadline::default()).expect("renders").bytes
}

/// A five-pointed star with soft edges on nothing: what `{id}` stands for in the examples of masks and overlays.
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

/// Every picture: the operation's name and its bytes.
fn pictures() -> Vec<(&'static str, Bytes)> {
    let source = run(&SOURCE.parse().expect("canonical"), &photo("toy.jpg").into(), &Images::new());
    let star = star();
    let images = Images::from([(Digest::of(&star), star.clone())]);
    let webp = codec::by_name("webp").expect("always there");
    let picture = |query: &str| {
        let pipeline = Pipeline::from_query(webp, &crate::example(query, &Digest::of(&star))).expect(query);
        run(&pipeline, &source, &images)
    };
    let operations = OPERATIONS.iter().map(|operation| (operation.name, picture(operation.example)));
    std::iter::once(("source", picture("metadata=none"))).chain(operations).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gallery")
}

#[test]
fn every_operation_has_its_picture() {
    let folder = folder();
    let update = std::env::var_os("UPDATE").is_some();
    let mut stale = Vec::new();
    for (name, bytes) in pictures() {
        let path = folder.join(format!("{name}.webp"));
        if update {
            std::fs::create_dir_all(&folder).expect("fixtures is writable");
            std::fs::write(&path, &bytes).expect("fixtures is writable");
        } else if std::fs::read(&path).ok().as_deref() != Some(&*bytes) {
            stale.push(name);
        }
    }
    // Its bytes are one architecture's (see `determinism`).
    let here = std::env::consts::ARCH == "x86_64";
    assert!(stale.is_empty() || !here, "stale pictures, run UPDATE=1 cargo test gallery and look at them: {stale:?}");
}

#[test]
fn no_picture_is_left_of_an_operation_that_is_gone() {
    let known = |name: &str| name == "source" || OPERATIONS.iter().any(|operation| operation.name == name);
    for entry in std::fs::read_dir(folder()).expect("fixtures/gallery") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("UTF-8");
        assert!(known(name), "{}", path.display());
    }
}
