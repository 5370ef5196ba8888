//! A whole program on this crate: configuration, log, metrics, health, reload and drain. It says hello over HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use halley_service::command_line::{self, About, Command};
use halley_service::config::in_force::{self, InForce};
use halley_service::config::key::Section;
use halley_service::config::reference::reference;
use halley_service::config::schema::Finding;
use halley_service::config::{Schema, Sources, load};
use halley_service::failure::Failure;
use halley_service::health::Health;
use halley_service::lifecycle::{Lifecycle, Phase, until_stop};
use halley_service::log::{self, LogFormat, LogMetrics};
use halley_service::metrics::Metrics;
use halley_service::metrics::process::Process;
use halley_service::pulse::Pulse;
use halley_service::serve::budget::Budget;
use halley_service::serve::stats::ListenerStats;
use halley_service::serve::{Application, ServeLimits, Serving, serve};
use halley_service::signals::Early;
use halley_service::threads::{Threads, runtime, runtime_failure};
use halley_service::{listen, notify, observe, process};
use tokio::sync::oneshot;

// Makes `Config`, a struct for each section, and `SECTIONS`. A `live` setting changes at a reload, a `restart` one does
// not; the section without a name stands before all others in the file.
halley_service::settings! {
    /// Where it listens and what it says.
    "" general: General {
        /// HTTP: /hello, /metrics, /healthz, /readyz.
        restart http_listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 3199));
        /// What /hello answers.
        live greeting: String = "hello".to_owned();
        /// "text" for people, "json" for programs.
        restart log_format: LogFormat = LogFormat::Text;
    }
}

impl Schema for Config {
    const PROGRAM: &'static str = "hello";
    const VARIABLE_PREFIX: &'static str = "HELLO_";
    const FILE_NAME: &'static str = "hello.toml";
    const EXAMPLE: &'static str = "greeting=hi";
    const REFERENCE_HEAD: &'static str = "# hello: every setting with its default.\n";

    fn sections() -> &'static [Section<Config>] {
        SECTIONS
    }

    fn findings(&self) -> Vec<Finding> {
        let wordless = Finding::new(&["greeting"], "greeting is empty: say something");
        self.general.greeting.is_empty().then_some(wordless).into_iter().collect()
    }
}

/// What it says of itself in its help.
const ABOUT: About =
    About { about: "Says hello over HTTP.", examples: "", noun: "server", stop: "End.", version: "1", commands: &[] };

fn main() -> ExitCode {
    let early = Early::remember();
    let command = match command_line::parse::<Config>(&ABOUT, std::env::args_os(), std::env::vars_os()) {
        Ok(command) => command,
        Err(error) => return command_line::refuse(Config::PROGRAM, &error),
    };
    let ended = match command {
        Command::Run(sources) => run(sources, early),
        Command::CheckConfig { sources, effective } => load::<Config>(&sources)
            .map_err(Failure::from)
            .and_then(|loaded| command_line::print_checked(&loaded, &[], effective)),
        Command::DefaultConfig => command_line::print(&reference::<Config>()),
        // It has no commands of its own.
        Command::Version | Command::Own { .. } => command_line::print("hello 1\n"),
    };
    process::end(Config::PROGRAM, ended)
}

fn run(sources: Sources, early: std::io::Result<Early>) -> Result<(), Failure> {
    let (_running, mut signals, mut wishes) = process::begin(early, Config::PROGRAM)?;
    let config = InForce::<Config>::at_start(sources)?;
    log::start("info", config.get().general.log_format, in_force::TARGET);
    signals.speak().map_err(|error| Failure::of_kernel("cannot start a thread for signals", &error))?;
    let socket = listen::listen_alone(config.get().general.http_listen, false)?;
    let (lifecycle, (pulse, beats)) = (Lifecycle::default(), Pulse::new());
    let metrics = Metrics::default().with(Process::starts("1")).with(LogMetrics).with(config.reloads());
    let (shown, phase) = (config.clone(), lifecycle.clone());
    let router = Router::new()
        .route("/hello", get(async move || shown.get().general.greeting.clone()))
        .merge(observe::life(lifecycle.clone(), Health::new(Vec::new(), vec![("http", pulse)])))
        .merge(observe::metrics(Arc::new(metrics)));
    // One thread, which reports when it is up and when it ends.
    let mut threads = Threads::new(1);
    threads.spawn("http", move |up| {
        runtime()?.block_on(async move {
            tokio::spawn(beats.run());
            let (serving, (stop, stopped)) = (Serving::new(Budget::new(1 << 20)), oneshot::channel::<()>());
            let socket = tokio::net::TcpListener::from_std(socket).map_err(runtime_failure)?;
            tracing::info!(address = %socket.local_addr().map_err(runtime_failure)?, "listening");
            let (limits, stats) = (ServeLimits::http(64), ListenerStats::new("http"));
            let stopped = async { drop(stopped.await) };
            let served = serve(socket, Application::Http(router), limits, serving.clone(), stats, stopped);
            // Answers end when their connections do: a drain tells clients to go, then the listener stops.
            let life = async {
                up.now();
                until_stop(&mut wishes, async || config.reload().await).await;
                phase.enter(Phase::Draining);
                serving.close_soon();
                drop(stop);
            };
            tokio::join!(served, life);
            Ok(())
        })
    })?;
    threads.wait_until_up()?;
    // From here on a stop drains; a reload waits until the service manager knows that we serve.
    lifecycle.enter(Phase::Serving);
    signals.serve();
    notify::ready();
    signals.ready();
    threads.wait_for_end().result
}
