//! Every kind of mistake with every parameter, in each spelling. `type`, `kind` and `parameter` say which it is. The
//! sentences are in one table at the end.

use progimage::pipeline::ENCODE;
use progimage::pipeline::foreign::{FOREIGN, Means};
use progimage::pipeline::invalid::short;
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::param::{Kind, Param};
use progimage::pipeline::{Presets, is_known, operation::Operation};
use serde_json::{Value, json};

use super::bulk::{data, item, ndjson, results};
use super::{Server, ppm};
use crate::http::client::Answer;

/// A valid value.
fn good(kind: &Kind) -> String {
    match kind {
        Kind::Integer { max, .. } | Kind::IntegerOr { max, .. } | Kind::Bytes { max, .. } => max.to_string(),
        Kind::Decimal { .. } => "1".to_owned(),
        Kind::Length { .. } | Kind::Edge { .. } => "3".to_owned(),
        Kind::Choice(words) | Kind::Gravity(words) => words[0].to_owned(),
        Kind::Flag => "true".to_owned(),
        Kind::Color => "ff8800".to_owned(),
        Kind::Ratio => "16:9".to_owned(),
        Kind::Numbers { counts, .. } => vec!["1"; counts[0]].join(","),
        Kind::Image => "0".repeat(64),
    }
}

/// A value that is past the range, or no value of this kind.
fn bad(kind: &Kind) -> String {
    match kind {
        Kind::Integer { max, .. } | Kind::IntegerOr { max, .. } | Kind::Bytes { max, .. } => (max + 1).to_string(),
        Kind::Decimal { .. } => "99999999".to_owned(),
        Kind::Length { px_max } | Kind::Edge { px_max } => (u64::from(*px_max) + 1).to_string(),
        _ => "no-such".to_owned(),
    }
}

/// A name that no route knows.
fn misspelt(name: &str) -> String {
    format!("{name}qqqqqqqq{name}")
}

/// A mistake: its kind, and the parameter as the error names it.
type Expected = (String, &'static str);

#[derive(Default)]
struct Cases {
    /// Each mistake with its query.
    queries: Vec<(String, Expected)>,
    /// Each mistake with the text of an output.
    outputs: Vec<(String, Expected)>,
}

impl Cases {
    fn all() -> Cases {
        let mut cases = Cases::default();
        for operation in OPERATIONS {
            cases.flat(operation.params);
            cases.json(operation);
        }
        cases.flat(ENCODE);
        for param in ENCODE {
            cases.member(param);
        }
        cases
    }

    fn query(&mut self, query: String, parameter: &str, kind: &'static str) {
        self.queries.push((query, (parameter.to_owned(), kind)));
    }

    fn flat(&mut self, params: &'static [Param]) {
        for group in params.chunk_by(|_, next| next.keys.is_empty()) {
            let head = &group[0];
            for key in head.keys {
                let value = good(&head.kind);
                self.query(format!("{}={value}", misspelt(key)), &misspelt(key), "unknown");
                self.query(format!("{key}={value}&{key}={value}"), key, "repeated");
                self.query(format!("{}={value}&{key}={value}", head.keys[0]), key, "repeated");
                if head.kind != Kind::Flag {
                    self.query(format!("{key}="), key, "value");
                }
            }
            let mut before = String::new();
            for param in group {
                self.query(format!("{}={before}{}", head.keys[0], bad(&param.kind)), head.keys[0], "value");
                before += &format!("{},", good(&param.kind));
            }
            self.query(format!("{}={before}3,3", head.keys[0]), head.keys[0], "value");
        }
    }

    /// The members of a step of a chain: as `ops` in a query, and in an output of an item.
    fn json(&mut self, operation: &Operation) {
        let name = operation.name;
        for param in operation.params {
            let (own, wrong, value) = (param.name, misspelt(param.name), good(&param.kind));
            let mut step = |members: String, member: &str, kind: &'static str| {
                let ops = format!("[{{\"op\":\"invert\"}},{{\"op\":\"{name}\",{members}}}]");
                self.query(format!("ops={ops}"), &format!("ops[1].{member}"), kind);
                let output = format!("{{\"format\":\"webp\",\"ops\":{ops}}}");
                self.outputs.push((output, (format!("outputs[0].ops[1].{member}"), kind)));
            };
            step(format!("\"{wrong}\":\"{value}\""), &wrong, "unknown");
            step(format!("\"{own}\":\"{value}\",\"{own}\":\"{value}\""), own, "repeated");
            step(format!("\"{own}\":\"{}\"", bad(&param.kind)), own, "value");
            if param.kind != Kind::Flag {
                step(format!("\"{own}\":\"\""), own, "value");
            }
        }
    }

    /// An encode argument as a member of an output.
    fn member(&mut self, param: &Param) {
        let (own, wrong, value) = (param.name, misspelt(param.name), good(&param.kind));
        let mut output = |members: String, member: &str, kind: &'static str| {
            let output = format!("{{\"format\":\"webp\",{members}}}");
            self.outputs.push((output, (format!("outputs[0].{member}"), kind)));
        };
        output(format!("\"{wrong}\":\"{value}\""), &wrong, "unknown");
        output(format!("\"{own}\":\"{value}\",\"{own}\":\"{value}\""), own, "repeated");
        output(format!("\"{own}\":\"{}\"", bad(&param.kind)), own, "value");
        if param.kind != Kind::Flag {
            output(format!("\"{own}\":\"\""), own, "value");
        }
    }
}

