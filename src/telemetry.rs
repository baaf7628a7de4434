//! Log and metrics of the process.

mod names;

use std::io::IsTerminal as _;
use std::time::Duration;

use metrics::Label;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Level;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::names::{Kind, METRICS, Metric};
use crate::config::{Log, LogFormat};

/// Begins to log to stderr. A second call changes nothing.
pub fn log(settings: &Log) {
    // A line for each channel that a refusal closes, which is said with its reason, and rationed, where it was asked
    // for. Who names it in the level gets it.
    let level = |level: &str| EnvFilter::try_new(format!("lapin=off,{level}"));
    let filter = level(&settings.level).unwrap_or_else(|_| EnvFilter::new("lapin=off,info"));
    // It shows whole frames, in which clients send their tokens; no level may ask for that.
    let discreet = FilterFn::new(|event| {
        *event.level() <= Level::INFO || !event.target().trim_start_matches("tokio_").starts_with("tungstenite")
    });
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let begun = match settings.format {
        LogFormat::Text => {
            let layer = layer.with_ansi(std::io::stderr().is_terminal());
            registry.with(layer.with_filter(discreet)).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(discreet)).try_init(),
    };
    if let Err(error) = begun {
        tracing::debug!(%error, "the log had begun already");
    }
}

/// Begins to count; the handle renders what was counted.
///
/// # Errors
/// When a recorder is installed already.
pub fn metrics() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()?;
    METRICS.iter().for_each(register);
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        metrics::counter!("bridge_panics_total").increment(1);
        said(panic);
    }));
    metrics::gauge!("bridge_build_info", "version" => crate::VERSION, "build" => crate::BUILD).set(1.0);
    Ok(handle)
}

/// Every series of a counter is there, at 0, before anything is counted: an increase from nothing to 1 is none to whoever
/// watches.
fn register(&(name, kind, labels, help): &Metric) {
    match kind {
        Kind::Counter => metrics::describe_counter!(name, help),
        Kind::Gauge => metrics::describe_gauge!(name, help),
        Kind::Histogram => metrics::describe_histogram!(name, help),
    }
    if kind == Kind::Counter {
        for series in names::series(labels) {
            let labels: Vec<Label> = series.iter().map(|(label, value)| Label::new(*label, *value)).collect();
            metrics::counter!(name, labels).increment(0);
        }
    }
}

/// Keeps the metrics' memory bounded; never ends.
pub async fn keep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
