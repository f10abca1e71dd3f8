//! `normalize`: stretches lightness to the full range.

use super::super::lab::{self, BLACK, ONE};
use super::super::tone::{self, KNOTS};
use super::super::{Args, Context, Error, Operation, Raster, Step, plan_same, switch, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "normalize",
    doc: "Stretches lightness (CIE L*) so that its 1st percentile becomes black and its 99th white: sharp's \
          `normalise`. Animations use the percentiles of their first frame.",
    params: &[switch(&["normalize"], "Stretches the lightness; in JSON the operation's name is enough.")],
    example: "normalize",
    revision: 2,
    canonical: unless_off,
    resolve: Some(resolve),
    plan: plan_same,
    apply: |raster, args, context| tone::resolved(resolve, raster, args, context),
};

fn resolve(raster: &Raster, _: &Args, context: &Context<'_>) -> Result<Step, Error> {
    let bins = tone::histogram(raster, context.deadline)?;
    Ok(tone::step(stretched(percentile(&bins, 1), percentile(&bins, 99))))
}

/// Lowest gray up to which more pixels lie than this percentage; black if there are none.
fn percentile(bins: &[u64; KNOTS], percent: u64) -> usize {
    let total: u64 = bins.iter().sum();
    let mut up_to = 0;
    let past = |bin: &u64| {
        up_to += bin;
        up_to * 100 > total * percent
    };
    bins.iter().position(past).unwrap_or(0)
}

/// Curve that makes `low` black and `high` white. The identity if they already are, or if they differ by at most 1 of
/// L*, since then only noise would be stretched.
fn stretched(low: usize, high: usize) -> [i64; KNOTS] {
    let f = |gray: usize| lab::f(lab::of_sample(gray as u8));
    let (black, range) = (f(low), f(high) - f(low));
    if (low, high) == (0, KNOTS - 1) || range * 116 <= ONE {
        return tone::identity();
    }
    std::array::from_fn(|gray| {
        let stretched = BLACK + (f(gray) - black) * (ONE - BLACK) / range;
        lab::sample::<u16>(lab::light(stretched)).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_first_gray_past_their_share() {
        let mut bins = [0; KNOTS];
        assert_eq!([percentile(&bins, 1), percentile(&bins, 99)], [0, 0]);
        (bins[10], bins[20], bins[200], bins[250]) = (1, 49, 49, 1);
        assert_eq!([percentile(&bins, 1), percentile(&bins, 99)], [20, 250]);
        (bins[10], bins[250]) = (2, 0);
        assert_eq!([percentile(&bins, 1), percentile(&bins, 99)], [10, 200]);
    }

    #[test]
    fn the_whole_range_is_used_and_noise_is_left_alone() {
        assert_eq!(stretched(0, 255), tone::identity());
        let curve = stretched(50, 100);
        assert_eq!((curve[0], curve[50], curve[100], curve[255]), (0, 0, tone::WHITE, tone::WHITE));
        assert!(curve.is_sorted());
        assert_eq!(stretched(100, 100), tone::identity());
        assert_eq!(stretched(100, 102), tone::identity());
        assert_ne!(stretched(100, 103), tone::identity());
    }
}
