//! Canonical encode arguments of a format: those without effect are reset to their defaults; contradictions are
//! refused.

use super::params::STRIP;
use crate::pipeline::Error;
use crate::pipeline::codec::{CODECS, Codec, Encoder, Lossless, Palette};
use crate::pipeline::invalid::{conflict, listed};
use crate::pipeline::param::{Args, Value};

/// Resets arguments that have no effect in `codec` to their defaults, so that equal results have equal keys.
pub fn canonicalized(codec: &Codec, mut args: Args) -> Result<Args, Error> {
    let Some(encoder) = &codec.encoder else { return Ok(args) };
    // Beside any other argument, even one at the default of the format, the picture is encoded. `tolerant` is about the source
    // alone, and a setting may have added it.
    let others = args.written().filter(|(param, _)| !["metadata", "tolerant"].contains(&param.name));
    let strips = others.count() == 0 && encoder.strip.is_some();
    palette((codec, encoder), &mut args)?;
    lossless((codec, encoder), &mut args)?;
    let lossless = encoder.quality.is_none() || args.flag("lossless");
    if lossless || args.number("quality") == encoder.quality.map(i64::from) {
        args.reset("quality");
    }
    if lossless || !encoder.chroma {
        args.reset("chroma");
    }
    max_bytes((codec, encoder), lossless, &args)?;
    hdr((codec, encoder), &args)?;
    effort(encoder, &mut args);
    if encoder.strip.is_none() || args.number("frame").is_some() {
        args.reset("never_larger");
    }
    if encoder.frames_max <= 1 && args.number("frame") == Some(0) {
        args.reset("frame");
    }
    if encoder.frames_max <= 1 || args.number("frame").is_some() {
        args.reset("frames");
    }
    if !codec.metadata.is_some_and(|blocks| blocks.density) {
        args.reset("dpi");
    }
    match args.word("metadata") {
        Some(STRIP) if strips => {}
        Some(STRIP) => args.reset("metadata"),
        _ if codec.metadata.is_none() => args.reset("metadata"),
        _ => {}
    }
    if encoder.channels.iter().any(|channels| channels.alpha()) {
        args.reset("background");
    }
    if let Some([r, g, b, _]) = args.color("background") {
        // The lowest layer is opaque.
        args = args.with("background", Value::Color([r, g, b, 255]));
    }
    Ok(args)
}

fn palette((codec, encoder): (&Codec, &Encoder), args: &mut Args) -> Result<(), Error> {
    let colors = args.number("colors");
    if let Some(colors) = colors {
        let refused = |with| conflict("colors", &colors.to_string(), with);
        match encoder.palette {
            Palette::Never => {
                let others = names(|encoder| encoder.palette != Palette::Never);
                return Err(refused(codec.name).because(format!("{} has no palette; {others} have one", codec.name)));
            }
            _ if args.flag("lossless") => return Err(refused("lossless")),
            Palette::Always if colors == 256 => args.reset("colors"),
            _ => {}
        }
    }
    if encoder.palette == Palette::Never || encoder.palette == Palette::Choice && colors.is_none() {
        args.reset("dither");
    }
    Ok(())
}

fn lossless((codec, encoder): (&Codec, &Encoder), args: &mut Args) -> Result<(), Error> {
    match encoder.lossless {
        Lossless::Choice => {}
        Lossless::Always => args.reset("lossless"),
        Lossless::Never if args.flag("lossless") => {
            let others = names(|encoder| encoder.lossless != Lossless::Never);
            let why = format!("the format {} cannot be lossless; {others} can", codec.name);
            return Err(conflict("lossless", "true", codec.name).because(why));
        }
        Lossless::Never => {}
    }
    Ok(())
}

fn hdr((codec, encoder): (&Codec, &Encoder), args: &Args) -> Result<(), Error> {
    if args.word("hdr") != Some("keep") || encoder.hdr {
        return Ok(());
    }
    let others = names(|encoder| encoder.hdr);
    Err(conflict("hdr", "keep", codec.name).because(format!("{} cannot hold HDR; {others} can", codec.name)))
}

fn max_bytes((codec, encoder): (&Codec, &Encoder), lossless: bool, args: &Args) -> Result<(), Error> {
    let Some(bytes) = args.number("max_bytes") else { return Ok(()) };
    let refused = |with| Err(conflict("max_bytes", &bytes.to_string(), with));
    match encoder.quality {
        None => {
            let others = names(|encoder| encoder.quality.is_some());
            let why = format!("the format {} has no quality to lower for max_bytes; {others} have one", codec.name);
            refused(codec.name).map_err(|error| error.because(why))
        }
        Some(_) if args.word("quality").is_some() => refused("quality=auto"),
        Some(_) if lossless => refused("lossless"),
        Some(_) => Ok(()),
    }
}

/// Replaces `effort` by the step of the format that it selects, and resets `progressive` where the step implies it.
fn effort(encoder: &Encoder, args: &mut Args) {
    // The parameter's kind keeps it within 9.
    let asked = args.number("effort").map(|effort| effort as u8);
    args.reset("effort");
    let step = encoder.effort.map(|effort| {
        let step = effort.step(asked).map_or(effort.default, |step| step.effort);
        if step != effort.default {
            *args = args.clone().with("effort", Value::Number(i64::from(step)));
        }
        step
    });
    if encoder.progressive.is_none_or(|always_from| step.is_some_and(|step| step >= always_from)) {
        args.reset("progressive");
    }
}

