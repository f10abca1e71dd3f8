//! What mixing of pixels must not lose: levels of 16-bit darks, and the one colour of soft edges.

use progimage::pipeline::{Channels, Raster, Samples, Size};

use super::apply;

#[test]
fn sixteen_bit_darks_keep_their_levels() {
    // Here sRGB is a straight line, so that means of neighbours are exact.
    let (w, h) = (1_600, 12);
    let ramp: Vec<u16> = (0..h).flat_map(|_| (0..w).map(|x| (f64::from(x) * 1.25).round() as u16)).collect();
    for (channels, count) in [(Channels::Gray, 1), (Channels::Rgb, 3)] {
        let samples = ramp.iter().flat_map(|sample| vec![*sample; count]).collect();
        let raster = Raster::new(Size::new(w, h), channels, Samples::U16(samples));
        let result = apply(raster, "w=800&fit=fill&h=6").expect("smaller");
        let Samples::U16(samples) = result.samples() else { panic!("of the same depth") };
        let row: Vec<u16> = samples[..800 * count].iter().step_by(count).copied().collect();
        let distinct = row.windows(2).filter(|pair| pair[0] != pair[1]).count() + 1;
        assert!(distinct >= 795, "{channels:?}: {distinct} levels of 800");
        for (x, sample) in row.iter().enumerate().skip(4).take(792) {
            let expected = (2.0 * x as f64 + 0.5) * 1.25;
            assert!((f64::from(*sample) - expected).abs() <= 1.2, "{channels:?} {x}: {sample}, not {expected}");
        }
    }
}

/// A disc of one colour with a soft edge, over hidden pixels of another.
fn disc(color: [u8; 3], wide: bool) -> Raster {
    const SIDE: u32 = 96;
    let alpha = |x: u32, y: u32| {
        let [x, y] = [x, y].map(|at| f64::from(at) - f64::from(SIDE) / 2.0 + 0.5);
        ((36.0 - x.hypot(y)) / 3.0).clamp(0.0, 1.0)
    };
    let pixel = |x: u32, y: u32| {
        let [r, g, b] = if alpha(x, y) > 0.0 { color } else { color.map(|sample| 255 - sample) };
        [r, g, b, (alpha(x, y) * 255.0).round() as u8]
    };
    let samples = (0..SIDE).flat_map(|y| (0..SIDE).flat_map(move |x| pixel(x, y)));
    let samples = match wide {
        true => Samples::U16(samples.map(|sample| u16::from(sample) * 257).collect()),
        false => Samples::U8(samples.collect()),
    };
    Raster::new(Size::new(SIDE, SIDE), Channels::Rgba, samples)
}

#[test]
fn one_colour_stays_one_beside_soft_alpha() {
    let queries = [
        "w=41",
        "w=60&kernel=cubic",
        "w=41&kernel=mitchell",
        "w=41&kernel=linear",
        "w=230&enlarge=true",
        "w=230&enlarge=true&kernel=cubic",
        "rotate=17&bg=00000000",
        "rotate=-44.5&bg=00000000",
    ];
    for color in [[200, 120, 40], [20, 60, 250], [255, 255, 255], [128, 128, 128], [6, 6, 6]] {
        for (query, wide) in queries.iter().flat_map(|query| [false, true].map(|wide| (query, wide))) {
            let result = apply(disc(color, wide), query).expect(query);
            let samples: Vec<u8> = match result.samples() {
                Samples::U8(samples) => samples.clone(),
                Samples::U16(samples) => samples.iter().map(|sample| (sample / 257) as u8).collect(),
            };
            // Fainter pixels are invisible, and have too few levels in free rotation.
            for pixel in samples.as_chunks::<4>().0.iter().filter(|pixel| pixel[3] >= 8) {
                let off = pixel.iter().zip(color).map(|(got, color)| got.abs_diff(color)).max();
                assert!(off <= Some(3), "{color:?} {query} at 16 bits: {wide}: {pixel:?}");
            }
        }
    }
}
