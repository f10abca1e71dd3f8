//! `max_bytes`: results of at most so many bytes.

use super::{decoded, photo, render, rendered};
use progimage::pipeline::Error;

#[test]
fn a_photograph_keeps_to_its_budget() {
    let source = photo("street.jpg", 320);
    for (extension, most) in [("jpg", 20_000), ("webp", 14_000), ("avif", 14_000)] {
        let unbounded = rendered(extension, "", &source);
        assert_eq!(rendered(extension, "max_bytes=1m", &source), unbounded, "{extension}");
        for bytes_max in [most, most / 2, most / 3] {
            let bytes = rendered(extension, &format!("q=100&max_bytes={bytes_max}"), &source);
            assert!(bytes.len() <= bytes_max, "{extension}: {} of {bytes_max}", bytes.len());
            assert!(bytes.len() > bytes_max * 8 / 10, "{extension}: {} wastes {bytes_max}", bytes.len());
            assert_eq!(decoded(&bytes).first().size(), decoded(&unbounded).first().size());
        }
    }
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused_with_the_fewest_bytes() {
    let source = photo("street.jpg", 320);
    for extension in ["jpg", "webp", "avif"] {
        let fewest = rendered(extension, "q=1", &source).len() as u64;
        let refused = render(extension, "max_bytes=500", &source);
        assert_eq!(refused, Err(Error::Limit { name: "max_bytes", value: fewest, max: 500 }), "{extension}");
    }
}

#[test]
fn a_budget_without_a_quality_is_refused() {
    for (extension, query) in [("png", "max_bytes=5k"), ("gif", "max_bytes=5k"), ("webp", "max_bytes=5k&lossless")] {
        let refused = render(extension, query, &photo("toy.jpg", 10));
        let Err(Error::Invalid { parameter, kind }) = refused else { panic!("{extension}: {refused:?}") };
        assert_eq!((parameter.as_str(), kind.name()), ("max_bytes", "conflict"));
    }
}
