//! [`Palette`]: at most 256 colours for a frame, and the frame in indices of them. Exact while they suffice.

use std::collections::HashMap;

use color_quant::NeuQuant;

use crate::pipeline::{Error, Watch};

/// Alpha below this is transparent: GIF knows nothing between.
const ALPHA_MIN: u8 = 128;

/// About as many pixels train the network: more take longer and change nothing that is seen, fewer lose rare colours.
const TRAINING_PIXELS: usize = 1 << 16;

/// The network cannot be stopped and skips at most 29 of 30 pixels, so it is shown evenly chosen ones of larger frames.
const SHOWN_PIXELS_MAX: usize = 1 << 22;

/// A frame of indices.
pub(super) struct Indexed {
    /// Red, green, blue of each index.
    pub palette: Vec<u8>,
    /// The transparent index.
    pub transparent: Option<u8>,
    /// One byte a pixel.
    pub indices: Vec<u8>,
}

/// Whether a pixel of RGB or RGBA is drawn at all.
pub(super) fn opaque(pixel: &[u8]) -> bool {
    pixel.get(3).is_none_or(|&alpha| alpha >= ALPHA_MIN)
}

/// Reduces `pixels` (rows of `w`, `count` samples each) to 256 colours. Errs only when `watch` does, which is polled at every row.
pub(super) fn reduce(pixels: &[u8], w: usize, count: usize, watch: &Watch) -> Result<Indexed, Error> {
    match exact(pixels, w, count, watch)? {
        Some(indexed) => Ok(indexed),
        None => dithered(pixels, w, count, watch),
    }
}

/// The frame as it is, when it has few enough colours.
fn exact(pixels: &[u8], w: usize, count: usize, watch: &Watch) -> Result<Option<Indexed>, Error> {
    let mut known: HashMap<[u8; 4], u8> = HashMap::new();
    let mut indexed =
        Indexed { palette: Vec::new(), transparent: None, indices: Vec::with_capacity(pixels.len() / count) };
    let mut last = ([0; 4], None);
    for (at, pixel) in pixels.chunks_exact(count).enumerate() {
        if at.is_multiple_of(w) {
            watch.check()?;
        }
        let color = if opaque(pixel) { [pixel[0], pixel[1], pixel[2], 255] } else { [0; 4] };
        // Neighbours are mostly equal in drawings, which is what fits at all.
        let index = match (last, known.get(&color)) {
            ((same, Some(index)), _) if same == color => index,
            (_, Some(&index)) => index,
            (_, None) => {
                let Ok(index) = u8::try_from(known.len()) else { return Ok(None) };
                indexed.palette.extend_from_slice(&color[..3]);
                if color[3] == 0 {
                    indexed.transparent = Some(index);
                }
                known.insert(color, index);
                index
            }
        };
        last = (color, Some(index));
        indexed.indices.push(index);
    }
    Ok(Some(indexed))
}

/// NeuQuant's colours, with errors diffused (Floyd and Steinberg) so that gradients do not band.
fn dithered(pixels: &[u8], w: usize, count: usize, watch: &Watch) -> Result<Indexed, Error> {
    let shown = shown(pixels, count);
    let transparent = pixels.chunks_exact(count).any(|pixel| !opaque(pixel)).then_some(255);
    let colors = 256 - usize::from(transparent.is_some());
    let one_in = (shown.len() / 4 / TRAINING_PIXELS).clamp(1, 30);
    let network = NeuQuant::new(one_in as i32, colors, &shown);
    let mut palette = network.color_map_rgb();
    palette.resize(palette.len().max(256 * 3), 0);
    let mut nearest = Nearest::new(&network);
    let mut indices = vec![transparent.unwrap_or_default(); pixels.len() / count];
    let mut errors = Diffusion::new(w);
    for (row, indices) in pixels.chunks_exact(w * count).zip(indices.chunks_exact_mut(w)) {
        watch.check()?;
        for (x, (pixel, index)) in row.chunks_exact(count).zip(indices).enumerate() {
            if opaque(pixel) {
                let wanted = errors.wanted(x, pixel);
                *index = nearest.index(wanted);
                let color = &palette[3 * usize::from(*index)..][..3];
                errors.spread(x, [0, 1, 2].map(|c| i32::from(wanted[c]) - i32::from(color[c])));
            }
        }
        errors.next_row();
    }
    Ok(Indexed { palette, transparent, indices })
}

