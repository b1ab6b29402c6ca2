//! Tells an OpenTelemetry collector the box's figures, where `[telemetry]` names one.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::GatewayError;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connector::Stop;
use crate::secret::SecretStore;
use crate::upstream::otlp::{self, Exporter};

/// Runs until told to stop. A collector that does not take them is told of in the log when that begins and when it
/// ends; the figures are sums, so nothing is lost by a telling that fails.
pub(super) async fn run(exporter: Exporter, figures: Arc<Registry>, mut stop: Stop) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(exporter.every()) => {}
        }
        let mut text = String::new();
        if encode(&mut text, &figures).is_err() {
            continue;
        }
        match exporter.tell(&text).await {
            Ok(()) if failing => {
                tracing::info!("The OpenTelemetry collector takes figures again.");
                failing = false;
            }
            Err(why) if !failing => {
                tracing::warn!(
                    why,
                    "The OpenTelemetry collector does not take figures; tried again each period."
                );
                failing = true;
            }
            _ => {}
        }
    }
}

/// Who is told the figures, if anybody.
pub(super) fn exporter(
    config: &Config,
    instance: Arc<str>,
    secrets: &SecretStore,
    clock: &SharedClock,
) -> Result<Option<Exporter>, GatewayError> {
    let Some(telemetry) = &config.telemetry else { return Ok(None) };
    let site = config.site.name.clone();
    let about = otlp::About { instance: instance.to_string(), site, version: env!("CARGO_PKG_VERSION") };
    let exporter = Exporter::new(telemetry, about, secrets, clock.clone());
    exporter
        .map(Some)
        .map_err(|fault| GatewayError::Config(fault.to_string().replacen("upstream", "telemetry", 1)))
}
