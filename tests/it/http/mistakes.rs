//! Every kind of mistake with every parameter, in each spelling. `type`, `kind` and `parameter` say which it is. The
//! sentences are in one table at the end.

use progimage::pipeline::ENCODE;
use progimage::pipeline::foreign::{FOREIGN, Means};
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::param::{Kind, Param};
use progimage::pipeline::{is_known, operation::Operation};
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
    let parameter: String = parameter.chars().take(64).collect();
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
        let name = row.example.split('=').next().unwrap();
        let kind = if is_known(name) { "value" } else { "unknown" };
        assert_eq!((&problem["parameter"], &problem["kind"]), (&name.into(), &kind.into()), "{problem}");
        let hint = problem["hint"].as_str().unwrap_or_else(|| panic!("{problem}")).replace("{id}", id);
        let better = if hint.starts_with('/') { hint } else { format!("{path}.webp?{}", encoded(&hint)) };
        assert_eq!(server.get(&better).status, 200, "{} -> {better}", row.example);
    }
    let answer = server.get(&format!("{path}/w_30,c_fill,f_png"));
    answer.assert_problem(404, "unknown-id");
    assert_eq!(server.get(answer.json()["hint"].as_str().unwrap()).status, 200);
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
    ("$.webp?wdth=3", "unknown parameter wdth; did you mean width?"),
    ("$.webp?W=3", "unknown parameter W; did you mean w?"),
    ("$.webp?zzz=3", "unknown parameter zzz; `progimage describe operations` lists all."),
    ("$.webp?sigma=3", "unknown parameter sigma; in a query blur=... is the sigma of blur."),
    ("$.webp?fm=webp", "unknown parameter fm; the format is the extension of the path: /images/{id}.webp."),
    ("$.webp?resize=300x200", "unknown parameter resize; write w=300&h=200."),
    ("$.webp?c_fill,w_300", "unknown parameter c_fill,w_300; write fit=cover&w=300."),
    ("$.webp?text=hi", "unknown parameter text; text is not drawn; store it as an image and name that as overlay."),
    (r#"$.webp?ops=[{"op":"resize","w":3}]"#, "unknown parameter ops[0].w; did you mean width?"),
    ("/images?aftr=1", "unknown parameter aftr; did you mean after?"),
    ("/jobs?state=done", "unknown parameter state; known: limit."),
    // Given twice.
    ("$.webp?q=5&q=6", "q is given twice."),
    ("$.webp?w=3&width=4", "width is given twice: w is another name of it."),
    // Missing.
    ("$.webp?crop=1,2", "crop needs x, y, width and height."),
    ("$.webp?overlay_x=3", "overlay_x needs overlay."),
    (r#"$.webp?ops=[{"op":"resize"}]"#, "ops[0].width is missing; it must be a whole number from 1 to 65535, unless there is a height or an aspect."),
    (r#"$.webp?ops=[{"op":"crop","x":1}]"#, "ops[0].y is missing: x, y, width and height stand together."),
    ("$?w=3", "w needs an extension; write /images/ID.auto?w=3."),
    ("/remote.webp", "url is missing; it must be the URL of an image."),
    // Values.
    ("$.webp?w=0", r#"w must be a whole number from 1 to 65535, not "0"."#),
    ("$.webp?w=", "w is empty; it must be a whole number from 1 to 65535."),
    ("$.webp?w=50%", r#"w must be a whole number from 1 to 65535, not "50%"; sides are in pixels, without a unit."#),
    ("$.webp?fit=covr", r#"fit must be inside, cover, contain, fill or outside, not "covr"; did you mean cover?"#),
    ("$.webp?blur=0.1", r#"blur must be a number from 0.3 to 250 with at most 2 decimals, not "0.1"."#),
    ("$.webp?sharpen=1,x", r#"sharpen: amount must be a number from 0 to 10 with at most 2 decimals, not "x"."#),
    ("$.webp?crop=1,2,3,4,5", r#"crop must be x,y,width,height and no more, not "1,2,3,4,5"."#),
    ("$.webp?bg=red", r#"bg must be a colour as rrggbb, rrggbbaa or rgb in hexadecimal, not "red"."#),
    ("$.webp?trim", "trim is empty; it must be a whole number from 0 to 255; write trim=10."),
    ("$.webp?frame=7", r#"frame must be 0 or all: this image has one frame, not "7"."#),
    ("$.webp?radius=50%", r#"radius must be a whole number from 1 to 16384 or max, not "50%"; a radius is in pixels, or half the shorter side: radius=max."#),
    (r#"$.webp?ops=[{"op":"resise"}]"#, r#"ops[0].op must be the name of an operation, not "resise"; did you mean resize?"#),
    ("$.webp?ops=[1]", r#"ops must be a JSON array of objects, each with "op", not "[1]" (it is JSON of another shape at column 2)."#),
    ("$.webp?download=", "download is empty; it must be a file name of 1 to 255 bytes."),
    ("/images?limit=0", r#"limit must be a whole number from 1 to 100000, not "0"."#),
    ("$/info?include=phsh", r#"include must be some of blurhash, thumbhash, palette, color, phash, not "phsh"; did you mean phash?"#),
    // Conflicts.
    ("$.gif?lossless", "gif cannot be lossless; png, webp, avif, tiff, bmp, ico, qoi, ppm, pgm, pnm and tga can."),
    ("$.gif?max_bytes=5k", "gif has no quality to lower for max_bytes; jpeg, webp and avif have one."),
    ("$.jpg?colors=5", "colors: jpeg has no palette; png and gif have one."),
    ("$.webp?max_bytes=5k&q=auto", "max_bytes cannot stand beside quality=auto."),
    ("$.webp?w=3&h=4&ar=1:1", "aspect cannot stand beside width and height both."),
    ("$.webp?ops=[]&w=3", "w cannot stand beside ops."),
    ("$.webp?preset=x", "this server has no presets."),
    // Paths.
    ("$/w_3,c_fill", "Operations go into the query, after an extension: /images/ID.auto?w=3&fit=cover"),
    ("$/nonsense", "There is nothing at this path; an image has /images/{id}, /images/{id}.{ext} and /images/{id}/info."),
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
