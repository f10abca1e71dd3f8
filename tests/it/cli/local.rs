//! Commands that need no server: `render`, `sign`, `completions`.

use std::path::Path;
use std::process::Output;

use progimage::http::sign::{SigningKey, verify};

const KEY: &str = "web:0123456789abcdef";

fn progimage(arguments: &[&str], input: &[u8]) -> Output {
    super::piped(super::program(arguments).env("PROGIMAGE_SIGNING_KEYS", KEY), input)
}

fn photo() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/photos/toy.jpg").to_str().expect("UTF-8").to_owned()
}

#[test]
fn render_goes_from_files_to_files_and_through_pipes() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("small.webp");
    let target = target.to_str().expect("UTF-8");
    let done = progimage(&["render", &photo(), target, "w=60"], b"");
    assert!(done.status.success() && done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
    let small = std::fs::read(target).expect("written");
    assert!(small.starts_with(b"RIFF"));
    let piped = progimage(&["render", "-", "-", "w=30", "--format", "png"], &small);
    assert!(piped.status.success() && piped.stdout.starts_with(b"\x89PNG"), "{:?}", piped.status);
}

#[test]
fn render_knows_the_presets_of_file_and_environment() {
    let folder = super::folder();
    let config = folder.path().join("c.toml");
    std::fs::write(&config, "[presets]\nthumb = \"w=30&grayscale\"\n").expect("written");
    let toy = photo();
    let rendered = |query: &str, more: &[&str], presets: &str| {
        let all = [&["render", &toy, "-", query, "--format", "png"], more].concat();
        let output = super::program(&all).env("PROGIMAGE_PRESETS", presets).output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let small = rendered("w=30&h=20&grayscale", &[], "");
    assert!(rendered("h=20&preset=thumb", &["--config", super::text(&config)], "") == small);
    assert!(rendered("preset=thumb&h=20", &[], "thumb:w=30&grayscale") == small);
}

#[test]
fn render_writes_no_image_to_a_terminal() {
    // To a program, the master of a pseudoterminal is a terminal just like the other side.
    let terminal = std::fs::File::options().read(true).write(true).open("/dev/ptmx").expect("a pseudoterminal");
    let mut command = super::program(&["render", &photo(), "-", "w=30", "--format", "png"]);
    let output = command.stdout(terminal).output().expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("a terminal shows no image"));
}

#[test]
fn render_tells_a_wrong_argument_from_a_wrong_image() {
    let check = |arguments: &[&str], input: &[u8], status: i32, says: &str| {
        let output = progimage(arguments, input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    };
    check(&["render", "-", "-", "w=0", "--format", "png"], b"", 2, "w must be a whole number from 1 to 65535");
    check(&["render", "-", "x.heic"], b"", 2, "the format must be jpg");
    check(&["render", "-", "-", "w=30"], b"", 2, "--format");
    check(&["render", "-", "-", "preset=thumb", "--format", "png"], b"", 2, "preset");
    let (toy, masked) = (photo(), "mask={image2}");
    check(
        &["render", &toy, "-", masked, "--format", "png", "--image", &toy],
        b"",
        2,
        "no --image is given for {image2}",
    );
    check(&["render", &toy, "-", "mask={image}", "--format", "png"], b"", 2, "no --image is given for {image}");
    check(&["render", "-", "-", "format=png", "--format", "png"], b"", 2, "OUT, or --format png");
    check(&["render", "-", "-", "overlay=abc", "--format", "png"], b"", 2, "write overlay={image} and name the file");
    check(&["render", "-", "-", "?w=3", "--format", "png"], b"", 2, "question mark");
    let unused = ["render", &toy, "-", "w=3", "--format", "png", "--image", &toy];
    check(&unused, b"", 2, &format!("--image {toy} is not used"));
    check(&["render", "-", "-", "w=%ff", "--format", "png"], b"", 2, "UTF-8");
    check(&["render", "-", "-", "--format", "png"], b"no image", 1, "not an image");
    check(&["render", "/nothing/here.jpg", "-", "--format", "png"], b"", 1, "cannot read /nothing/here.jpg");
}

#[test]
fn sign_prints_the_canonical_url_with_a_signature_that_holds() {
    let url = "https://img.example/images/0000.webp?h=20&w=300";
    let output = progimage(&["sign", url, "--expires-in-s", "60"], b"");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let target = printed.trim_end().strip_prefix("https://img.example").expect("the same host");
    assert!(target.starts_with("/images/0000.webp?width=300&height=20&expires="), "{target}");
    let keys: Vec<SigningKey> = vec![KEY.parse().expect("a key")];
    assert!(verify(&keys, target, 0).expect("good").expect("signed").expires.is_some());
    let remote = "/remote.webp?url=http://127.0.0.2/a.jpg&w=30";
    let output = progimage(&["sign", remote], b"");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let encoded = "/remote.webp?url=http:%2F%2F127.0.0.2%2Fa.jpg&w=30";
    assert!(printed.starts_with(&format!("{encoded}&key_id=web&sig=")), "{printed}");
    for (typed, encoded) in
        [("my file", "my%20file"), ("naïve", "na%C3%AFve"), ("图", "%E5%9B%BE"), ("a\"b'c", "a%22b%27c")]
    {
        let output = progimage(&["sign", &format!("/images/0000.webp?w=20&download={typed}")], b"");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            printed.starts_with(&format!("/images/0000.webp?w=20&download={encoded}&key_id=web&sig=")),
            "{printed}"
        );
        assert!(verify(&keys, printed.trim_end(), 0).expect("good").is_some());
    }
    let refused = progimage(&["sign", url, "--key-id", "other"], b"");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("signing_keys"));
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = super::run(&["completions", shell]).with(0).stdout;
        for command in ["put", "serve", "describe"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}
