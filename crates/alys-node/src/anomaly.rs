//! What is unusual: a measure that leaves the band in which it has been, long before a threshold breaks.
//!
//! Each measure is smoothed (EWMA: S. W. Roberts, "Control chart tests based on geometric moving averages", 1959) and compared
//! with the median and the median absolute deviation (MAD) of its last two minutes. Both ignore up to half of the
//! samples, so that the trouble itself does not widen the band; MAD times 1.4826 estimates a standard deviation
//! (P. J. Rousseeuw, C. Croux, "Alternatives to the median absolute deviation", 1993). A level that lasts longer than half of the
//! window becomes the usual one.

use std::collections::VecDeque;

/// Samples that are remembered, one a second.
const WINDOW: usize = 120;

/// Samples before anything is judged.
const WARM_UP: usize = 30;

/// Weight of the newest sample in the smoothed value.
const WEIGHT: f64 = 0.3;

/// Standard deviations above the median at which an anomaly begins.
const BEGINS: f64 = 8.0;

/// And below which it ends.
const ENDS: f64 = 4.0;

/// Standard deviation of a normal distribution with a MAD of one.
const DEVIATION: f64 = 1.4826;

/// Least deviation that is assumed, as a part of the median: of a measure that hardly moves, the noise is no news.
const LEAST_PART: f64 = 0.1;

/// How a sample stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// In its band, or not judged yet.
    Usual,
    /// Above its band.
    High {
        /// The smoothed measure.
        value: f64,
        /// Its median.
        usual: f64,
    },
}

/// Watches one measure.
#[derive(Clone, Debug)]
pub(crate) struct Detector {
    least_deviation: f64,
    window: VecDeque<f64>,
    smoothed: Option<f64>,
    is_high: bool,
}

impl Detector {
    /// A detector for a measure that may always move by `least_deviation`, in its own unit.
    pub(crate) fn new(least_deviation: f64) -> Self {
        Self { least_deviation, window: VecDeque::with_capacity(WINDOW), smoothed: None, is_high: false }
    }

    /// Takes the next sample. One that is no number is passed over.
    pub(crate) fn observe(&mut self, sample: f64) -> Verdict {
        if !sample.is_finite() {
            return Verdict::Usual;
        }
        let value = self.smoothed.map_or(sample, |smoothed| WEIGHT.mul_add(sample - smoothed, smoothed));
        self.smoothed = Some(value);
        let verdict = if self.window.len() < WARM_UP { Verdict::Usual } else { self.judge(value) };
        self.is_high = verdict != Verdict::Usual;
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        verdict
    }

    fn judge(&self, value: f64) -> Verdict {
        let usual = median(self.window.iter().copied().collect());
        let mad = median(self.window.iter().map(|sample| (sample - usual).abs()).collect());
        let deviation = (mad * DEVIATION).max(usual.abs() * LEAST_PART).max(self.least_deviation);
        let band = if self.is_high { ENDS } else { BEGINS };
        if value > band.mul_add(deviation, usual) { Verdict::High { value, usual } } else { Verdict::Usual }
    }
}

/// The (upper) middle of some numbers; 0 if there are none.
fn median(mut samples: Vec<f64>) -> f64 {
    let middle = samples.len() / 2;
    match samples.get(middle) {
        None => 0.0,
        Some(_) => *samples.select_nth_unstable_by(middle, f64::total_cmp).1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A measure that moves between 100 and 110.
    fn settled() -> Detector {
        let mut detector = Detector::new(1.0);
        for step in 0..WINDOW {
            let sample = 100.0 + f64::from(u32::try_from(step % 11).unwrap());
            assert_eq!(detector.observe(sample), Verdict::Usual);
        }
        detector
    }

    #[test]
    fn what_moves_as_ever_is_usual() {
        settled();
    }

    #[test]
    fn one_outlier_is_none() {
        let mut detector = settled();
        assert_eq!(detector.observe(200.0), Verdict::Usual);
        assert_eq!(detector.observe(104.0), Verdict::Usual);
    }

    #[test]
    fn a_level_that_lasts_is_an_anomaly_until_it_is_gone_or_usual() {
        let mut detector = settled();
        let seen: Vec<bool> = (0..10).map(|_| detector.observe(400.0) != Verdict::Usual).collect();
        assert!(seen.last() == Some(&true) && seen.windows(2).all(|pair| pair[0] <= pair[1]), "{seen:?}");
        let back: Vec<bool> = (0..20).map(|_| detector.observe(104.0) != Verdict::Usual).collect();
        assert_eq!(back.last(), Some(&false));
        let mut detector = settled();
        let last = (0..WINDOW).map(|_| detector.observe(400.0)).last();
        assert_eq!(last, Some(Verdict::Usual));
    }

    #[test]
    fn nothing_is_judged_before_there_is_something_to_compare_with() {
        let mut detector = Detector::new(1.0);
        for step in 0..WARM_UP {
            let sample = if step % 2 == 0 { 1.0 } else { 1e9 };
            assert_eq!(detector.observe(sample), Verdict::Usual);
        }
        assert_eq!(detector.observe(f64::NAN), Verdict::Usual);
    }
}
