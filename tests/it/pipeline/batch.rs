//! Many outputs of one source: each has the bytes that it has alone, from fewer decodes.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;

use super::images;
use crate::fixtures::{photo, read};
use progimage::pipeline::codec::{self, Codec, Header};
use progimage::pipeline::{Batch, Deadline, Error, Headers, Limits, Output, Pipeline};

/// Fixtures of every kind of decode: shrunk, turned, managed, kept in the space of a profile, with alpha, deep,
/// animated.
const SOURCES: &[&str] = &[
    "orientation_6.jpg",
    "metadata.jpg",
    "icc_swapped.jpg",
    "cmyk_adobe.jpg",
    "animated.png",
    "rgba_16bit.png",
    "gray_alpha.png",
    "animated_dispose_and_blend.webp",
    "metadata.webp",
    "disposal_previous.gif",
    "rgb_8bit_icc.tiff",
];

const OUTPUTS: &[(&str, &str)] = &[
    ("webp", "w=13"),
    ("webp", "w=20&flip=h"),
    ("jpg", "w=90"),
    ("jpg", "w=40&h=40&fit=cover"),
    ("jpg", "metadata=all"),
    ("png", "w=11&metadata=all"),
    ("jpg", ""),
    ("gif", ""),
    ("png", ""),
    ("jpg", "never_larger"),
    ("png", "never_larger"),
    ("webp", "never_larger&metadata=all"),
    ("gif", "w=9"),
    ("gif", "blur=1"),
    ("png", "frame=1"),
    ("png", "frame=0&w=8"),
    ("png", "orient=none"),
    ("png", "rotate=90&w=12"),
    ("png", "rotate=30"),
    ("png", "trim=10&w=17"),
    ("png", "crop=3,2,9,8"),
    ("png", "crop=9000,0,1,1"),
    ("jpg", "grayscale&q=30"),
    ("png", "mask={image}&w=14"),
    ("webp", "overlay={image}"),
    ("jpg", "max_bytes=900&w=60"),
    ("tiff", "metadata=copyright"),
];

fn output((extension, query): (&str, &str)) -> Pipeline {
    let codec = codec::by_extension(extension).expect("a row");
    let query = query.replace("{image}", &images::ids()[3].to_string());
    Pipeline::from_query(codec, &progimage::pipeline::query::pairs(Some(&query)).expect("plain")).expect("valid")
}

/// Large enough to be shrunk by the decoder.
fn street() -> Bytes {
    static PHOTO: LazyLock<Bytes> = LazyLock::new(|| {
        let whole = Bytes::from(photo("street.jpg"));
        run(&output(("jpg", "w=240")), &whole).expect("a photograph").bytes
    });
    PHOTO.clone()
}

fn run(pipeline: &Pipeline, source: &Bytes) -> Result<Output, Error> {
    pipeline.run(source, images::encoded(), &Limits::default(), &Deadline::default())
}

fn inspected(bytes: &Bytes) -> (&'static Codec, Header) {
    let codec = codec::sniff(bytes).expect("known");
    (codec, (codec.inspect)(bytes).expect("valid"))
}

pub fn batch(pipelines: Vec<Pipeline>, source: &Bytes, memory_bytes_max: u64) -> Batch {
    let (codec, header) = inspected(source);
    let headers: Headers = images::encoded().iter().map(|(id, bytes)| (*id, inspected(bytes))).collect();
    Batch::plan(pipelines, (codec, &header), headers, &Limits::default(), memory_bytes_max)
}

/// Every result, in the order of the pipelines.
pub fn run_batch(batch: &Batch, source: &Bytes) -> Vec<Result<Bytes, Error>> {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let mut results: Vec<_> = batch.pipelines().iter().map(|_| None).collect();
    for (index, error) in batch.refused() {
        results[*index] = Some(Err(error.clone()));
    }
    for group in batch.groups() {
        let mut decoded = batch.decode(group, source, &limits, &deadline);
        for member in group.members() {
            let output = match &mut decoded {
                Ok(shared) => batch.finish(member, shared, (source, images::encoded()), &limits, &deadline),
                Err(error) => Err(error.clone()),
            };
            results[member.index] = Some(output.map(|output| output.bytes));
        }
    }
    results.into_iter().map(|result| result.expect("each has one")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn outputs_that_share_a_decode_have_the_bytes_of_each_alone(
        source in prop::sample::select((0..=SOURCES.len()).collect::<Vec<_>>()),
        outputs in prop::collection::vec(prop::sample::select(OUTPUTS), 2..=4),
        shares in prop::bool::weighted(0.9),
    ) {
        let source = SOURCES.get(source).map_or_else(street, |name| Bytes::from(read(name)));
        let pipelines: Vec<_> = outputs.iter().copied().map(output).collect();
        let batch = batch(pipelines.clone(), &source, if shares { u64::MAX } else { 0 });
        prop_assert_eq!(batch.groups().iter().map(|group| group.members().len()).sum::<usize>() + batch.refused().len(), outputs.len());
        for (pipeline, made) in pipelines.iter().zip(run_batch(&batch, &source)) {
            prop_assert!(made == run(pipeline, &source).map(|alone| alone.bytes), "{pipeline} of {outputs:?}");
        }
    }
}

fn groups(source: &Bytes, outputs: &[(&str, &str)]) -> Vec<Vec<usize>> {
    let batch = batch(outputs.iter().copied().map(output).collect(), source, u64::MAX);
    let indices = |group: &progimage::pipeline::Group| group.members().iter().map(|member| member.index).collect();
    batch.groups().iter().map(indices).collect()
}

#[test]
fn outputs_share_a_decode_only_where_each_would_decode_the_same() {
    // At 240 x 114, two come from an eighth and the other one from a half.
    assert_eq!(groups(&street(), &[("webp", "w=15"), ("jpg", "w=60"), ("png", "w=14")]), [vec![0, 2], vec![1]]);
    let animation = Bytes::from(read("animated.png"));
    let outputs = [("gif", "w=9"), ("jpg", "w=9"), ("png", "w=9"), ("png", "frame=1"), ("jpg", "q=9")];
    assert_eq!(groups(&animation, &outputs), [vec![0, 2], vec![1, 4], vec![3]]);
    let turned = Bytes::from(read("orientation_6.jpg"));
    assert_eq!(groups(&turned, &[("png", "flip=h"), ("png", "orient=none"), ("jpg", "")]), [vec![0], vec![1], vec![2]]);
}

#[test]
fn outputs_share_up_to_the_memory_that_they_may_hold() {
    let (source, outputs) = (street(), || [("png", "flip=h"), ("png", "flip=v")].map(output).to_vec());
    let alone = batch(outputs(), &source, 0);
    let [first, _] = alone.groups() else { panic!("two") };
    assert_eq!(first.members().len(), 1);
    // The picture: 240 x 114 of three samples.
    let peak = batch(vec![outputs().remove(0)], &source, 0).memory_bytes();
    let needed = peak + 240 * 114 * 3;
    assert_eq!(batch(outputs(), &source, needed).groups().len(), 1);
    assert_eq!(batch(outputs(), &source, needed - 1).groups().len(), 2);
}
