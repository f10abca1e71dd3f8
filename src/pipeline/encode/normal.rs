//! Encode arguments as a format takes them: those without a meaning go back to their defaults, those that contradict are refused.

use crate::pipeline::Error;
use crate::pipeline::codec::{CODECS, Codec, Encoder, Lossless};
use crate::pipeline::param::{Args, Value, invalid};

/// Takes arguments back to their defaults that mean nothing to `codec`, so that equal bytes have equal keys.
pub fn normalized(codec: &Codec, mut args: Args) -> Result<Args, Error> {
    let Some(encoder) = &codec.encoder else { return Ok(args) };
    lossless(encoder, &mut args)?;
    let lossless = encoder.lossless == Lossless::Always || args.flag("lossless");
    if lossless || encoder.quality.is_none() || args.number("quality") == encoder.quality.map(i64::from) {
        args.reset("quality");
    }
    if lossless || !encoder.chroma {
        args.reset("chroma");
    }
    effort(encoder, &mut args);
    if encoder.frames_max <= 1 && args.number("frame") == Some(0) {
        args.reset("frame");
    }
    if codec.metadata.is_none() {
        args.reset("metadata");
    }
    if encoder.channels.iter().any(|channels| channels.alpha()) {
        args.reset("background");
    }
    Ok(args)
}

fn lossless(encoder: &Encoder, args: &mut Args) -> Result<(), Error> {
    match encoder.lossless {
        Lossless::Choice => {}
        Lossless::Always => args.reset("lossless"),
        Lossless::Never if args.flag("lossless") => {
            let can = names(|encoder| encoder.lossless != Lossless::Never);
            return Err(invalid("lossless", "true", format!("true for {can} only")));
        }
        Lossless::Never => {}
    }
    Ok(())
}

/// The effort as the step that it belongs to, and what follows from it.
fn effort(encoder: &Encoder, args: &mut Args) {
    let asked = args.number("effort");
    args.reset("effort");
    let step = encoder.effort.map(|effort| {
        let asked = asked.unwrap_or(i64::from(effort.default));
        let step = effort.steps.iter().rfind(|step| i64::from(**step) <= asked).copied().unwrap_or(effort.default);
        if step != effort.default {
            *args = args.clone().with("effort", Value::Number(i64::from(step)));
        }
        step
    });
    if encoder.progressive.is_none_or(|always_from| step.is_some_and(|step| step >= always_from)) {
        args.reset("progressive");
    }
}

/// The formats whose encoders are such, for people.
fn names(such: impl Fn(&Encoder) -> bool) -> String {
    let codecs = CODECS.iter().filter(|codec| codec.encoder.as_ref().is_some_and(&such));
    codecs.map(|codec| codec.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::ENCODE;
    use super::*;
    use crate::pipeline::Channels;
    use crate::pipeline::codec::{Effort, by_name};

    const CHOICES: Encoder = Encoder {
        channels: &[Channels::Rgb],
        quality: Some(75),
        lossless: Lossless::Choice,
        effort: Some(Effort { default: 4, steps: &[0, 4, 8], pixels_max: 0 }),
        progressive: Some(8),
        chroma: true,
        ..Encoder::PLAIN
    };

    fn text(encoder: Encoder, args: &str) -> Result<String, Error> {
        let png = by_name("png").expect("a row");
        let codec = Codec { encoder: Some(encoder), extensions: &[], ..*png };
        normalized(&codec, Args::parse(ENCODE, args).expect(args)).map(|args| args.to_string())
    }

    fn check(encoder: Encoder, args: &str, expected: &str) {
        assert_eq!(text(encoder, args).as_deref(), Ok(expected), "{args}");
    }

    #[test]
    fn arguments_without_meaning_for_a_format_are_defaults() {
        let all = "quality=80&effort=2&progressive=true&chroma=444&background=01020304";
        check(CHOICES, all, "quality=80&effort=0&progressive=true&chroma=444&background=01020304");
        check(Encoder::PLAIN, all, "");
        check(CHOICES, "quality=75&effort=7&chroma=420", "");
        check(CHOICES, "effort=9&progressive=true", "effort=8");
        check(Encoder { quality: Some(80), ..CHOICES }, "quality=80", "");
    }

    #[test]
    fn what_is_lossless_has_no_quality() {
        check(CHOICES, "quality=80&chroma=444&lossless=true&effort=0", "lossless=true&effort=0");
        check(Encoder { lossless: Lossless::Always, ..CHOICES }, "quality=80&chroma=444&lossless=true", "");
        let never = text(Encoder { lossless: Lossless::Never, ..CHOICES }, "lossless=true");
        assert!(matches!(never, Err(Error::Invalid { .. })), "{never:?}");
    }
}