/// Names of the formats whose encoders match, for error messages.
fn names(such: impl Fn(&Encoder) -> bool) -> String {
    let codecs = CODECS.iter().filter(|codec| codec.encoder.as_ref().is_some_and(&such));
    listed(&codecs.map(|codec| codec.name).collect::<Vec<_>>(), "and")
}

#[cfg(test)]
mod tests {
    use super::super::ENCODE;
    use super::*;
    use crate::pipeline::Channels;
    use crate::pipeline::codec::{Effort, Step, by_name};

    const CHOICES: Encoder = Encoder {
        channels: &[Channels::Rgb],
        quality: Some(75),
        lossless: Lossless::Choice,
        effort: Some(Effort { default: 4, steps: &[Step::free(0), Step::free(4), Step::free(8)] }),
        progressive: Some(8),
        chroma: true,
        ..Encoder::PLAIN
    };

    fn text(encoder: Encoder, args: &str) -> Result<String, Error> {
        let png = by_name("png").expect("a row");
        let codec = Codec { encoder: Some(encoder), extensions: &[], ..*png };
        canonicalized(&codec, Args::parse(ENCODE, args).expect(args)).map(|args| args.to_string())
    }

    fn check(encoder: Encoder, args: &str, expected: &str) {
        assert_eq!(text(encoder, args).as_deref(), Ok(expected), "{args}");
    }

    #[test]
    fn arguments_without_meaning_for_a_format_are_defaults() {
        let all = "quality=80&effort=2&progressive=true&chroma=444&background=01020304";
        check(CHOICES, all, "quality=80&effort=0&progressive=true&chroma=444&background=010203ff");
        check(Encoder::PLAIN, all, "");
        check(CHOICES, "quality=75&effort=7&chroma=auto", "");
        check(CHOICES, "chroma=420", "chroma=420");
        check(CHOICES, "never_larger=true", "");
        let strips = Encoder { strip: Some(|_| Ok(Vec::new())), ..CHOICES };
        check(strips, "never_larger=true", "never_larger=true");
        check(strips, "never_larger=true&frame=2", "frame=2");
        check(CHOICES, "metadata=strip", "");
        check(strips, "metadata=strip", "metadata=strip");
        check(strips, "metadata=strip&quality=75", "");
        check(strips, "metadata=strip&never_larger=true", "never_larger=true");
        check(CHOICES, "effort=9&progressive=true", "effort=8");
        check(Encoder { quality: Some(80), ..CHOICES }, "quality=80", "");
    }

    #[test]
    fn hdr_is_kept_only_where_it_fits() {
        check(Encoder { hdr: true, ..CHOICES }, "hdr=keep", "hdr=keep");
        check(CHOICES, "hdr=sdr", "");
        let refused = text(CHOICES, "hdr=keep").expect_err("no HDR").to_string();
        assert!(refused.contains("hdr") && refused.contains("avif"), "{refused}");
    }

    #[test]
    fn colours_are_for_formats_with_a_palette() {
        let [always, choice] = [Palette::Always, Palette::Choice].map(|palette| Encoder { palette, ..Encoder::PLAIN });
        check(always, "colors=256", "");
        check(always, "colors=255&dither=0.5", "colors=255&dither=0.5");
        check(always, "dither=0", "dither=0");
        check(choice, "colors=256&dither=0.00", "colors=256&dither=0");
        check(choice, "dither=0", "");
        check(Encoder::PLAIN, "dither=0", "");
        for refused in [text(Encoder::PLAIN, "colors=9"), text(choice, "colors=9&lossless=true")] {
            let Err(Error::Invalid { parameter, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(parameter, "colors");
        }
    }

    #[test]
    fn a_budget_needs_a_quality() {
        check(CHOICES, "max_bytes=5000&quality=50", "quality=50&max_bytes=5000");
        let contradiction = text(CHOICES, "max_bytes=5000&quality=auto");
        assert!(matches!(contradiction, Err(Error::Invalid { .. })), "{contradiction:?}");
        for refused in [text(Encoder::PLAIN, "max_bytes=5000"), text(CHOICES, "max_bytes=5000&lossless=true")] {
            let Err(Error::Invalid { parameter, kind }) = refused else { panic!("{refused:?}") };
            assert_eq!((parameter.as_str(), kind.name()), ("max_bytes", "conflict"));
        }
    }

    #[test]
    fn what_is_lossless_has_no_quality() {
        check(CHOICES, "quality=80&chroma=444&lossless=true&effort=0", "lossless=true&effort=0");
        check(CHOICES, "quality=auto&lossless=true", "lossless=true");
        check(CHOICES, "quality=auto", "quality=auto");
        let always = Encoder { lossless: Lossless::Always, quality: None, ..CHOICES };
        check(always, "quality=80&chroma=444&lossless=true", "");
        let never = text(Encoder { lossless: Lossless::Never, ..CHOICES }, "lossless=true");
        assert!(matches!(never, Err(Error::Invalid { .. })), "{never:?}");
    }
}
