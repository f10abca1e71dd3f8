//! Laws over the whole table of operations, on rasters of odd shapes.

use bytes::Bytes;
use proptest::prelude::*;

use super::generators::{flat, heads, pairs};
use super::images;
use progimage::pipeline::operation::{Context, OPERATIONS, Operation, by_name};
use progimage::pipeline::param::{Args, Kind};
use progimage::pipeline::{Channels, Deadline, Error, Limits, Pipeline, Raster, Samples, Shape, Size, codec};

pub fn rasters() -> impl Strategy<Value = Raster> {
    let channels = prop::sample::select(vec![Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba]);
    (1..=70u32, 1..=50u32, channels, any::<bool>(), any::<bool>(), any::<u32>())
        .prop_map(|(w, h, channels, wide, opaque, seed)| raster(Size::new(w, h), channels, wide, opaque, seed))
}

/// Noise; a small generator is quicker than proptest's for every sample, and shrinks with its seed.
pub fn raster(size: Size, channels: Channels, wide: bool, opaque: bool, mut seed: u32) -> Raster {
    let count = size.pixels() as usize * channels.count();
    let sample = |place: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let alpha = channels.alpha() && place % channels.count() == channels.count() - 1;
        if alpha && opaque { u16::MAX } else { (seed >> 16) as u16 }
    };
    let samples: Vec<u16> = (0..count).map(sample).collect();
    let samples =
        if wide { Samples::U16(samples) } else { Samples::U8(samples.iter().map(|v| (v >> 8) as u8).collect()) };
    Raster::new(size, channels, samples)
}

/// An operation with some arguments, as a query would give them. Sides are near those of the rasters. Arguments that
/// conflict are left out, so that a pipeline would run the rest.
pub fn steps() -> impl Strategy<Value = (&'static Operation, Args)> {
    prop::sample::select(OPERATIONS).prop_flat_map(|operation| {
        pairs(heads(operation.params)).prop_filter_map("nothing to do", move |pairs| {
            let mut args = Args::defaults(operation.params);
            for (key, value) in pairs {
                let index =
                    operation.params.iter().position(|param| param.keys.contains(&key.as_str())).expect("own key");
                args.set_flat(&key, index, &near(&operation.params[index].kind, &value)).expect("generated");
            }
            let args = (operation.canonical)(args).ok().flatten()?;
            assert_eq!((operation.canonical)(args.clone()).as_ref().ok(), Some(&Some(args.clone())), "once is enough");
            Some((operation, args))
        })
    })
}

/// Whole pixels up to a size that is near that of the rasters.
fn near(kind: &Kind, values: &str) -> String {
    let near = |value: &str| value.parse::<u32>().map_or(value.to_owned(), |px| (px % 150 + 1).to_string());
    match kind {
        Kind::Integer { unit: "px", max: 65_535, .. } | Kind::Length { .. } | Kind::Edge { .. } => {
            values.split(',').map(near).collect::<Vec<_>>().join(",")
        }
        _ => values.to_owned(),
    }
}

fn apply(raster: Raster, name: &str, args: &str) -> Raster {
    let operation = by_name(name).expect(name);
    let args = Args::parse(operation.params, args).expect(args);
    (operation.apply)(raster, &args, &Context { deadline: &Deadline::default(), images: images::rasters() })
        .expect("small")
}

