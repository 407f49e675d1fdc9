//! The watcher: looks at the whole tree once a second, without asking an actor, and tells what is unusual.

use super::tick::Tick;
use crate::anomaly::{Detector, Verdict};
use alys_actor::{Actor, Context, NodeKind, NodeSnapshot};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the tree is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// What of an actor is compared with its past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Smoothed time per message, in microseconds.
    HandleMicros,
    /// Errors that it counted, or failures, since the last look.
    Errors,
    /// Messages that wait.
    InboxDepth,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HandleMicros, Self::Errors, Self::InboxDepth];

    /// Its name, as in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HandleMicros => "handle_micros",
            Self::Errors => "errors",
            Self::InboxDepth => "inbox_depth",
        }
    }

    /// How far it may always move.
    const fn least_deviation(self) -> f64 {
        match self {
            Self::HandleMicros => 500.0,
            Self::Errors => 0.25,
            Self::InboxDepth => 2.0,
        }
    }
}

/// A measure that has left its band.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// Path of the actor.
    pub actor: String,
    /// What of it.
    pub measure: Measure,
    /// Smoothed, in the measure's unit.
    pub value: f64,
    /// Its median of the last minutes.
    pub usual: f64,
}

/// Watches the tree.
pub struct WatcherActor {
    detectors: BTreeMap<(String, Measure), Detector>,
    /// Errors and failures at the last look, by actor.
    counted: BTreeMap<String, u64>,
    anomalies: Arc<watch::Sender<Vec<Anomaly>>>,
}

impl WatcherActor {
    /// A watcher that publishes what is unusual now.
    pub fn new(anomalies: Arc<watch::Sender<Vec<Anomaly>>>) -> Self {
        Self { detectors: BTreeMap::new(), counted: BTreeMap::new(), anomalies }
    }

    fn look(&mut self, nodes: &[&NodeSnapshot]) {
        let mut found = Vec::new();
        for node in nodes.iter().filter(|node| node.kind == NodeKind::Actor) {
            let counted = node.errors.saturating_add(node.failures);
            let before = self.counted.insert(node.path.clone(), counted).unwrap_or(counted);
            for measure in Measure::ALL {
                let sample = match measure {
                    Measure::HandleMicros => node.handle_micros,
                    Measure::Errors => float(counted.saturating_sub(before)),
                    Measure::InboxDepth => float(u64::try_from(node.inbox_depth).unwrap_or(u64::MAX)),
                };
                let detector = self
                    .detectors
                    .entry((node.path.clone(), measure))
                    .or_insert_with(|| Detector::new(measure.least_deviation()));
                if let Verdict::High { value, usual } = detector.observe(sample) {
                    found.push(Anomaly { actor: node.path.clone(), measure, value, usual });
                }
            }
        }
        self.tell(found);
    }

    /// Publishes what is found; what begins and what ends is logged and counted.
    fn tell(&self, found: Vec<Anomaly>) {
        let is_in = |list: &[Anomaly], one: &Anomaly| {
            list.iter().any(|other| other.actor == one.actor && other.measure == one.measure)
        };
        let before = self.anomalies.borrow().clone();
        for anomaly in found.iter().filter(|anomaly| !is_in(&before, anomaly)) {
            let Anomaly { actor, measure, value, usual } = anomaly;
            tracing::warn!(actor, measure = measure.name(), value, usual, "unusual");
            let labels = [("actor", actor.clone()), ("measure", measure.name().to_owned())];
            metrics::counter!("alys_anomalies_total", &labels).increment(1);
            metrics::gauge!("alys_anomaly", &labels).set(1.0);
        }
        for anomaly in before.iter().filter(|anomaly| !is_in(&found, anomaly)) {
            let Anomaly { actor, measure, .. } = anomaly;
            tracing::info!(actor, measure = measure.name(), "as usual again");
            let labels = [("actor", actor.clone()), ("measure", measure.name().to_owned())];
            metrics::gauge!("alys_anomaly", &labels).set(0.0);
        }
        self.anomalies.send_if_modified(|current| {
            let changed = *current != found;
            *current = found;
            changed
        });
    }
}

impl Actor for WatcherActor {
    type Message = Tick;
    type Error = Infallible;

    async fn started(&mut self, ctx: &mut Context<Tick>) -> Result<(), Infallible> {
        ctx.every(PERIOD, || Tick::Due);
        Ok(())
    }

    async fn handle(&mut self, message: Tick, ctx: &mut Context<Tick>) -> Result<(), Infallible> {
        match message {
            Tick::Due => self.look(&ctx.system().tree().nodes()),
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a statistic")]
#[expect(clippy::as_conversions, reason = "no lossless conversion exists")]
const fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use alys_actor::{Health, Phase};

    fn node(depth: usize, errors: u64) -> NodeSnapshot {
        NodeSnapshot {
            path: "root/chain".to_owned(),
            kind: NodeKind::Actor,
            state: Phase::Running,
            health: Health::Healthy,
            restarts: 0,
            failures: 0,
            errors,
            last_exit: None,
            last_error: None,
            handled: 0,
            handling: None,
            handle_micros: 80.0,
            inbox_depth: depth,
            inbox_capacity: 64,
            inbox_age_ms: None,
            memory_bytes: 0,
            children: Vec::new(),
        }
    }

    #[test]
    fn a_growing_inbox_is_told_while_it_lasts_and_errors_by_their_rate() {
        let (sender, view) = watch::channel(Vec::new());
        let mut watcher = WatcherActor::new(Arc::new(sender));
        let mut look = |depth, errors| {
            watcher.look(&[&node(depth, errors)]);
            view.borrow().clone()
        };
        for _ in 0..60 {
            assert!(look(1, 7).is_empty());
        }
        let grown: Vec<Anomaly> = (0..10).flat_map(|step| look(30 + step, 7)).collect();
        let last = grown.last().unwrap();
        assert_eq!((last.actor.as_str(), last.measure), ("root/chain", Measure::InboxDepth));
        assert!(last.value > 20.0 && last.usual < 2.0, "{last:?}");
        for _ in 0..20 {
            look(1, 7);
        }
        assert!(look(1, 7).is_empty());
        let failing: Vec<Measure> =
            (1..10).flat_map(|step| look(1, 7 + 20 * step)).map(|found| found.measure).collect();
        assert!(!failing.is_empty() && failing.iter().all(|measure| *measure == Measure::Errors), "{failing:?}");
    }
}
