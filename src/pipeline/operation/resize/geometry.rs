//! Geometry of a resize: the region of the source, the size that it is scaled to, and the canvas around it. Sizes are
//! computed in integers; only edges of a crop may fall between pixels. Handles no pixels.

use super::anchor::Anchor;
use crate::pipeline::Size;

/// The requested box; a missing side follows from the other.
#[derive(Clone, Copy)]
pub(super) struct TargetBox {
    pub w: Option<u32>,
    pub h: Option<u32>,
}

/// Fit of the image to the box.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Inside,
    Cover,
    Contain,
    Fill,
    Outside,
}

/// A part of the source, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    pub x: f64,
    pub y: f64,
    pub w: f64,
    pub h: f64,
}

impl Region {
    /// The region of a whole image.
    pub fn whole(size: Size) -> Region {
        Region { x: 0.0, y: 0.0, w: f64::from(size.w), h: f64::from(size.h) }
    }

    /// The largest part with the ratio of `target`, centred as near to `anchor` as there is room.
    pub fn covering(self, target: Size, anchor: Anchor) -> Region {
        let (target_w, target_h) = (f64::from(target.w), f64::from(target.h));
        let w = on_grid(self.h * target_w / target_h).min(self.w);
        let h = on_grid(self.w * target_h / target_w).min(self.h);
        let start = |share: f64, side: f64, part: f64| on_grid(side * share - part / 2.0).clamp(0.0, side - part);
        let (mut x, mut y) = (start(anchor.x(), self.w, w), start(anchor.y(), self.h, h));
        if (w, h) == (target_w, target_h) {
            // Nothing is scaled, so a crop between pixels would only blur.
            (x, y) = (x.floor(), y.floor());
        }
        Region { x: self.x + x, y: self.y + y, w, h }
    }
}

