//! Pixels: decode and encode per codec and every operation (the tables are the lists of cases), and whole renders of a
//! real photograph.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use progimage::digest::Digest;
use progimage::pipeline::codec::{self, CODECS, Codec, DecodeOptions, EncodeOptions};
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::{Batch, Deadline, Headers, Images, Limits, Picture, Pipeline};

/// 2048 x 972, JPEG quality 92.
const PHOTO: &[u8] = include_bytes!("../fixtures/photos/street.jpg");

/// Whole renders: output extension and query.
const RENDERS: &[(&str, &str)] = &[
    ("jpg", "w=512&h=512"),
    ("webp", "w=512&h=512"),
    ("png", "w=512&h=512"),
    ("avif", "w=512&h=512"),
    ("webp", "w=100&h=100&fit=cover"),
    ("jpg", "rotate=90"),
    ("jpg", "q=60"),
];

fn decode(codec: &Codec, bytes: &[u8]) -> Picture {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    (codec.decode)(bytes, &DecodeOptions::new(&limits, &deadline)).expect("a valid image")
}

fn pipeline(extension: &str, query: &str) -> Pipeline {
    let pairs = progimage::pipeline::query::pairs(Some(query)).expect("a well-formed query");
    let codec = codec::by_extension(extension).expect("a known extension");
    Pipeline::from_query(codec, &pairs).expect("a valid query")
}

fn render(source: &Bytes, pipeline: &Pipeline) -> Bytes {
    pipeline.run(source, &Images::new(), &Limits::default(), &Deadline::default()).expect("a valid render").bytes
}

/// Every operation's example on two megapixels, from raw pixels to raw pixels. The time of `nothing` is not the
/// operation's.
fn operations(c: &mut Criterion) {
    let photo = render(&Bytes::from_static(PHOTO), &pipeline("ppm", "metadata=none"));
    let other = render(&photo, &pipeline("pnm", "w=300&circle"));
    let (id, images) = (Digest::of(&other), Images::from([(Digest::of(&other), other.clone())]));
    let mut group = c.benchmark_group("operation");
    group.sample_size(10);
    let examples = OPERATIONS.iter().map(|operation| (operation.name, operation.example));
    for (name, example) in std::iter::once(("nothing", "metadata=none")).chain(examples) {
        // The example's own resize would leave few pixels for the operation.
        let query: Vec<&str> = example.split('&').filter(|pair| name == "resize" || *pair != "w=300").collect();
        let pipeline = pipeline("pnm", &query.join("&").replace("{id}", &id.to_string()));
        let (limits, deadline) = (Limits::default(), Deadline::default());
        group.bench_function(name, |b| {
            b.iter(|| pipeline.run(&photo, &images, &limits, &deadline).expect("a valid render"))
        });
    }
    group.finish();
}

/// The photograph in every format that can be written. Decoding is timed on these.
fn codecs(c: &mut Criterion) {
    let photo = Bytes::from_static(PHOTO);
    for codec in CODECS {
        let Some(encoder) = &codec.encoder else { continue };
        let encoded = render(&photo, &pipeline(codec.extensions[0], "metadata=none"));
        let picture = decode(codec, &encoded);
        let pixels = picture.first().size().pixels();
        let mut group = c.benchmark_group(format!("codec/{}", codec.name));
        group.sample_size(10).throughput(Throughput::Elements(pixels));
        group.bench_function("decode", |b| b.iter(|| decode(codec, &encoded)));
        let deadline = Deadline::default();
        let options = EncodeOptions::new(&deadline);
        group.bench_function("encode", |b| b.iter(|| (encoder.encode)(&picture, &options).expect("a valid picture")));
        group.finish();
    }
}

fn renders(c: &mut Criterion) {
    let photo = Bytes::from_static(PHOTO);
    let mut group = c.benchmark_group("render");
    group.sample_size(20);
    for (extension, query) in RENDERS {
        let pipeline = pipeline(extension, query);
        group.bench_function(format!("street.jpg to .{extension}?{query}"), |b| b.iter(|| render(&photo, &pipeline)));
    }
    group.finish();
}

/// Outputs that a site makes of every photograph.
const MANY: &[(&str, &str)] = &[("webp", "w=300"), ("webp", "w=600"), ("jpg", "w=1200")];

fn batch(source: &Bytes, pipelines: &[Pipeline]) -> Vec<Bytes> {
    let (limits, deadline, images) = (Limits::default(), Deadline::default(), Images::new());
    let codec = codec::sniff(source).expect("a known format");
    let header = (codec.inspect)(source).expect("a valid image");
    let batch = Batch::plan(pipelines.to_vec(), (codec, &header), Headers::new(), &limits, u64::MAX);
    let mut outputs = Vec::new();
    for group in batch.groups() {
        let mut shared = batch.decode(group, source, &limits, &deadline).expect("a valid image");
        for member in group.members() {
            let output = batch.finish(member, &mut shared, (source, &images), &limits, &deadline);
            outputs.push(output.expect("a valid render").bytes);
        }
    }
    outputs
}

/// Three outputs from as few decodes as there can be, and from three. Of the photograph, one is shrunk while it is
/// decoded; of a PNG, none.
fn many(c: &mut Criterion) {
    let photo = Bytes::from_static(PHOTO);
    let png = render(&photo, &pipeline("png", "metadata=none"));
    let pipelines: Vec<_> = MANY.iter().map(|(extension, query)| pipeline(extension, query)).collect();
    let mut group = c.benchmark_group("many");
    group.sample_size(10);
    for (name, source) in [("jpg", photo), ("png", png)] {
        group.bench_function(format!("street.{name} to 3 outputs, one by one"), |b| {
            b.iter(|| pipelines.iter().map(|pipeline| render(&source, pipeline)).collect::<Vec<_>>());
        });
        group
            .bench_function(format!("street.{name} to 3 outputs, together"), |b| b.iter(|| batch(&source, &pipelines)));
    }
    group.finish();
}

criterion_group!(benches, codecs, operations, renders, many);
criterion_main!(benches);
