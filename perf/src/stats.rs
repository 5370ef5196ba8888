//! The few statistics that a comparison needs. Robust ones: a neighbour's burst of work spoils one pair, and the median
//! of the pairs does not care.

/// Smallest, middle and largest of a set of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of samples in any order; `None` when there are none, or when one is not a number.
    pub(crate) fn of(samples: &[f64]) -> Option<Spread> {
        let mut sorted = samples.to_vec();
        if sorted.iter().any(|sample| sample.is_nan()) {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { min, median, max })
    }
}

/// `numerator / denominator` as the numbers of a report, where none of anything is 0.
pub(crate) fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}

/// A count as a number to reckon with. Counts here stay far below the 2^53 where precision would end.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_of_samples_is_the_middle_one() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!(spread, Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
    }

    #[test]
    fn the_median_of_an_even_number_of_samples_is_between_the_middle_two() {
        let spread = Spread::of(&[4.0, 1.0, 10.0, 2.0]);
        assert_eq!(spread, Some(Spread { min: 1.0, median: 3.0, max: 10.0 }));
    }

    #[test]
    fn one_outlier_moves_the_maximum_alone() {
        let calm = Spread::of(&[1.0, 1.01, 0.99, 1.0, 1.0]).map(|spread| spread.median);
        let disturbed = Spread::of(&[1.0, 1.01, 0.99, 1.0, 7.0]).map(|spread| spread.median);
        assert_eq!(calm, disturbed);
    }

    #[test]
    fn nothing_has_no_spread_and_neither_has_what_is_not_a_number() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn a_ratio_to_nothing_is_zero() {
        assert_eq!(ratio(5.0, 0.0), 0.0);
        assert_eq!(ratio(1.0, 4.0), 0.25);
    }
}