/// The opaque pixels that the network is shown, as RGBA.
fn shown(pixels: &[u8], count: usize) -> Vec<u8> {
    let opaque_pixels = || pixels.chunks_exact(count).filter(|pixel| opaque(pixel));
    let one_in = opaque_pixels().count().div_ceil(SHOWN_PIXELS_MAX).max(1);
    opaque_pixels().step_by(one_in).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect()
}

/// NeuQuant's search, remembered in cells of 4 levels a channel: dithering evens out what that rounds.
struct Nearest<'a> {
    network: &'a NeuQuant,
    cells: Vec<u16>,
}

impl<'a> Nearest<'a> {
    const UNKNOWN: u16 = u16::MAX;

    fn new(network: &'a NeuQuant) -> Nearest<'a> {
        Nearest { network, cells: vec![Nearest::UNKNOWN; 1 << 18] }
    }

    fn index(&mut self, [r, g, b]: [u8; 3]) -> u8 {
        let cell = usize::from(r >> 2) << 12 | usize::from(g >> 2) << 6 | usize::from(b >> 2);
        if self.cells[cell] == Nearest::UNKNOWN {
            self.cells[cell] = self.network.index_of(&[r & !3 | 2, g & !3 | 2, b & !3 | 2, 255]) as u16;
        }
        self.cells[cell] as u8
    }
}

/// Errors of two rows in sixteenths, with a margin of one pixel at either side.
struct Diffusion {
    this: Vec<[i32; 3]>,
    next: Vec<[i32; 3]>,
}

impl Diffusion {
    fn new(w: usize) -> Diffusion {
        Diffusion { this: vec![[0; 3]; w + 2], next: vec![[0; 3]; w + 2] }
    }

    fn wanted(&self, x: usize, pixel: &[u8]) -> [u8; 3] {
        [0, 1, 2].map(|c| (i32::from(pixel[c]) + self.this[x + 1][c] / 16).clamp(0, 255) as u8)
    }

    fn spread(&mut self, x: usize, error: [i32; 3]) {
        for (c, error) in error.into_iter().enumerate() {
            self.this[x + 2][c] += 7 * error;
            self.next[x][c] += 3 * error;
            self.next[x + 1][c] += 5 * error;
            self.next[x + 2][c] += error;
        }
    }

    fn next_row(&mut self) {
        std::mem::swap(&mut self.this, &mut self.next);
        self.next.fill([0; 3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_256_colours_are_exact_and_one_more_is_not() {
        let pixels = |colors: u32| -> Vec<u8> { (0..colors).flat_map(|i| [i as u8, (i >> 8) as u8, 7]).collect() };
        let restored = |colors| {
            let indexed = reduce(&pixels(colors), colors as usize, 3, &Watch::default()).expect("not stopped");
            let colors = indexed.indices.iter().flat_map(|&i| indexed.palette[3 * usize::from(i)..][..3].to_vec());
            colors.collect::<Vec<u8>>()
        };
        assert_eq!(restored(256), pixels(256));
        assert_ne!(restored(257), pixels(257));
    }

    #[test]
    fn transparent_takes_one_index_and_its_colour_is_not_drawn() {
        let indexed = reduce(&[9, 9, 9, 127, 9, 9, 9, 128], 2, 4, &Watch::default()).expect("not stopped");
        assert_eq!(indexed.transparent, Some(indexed.indices[0]));
        assert_ne!(indexed.indices[0], indexed.indices[1]);
        let many: Vec<u8> =
            (0..600u32).flat_map(|i| [i as u8, (i >> 8) as u8, 0, if i < 300 { 255 } else { 0 }]).collect();
        let indexed = reduce(&many, 600, 4, &Watch::default()).expect("not stopped");
        assert!(indexed.indices[300..].iter().all(|&index| Some(index) == indexed.transparent));
        assert!(indexed.indices[..300].iter().all(|&index| Some(index) != indexed.transparent));
    }

    #[test]
    fn the_network_is_shown_a_bounded_number_of_pixels() {
        let shown_of = |count: usize| shown(&vec![7; 3 * count], 3).len() / 4;
        assert_eq!(shown_of(SHOWN_PIXELS_MAX), SHOWN_PIXELS_MAX);
        assert_eq!(shown_of(SHOWN_PIXELS_MAX + 1), SHOWN_PIXELS_MAX / 2 + 1);
    }
}
