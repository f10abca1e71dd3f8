//! Words of `gravity` and their points, in ten-thousandths of width and height.

use crate::pipeline::param::Value;

/// Every word; the first nine name a point.
pub(super) const WORDS: &[&str] = &[
    "center",
    "north",
    "northeast",
    "east",
    "southeast",
    "south",
    "southwest",
    "west",
    "northwest",
    "entropy",
    "attention",
];

/// Words that name a point.
pub(super) const PLACES: &[&str] = WORDS.split_at(POINTS.len()).0;

const POINTS: [(u32, u32); 9] = [
    (5_000, 5_000),
    (5_000, 0),
    (10_000, 0),
    (10_000, 5_000),
    (10_000, 10_000),
    (5_000, 10_000),
    (0, 10_000),
    (0, 5_000),
    (0, 0),
];

/// The point of a gravity; the centre for words that depend on pixels.
pub(super) fn point(gravity: Option<&Value>) -> (u32, u32) {
    match gravity {
        Some(Value::Point(x, y)) => (*x, *y),
        Some(Value::Word(word)) => {
            PLACES.iter().zip(POINTS).find(|(name, _)| *name == word).map_or(POINTS[0], |(_, point)| point)
        }
        _ => POINTS[0],
    }
}

/// The word for a point if there is one, otherwise the point.
pub(super) fn value((x, y): (u32, u32)) -> Value {
    let word = PLACES.iter().zip(POINTS).find(|(_, point)| *point == (x, y));
    word.map_or(Value::Point(x, y), |(word, _)| Value::Word(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_points() {
        assert_eq!(value((10_000, 0)), Value::Word("northeast"));
        assert_eq!(value((1, 0)), Value::Point(1, 0));
        assert_eq!(PLACES.last(), Some(&"northwest"));
        for word in PLACES {
            assert_eq!(value(point(Some(&Value::Word(word)))), Value::Word(word));
        }
        assert_eq!(point(Some(&Value::Word("attention"))), (5_000, 5_000));
    }
}
