//! Inks by a profile's table: the darkest colour becomes black, paper white, and what is between them is where the
//! reference CMS puts it.

use bytes::Bytes;
use progimage::pipeline::{Deadline, Images, Limits, Pipeline};

use crate::fixtures::profiles::device_profile;

/// A press: a table of two steps for each ink.
#[derive(Clone, Copy)]
struct Press {
    /// Major version of the profile.
    version: u8,
    /// The intent that has the table.
    tag: &'static [u8; 4],
    /// Bytes of an entry.
    entry_bytes: usize,
    /// Light that full ink reflects: red, green and blue.
    floor: [f64; 3],
}

/// Slightly warm black of L* = 13.
const PRESS: Press = Press { version: 2, tag: b"A2B0", entry_bytes: 2, floor: [0.018, 0.015, 0.012] };

/// Inks without what a table interpolates, which CMS do differently.
const INKS: [[u8; 4]; 7] = [
    [0, 0, 0, 0],
    [255, 255, 255, 255],
    [0, 0, 0, 255],
    [255, 255, 255, 0],
    [255, 0, 0, 0],
    [0, 255, 0, 0],
    [0, 0, 255, 0],
];

/// By lcms2 2.19 with its perceptual intent, which compensates the black.
const COLORS: [[u8; 3]; 7] =
    [[255; 3], [0; 3], [48, 48, 48], [84, 91, 66], [90, 225, 243], [243, 108, 203], [253, 246, 89]];

impl Press {
    fn profile(self) -> Vec<u8> {
        device_profile(self.version, b"prtrCMYKLab ", &[(self.tag, self.table())])
    }

    /// A table of lut16Type or lut8Type (ICC.1:2022, 10.10 and 10.11) with straight curves.
    fn table(self) -> Vec<u8> {
        let mut table = if self.entry_bytes == 2 { b"mft2" } else { b"mft1" }.to_vec();
        table.extend([0, 0, 0, 0, 4, 3, 2, 0]);
        for row in [[1u32, 0, 0], [0, 1, 0], [0, 0, 1]] {
            table.extend(row.iter().flat_map(|entry| (entry << 16).to_be_bytes()));
        }
        let steps = if self.entry_bytes == 2 { 2 } else { 256 };
        if self.entry_bytes == 2 {
            table.extend([0, 2, 0, 2]);
        }
        let curves = |channels: usize| {
            (0..steps * channels).flat_map(move |place| self.entry((place % steps) as f64 / (steps - 1) as f64))
        };
        table.extend(curves(4));
        table.extend((0..16u32).flat_map(|node| self.lab(node)).flat_map(|share| self.entry(share)));
        table.extend(curves(3));
        table
    }

    fn entry(self, share: f64) -> Vec<u8> {
        match self.entry_bytes {
            2 => ((share * 65_535.0).round() as u16).to_be_bytes().to_vec(),
            _ => vec![(share * 255.0).round() as u8],
        }
    }

