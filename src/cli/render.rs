//! `progimage render`: renders one image from a file to a file, by the pipeline of the server, without a server.

use std::error::Error;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};

use super::{exit, load};
use crate::digest::Digest;
use crate::pipeline::codec::{self, CODECS, Codec};
use crate::pipeline::invalid::Help;
use crate::pipeline::param::Kind;
use crate::pipeline::{self, Deadline, Images, Limits, Pipeline, query};

pub fn command() -> Command {
    Command::new("render")
        .about("Render one image without a server")
        .arg(Arg::new("in").value_name("IN").required(true).help("Image, or - for standard input"))
        .arg(
            Arg::new("out")
                .value_name("OUT")
                .required(true)
                .help("Result, in the format of its extension; or -, with --format"),
        )
        .arg(
            Arg::new("query")
                .value_name("QUERY")
                .default_value("")
                .help("Parameters as in a URL: 'w=300&blur=2', or a preset of the settings"),
        )
        .arg(Arg::new("format").long("format").value_name("EXT").help("Format of the result, whatever the name of OUT"))
        .arg(
            Arg::new("image")
                .long("image")
                .value_name("FILE")
                .action(clap::ArgAction::Append)
                .help("Mask or overlay, whose id replaces {image} (then {image2}, ...) in QUERY"),
        )
        .after_help("Exit status: 0 success; 1 the image or a file is wrong; 2 an argument is wrong.")
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let (input, output) = (text("in").unwrap_or("-"), text("out").unwrap_or("-"));
    let arguments = match RenderArguments::read(matches, output, text("format"), text("query").unwrap_or_default()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("progimage render: {error}");
            return ExitCode::from(2);
        }
    };
    match render(input, output, &arguments) {
        Ok(Some(bytes)) => exit::printed("render", &bytes),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("progimage render: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A render, as the arguments describe it.
struct RenderArguments {
    pipeline: Pipeline,
    images: Images,
    limits: Limits,
}

impl RenderArguments {
    fn read(
        matches: &ArgMatches,
        output: &str,
        format: Option<&str>,
        query: &str,
    ) -> Result<RenderArguments, Box<dyn Error>> {
        let codec = written(format.or_else(|| Path::new(output).extension()?.to_str()))?;
        if output == "-" && io::stdout().is_terminal() {
            return Err("a terminal shows no image: name a file, or use a pipe".into());
        }
        if query.starts_with('?') {
            return Err("leave out the question mark before QUERY".into());
        }
        let (mut images, mut unused) = (Images::new(), None);
        let mut query = query.to_owned();
        for (place, path) in matches.get_many::<String>("image").unwrap_or_default().enumerate() {
            let name = if place == 0 { "{image}".to_owned() } else { format!("{{image{}}}", place + 1) };
            if !query.contains(&name) {
                unused.get_or_insert_with(|| format!("--image {path} is not used: write {name} where QUERY names it"));
            }
            let bytes = Bytes::from(std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?);
            let id = Digest::of(&bytes);
            query = query.replace(&name, &id.to_string());
            images.insert(id, bytes);
        }
        if let Some(name) = unfilled(&query) {
            return Err(format!("no --image is given for {name}").into());
        }
        if let Some(unused) = unused {
            return Err(unused.into());
        }
        let mut pairs = query::pairs(Some(&query))?;
        let layers = load(&[matches]).map_err(|mistakes| mistakes.to_string())?.layers;
        layers.http.presets.expand(&mut pairs)?;
        let pipeline = Pipeline::from_query(codec, &pairs).map_err(for_command_line)?.without_metadata();
        let pipeline = pipeline.tolerant_unless_said(layers.http.tolerant);
        Ok(RenderArguments { pipeline, images, limits: layers.limits })
    }
}

/// The error of a parameter with what a command line does instead of a URL.
fn for_command_line(error: pipeline::Error) -> pipeline::Error {
    let by_extension =
        |extension: &str| Help::Words(format!("the format is the extension of OUT, or --format {extension}").into());
    let error = error.by_extension(by_extension);
    match &error {
        pipeline::Error::Invalid { parameter, kind }
            if kind.allowed() == Some(&Kind::Image.allowed()) && !parameter.starts_with("ops") =>
        {
            let words = format!("write {parameter}={{image}} and name the file with --image");
            error.clone().helped(Help::Words(words.into()))
        }
        _ => error,
    }
}

/// The first `{image}` or `{image2}` ... in the query that no file has replaced.
fn unfilled(query: &str) -> Option<&str> {
    let from = &query[query.find("{image")?..];
    let name = &from[..=from.find('}')?];
    name["{image".len()..name.len() - 1].bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
}

fn written(extension: Option<&str>) -> Result<&'static Codec, String> {
    let lower = extension.unwrap_or_default().to_ascii_lowercase();
    let codec = codec::by_extension(&lower).filter(|codec| codec.encoder.is_some());
    codec.ok_or_else(|| {
        let known = CODECS.iter().filter(|codec| codec.encoder.is_some()).flat_map(|codec| codec.extensions);
        let known = known.copied().collect::<Vec<&str>>().join(", ");
        match extension {
            Some(extension) => codec::unwritten("the format", extension, known).to_string(),
            None => format!("OUT has no extension: name the format with --format; allowed: {known}"),
        }
    })
}

/// Renders the image. Returns its bytes if they are to be printed, not written to a file.
fn render(input: &str, output: &str, arguments: &RenderArguments) -> Result<Option<Bytes>, Box<dyn Error>> {
    let source = Bytes::from(source(input, arguments.limits.bytes_max)?);
    let rendered = arguments.pipeline.run(&source, &arguments.images, &arguments.limits, &Deadline::default())?;
    if let Some(missing) = rendered.missing {
        eprintln!("progimage render: {input} is damaged, and lacks {}", missing.name());
    }
    if output == "-" {
        return Ok(Some(rendered.bytes));
    }
    std::fs::write(output, &rendered.bytes).map_err(|error| format!("cannot write {output}: {error}"))?;
    Ok(None)
}

/// Reads the image, up to one byte more than allowed: that is enough to be refused.
fn source(input: &str, bytes_max: u64) -> Result<Vec<u8>, Box<dyn Error>> {
    let failed = |error: io::Error| format!("cannot read {input}: {error}");
    let mut bytes = Vec::new();
    if input == "-" {
        io::stdin().take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(input).map_err(failed)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    Ok(bytes)
}
