//! [`windows`]: the rows around each row of an image, with extended edges, for filters that use neighbours. Holds
//! only these rows.

use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Shape};

/// Dimensions of an image that is read from top to bottom.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// Pixels per row.
    pub w: usize,
    /// Number of rows.
    pub h: usize,
    /// Samples per pixel.
    pub count: usize,
}

impl Rows {
    /// Dimensions of an image with all its samples.
    pub fn of(shape: Shape) -> Rows {
        Rows { w: shape.size.w as usize, h: shape.size.h as usize, count: shape.channels.count() }
    }
}

/// Reach of a filter, in pixels on each side.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub x: usize,
    pub y: usize,
}

/// The rows around one row.
pub(super) struct RowWindow<T> {
    samples: Vec<T>,
    /// Samples per row, including padding.
    stride: usize,
    /// Number of rows held.
    held: usize,
    h: usize,
    /// Index of the row in the middle.
    y: usize,
}

impl<T> RowWindow<T> {
    /// The row `dy` below the middle, or the outermost one. Its first and last [`Reach::x`] pixels repeat the edge of
    /// the image.
    pub fn row(&self, dy: isize) -> &[T] {
        let y = self.y.saturating_add_signed(dy).min(self.h - 1);
        &self.samples[y % self.held * self.stride..][..self.stride]
    }
}

/// Bytes that [`windows`] holds.
pub(super) fn working_bytes<T>(rows: Rows, reach: Reach) -> u64 {
    let samples = (2 * reach.y + 1).min(rows.h) * (rows.w + 2 * reach.x) * rows.count;
    (samples * size_of::<T>()) as u64
}

/// Calls `source` once for each row, from the top, to write its samples; then `filter` with the rows around each row
/// as soon as they are available.
pub(super) fn windows<T: Copy + Default>(
    rows: Rows,
    reach: Reach,
    deadline: &Deadline,
    mut source: impl FnMut(usize, &mut [T]),
    mut filter: impl FnMut(usize, &RowWindow<T>),
) -> Result<(), Error> {
    let Rows { w, h, count } = rows;
    let (stride, held) = ((w + 2 * reach.x) * count, (2 * reach.y + 1).min(h));
    let mut window = RowWindow { samples: try_zeroed(held * stride)?, stride, held, h, y: 0 };
    let mut read = 0;
    for y in 0..h {
        deadline.check()?;
        while read < h && read <= y + reach.y {
            let row = &mut window.samples[read % held * stride..][..stride];
            source(read, &mut row[reach.x * count..(reach.x + w) * count]);
            pad(row, reach.x, count);
            read += 1;
        }
        window.y = y;
        filter(y, &window);
    }
    Ok(())
}

/// Fills the `pad` pixels at either end with the outermost pixel between them.
pub(super) fn pad<T: Copy>(row: &mut [T], pad: usize, count: usize) {
    let end = row.len() - pad * count;
    for x in 0..pad {
        row.copy_within(pad * count..(pad + 1) * count, x * count);
        row.copy_within(end - count..end, end + x * count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(w: usize, h: usize, reach: Reach, expected: &[&str]) {
        let rows = Rows { w, h, count: 1 };
        let mut seen = Vec::new();
        let source = |y: usize, row: &mut [u8]| (0..).zip(row).for_each(|(x, v)| *v = b'a' + x + y as u8 * w as u8);
        windows(rows, reach, &Deadline::default(), source, |_, window| {
            let around = -(reach.y as isize)..=reach.y as isize;
            let text: Vec<_> = around.map(|dy| String::from_utf8_lossy(window.row(dy)).into_owned()).collect();
            seen.push(text.join(" "));
        })
        .expect("small");
        assert_eq!(seen, expected);
    }

    #[test]
    fn edges_are_repeated() {
        check(2, 3, Reach { x: 1, y: 1 }, &["aabb aabb ccdd", "aabb ccdd eeff", "ccdd eeff eeff"]);
        check(1, 1, Reach { x: 2, y: 2 }, &["aaaaa aaaaa aaaaa aaaaa aaaaa"]);
        check(1, 2, Reach { x: 0, y: 3 }, &["a a a a b b b", "a a a b b b b"]);
    }
}
