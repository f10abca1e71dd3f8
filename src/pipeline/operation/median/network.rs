//! Medians of square windows by sorting networks, many neighbouring windows at a time. Exchanges of minimum and
//! maximum do not depend on the values, so the compiler can use vector instructions.
//!
//! Columns are sorted first, since neighbouring windows share them; then each row of the sorted columns is sorted. A
//! value in row i and column j is then no less than the (i + 1)(j + 1) - 1 values above and left of it, and no more
//! than those below and right of it. So all values outside a diagonal band are too small or too large to be the
//! median, and are dropped. From the rest, the smallest and the largest are removed until one remains.

/// Windows at a time: enough for vector instructions, few enough for the first-level cache.
const LANES: usize = 64;

/// Largest number of values in the diagonal band, for a window of 7.
const LEFT_MAX: usize = 29;

fn exchange<S: Ord + Copy, const N: usize>(values: &mut [[S; N]], low: usize, high: usize) {
    let Ok([low, high]) = values.get_disjoint_mut([low, high]) else { return };
    for (low, high) in low.iter_mut().zip(high) {
        (*low, *high) = ((*low).min(*high), (*low).max(*high));
    }
}

/// Sorts by optimal networks (D. E. Knuth, The Art of Computer Programming, volume 3, 5.3.4).
fn sort<S: Ord + Copy, const N: usize, const SIDE: usize>(values: &mut [[S; N]; SIDE]) {
    let mut pairs = |pairs: &[(usize, usize)]| pairs.iter().for_each(|(low, high)| exchange(values, *low, *high));
    match SIDE {
        3 => pairs(&[(0, 2), (0, 1), (1, 2)]),
        5 => pairs(&[(0, 3), (1, 4), (0, 2), (1, 3), (0, 1), (2, 4), (1, 2), (3, 4), (2, 3)]),
        _ => {
            pairs(&[(0, 6), (2, 3), (4, 5), (0, 2), (1, 4), (3, 6), (0, 1), (2, 5)]);
            pairs(&[(3, 4), (1, 2), (4, 6), (2, 3), (4, 5), (1, 2), (3, 4), (5, 6)]);
        }
    }
}

/// Sorts each column of some rows; `target` first receives the smallest values of all columns.
pub(super) fn sorted_columns<S: Ord + Copy + Default, const SIDE: usize>(rows: &[&[S]; SIDE], target: &mut [S]) {
    let length = rows[0].len();
    let mut at = 0;
    while at + LANES <= length {
        sort_columns::<S, LANES, SIDE>(rows, target, at, length);
        at += LANES;
    }
    for at in at..length {
        sort_columns::<S, 1, SIDE>(rows, target, at, length);
    }
}

fn sort_columns<S: Ord + Copy, const N: usize, const SIDE: usize>(
    rows: &[&[S]; SIDE],
    target: &mut [S],
    at: usize,
    length: usize,
) {
    let mut values = rows.map(|row| lanes::<S, N>(row, at));
    sort(&mut values);
    for (rank, values) in values.iter().enumerate() {
        target[rank * length + at..][..N].copy_from_slice(values);
    }
}

fn lanes<S: Copy, const N: usize>(row: &[S], at: usize) -> [S; N] {
    *row[at..].first_chunk().expect("callers count lanes")
}

/// Medians of a row of windows with sorted columns. `columns` has one slice for each rank, longer than `target` by
/// half a window of `count` samples per pixel at either end.
pub(super) fn medians<S: Ord + Copy + Default, const SIDE: usize>(
    columns: &[&[S]; SIDE],
    count: usize,
    target: &mut [S],
) {
    let (blocks, rest) = target.as_chunks_mut::<LANES>();
    let rest_at = blocks.len() * LANES;
    for (place, block) in blocks.iter_mut().enumerate() {
        *block = median::<S, LANES, SIDE>(columns, count, place * LANES);
    }
    for (place, one) in rest.iter_mut().enumerate() {
        [*one] = median::<S, 1, SIDE>(columns, count, rest_at + place);
    }
}