proptest! {
    #[test]
    fn a_result_has_the_planned_shape_and_the_same_bytes_each_time(raster in rasters(), (operation, args) in steps()) {
        let planned = match (operation.plan)(raster.shape(), &args) {
            Err(Error::CropOutside) => return Ok(()),
            planned => planned.expect("small"),
        };
        prop_assume!(planned.shape.bytes() < 16 << 20);
        let deadline = Deadline::default();
        let context = Context { deadline: &deadline, images: images::rasters() };
        let apply = || (operation.apply)(raster.clone(), &args, &context).expect("small");
        let result = apply();
        if planned.at_most {
            let (is, most) = (result.size(), planned.shape.size);
            prop_assert!(is.w <= most.w && is.h <= most.h, "{}({})", operation.name, args);
            prop_assert_eq!(Shape { size: most, ..result.shape() }, planned.shape);
        } else {
            prop_assert_eq!(result.shape(), planned.shape, "{}({})", operation.name, args);
        }
        prop_assert!(result == apply());
    }

    /// From bytes to bytes: a render gives what was planned, within the limits, or is refused by name.
    #[test]
    fn a_whole_render_is_as_planned(source in prop::sample::select(images::ids()), pairs in pairs(flat())) {
        let limits = Limits { side_px_max: 300, pixels_max: 40_000, ..Limits::default() };
        let png = codec::by_extension("png").expect("a row");
        let Ok(pipeline) = Pipeline::from_query(png, &pairs) else { return Ok(()) };
        let source: Bytes = images::encoded()[&source].clone();
        let header = |bytes: &Bytes| {
            let codec = codec::sniff(bytes).expect("known");
            (codec, (codec.inspect)(bytes).expect("valid"))
        };
        let headers = images::encoded().iter().map(|(id, bytes)| (*id, header(bytes))).collect();
        let (codec, inspected) = header(&source);
        let planned = pipeline.plan((codec, &inspected), &headers, &limits);
        match pipeline.run(&source, images::encoded(), &limits, &Deadline::default()) {
            Ok(output) => {
                let plan = planned.expect("what runs can be planned");
                let size = header(&output.bytes).1.size;
                prop_assert!(size.w <= plan.size.w && size.h <= plan.size.h, "{pipeline}: {size:?} of {plan:?}");
                prop_assert!(size == plan.size || !plan.exact, "{pipeline}: {size:?} of {plan:?}");
            }
            Err(Error::Invalid { .. } | Error::Limit { .. } | Error::CropOutside) => {}
            Err(other) => prop_assert!(false, "{pipeline}: {other}"),
        }
    }

    #[test]
    fn turns_and_mirrors_come_back(raster in rasters()) {
        let four = (0..4).fold(raster.clone(), |raster, _| apply(raster, "rotate", "angle=90"));
        prop_assert!(four == raster);
        prop_assert!(apply(apply(raster.clone(), "rotate", "angle=-90"), "rotate", "angle=90") == raster);
        for direction in ["h", "v", "hv"] {
            let args = format!("direction={direction}");
            let twice = apply(apply(raster.clone(), "flip", &args), "flip", &args);
            prop_assert!(twice == raster);
        }
        let both = apply(raster.clone(), "flip", "direction=hv");
        prop_assert!(apply(raster, "rotate", "angle=180") == both);
    }

    /// A resize to the source's size changes nothing. A picture of one colour keeps it at every size and kernel, also
    /// where it is partly transparent.
    #[test]
    fn resizing_keeps_flat_colours(
        (size, w, h) in ((1..=70u32, 1..=50u32), 1..=100u32, 1..=100u32),
        pixel in any::<[u8; 3]>(),
        alpha in 1..=255u8,
        kernel in prop::sample::select(vec!["lanczos3", "mitchell", "cubic", "linear", "nearest"]),
    ) {
        let [r, g, b] = pixel;
        let size = Size::new(size.0, size.1);
        let samples = [r, g, b, alpha].repeat(size.pixels() as usize);
        let flat = Raster::new(size, Channels::Rgba, Samples::U8(samples));
        let unchanged = apply(flat.clone(), "resize", &format!("width={}&height={}", size.w, size.h));
        prop_assert!(unchanged == flat);
        let args = format!("width={w}&height={h}&fit=fill&enlarge=true&kernel={kernel}");
        let Samples::U8(samples) = apply(flat, "resize", &args).into_samples() else { panic!("depth changed") };
        for got in samples.chunks_exact(4) {
            prop_assert_eq!(got[3], alpha);
            // Alpha has 8 bits: the fewer of them are left, the fewer carry the colour; linear light is steep in the
            // dark.
            let tolerance = if alpha >= 128 { 1 } else { 255 / alpha / 2 + 2 };
            for (got, given) in got.iter().zip([r, g, b]) {
                prop_assert!(got.abs_diff(given) <= tolerance, "{got} of {given} at alpha {alpha}");
            }
        }
    }

    /// For opaque sources, the shortcut without alpha gives an equal result.
    #[test]
    fn opaque_alpha_changes_nothing(raster in rasters(), (w, h) in (1..=100u32, 1..=100u32)) {
        let args = format!("width={w}&height={h}&fit=fill&enlarge=true");
        let rgb = if raster.channels().gray() { Channels::Gray } else { Channels::Rgb };
        let opaque = progimage::pipeline::color::to_channels(raster, rgb).expect("small");
        let rgba = if rgb.gray() { Channels::GrayAlpha } else { Channels::Rgba };
        let with_alpha = progimage::pipeline::color::to_channels(opaque.clone(), rgba).expect("small");
        let result = apply(with_alpha, "resize", &args);
        let expected = progimage::pipeline::color::to_channels(apply(opaque, "resize", &args), rgba).expect("small");
        prop_assert!(result == expected);
    }
}

/// One pixel of white in black, halved: half the light, not half the code value.
#[test]
fn resizing_is_done_in_linear_light() {
    let checkered = (0..64 * 64).map(|place| if (place / 64 + place % 64) % 2 == 0 { 255 } else { 0 }).collect();
    let raster = Raster::new(Size::new(64, 64), Channels::Gray, Samples::U8(checkered));
    let Samples::U8(samples) = apply(raster, "resize", "width=8").into_samples() else { panic!("depth changed") };
    let middle = samples[3 * 8 + 3];
    assert!(middle.abs_diff(188) <= 1, "{middle}");
}

/// Transparent red next to opaque blue: no red may show at the edge.
#[test]
fn transparent_pixels_do_not_bleed() {
    let row = [[255, 0, 0, 0].repeat(32), [0, 0, 255, 255].repeat(32)].concat();
    let raster = Raster::new(Size::new(64, 64), Channels::Rgba, Samples::U8(row.repeat(64)));
    let Samples::U8(samples) = apply(raster, "resize", "width=13").into_samples() else { panic!("depth changed") };
    assert!(samples.chunks_exact(4).all(|pixel| pixel[0] == 0));
    assert!(samples.chunks_exact(4).any(|pixel| (1..255).contains(&pixel[3])));
}

/// Large results are made in several bands. Equal rows, stretched until they need several, must stay equal.
#[test]
fn bands_have_no_seams() {
    let rows = raster(Size::new(1, 900), Channels::Gray, true, true, 7);
    let column = |w: usize| {
        let args = format!("width={w}&height=300&fit=fill&enlarge=true");
        let Samples::U16(samples) = apply(rows.clone(), "resize", &args).into_samples() else {
            panic!("depth changed")
        };
        samples.into_iter().step_by(w).collect::<Vec<_>>()
    };
    for (y, (one_band, bands)) in column(1).into_iter().zip(column(20_000)).enumerate() {
        assert!(one_band.abs_diff(bands) <= 30, "row {y}: {one_band} and {bands}");
    }
}
