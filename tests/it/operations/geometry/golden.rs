//! Comparisons with what Pillow and libvips made of the same picture (`fixtures/golden/README.md` has the commands).

use std::collections::HashMap;

use progimage::pipeline::operation::{Context, by_name};
use progimage::pipeline::{Deadline, Raster};

use super::{apply, pipeline};
use crate::operations::{assert_like, decode, difference, golden, render};

fn like(query: &str, expected: &str, most: u8, mean_most: f64) {
    assert_like("geometry-source.png", query, expected, most, mean_most);
}

#[test]
fn pillow_and_libvips_make_the_same() {
    like("crop=10,20,50,44", "crop-pillow.png", 0, 0.0);
    like("crop=10,20,50,44&pad=4,8,12,16&bg=336699", "pad-pillow.png", 1, 0.0);
    // Sixteen bits of linear light between the passes, against 32-bit floats.
    like("w=40&h=27&fit=fill", "resize-lanczos3-pillow.png", 2, 0.1);
    like("w=40&h=27&fit=fill&kernel=cubic", "resize-cubic-pillow.png", 2, 0.1);
    like("w=40&h=27&fit=fill&kernel=linear", "resize-linear-pillow.png", 2, 0.1);
    like("w=40&h=40&fit=cover&g=east", "resize-east-pillow.png", 2, 0.1);
    like("w=110&h=73&fit=fill&enlarge", "resize-enlarged-pillow.png", 2, 0.1);
}

#[test]
fn libvips_turns_the_same() {
    let ours = render("rotate=15", golden("geometry-source.png")).into_first();
    let theirs = decode(&golden("rotate-vips.png")).into_first();
    // The edges of libvips fade over two pixels, ours over one.
    let (_, mean) = difference(&ours, &theirs, "all of it");
    assert!(mean <= 1.0, "{mean}");
    // It places pixels to 1/64 of another.
    let middle = |raster: Raster| apply(raster, "crop=33,22,44,43").expect("inside");
    let (largest, mean) = difference(&middle(ours), &middle(theirs), "the middle");
    assert!(largest <= 2 && mean <= 0.3, "{largest}, mean {mean}");
}

#[test]
fn libvips_trims_the_same_part_but_for_lines_one_pixel_wide() {
    let source = decode(&golden("trim-source.png")).into_first();
    let context = Context { deadline: &Deadline::default(), images: &HashMap::new() };
    let (trim, crop) = (pipeline("trim=10").expect("valid"), pipeline("crop=0,0,70,60").expect("valid"));
    let (operation, args) = &trim.steps()[0];
    let part = |source: &Raster| (operation.resolve.expect("trim resolves")(source, args, &context)).expect("small").1;
    let (crop, beside_the_line) = &crop.steps()[0];
    let cropped = (crop.apply)(source.clone(), beside_the_line, &context).expect("inside");
    assert_eq!(part(&cropped).to_string(), "x=16&y=4&width=50&height=44");
    assert_eq!(part(&source).to_string(), "x=16&y=0&width=55&height=48");
    assert!(by_name("trim").is_some_and(|trim| (trim.plan)(source.shape(), args).is_ok_and(|cost| cost.at_most)));
}
