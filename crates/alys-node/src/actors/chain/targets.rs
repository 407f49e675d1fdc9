//! What an operator expects of the chain actor's speed. Nothing depends on it but alerts.

use super::timings::record;
use metrics::{counter, gauge};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// The greatest target in milliseconds: what takes longer than a minute is a fault and not slow.
const MAX_MILLIS: u64 = 60_000;

/// The longest that an operation should take, each in milliseconds; `[performance]` of the configuration.
///
/// Each target is a gauge `alys_chain_target_seconds{operation}` beside the histogram of the same operation
/// (`alys_chain_operation_seconds`), so that a rule for alerts needs no number of its own, and each time that one is
/// missed is counted in `alys_chain_target_missed_total{operation}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerformanceTargets {
    /// A verified block until its outcome is decided and durable (`import`).
    pub max_import_time_ms: u64,
    /// A proposal of this member, waiting for its slot apart (`produce`).
    pub max_production_time_ms: u64,
    /// The checks of one block (`validate`).
    pub max_validation_time_ms: u64,
    /// The input that makes a bundle final and everything that follows at once (`finalize`).
    pub max_finalization_time_ms: u64,
}

impl Default for PerformanceTargets {
    fn default() -> Self {
        Self {
            max_import_time_ms: 100,
            max_production_time_ms: 500,
            max_validation_time_ms: 200,
            max_finalization_time_ms: 1_000,
        }
    }
}

/// A target that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is {found}, must be from 1 to {max} milliseconds")]
pub struct TargetError {
    /// The key in the configuration, `section.name`.
    pub key: &'static str,
    /// What was given.
    pub found: u64,
    /// The greatest that is possible.
    pub max: u64,
}

impl PerformanceTargets {
    /// Checks the targets by themselves.
    ///
    /// # Errors
    /// [`TargetError`] with the first one that is out of range.
    pub fn validate(&self) -> Result<(), TargetError> {
        self.within(MAX_MILLIS)
    }

    /// Checks the targets against a chain's slots too: a proposal that takes a whole slot is no proposal.
    ///
    /// # Errors
    /// [`TargetError`] with the first one that is out of range.
    pub fn validate_for(&self, slot_duration: Duration) -> Result<(), TargetError> {
        self.validate()?;
        self.within(u64::try_from(slot_duration.as_millis()).unwrap_or(MAX_MILLIS))
    }

    /// `max` bounds production; the other targets are bounded by a minute whatever the chain.
    fn within(&self, max: u64) -> Result<(), TargetError> {
        let checks = [
            ("performance.max_import_time_ms", self.max_import_time_ms, MAX_MILLIS),
            ("performance.max_production_time_ms", self.max_production_time_ms, max),
            ("performance.max_validation_time_ms", self.max_validation_time_ms, MAX_MILLIS),
            ("performance.max_finalization_time_ms", self.max_finalization_time_ms, MAX_MILLIS),
        ];
        match checks.into_iter().find(|(_, found, max)| *found == 0 || found > max) {
            Some((key, found, max)) => Err(TargetError { key, found, max }),
            None => Ok(()),
        }
    }

    /// The target of an operation that has one.
    fn of(&self, operation: &str) -> Option<Duration> {
        let millis = match operation {
            "import" => self.max_import_time_ms,
            "produce" => self.max_production_time_ms,
            "validate" => self.max_validation_time_ms,
            "finalize" => self.max_finalization_time_ms,
            _ => return None,
        };
        Some(Duration::from_millis(millis))
    }

    /// Exports the targets, with counters that stand at zero until something is late.
    pub(super) fn export(&self) {
        for operation in ["import", "produce", "validate", "finalize"] {
            if let Some(target) = self.of(operation) {
                gauge!("alys_chain_target_seconds", "operation" => operation).set(target.as_secs_f64());
                counter!("alys_chain_target_missed_total", "operation" => operation).increment(0);
            }
        }
    }

    /// Records how long an operation took, and whether that was too long.
    pub(super) fn judge(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        record(operation, outcome, took);
        if self.of(operation).is_some_and(|target| took > target) {
            counter!("alys_chain_target_missed_total", "operation" => operation).increment(1);
            tracing::debug!(operation, outcome, millis = took.as_millis(), "slower than its target");
        }
    }

    /// As [`Self::judge`] for an operation that ends now.
    pub(super) fn judge_since(&self, operation: &'static str, outcome: &'static str, began: Instant) {
        self.judge(operation, outcome, began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn a_target_of_nothing_or_of_more_than_a_slot_is_refused_by_name() {
        let targets = PerformanceTargets::default();
        assert_eq!(targets.validate(), Ok(()));
        let none = PerformanceTargets { max_validation_time_ms: 0, ..targets };
        assert_eq!(none.validate().map_err(|error| error.key), Err("performance.max_validation_time_ms"));
        let hour = PerformanceTargets { max_import_time_ms: 3_600_000, ..targets };
        assert_eq!(hour.validate().map_err(|error| error.found), Err(3_600_000));
        let slow = PerformanceTargets { max_production_time_ms: 1_500, ..targets };
        assert_eq!(slow.validate_for(Duration::from_secs(2)), Ok(()));
        let error = slow.validate_for(Duration::from_secs(1)).map_err(|error| error.to_string());
        assert_eq!(error, Err("is 1500, must be from 1 to 1000 milliseconds".to_owned()));
    }

    #[test]
    fn each_target_is_exported_and_only_what_is_late_is_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        let text = metrics::with_local_recorder(&recorder, || {
            let targets = PerformanceTargets { max_import_time_ms: 20, ..PerformanceTargets::default() };
            targets.export();
            targets.judge("import", "imported", Duration::from_millis(20));
            targets.judge("import", "imported", Duration::from_millis(21));
            targets.judge("validate", "valid", Duration::from_millis(3));
            targets.judge("status", "done", Duration::from_secs(9));
            shown.render()
        });
        for line in [
            "alys_chain_target_seconds{operation=\"import\"} 0.02",
            "alys_chain_target_seconds{operation=\"finalize\"} 1",
            "alys_chain_target_missed_total{operation=\"import\"} 1",
            "alys_chain_target_missed_total{operation=\"validate\"} 0",
            "alys_chain_operation_seconds_count{operation=\"import\",outcome=\"imported\"} 2",
            "alys_chain_operation_seconds_count{operation=\"status\",outcome=\"done\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("missed_total{operation=\"status\"}"), "{text}");
    }
}
