//! Texts and values of each kind.

use super::*;

const ANGLE: Kind = Kind::Decimal { min: -36_000, max: 36_000, places: 2, unit: "\u{b0}" };
const QUALITY: Kind = Kind::Integer { min: 1, max: 100, step: 1, unit: "" };
const TURN: Kind = Kind::Integer { min: -360, max: 360, step: 90, unit: "\u{b0}" };

fn check(kind: Kind, text: &str, expected: Option<&str>) {
    let printed = kind.parse(text).map(|value| kind.print(&value));
    assert_eq!(printed.as_deref(), expected, "{kind:?} {text:?}");
    if let Some(expected) = expected {
        assert_eq!(kind.parse(expected), kind.parse(text), "what is printed is read back");
    }
}

#[test]
fn values_are_checked_by_their_kind_and_print_one_way() {
    check(QUALITY, "1", Some("1"));
    check(QUALITY, "0100", Some("100"));
    for bad in ["0", "101", "", "-", "+5", "5.0", "5e1", "\u{661}", " 5", "99999999999999999999"] {
        check(QUALITY, bad, None);
    }
    check(TURN, "-270", Some("-270"));
    check(TURN, "45", None);
    check(TURN, "450", None);
    check(ANGLE, "12.50", Some("12.5"));
    check(ANGLE, "-0.05", Some("-0.05"));
    check(ANGLE, "-0", Some("0"));
    check(ANGLE, "360.00", Some("360"));
    for bad in ["360.01", "1.234", ".5", "5.", "--5", "1.-5", "9223372036854775807"] {
        check(ANGLE, bad, None);
    }
    check(Kind::Choice(&["h", "v"]), "v", Some("v"));
    check(Kind::Choice(&["h", "v"]), "V", None);
    check(Kind::Flag, "", Some("true"));
    check(Kind::Flag, "false", Some("false"));
    check(Kind::Flag, "1", None);
    check(Kind::Color, "FF8000", Some("ff8000ff"));
    check(Kind::Color, "ff800010", Some("ff800010"));
    for (text, color) in [
        ("fA0", "ffaa00ff"),
        ("#fff", "ffffffff"),
        ("#ff8000", "ff8000ff"),
        ("white", "ffffffff"),
        ("black", "000000ff"),
        ("transparent", "00000000"),
    ] {
        check(Kind::Color, text, Some(color));
    }
    for bad in ["", "#", "f", "ffff", "##fff", "ff80000", "+f8000", "+ff", "red", "\u{e9}\u{e9}\u{e9}"] {
        check(Kind::Color, bad, None);
    }
}

#[test]
fn lengths_bytes_points_and_ratios() {
    const LENGTH: Kind = Kind::Length { px_max: 500 };
    check(LENGTH, "500", Some("500"));
    check(LENGTH, "12.50%", Some("12.5%"));
    check(LENGTH, "100%", Some("100%"));
    for bad in ["501", "-1", "1.5", "100.01%", "-1%", "%", "1.234%"] {
        check(LENGTH, bad, None);
    }
    const BYTES: Kind = Kind::Bytes { min: 100, max: 5_000_000 };
    check(BYTES, "100k", Some("100000"));
    check(BYTES, "5m", Some("5000000"));
    for bad in ["99", "6m", "k", "1.5k", "1kk", "9223372036854775807k", "\u{e9}"] {
        check(BYTES, bad, None);
    }
    const GRAVITY: Kind = Kind::Gravity(&["center", "north"]);
    check(GRAVITY, "north", Some("north"));
    check(GRAVITY, "0.50,1", Some("0.5,1"));
    for bad in ["south", "0.5", "1.1,0", "-0.1,0", "0,0,0", ","] {
        check(GRAVITY, bad, None);
    }
    check(Kind::Ratio, "1920:1080", Some("16:9"));
    check(Kind::Ratio, "16/9", Some("16:9"));
    for bad in ["0:1", "1:0", "16/9:1", "1.5:1", "10001:1"] {
        check(Kind::Ratio, bad, None);
    }
    const RADIUS: Kind = Kind::IntegerOr { min: 1, max: 9, unit: "px", word: "max" };
    check(RADIUS, "max", Some("max"));
    check(RADIUS, "9", Some("9"));
    check(RADIUS, "10", None);
    const KERNEL: Kind = Kind::Numbers { counts: &[2, 3], max: 1_000, places: 2 };
    check(KERNEL, "1,-2.50,10", Some("1,-2.5,10"));
    for bad in ["1", "1,2,3,4", "1,11", "1,,2", ""] {
        check(KERNEL, bad, None);
    }
    let id = Digest::of(b"").to_string();
    check(Kind::Image, &id, Some(&id));
    check(Kind::Image, &id[1..], None);
}

#[test]
fn ranges_read_well() {
    assert_eq!(QUALITY.allowed(), "1..100");
    assert_eq!(TURN.allowed(), "-360..360 \u{b0} in steps of 90");
    assert_eq!(ANGLE.allowed(), "-360..360 \u{b0}, at most 2 decimals");
}
