//! Plans ask for at least the memory that renders hold, as measured by [`crate::counting`], which counts Rust's buffers
//! and not those of C.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::images;
use super::laws::raster as noise;
use crate::counting::peak_bytes;
use progimage::pipeline::codec::{self, Codec, EncodeOptions, Header};
use progimage::pipeline::operation::{Context, OPERATIONS, Operation};
use progimage::pipeline::{Channels, Deadline, Headers, Limits, Picture, Pipeline, Raster, Size};

use Channels::{Gray, GrayAlpha, Rgb, Rgba};

/// Large enough for buffers to stand out from tables, kernels and rows.
const SIZE: Size = Size::new(332, 211);
/// Tables and kernels, which do not grow with the image: part of the fixed bytes of a plan.
const FIXED_BYTES: u64 = 1 << 18;

/// One part in this many is tolerated, since vectors grow in steps.
fn holds(planned: u64, held: u64, fixed: u64, what: &str) {
    assert!(held <= planned * 115 / 100 + fixed, "{what}: {planned} bytes are planned, {held} are held");
}

/// An operation with the arguments of its example, on the whole raster.
fn check_operation(operation: &'static Operation, raster: &Raster) {
    let png = codec::by_name("png").expect("always there");
    let example = crate::example(operation.example, &images::ids()[4]);
    let example = Pipeline::from_query(png, &example).expect(operation.example);
    let (_, args) = example.steps().iter().find(|(shown, _)| *shown == operation).expect("shows itself");
    if args.images().next().is_some() {
        // Scaling another image takes memory in addition, which the renders below measure.
        return;
    }
    let cost = (operation.plan)(raster.shape(), args).expect("inside");
    let context = Context { deadline: &Deadline::default(), images: images::rasters() };
    if let Some(resolve) = operation.resolve {
        let (held, _) = peak_bytes(|| resolve(raster, args, &context).expect("small"));
        let planned = raster.bytes() + cost.working_bytes + cost.shape.bytes();
        holds(planned, held + raster.bytes(), FIXED_BYTES, &format!("resolving {}", operation.name));
    }
    // Tables that are made once, and kept, are no part of a render.
    let shape = raster.shape();
    let small = noise(Size::new(40, 30), shape.channels, shape.bits == 16, false, 3);
    if (operation.plan)(small.shape(), args).is_ok() {
        _ = (operation.apply)(small, args, &context);
    }
    let copy = raster.clone();
    let (held, _) = peak_bytes(|| (operation.apply)(copy, args, &context).expect("small"));
    let what = format!("{}({args}) of {:?}", operation.name, raster.shape());
    holds(raster.bytes() + cost.shape.bytes() + cost.working_bytes, held + raster.bytes(), FIXED_BYTES, &what);
}

#[test]
fn operations_hold_what_they_plan() {
    let shapes = [(Gray, true), (GrayAlpha, false), (Rgb, false), (Rgba, true)];
    let shapes: Vec<Raster> = shapes.iter().map(|(channels, wide)| noise(SIZE, *channels, *wide, false, 3)).collect();
    let cases: Vec<_> = OPERATIONS.iter().flat_map(|operation| shapes.iter().map(move |of| (*operation, of))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((operation, raster)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check_operation(operation, raster);
                }
            });
        }
    });
}

fn inspected(bytes: &Bytes) -> (&'static Codec, Header) {
    let codec = codec::sniff(bytes).expect("known");
    (codec, (codec.inspect)(bytes).expect("valid"))
}

fn check_render(text: &str, source: &Bytes) {
    let pipeline: Pipeline = text.parse().expect(text);
    let ((codec, header), limits) = (inspected(source), Limits::default());
    let headers: Headers = images::encoded().iter().map(|(id, bytes)| (*id, inspected(bytes))).collect();
    let plan = pipeline.plan((codec, &header), &headers, &limits).expect(text);
    let render = || pipeline.run(source, images::encoded(), &limits, &Deadline::default()).expect(text);
    let (held, output) = peak_bytes(render);
    // A plan has the fixed bytes in it.
    holds(plan.memory_bytes, held, 0, &format!("{text} of {:?}, {} bytes", header, output.bytes.len()));
}

#[test]
fn encoders_and_what_brings_a_picture_to_them_hold_what_is_planned() {
    let png = codec::by_name("png").and_then(|png| png.encoder.as_ref()).expect("PNG is written");
    for (channels, wide) in [(Gray, false), (GrayAlpha, false), (GrayAlpha, true), (Rgb, true), (Rgba, false)] {
        let picture = Picture::still(noise(SIZE, channels, wide, false, 5));
        let deadline = Deadline::default();
        let options = EncodeOptions { lossless: true, ..EncodeOptions::new(&deadline) };
        let source = Bytes::from((png.encode)(&picture, &options).expect("small"));
        drop(picture);
        for format in ["png;metadata=none;", "jpeg;background=ff0000ff;", "jpeg;metadata=none;", "avif;metadata=none;"]
        {
            check_render(format, &source);
        }
        for chain in [
            "crop(x=9&y=9&width=400&height=300)/trim(threshold=10)",
            "trim(threshold=10)/resize(width=1200&enlarge=true)",
            "trim(threshold=10)/rotate(angle=90)",
            "trim(threshold=10)/rotate(angle=30)",
            "mask(source=ID&mode=luma)",
            "overlay(source=ID&width=50%)",
        ] {
            check_render(&format!("png;;{}", chain.replace("ID", &images::ids()[4].to_string())), &source);
        }
    }
}

/// One decode, copies of its picture one after the other, and results that stay.
#[test]
fn many_outputs_of_one_source_hold_what_is_planned() {
    let png = codec::by_name("png").and_then(|png| png.encoder.as_ref()).expect("PNG is written");
    let picture = Picture::still(noise(SIZE, Rgb, false, true, 5));
    let deadline = Deadline::default();
    let source = Bytes::from((png.encode)(&picture, &EncodeOptions::new(&deadline)).expect("small"));
    drop(picture);
    for outputs in [
        &["png;;flip(direction=h)", "png;;flip(direction=v)", "png;;resize(width=100)"] as &[&str],
        &["png;;resize(width=300)", "png;;resize(width=200)", "jpeg;;resize(width=100)"],
        &["png;;resize(width=1200&enlarge=true)", "png;metadata=none;", "png;;blur(sigma=3)", "png;;rotate(angle=30)"],
    ] {
        let pipelines: Vec<Pipeline> = outputs.iter().map(|text| text.parse().expect(text)).collect();
        let batch = super::batch::batch(pipelines, &source, u64::MAX);
        assert_eq!(batch.groups().len(), 1, "{outputs:?}");
        let (held, results) = peak_bytes(|| super::batch::run_batch(&batch, &source));
        assert!(results.iter().all(Result::is_ok), "{outputs:?}");
        holds(batch.memory_bytes(), held, 0, &format!("{outputs:?}"));
    }
}