/// A query as a client sends it.
fn encoded(query: &str) -> String {
    let byte = |byte: u8| match byte {
        b'&' | b'=' | b',' | b':' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    query.bytes().map(byte).collect()
}

fn assert_mistake(problem: &Value, (parameter, kind): &Expected, asked: &str) {
    // Names are shortened to what can be read.
    let parameter = short(parameter);
    assert_eq!(problem["type"], "/problems/invalid-parameter", "{asked}: {problem}");
    assert_eq!((&problem["kind"], &problem["parameter"]), (&json!(kind), &json!(parameter)), "{asked}: {problem}");
    assert!(problem.to_string().len() < 1_100, "{asked}: {problem}");
    let has = |member: &str| !problem[member].is_null();
    assert_eq!(
        (has("value"), has("allowed")),
        (["unknown", "value"].contains(kind), *kind == "value"),
        "{asked}: {problem}"
    );
}

#[test]
fn every_mistake_with_every_parameter_is_of_its_kind() {
    let server = Server::start();
    let path = server.store(&ppm(4, 4, [1, 2, 3]));
    let cases = Cases::all();
    let mut client = server.connect();
    for (query, expected) in &cases.queries {
        let answer = client.ask("GET", &format!("{path}.webp?{}", encoded(query)), &[], b"");
        answer.assert_problem(400, "invalid-parameter");
        assert_mistake(&answer.json(), expected, query);
    }
    let source = data(&ppm(4, 4, [1, 2, 3]));
    let line = |output: &String| format!("{{\"source\":{source},\"outputs\":[{output}]}}\n");
    let body: String = cases.outputs.iter().map(|(output, _)| line(output)).collect();
    let answers = results(&server.send("POST", "/bulk", &[], body.as_bytes()));
    assert_eq!(answers.len(), cases.outputs.len());
    for answer in answers {
        let (output, expected) = &cases.outputs[answer["item"].as_u64().unwrap() as usize];
        assert_mistake(&answer["problem"], expected, output);
    }
}

/// Some mistakes in a form and in a job, which share their parsers with the others.
#[test]
fn forms_and_jobs_name_mistakes_as_queries_and_items_do() {
    let server = Server::start();
    let image = ppm(4, 4, [1, 2, 3]);
    let ops: &[u8] = br#"[{"op":"resize","widht":3}]"#;
    let form = super::bulk::bodies::form(&[("image", &image), ("ops", ops)]);
    let answer = server.send("POST", "/process.webp", &[super::bulk::bodies::FORM], &form);
    let expected = |parameter: &str| (parameter.to_owned(), "unknown");
    assert_mistake(&answer.json(), &expected("ops[0].widht"), "form");
    let wrong = item(data(&image), &[json!({ "format": "webp", "qality": 3 })]);
    let sent = server.send("POST", "/jobs", &[], &ndjson(&[wrong]));
    let job = sent.field("location").unwrap();
    server.get(&format!("{job}/events"));
    let (lines, _) = server.get(&format!("{job}/results")).lines();
    assert_mistake(&lines[0]["problem"], &expected("outputs[0].qality"), "job");
    assert_eq!(lines[0]["problem"]["suggestion"], "quality");
}

/// Spellings of other services that are not accepted are refused with a hint, which is a valid request.
#[test]
fn every_hint_is_a_good_request() {
    let server = Server::start();
    let image = ppm(60, 60, [1, 2, 3]);
    let path = server.store(&image);
    let id = path.trim_start_matches("/images/");
    for row in FOREIGN {
        if matches!(row.means, Means::Same(_) | Means::Nothing | Means::Words(_)) {
            continue;
        }
        let answer = server.get(&format!("{path}.webp?{}", encoded(row.example)));
        answer.assert_problem(400, "invalid-parameter");
        let problem = answer.json();
        let (name, value) = row.example.split_once('=').unwrap_or((row.example, ""));
        let kind = if is_known(name, value) { "value" } else { "unknown" };
        assert_eq!((&problem["parameter"], &problem["kind"]), (&name.into(), &kind.into()), "{problem}");
        let hint = problem["hint"].as_str().unwrap_or_else(|| panic!("{problem}")).replace("{id}", id);
        let better = if hint.starts_with('/') { hint } else { format!("{path}.webp?{}", encoded(&hint)) };
        assert_eq!(server.get(&better).status, 200, "{} -> {better}", row.example);
    }
    let answer = server.get(&format!("{path}/w_30,c_fill,f_png"));
    answer.assert_problem(404, "unknown-id");
    assert_eq!(server.get(answer.json()["hint"].as_str().unwrap()).status, 200);
}

/// What is missing at the end of a chain is named by its place, whatever steps before it do nothing; in an item, too.
#[test]
fn a_step_is_named_by_its_place_in_the_chain() {
    let server = Server::start();
    let image = data(&ppm(4, 4, [1, 2, 3]));
    for ops in [
        r#"[{"op":"blur","sigma":0},{"op":"resize"}]"#,
        r#"[{"op":"invert"},{"op":"resize"}]"#,
        r#"[{"op":"sharpen","sigma":0},{"op":"resize"},{"op":"radius","radius":0}]"#,
    ] {
        let line = format!(
            "{{\"source\":{image},\"outputs\":[{{\"format\":\"png\"}},{{\"format\":\"webp\",\"ops\":{ops}}}]}}\n"
        );
        let answer = results(&server.send("POST", "/bulk", &[], line.as_bytes())).remove(0);
        assert_eq!(answer["problem"]["parameter"], "outputs[1].ops[1].width", "{ops}: {answer}");
    }
}

/// A path with a query of any length, or with secrets, is answered by a short hint without them.
#[test]
fn hints_are_short_and_repeat_no_secret() {
    let server = Server::start();
    let path = server.store(&ppm(4, 4, [1, 2, 3]));
    let secret = "url=https://user:s3cret@host/&sig=s3cret&w=3";
    let upper = path.replacen("/images/", "", 1).to_uppercase();
    for asked in [
        format!("/process?{secret}"),
        format!("/remote?{secret}"),
        format!("/images/{upper}.webp?{secret}"),
        format!("{path}/w_3?{secret}"),
        format!("{path}?w=3&{secret}"),
        format!("{path}/{}", "w_3,".repeat(1_000)),
        format!("/images/{upper}/{}", "x".repeat(4_000)),
        format!("/process?{}", "w=3&".repeat(1_000)),
    ] {
        let answer = server.get(&asked);
        assert!([400, 403, 404].contains(&answer.status), "{}", answer.text());
        assert!(!answer.text().contains("s3cret") && answer.text().len() < 900, "{asked}: {}", answer.text());
        assert!(answer.json()["hint"].as_str().is_none_or(|hint| hint.len() <= 256), "{}", answer.text());
    }
    let hint = |asked: &str| server.get(asked).json()["hint"].clone();
    assert_eq!(hint("/process?format=webp"), "/process.webp");
    assert_eq!(hint("/process?w=3&fm=png&h=4"), "/process.png?w=3&h=4");
    assert_eq!(hint(&format!("{path}?w=3&h=4")), format!("{path}.auto?w=3&h=4"));
}

#[test]
fn what_a_preset_sets_is_not_set_again() {
    let named = Presets::named("thumb:w=300&q=60").unwrap();
    let server = Server::with(|settings| settings.http.presets.set(named));
    let path = server.store(&ppm(4, 4, [1, 2, 3]));
    let check = |query: &str, parameter: &str, detail: &str| {
        let problem = server.get(&format!("{path}.webp?{}", encoded(query))).json();
        assert_eq!((&problem["kind"], &problem["with"]), (&json!("conflict"), &json!("preset")), "{problem}");
        assert_eq!((&problem["parameter"], &problem["detail"]), (&json!(parameter), &json!(detail)), "{problem}");
    };
    check("preset=thumb&w=5", "w", "Preset thumb already sets w.");
    check("quality=5&preset=thumb", "quality", "Preset thumb already sets quality.");
    check("preset=thumb&ops=[]", "ops", "Preset thumb and ops exclude each other.");
    let source = data(&ppm(4, 4, [1, 2, 3]));
    let line = format!(r#"{{"source":{source},"outputs":[{{"format":"webp","preset":"thumb","ops":[]}}]}}"#);
    let answer = results(&server.send("POST", "/bulk", &[], line.as_bytes())).remove(0);
    assert_mistake_of(&answer["problem"], "outputs[0].ops", "conflict");
}

/// The parameter and the kind of a mistake.
fn assert_mistake_of(problem: &Value, parameter: &str, kind: &str) {
    assert_eq!((&problem["parameter"], &problem["kind"]), (&json!(parameter), &json!(kind)), "{problem}");
}

#[test]
fn parts_of_a_form_are_named() {
    let server = Server::start();
    let image = ppm(4, 4, [1, 2, 3]);
    let problem = |parts: &[(&str, &[u8])]| {
        let form = super::bulk::bodies::form(parts);
        server.send("POST", "/process.webp", &[super::bulk::bodies::FORM], &form).json()
    };
    let nearest = problem(&[("image", &image), ("overlai", &image)]);
    assert_mistake_of(&nearest, "overlai", "unknown");
    assert_eq!(nearest["suggestion"], "overlay");
    assert_mistake_of(&problem(&[("image", &image), ("image", &image)]), "image", "repeated");
    assert_mistake_of(&problem(&[("ops", b"[]")]), "image", "missing");
    let of_query = problem(&[("image", &image), ("w", b"30")]);
    assert_mistake_of(&of_query, "w", "unknown");
    assert!(of_query["detail"].as_str().unwrap().contains("in the query"), "{of_query}");
    let ops: &[u8] = br#"[{"op":"overlay","source":{"part":"logo"}}]"#;
    let absent = problem(&[("image", &image), ("ops", ops)]);
    assert_mistake_of(&absent, "ops[0].source", "value");
    let unused = problem(&[("image", &image), ("overlay", &image), ("ops", b"[]")]);
    assert_mistake_of(&unused, "overlay", "value");
    assert!(unused["detail"].as_str().unwrap().contains(r#""source": {"part": "overlay"}"#), "{unused}");
}

#[test]
fn the_body_of_a_remote_upload_is_checked_first() {
    let server = Server::start();
    let send = |body: &[u8]| server.send("POST", "/images", &["Content-Type: application/json"], body);
    let misspelt = send(br#"{"uri": "https://user:s3cret@host/"}"#).json();
    assert_mistake_of(&misspelt, "uri", "unknown");
    assert_eq!(misspelt["suggestion"], "url");
    assert!(!misspelt.to_string().contains("s3cret"), "{misspelt}");
    assert_mistake_of(&send(br#"{"url": 5}"#).json(), "url", "value");
    assert_mistake_of(&send(b"{}").json(), "url", "missing");
    for image in [ppm(4, 4, [1, 2, 3]), ppm(200, 200, [1, 2, 3])] {
        let answer = send(&image);
        answer.assert_problem(400, "malformed-request");
        assert!(answer.text().contains("is an image"), "{}", answer.text());
    }
    send(br#"{"url": "https://a.example/"}"#).assert_problem(403, "remote-off");
}

#[test]
fn members_of_items_are_named_and_shown_alike() {
    let server = Server::start();
    let one = r#"{"source":{"id":"x"},"outputs":[{"format":"png"}]}"#;
    for path in ["/bulk", "/jobs"] {
        let answer = server.send("POST", path, &["Content-Type: application/json"], one.as_bytes());
        answer.assert_problem(400, "malformed-request");
        assert!(answer.text().contains("[ ]"), "{}", answer.text());
    }
    let source = data(&ppm(4, 4, [1, 2, 3]));
    let problem =
        |item: String| results(&server.send("POST", "/bulk", &[], item.as_bytes())).remove(0)["problem"].clone();
    let output = |members: &str| format!(r#"{{"source":{source},"outputs":[{{"format":"webp",{members}}}]}}"#);
    let plain = |problem: Value, value: &str| assert_eq!(problem["value"], value, "{problem}");
    plain(problem(output(r#""zzz":"red""#)), "red");
    plain(problem(output(r#""ops":[{"op":"invert","zzz":"red"}]"#)), "red");
    plain(problem(output(r#""quality":"red""#)), "red");
    plain(problem(r#"{"zzz":"red"}"#.to_owned()), "red");
    plain(problem(format!(r#"{{"zzz":"{}"}}"#, "x".repeat(100))), &format!("{}...", "x".repeat(61)));
    let hint = |members: &str| problem(output(members))["hint"].clone();
    assert_eq!(hint(r#""quality":"auto:good""#), r#""quality": "auto""#);
    assert_eq!(hint(r#""lossless":1"#), r#""lossless": true"#);
    assert_eq!(hint(r#""ops":[{"op":"blur","sigma":"2px"}]"#), r#""sigma": 2"#);
    let selects = problem(r#"{"source":{"all":true},"outputs":[{"format":"png"}]}"#.to_owned());
    assert_mistake_of(&selects, "source.all", "unknown");
    assert!(selects["detail"].as_str().unwrap().contains("/jobs"), "{selects}");
    for (operation, ours) in
        [("scale", "resize"), ("thumbnail", "resize"), ("extract", "crop"), ("watermark", "overlay")]
    {
        let problem = problem(output(&format!(r#""ops":[{{"op":"{operation}"}}]"#)));
        assert_eq!(problem["suggestion"], ours, "{problem}");
    }
}

#[test]
fn an_extension_may_be_in_capitals() {
    let server = Server::start();
    let path = server.store(&ppm(6, 6, [1, 2, 3]));
    let [capitals, small] = ["JPG", "jpg"].map(|extension| server.get(&format!("{path}.{extension}?w=3")));
    assert_eq!((capitals.status, capitals.field("etag")), (200, small.field("etag")));
    assert!(capitals.body == small.body);
    assert_eq!(server.get(&format!("{path}.Auto")).status, 200);
}

/// The sentences, where they are read side by side. `$` is the path of a stored image of 6 by 4 pixels, `ID` its id.
#[rustfmt::skip]
const SENTENCES: &[(&str, &str)] = &[
    // Names.
    ("$.webp?wdth=3", "Unknown parameter wdth; did you mean width?"),
    ("$.webp?W=3", "Unknown parameter W; did you mean w?"),
    ("$.webp?zzz=3", "Unknown parameter zzz; `progimage describe operations` lists all."),
    ("$.webp?sigma=3", "Unknown parameter sigma; in a query blur=... is the sigma of blur."),
    ("$.webp?fm=webp", "Unknown parameter fm; write /images/ID.webp (the format is the extension of the path)."),
    ("$.webp?resize=300x200", "Unknown parameter resize; write w=300&h=200."),
    ("$.webp?c_fill,w_300", "Unknown parameter c_fill,w_300; write fit=cover&w=300."),
    ("$.webp?text=hi", "Unknown parameter text; text is not drawn; store it as an image and name that as overlay."),
    (r#"$.webp?ops=[{"op":"resize","w":3}]"#, "Unknown parameter ops[0].w; did you mean width?"),
    ("/images?aftr=1", "Unknown parameter aftr; did you mean after?"),
    ("/jobs?state=done", "Unknown parameter state; known: limit."),
    // Given twice.
    ("$.webp?q=5&q=6", "Parameter q is given twice."),
    ("$.webp?w=3&width=4", "Parameter width is given twice: w is another name of it."),
    ("$.webp?enlarge=true&withoutEnlargement=true", "Parameter withoutEnlargement cannot be used with enlarge."),
    ("$.webp?flop&flip=v", "Parameter flip cannot be used with flop."),
    ("$.webp?greyscale&gray=true", "Parameter gray is given twice: greyscale is another name of it."),
    // Missing.
    ("$.webp?crop=1,2", "Parameter crop needs x, y, width and height."),
    ("$.webp?overlay_x=3", "Parameter overlay_x needs overlay."),
    (r#"$.webp?ops=[{"op":"resize"}]"#, "Parameter ops[0].width is missing; it must be a whole number from 1 to 65535, unless there is a height or an aspect."),
    (r#"$.webp?ops=[{"op":"crop","x":1}]"#, "Parameter ops[0].y is missing: x, y, width and height belong together."),
    ("$?w=3", "Parameter w needs an extension; write /images/ID.auto?w=3."),
    ("/remote.webp", "Parameter url is missing; it must be the URL of an image."),
    // Values.
    ("$.webp?w=0", r#"Parameter w must be a whole number from 1 to 65535, not "0"."#),
    ("$.webp?w=", "Parameter w is empty; it must be a whole number from 1 to 65535."),
    ("$.webp?w=50%", r#"Parameter w must be a whole number from 1 to 65535, not "50%"; sides are in pixels, without a unit."#),
    ("$.webp?fit=covr", r#"Parameter fit must be inside, cover, contain, fill or outside, not "covr"; did you mean cover?"#),
    ("$.webp?blur=0.1", r#"Parameter blur must be a number from 0.3 to 250 with at most 2 decimals, not "0.1"."#),
    ("$.webp?sharpen=1,x", r#"Parameter sharpen: amount must be a number from 0 to 10 with at most 2 decimals, not "x"."#),
    ("$.webp?crop=1,2,3,4,5", r#"Parameter crop must be x,y,width,height and no more, not "1,2,3,4,5"."#),
    ("$.webp?bg=red", r#"Parameter bg must be a colour as rrggbb, rrggbbaa or rgb in hexadecimal, not "red"."#),
    ("$.webp?trim", "Parameter trim is empty; it must be a whole number from 0 to 255; write trim=10."),
    ("$.webp?frame=7", r#"Parameter frame must be 0 or all: this image has one frame, not "7"."#),
    ("$.webp?radius=50%", r#"Parameter radius must be a whole number from 1 to 16384 or max, not "50%"; write radius=max (a radius is in pixels, or half the shorter side)."#),
    (r#"$.webp?ops=[{"op":"resise"}]"#, r#"Parameter ops[0].op must be the name of an operation, not "resise"; did you mean resize?"#),
    ("$.webp?ops=[1]", r#"Parameter ops must be a JSON array of objects, each with "op", not "[1]" (valid JSON, but not an array of objects: error at column 2)."#),
    ("$.webp?download=", "Parameter download is empty; it must be a file name of 1 to 255 bytes."),
    ("/images?limit=0", r#"Parameter limit must be a whole number from 1 to 100000, not "0"."#),
    ("$/info?include=phsh", r#"Parameter include must be some of blurhash, thumbhash, palette, color, phash, not "phsh"; did you mean phash?"#),
    // What others write, and what was meant.
    ("$.webp?fit=clip&w=3", r#"Parameter fit must be inside, cover, contain, fill or outside, not "clip"; write fit=inside (fit=inside never enlarges unless enlarge=true)."#),
    ("$.webp?grayscale=1", r#"Parameter grayscale must be true or false, not "1"; write grayscale=true."#),
    ("$.webp?w=3&ar=1.5", r#"Parameter ar must be a ratio w:h of whole numbers from 1 to 10000, not "1.5"; write ar=3:2."#),
    ("$.webp?w=300px", r#"Parameter w must be a whole number from 1 to 65535, not "300px"; write w=300."#),
    ("$.webp?smart", "Unknown parameter smart; write fit=cover&gravity=attention."),
    ("$.webp?border=3", "Unknown parameter border; write pad=3."),
    ("$.webp?fm=png&w=3&zzz=5", "Unknown parameter fm; write /images/ID.png?w=3 (the format is the extension of the path)."),
    ("$?greyscale", "Parameter greyscale needs an extension; write /images/ID.auto?greyscale."),
    (r#"$.webp?ops=[{"op":"resize","width":3,"height":3,"fit":"stretch"}]"#, r#"Parameter ops[0].fit must be inside, cover, contain, fill or outside, not "stretch"; write "fit": "fill"."#),
    (r#"$.webp?ops=[{"op":"blur","sigma":0},{"op":"resize"}]"#, "Parameter ops[1].width is missing; it must be a whole number from 1 to 65535, unless there is a height or an aspect."),
    (r#"$.webp?ops=[{"op":"overlay","source":{"part":"logo"}}]"#, r#"Parameter ops[0].source must be the name of a part of the form, not "logo" (no part logo in this form)."#),
    // Conflicts.
    ("$.gif?lossless", "The format gif cannot be lossless; png, webp, avif, tiff, bmp, ico, qoi, ppm, pgm, pnm and tga can."),
    ("$.gif?max_bytes=5k", "The format gif has no quality to lower for max_bytes; jpeg, webp and avif have one."),
    ("$.jpg?colors=5", "Parameter colors: jpeg has no palette; png and gif have one."),
    ("$.webp?max_bytes=5k&q=auto", "Parameter max_bytes cannot be used with quality=auto."),
    ("$.webp?w=3&h=4&ar=1:1", "Parameter aspect cannot be used with width and height both."),
    ("$.webp?ops=[]&w=3", "Parameter w cannot be used with ops."),
    ("$.webp?preset=x", r#"Parameter preset must be the name of a preset, not "x" (this server has none)."#),
    // Paths.
    ("$/w_3,c_fill", "Operations go in the query, after an extension: /images/ID.auto?w=3&fit=cover"),
    ("$/nonsense", "An image has nothing at this path; it has /images/{id}, /images/{id}.{ext} and /images/{id}/info."),
    ("/process?w=3", "The format is the extension of this path: /process.webp?w=3"),
    ("/health", "There is nothing at this path; the nearest is: /healthz"),
];

fn detail(answer: &Answer) -> String {
    answer.json()["detail"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn sentences_read_well() {
    let server = Server::start();
    let path = server.store(&ppm(6, 4, [1, 2, 3]));
    for (asked, sentence) in SENTENCES {
        let asked = asked.replace('$', &path);
        let (target, query) = asked.split_once('?').unwrap_or((&asked, ""));
        let mark = if query.is_empty() { "" } else { "?" };
        let told = detail(&server.get(&format!("{target}{mark}{}", encoded(query))));
        assert_eq!(told, sentence.replace("ID", path.trim_start_matches("/images/")), "{asked}");
    }
}
