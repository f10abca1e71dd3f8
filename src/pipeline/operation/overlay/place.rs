//! Position of an overlay: which of its pixels are visible, and where. Handles coordinates only.

use crate::pipeline::Size;
use crate::pipeline::operation::gravity;
use crate::pipeline::operation::resize::ScaledPart;
use crate::pipeline::param::Args;

/// Consecutive columns or rows of the base that show the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First column or row of the base.
    pub at: u32,
    /// Number of columns or rows.
    pub len: u32,
    /// Column or row of the overlay that the first one shows.
    from: u32,
    /// Length after which the overlay repeats.
    period: Option<u32>,
}

impl Span {
    /// Column or row of the overlay that is visible at the `place`th of this span.
    pub fn source(&self, place: u32) -> u32 {
        let source = self.from + place;
        self.period.map_or(source, |period| source % period)
    }

    /// First and number of the overlay's visible columns or rows.
    fn window(&self) -> (u32, u32) {
        self.period.map_or((self.from, self.len), |period| (0, period))
    }

    /// The span relative to the piece of the overlay that is visible.
    fn of_window(self) -> Span {
        Span { from: if self.period.is_some() { self.from } else { 0 }, ..self }
    }
}

/// A part of the base that shows one piece of the overlay, once or repeatedly.
pub(super) struct Patch {
    pub across: Span,
    pub down: Span,
}

impl Patch {
    /// Part of the overlay, scaled to `scaled`, that must be computed; never larger than the base.
    pub fn window(&self, scaled: Size) -> ScaledPart {
        let ((x, w), (y, h)) = (self.across.window(), self.down.window());
        ScaledPart { scaled, at: (x, y), size: Size::new(w, h) }
    }

    pub fn of_window(&self) -> Patch {
        Patch { across: self.across.of_window(), down: self.down.of_window() }
    }
}

/// Patches of an overlay of this size: at most four, if tiles are larger than the base.
pub(super) fn patches(args: &Args, base: Size, overlay: Size) -> impl Iterator<Item = Patch> {
    let (gravity_x, gravity_y) = gravity::point(args.get("gravity"));
    let offset = |name: &str| args.number(name).unwrap_or(0);
    let start = |base: u32, overlay: u32, share: u32| {
        ((i64::from(base) - i64::from(overlay)) * i64::from(share)).div_euclid(10_000)
    };
    let left = start(base.w, overlay.w, gravity_x) + offset("x");
    let top = start(base.h, overlay.h, gravity_y) + offset("y");
    let tiled = args.flag("tile");
    let (across, down) = (spans(base.w, overlay.w, left, tiled), spans(base.h, overlay.h, top, tiled));
    down.into_iter().flat_map(move |down| across.clone().into_iter().map(move |across| Patch { across, down }))
}

/// Spans of `base` that show an overlay of `len` that begins at `start`.
fn spans(base: u32, len: u32, start: i64, tiled: bool) -> Vec<Span> {
    let (base_end, end) = (i64::from(base), start + i64::from(len));
    if !tiled {
        let (at, until) = (start.clamp(0, base_end), end.clamp(0, base_end));
        // Both are inside the base, and the overlay is at least as long as its visible part.
        let span = Span { at: at as u32, len: (until - at) as u32, from: (at - start) as u32, period: None };
        return if until > at { vec![span] } else { Vec::new() };
    }
    let from = (-start).rem_euclid(i64::from(len)) as u32;
    if len <= base {
        return vec![Span { at: 0, len: base, from, period: Some(len) }];
    }
    let first = (len - from).min(base);
    let mut spans = vec![Span { at: 0, len: first, from, period: None }];
    if first < base {
        spans.push(Span { at: first, len: base - first, from: 0, period: None });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares each pixel of the base with the expected pixel of the overlay.
    fn check(base: u32, len: u32, start: i64, tiled: bool) {
        let mut shown = vec![None; base as usize];
        for span in spans(base, len, start, tiled) {
            let (first, count) = span.window();
            assert!(count <= base && first + count <= len);
            for place in 0..span.len {
                let source = span.source(place);
                assert_eq!(first + span.of_window().source(place), source);
                assert_eq!(shown[(span.at + place) as usize].replace(source), None);
            }
        }
        for (x, shown) in shown.into_iter().enumerate() {
            let source = x as i64 - start;
            let (tile, inside) = (source.rem_euclid(len.into()), (0..i64::from(len)).contains(&source));
            let expected = if tiled { Some(tile) } else { Some(source).filter(|_| inside) };
            assert_eq!(shown.map(i64::from), expected, "{base} {len} {start} {tiled} {x}");
        }
    }

    #[test]
    fn every_pixel_shows_what_lies_on_it() {
        for (base, len) in [(10, 3), (10, 10), (10, 11), (10, 25), (1, 1), (1, 7)] {
            for start in [-65_535, -30, -25, -24, -11, -10, -3, -1, 0, 1, 5, 9, 10, 11, 65_535] {
                check(base, len, start, false);
                check(base, len, start, true);
            }
        }
    }
}