/// The value rounded down to a multiple of 2^-16. Sums and differences of such values are exact, so rounding never
/// moves a part beyond its image.
pub(super) fn on_grid(px: f64) -> f64 {
    (px * 65_536.0).floor() / 65_536.0
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Geometry {
    pub source: Size,
    /// Part of the source to keep.
    pub region: Region,
    /// Size that `region` is scaled to.
    pub scaled: Size,
    /// Size of the whole source at this scale.
    pub uncropped: Size,
    /// Size of the canvas around the scaled region.
    pub result: Size,
}

impl Geometry {
    pub fn new(source: Size, asked: TargetBox, fit: Fit, anchor: Anchor, enlarge: bool) -> Geometry {
        match (asked.w, asked.h) {
            (None, None) => Geometry::whole(source, source),
            (Some(w), None) => Geometry::whole(source, capped(by_width(source, w), source, enlarge)),
            (None, Some(h)) => Geometry::whole(source, capped(by_height(source, h), source, enlarge)),
            (Some(w), Some(h)) => Geometry::boxed(source, Size::new(w, h), fit, anchor, enlarge),
        }
    }

    /// Geometry of a window of the scaled image: the source is scaled to `scaled`, and the window has its corner
    /// there at `at`.
    pub fn window(source: Size, scaled: Size, at: (u32, u32), window: Size) -> Geometry {
        let (by_x, by_y) = (f64::from(source.w) / f64::from(scaled.w), f64::from(source.h) / f64::from(scaled.h));
        let (x, y) = (f64::from(at.0) * by_x, f64::from(at.1) * by_y);
        // Rounding must not reach beyond the last pixel.
        let w = (f64::from(window.w) * by_x).min(f64::from(source.w) - x);
        let h = (f64::from(window.h) * by_y).min(f64::from(source.h) - y);
        Geometry { source, region: Region { x, y, w, h }, scaled: window, uncropped: scaled, result: window }
    }

    fn boxed(source: Size, asked: Size, fit: Fit, anchor: Anchor, enlarge: bool) -> Geometry {
        match fit {
            Fit::Inside => Geometry::whole(source, capped(inside(source, asked), source, enlarge)),
            Fit::Outside => Geometry::whole(source, capped(outside(source, asked), source, enlarge)),
            Fit::Contain => {
                let scaled = capped(inside(source, asked), source, enlarge);
                Geometry { result: asked, ..Geometry::whole(source, scaled) }
            }
            Fit::Fill if enlarge => Geometry::whole(source, asked),
            Fit::Fill => Geometry::whole(source, Size::new(asked.w.min(source.w), asked.h.min(source.h))),
            Fit::Cover if enlarge || (asked.w <= source.w && asked.h <= source.h) => {
                Geometry::cropped(source, asked, anchor)
            }
            Fit::Cover => Geometry::of_ratio(source, asked, anchor),
        }
    }

    fn whole(source: Size, scaled: Size) -> Geometry {
        Geometry { source, region: Region::whole(source), scaled, uncropped: scaled, result: scaled }
    }

    /// The largest box of this ratio inside the source, without scaling.
    pub fn of_ratio(source: Size, ratio: Size, anchor: Anchor) -> Geometry {
        Geometry::cropped(source, inside(ratio, source), anchor)
    }

    fn cropped(source: Size, target: Size, anchor: Anchor) -> Geometry {
        let region = Region::whole(source).covering(target, anchor);
        Geometry { source, region, scaled: target, uncropped: outside(source, target), result: target }
    }

    /// Whether pixels are computed or left out.
    pub fn resamples(&self) -> bool {
        self.scaled != self.source
            || self.region.w < f64::from(self.source.w)
            || self.region.h < f64::from(self.source.h)
    }

    /// Whether there is canvas around the scaled image.
    pub fn pads(&self) -> bool {
        self.result != self.scaled
    }
}

/// Upper bound on the sides that [`Geometry::new`] computes for any size within `most`.
pub(super) fn at_most(most: Size, asked: TargetBox, fit: Fit, enlarge: bool) -> Size {
    // Height of a column of one pixel, and width of a row of one pixel.
    let (w_of_h, h_of_w) = (|h: u32| most.w.saturating_mul(h), |w: u32| most.h.saturating_mul(w));
    let scaled = match (asked.w, asked.h) {
        (None, None) => most,
        (Some(w), None) => Size::new(w, h_of_w(w)),
        (None, Some(h)) => Size::new(w_of_h(h), h),
        (Some(w), Some(h)) if fit == Fit::Outside => Size::new(w.max(w_of_h(h)), h.max(h_of_w(w))),
        (Some(w), Some(h)) => Size::new(w, h),
    };
    let padded = fit == Fit::Contain && asked.w.is_some() && asked.h.is_some();
    if enlarge || padded { scaled } else { scaled.min(most) }
}

/// Upper bound on the number of source rows or columns per result row or column, for any size within `most`.
pub(super) fn shrinks_at_most(most: Size, asked: TargetBox) -> f64 {
    let ratio = |side: u32, asked: Option<u32>| asked.map_or(1.0, |asked| f64::from(side) / f64::from(asked));
    // The other side is rounded, at worst from 1.5 to 1.
    (ratio(most.w, asked.w).max(ratio(most.h, asked.h)) * 1.5).max(1.0)
}

/// Size of `source` when scaled to this width.
pub(in crate::pipeline) fn by_width(source: Size, w: u32) -> Size {
    Size::new(w, scaled(source.h, w, source.w))
}

fn by_height(source: Size, h: u32) -> Size {
    Size::new(scaled(source.w, h, source.h), h)
}

fn inside(source: Size, asked: Size) -> Size {
    if wider(source, asked) { by_width(source, asked.w) } else { by_height(source, asked.h) }
}

fn outside(source: Size, asked: Size) -> Size {
    if wider(source, asked) { by_height(source, asked.h) } else { by_width(source, asked.w) }
}

fn wider(source: Size, than: Size) -> bool {
    u64::from(source.w) * u64::from(than.h) > u64::from(source.h) * u64::from(than.w)
}

/// Limits a size to that of the source unless `enlarge` is set. Proportional sizes exceed the source in both sides or
/// in none.
fn capped(size: Size, source: Size, enlarge: bool) -> Size {
    if !enlarge && (size.w > source.w || size.h > source.h) { source } else { size }
}

/// `side * multiple / divisor`, rounded, at least 1.
fn scaled(side: u32, multiple: u32, divisor: u32) -> u32 {
    let rounded = (u64::from(side) * u64::from(multiple) * 2 + u64::from(divisor)) / (u64::from(divisor) * 2);
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(fit: Fit, enlarge: bool, source: (u32, u32), asked: (u32, u32)) -> (u32, u32) {
        let side = |side| if side == 0 { None } else { Some(side) };
        let asked = TargetBox { w: side(asked.0), h: side(asked.1) };
        let result = Geometry::new(Size::new(source.0, source.1), asked, fit, Anchor::CENTER, enlarge).result;
        (result.w, result.h)
    }

    #[test]
    fn each_fit_meets_the_box_in_its_own_way() {
        let photo = (4000, 3000);
        let check = |fit, asked, expected| assert_eq!(size(fit, false, photo, asked), expected);
        check(Fit::Inside, (400, 400), (400, 300));
        check(Fit::Inside, (0, 400), (533, 400));
        check(Fit::Inside, (1, 0), (1, 1));
        check(Fit::Inside, (0, 0), photo);
        check(Fit::Outside, (400, 400), (533, 400));
        check(Fit::Cover, (400, 400), (400, 400));
        check(Fit::Contain, (400, 400), (400, 400));
        check(Fit::Fill, (400, 400), (400, 400));
    }

    #[test]
    fn nothing_is_enlarged_unless_asked() {
        let small = (40, 30);
        let check = |fit, enlarge, expected| assert_eq!(size(fit, enlarge, small, (100, 100)), expected);
        check(Fit::Inside, false, small);
        check(Fit::Inside, true, (100, 75));
        check(Fit::Outside, false, small);
        check(Fit::Outside, true, (133, 100));
        check(Fit::Cover, false, (30, 30));
        check(Fit::Cover, true, (100, 100));
        check(Fit::Contain, false, (100, 100));
        check(Fit::Fill, false, small);
        check(Fit::Fill, true, (100, 100));
        assert_eq!(size(Fit::Fill, false, small, (10, 100)), (10, 30));
    }

    #[test]
    fn a_cover_that_scales_nothing_keeps_whole_pixels() {
        let geometry = Geometry::new(
            Size::new(101, 60),
            TargetBox { w: Some(60), h: Some(60) },
            Fit::Cover,
            Anchor::CENTER,
            false,
        );
        assert_eq!(geometry.region, Region { x: 20.0, y: 0.0, w: 60.0, h: 60.0 });
        assert_eq!(geometry.scaled, Size::new(60, 60));
        assert_eq!(geometry.uncropped, Size::new(101, 60));
    }
}
