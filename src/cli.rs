//! The command line: `serve`, `describe`. It parses arguments and calls the layers below; it renders nothing itself.

use std::io;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config, LogFormat, Mistakes, SETTINGS, Sources};
use crate::http::{App, ROUTES, server};
use crate::pipeline;
use crate::pipeline::codec::CODECS;
use crate::pipeline::operation::OPERATIONS;
use crate::store;

/// The settings cannot be used; as for a wrong argument.
const EXIT_SETTINGS: u8 = 2;

/// Writes a Markdown table.
type Describe = fn() -> String;

/// What [`describe`] can print, as Markdown tables.
const DESCRIPTIONS: &[(&str, Describe)] = &[
    ("config", config::describe),
    ("routes", describe_routes),
    ("gallery", describe_gallery),
    ("operations", describe_operations),
    ("formats", describe_formats),
];

/// Parses the arguments, runs the command and says how it ended.
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    if let Some(("describe", matches)) = matches.subcommand() {
        return describe(matches);
    }
    match load(&matches) {
        Ok(config) => match serve(config) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("progimage: {error}");
                ExitCode::FAILURE
            }
        },
        Err(mistakes) => {
            for mistake in mistakes.0 {
                eprintln!("progimage: {mistake}");
            }
            ExitCode::from(EXIT_SETTINGS)
        }
    }
}

fn command() -> Command {
    let flags = SETTINGS.iter().map(|setting| {
        // clap keeps names for as long as the process lives; this runs once.
        let flag: &'static str = setting.key.replace('_', "-").leak();
        let arg = Arg::new(setting.key).long(flag).help(setting.doc).global(true);
        if setting.is_switch() {
            arg.value_name("true|false").num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            arg.value_name("VALUE")
        }
    });
    let names: Vec<&str> = DESCRIPTIONS.iter().map(|(name, _)| *name).collect();
    Command::new("progimage")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .arg(Arg::new("config").long("config").value_name("FILE").help("TOML file of settings").global(true))
        .args(flags)
        .subcommand(Command::new("serve").about("Serve HTTP; what is done without a command, too"))
        .subcommand(
            Command::new("describe")
                .about("Print a table of the README")
                .arg(Arg::new("what").required(true).value_parser(names)),
        )
}

fn describe(matches: &ArgMatches) -> ExitCode {
    let what = matches.get_one::<String>("what").map(String::as_str);
    for (name, print) in DESCRIPTIONS {
        if what == Some(*name) {
            print!("{}", print());
        }
    }
    ExitCode::SUCCESS
}

fn describe_routes() -> String {
    let mut table = "| Request | Scope | Meaning |\n|---|---|---|\n".to_owned();
    for route in ROUTES {
        table += &format!("| `{} {}` | {} | {} |\n", route.method(), route.path(), route.scope().name(), route.doc());
    }
    table
}

/// The operations with a picture each, as the README has them.
fn describe_gallery() -> String {
    let mut table = "| Operation | Example | | What it does |\n|---|---|---|---|\n".to_owned();
    for operation in OPERATIONS {
        let (name, example, doc) = (operation.name, operation.example, operation.doc);
        let picture = format!("<img src=\"fixtures/gallery/{name}.webp\" width=\"160\" alt=\"{name}\">");
        table += &format!("| {name} | `{example}` | {picture} | {doc} |\n");
    }
    table
}

fn describe_operations() -> String {
    let mut table =
        "| Operation | In JSON | In a query | Allowed | Default | Meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for row in pipeline::reference::rows() {
        let keys: Vec<String> = row.keys.iter().map(|key| format!("`{key}`")).collect();
        let keys = if keys.is_empty() { "`,`".to_owned() } else { keys.join(" ") };
        let (name, allowed, default) = (row.name, row.allowed, row.default);
        table += &format!("| {} | `{name}` | {keys} | {allowed} | {default} | {} |\n", row.operation, row.doc);
    }
    table
}

fn describe_formats() -> String {
    let mut table = "| Format | Extensions | Media type | Read | Written | |\n|---|---|---|---|---|---|\n".to_owned();
    for codec in CODECS {
        let extensions: Vec<String> = codec.extensions.iter().map(|extension| format!("`.{extension}`")).collect();
        let written = if codec.encoder.is_some() { "yes" } else { "no" };
        let (extensions, media_type) = (extensions.join(" "), codec.media_type);
        table += &format!("| {} | {extensions} | `{media_type}` | yes | {written} | {} |\n", codec.name, codec.doc);
    }
    table
}

/// Reads the settings from where they stand. The global flags may stand before or after the command.
fn load(matches: &ArgMatches) -> Result<Config, Mistakes> {
    let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
    let environment = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let path = matches.get_one::<String>("config").cloned().or_else(|| environment("PROGIMAGE_CONFIG"));
    let file = match path {
        None => None,
        Some(path) => Some(
            std::fs::read_to_string(&path)
                .map_err(|error| Mistakes(vec![format!("--config: cannot read {path}: {error}")]))?,
        ),
    };
    Config::load(&Sources {
        flag: &|key| matches.get_one::<String>(key).cloned(),
        environment: &environment,
        file: file.as_deref(),
    })
}

fn serve(config: Config) -> Result<ExitCode, Box<dyn std::error::Error>> {
    log(&config)?;
    raise_descriptors();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
        let store = store::open(&config.data, &config.layers.store)
            .await
            .map_err(|error| format!("cannot open the store {}: {error}", config.data))?;
        let stop = stop()?;
        tracing::info!(address = %listener.local_addr()?, data = config.data, level = ?config.layers.store.level, "ready");
        let stopped = server::serve(listener, App::new(store, config.layers), stop).await;
        tracing::info!(?stopped, "stopped");
        Ok(match stopped {
            server::Stopped::Drained => ExitCode::SUCCESS,
            server::Stopped::CutOff => ExitCode::FAILURE,
        })
    })
}

/// Ready at the first SIGTERM or SIGINT.
fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests under way are answered");
    })
}

fn log(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| format!("log: {error}"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Takes the descriptors that the system allows: the usual 1,024 are fewer than `connections_max`.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "cannot raise the number of descriptors");
    }
}