    /// Lab of a node, whose bits are cyan, magenta, yellow and black from the highest, as shares of the entry's range.
    fn lab(self, node: u32) -> [f64; 3] {
        let bit = |place: u32| f64::from(node >> place & 1);
        let (cyan, magenta, yellow, black) = (bit(3), bit(2), bit(1), bit(0));
        let through = |least: f64, c: f64, m: f64, y: f64| {
            let light = (1.0 - c * cyan) * (1.0 - m * magenta) * (1.0 - y * yellow) * (1.0 - 0.97 * black);
            if node == 15 { least } else { least + (1.0 - least) * light }
        };
        let [r, g, b] = self.floor;
        let rgb = [through(r, 0.9, 0.1, 0.02), through(g, 0.25, 0.85, 0.08), through(b, 0.1, 0.4, 0.9)];
        // sRGB to XYZ under D50, as a share of its white.
        let row = |[r, g, b]: [f64; 3], white: f64| (r * rgb[0] + g * rgb[1] + b * rgb[2]) / white;
        let xyz = [
            row([0.436_075, 0.385_065, 0.143_080], 0.964_220),
            row([0.222_505, 0.716_879, 0.060_617], 1.0),
            row([0.013_932, 0.097_105, 0.714_173], 0.825_210),
        ];
        let [x, y, z] = xyz.map(|share| if share > 0.008_856 { share.cbrt() } else { 7.787 * share + 16.0 / 116.0 });
        let (l, a, b) = (116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z));
        // 16 bits: 100 is 0xff00 and 0 is 0x8000; 8 bits: 255 and 128.
        match self.entry_bytes {
            2 => [l * 652.8 / 65_535.0, (a + 128.0) * 256.0 / 65_535.0, (b + 128.0) * 256.0 / 65_535.0],
            _ => [l / 100.0, (a + 128.0) / 255.0, (b + 128.0) / 255.0],
        }
    }
}

/// The inks as a TIFF of one row.
fn sheet(profile: &[u8]) -> Bytes {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    let (samples, tags) = (INKS.as_flattened(), 9u16);
    let after = 8 + 2 + 12 * u32::from(tags) + 4;
    let profile_at = after + samples.len() as u32;
    file.extend(tags.to_le_bytes());
    let mut tag = |number: u16, kind: u16, count: u32, value: u32| {
        file.extend(number.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    };
    tag(256, 4, 1, INKS.len() as u32);
    tag(257, 4, 1, 1);
    tag(258, 3, 1, 8);
    tag(259, 3, 1, 1);
    tag(262, 3, 1, 5);
    tag(273, 4, 1, after);
    tag(277, 3, 1, 4);
    tag(279, 4, 1, samples.len() as u32);
    tag(34_675, 7, profile.len() as u32, profile_at);
    file.extend([0; 4]);
    file.extend(samples);
    file.extend(profile);
    file.into()
}

/// The inks on the screen.
fn shown(press: Press) -> Vec<[u8; 3]> {
    let pipeline: Pipeline = "ppm;metadata=none;".parse().expect("canonical");
    let output = pipeline.run(&sheet(&press.profile()), &Images::new(), &Limits::default(), &Deadline::default());
    let file = output.expect("a whole file").bytes;
    file[file.len() - 3 * INKS.len()..].as_chunks().0.to_vec()
}

fn near(got: &[[u8; 3]], expected: &[[u8; 3]], step: u8) -> bool {
    got.as_flattened().iter().zip(expected.as_flattened()).all(|(got, expected)| got.abs_diff(*expected) <= step)
}

#[test]
fn full_ink_is_black_and_paper_white() {
    let warm = PRESS.floor;
    let presses = [
        ("version 2", PRESS),
        ("colorimetric only", Press { tag: b"A2B1", ..PRESS }),
        ("saturation only", Press { tag: b"A2B2", ..PRESS }),
        ("8 bits", Press { entry_bytes: 1, ..PRESS }),
        ("light", Press { floor: warm.map(|light| 4.0 * light), ..PRESS }),
        ("no light", Press { floor: [0.0; 3], ..PRESS }),
        // Its black is that of every perceptual table.
        ("version 4", Press { version: 4, floor: [0.003_47; 3], ..PRESS }),
        ("version 4, 8 bits", Press { version: 4, floor: [0.003_47; 3], entry_bytes: 1, ..PRESS }),
        ("version 4, colorimetric", Press { version: 4, tag: b"A2B1", ..PRESS }),
    ];
    for (name, press) in presses {
        let shown = shown(press);
        assert!(near(&shown[..2], &[[255; 3], [0; 3]], 1), "{name}: {shown:?}");
    }
}

#[test]
fn inks_are_where_the_reference_puts_them() {
    let shown = shown(PRESS);
    assert!(near(&shown, &COLORS, 2), "{shown:?}");
}