fn median<S: Ord + Copy + Default, const N: usize, const SIDE: usize>(
    columns: &[&[S]; SIDE],
    count: usize,
    at: usize,
) -> [S; N] {
    let mut left = [[S::default(); N]; LEFT_MAX];
    let mut held = 0;
    for (i, column) in columns.iter().enumerate() {
        let mut row: [[S; N]; SIDE] = std::array::from_fn(|j| lanes(column, at + j * count));
        sort(&mut row);
        for (j, values) in row.iter().enumerate() {
            if may_be_median(i, j, SIDE) {
                left[held] = *values;
                held += 1;
            }
        }
    }
    middle(&mut left[..held])
}

/// Whether the value in this row and column of a sorted square can be the median: no more than half of the others are
/// above or below it.
const fn may_be_median(i: usize, j: usize, side: usize) -> bool {
    let half = side * side / 2 + 1;
    (i + 1) * (j + 1) <= half && (side - i) * (side - j) <= half
}

/// Median of an odd number of values.
fn middle<S: Ord + Copy, const N: usize>(values: &mut [[S; N]]) -> [S; N] {
    // Of slightly more than half of the values, neither the smallest nor the largest is the median: both are removed
    // and the next value is added.
    let all = values.len();
    let mut held = all / 2 + 2;
    let mut next = held;
    while held > 2 {
        to_the_ends(&mut values[..held]);
        values.swap(0, held - 2);
        held -= 2;
        if next < all {
            values[held] = values[next];
            (held, next) = (held + 1, next + 1);
        }
    }
    values[0]
}

/// Moves the smallest value to the front and the largest to the end.
fn to_the_ends<S: Ord + Copy, const N: usize>(values: &mut [[S; N]]) {
    let last = values.len() - 1;
    (0..last.div_ceil(2)).for_each(|k| exchange(values, k, last - k));
    (1..=last / 2).for_each(|k| exchange(values, 0, k));
    (last.div_ceil(2)..last).for_each(|k| exchange(values, k, last));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const SIDE: usize>(seed: u32, bits: u32) {
        let mut seed = seed;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> (32 - bits)) as u8
        };
        let length = 3 * (LANES + 5);
        let rows: Vec<Vec<u8>> = (0..SIDE).map(|_| (0..length + 3 * (SIDE - 1)).map(|_| next()).collect()).collect();
        let rows: [&[u8]; SIDE] = std::array::from_fn(|k| rows[k].as_slice());
        let mut columns = vec![0; SIDE * rows[0].len()];
        sorted_columns(&rows, &mut columns);
        let columns: [&[u8]; SIDE] = std::array::from_fn(|k| &columns[k * rows[0].len()..][..rows[0].len()]);
        let mut result = vec![0; length];
        medians(&columns, 3, &mut result);
        for (at, result) in result.iter().enumerate() {
            let mut window: Vec<u8> = rows.iter().flat_map(|row| (0..SIDE).map(move |j| row[at + 3 * j])).collect();
            window.sort_unstable();
            assert_eq!(*result, window[SIDE * SIDE / 2], "{SIDE}, {bits} bits, at {at}");
        }
    }

    #[test]
    fn medians_are_those_of_sorted_windows() {
        for seed in 0..40 {
            // Values of one bit suffice to detect any error of a network (the 0-1 principle).
            for bits in [1, 2, 8] {
                check::<3>(seed, bits);
                check::<5>(seed, bits);
                check::<7>(seed, bits);
            }
        }
    }

    #[test]
    fn networks_sort_every_sequence_of_two_values() {
        fn check<const SIDE: usize>() {
            for bits in 0..1u32 << SIDE {
                let mut values: [[u32; 1]; SIDE] = std::array::from_fn(|k| [bits >> k & 1]);
                sort(&mut values);
                assert!(values.is_sorted(), "{values:?}");
            }
        }
        check::<3>();
        check::<5>();
        check::<7>();
    }
}
