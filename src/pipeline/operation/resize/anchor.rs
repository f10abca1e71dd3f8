//! [`Anchor`]: the point named by `gravity`, which is the centre of a crop or the position of an image on its canvas.

use crate::pipeline::Size;
use crate::pipeline::operation::gravity;
use crate::pipeline::param::{Args, Value};

/// A point in ten-thousandths of width and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor(u32, u32);

const WHOLE: f64 = 10_000.0;

impl Anchor {
    #[cfg(test)]
    pub const CENTER: Anchor = Anchor(5_000, 5_000);

    /// The point of `gravity`; the centre for words that depend on pixels.
    pub fn of(args: &Args) -> Anchor {
        let (x, y) = gravity::point(args.get("gravity"));
        Anchor(x, y)
    }

    /// The word for a point if there is one, otherwise the point.
    pub fn value(self) -> Value {
        gravity::value((self.0, self.1))
    }

    /// A point in shares of both sides.
    pub fn at(x: f64, y: f64) -> Anchor {
        let share = |share: f64| (share * WHOLE).round().clamp(0.0, WHOLE) as u32;
        Anchor(share(x), share(y))
    }

    pub fn x(self) -> f64 {
        f64::from(self.0) / WHOLE
    }

    pub fn y(self) -> f64 {
        f64::from(self.1) / WHOLE
    }

    /// Upper left corner of an image centred here on a canvas, moved inside it if there is no room.
    pub fn corner(self, image: Size, canvas: Size) -> (u32, u32) {
        let start = |share: u32, image: u32, canvas: u32| {
            let (share, image, canvas) = (i64::from(share), i64::from(image), i64::from(canvas));
            (2 * share * canvas - 10_000 * image).div_euclid(20_000).clamp(0, canvas - image) as u32
        };
        (start(self.0, image.w, canvas.w), start(self.1, image.h, canvas.h))
    }
}
