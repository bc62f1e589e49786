//! Exact probabilities.

use std::fmt;

/// The largest denominator that is shown as it is; others are shown as a percentage.
const LARGEST_SHOWN: u64 = 1_000;

/// A probability as an exact fraction in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Probability {
    numerator: u64,
    denominator: u64,
}

impl Probability {
    /// So many of so many; a denominator of 0 counts as 1.
    pub fn new(numerator: u64, denominator: u64) -> Self {
        Self::reduced(numerator.into(), denominator.into())
    }

    /// Fractions that 64 bits do not hold lose their last bits.
    fn reduced(numerator: u128, denominator: u128) -> Self {
        let denominator = denominator.max(1);
        let divisor = greatest_common_divisor(numerator, denominator).max(1);
        let (numerator, denominator) = (numerator / divisor, denominator / divisor);
        let excess = (u128::BITS - (numerator | denominator).leading_zeros()).saturating_sub(u64::BITS);
        let narrow = |number: u128| u64::try_from(number >> excess).unwrap_or(u64::MAX);
        Self { numerator: narrow(numerator), denominator: narrow(denominator).max(1) }
    }

    /// The numerator.
    pub fn numerator(self) -> u64 {
        self.numerator
    }

    /// The denominator; never 0.
    pub fn denominator(self) -> u64 {
        self.denominator
    }

    /// The probability that both of two independent events happen.
    pub fn and(self, other: Self) -> Self {
        let [one, two] = [self, other].map(|it| (u128::from(it.numerator), u128::from(it.denominator)));
        Self::reduced(one.0 * two.0, one.1 * two.1)
    }

    /// The probability that one of two events happens that exclude each other.
    pub fn or(self, other: Self) -> Self {
        let [one, two] = [self, other].map(|it| (u128::from(it.numerator), u128::from(it.denominator)));
        // The sum of two products of 64 bits may need one bit more.
        let sum = (one.0 * two.1 / 2).saturating_add(two.0 * one.1 / 2);
        match (one.0 * two.1).checked_add(two.0 * one.1) {
            Some(exact) => Self::reduced(exact, one.1 * two.1),
            None => Self::reduced(sum, one.1 * two.1 / 2),
        }
    }

    /// The same as numerator and denominator with a slash between them, as in JSON.
    pub fn fraction(self) -> String {
        format!("{}/{}", self.numerator, self.denominator)
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.denominator <= LARGEST_SHOWN {
            return write!(f, "{} of {}", self.numerator, self.denominator);
        }
        // For display alone.
        let percent = self.numerator as f64 * 100.0 / self.denominator as f64;
        write!(f, "about {percent:.2} %")
    }
}

fn greatest_common_divisor(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(numerator: u64, denominator: u64) -> Probability {
        Probability::new(numerator, denominator)
    }

    #[test]
    fn a_cascade_of_chances_gives_equal_shares() {
        for count in 1..=500_u64 {
            let mut rest = p(1, 1);
            for left in (1..=count).rev() {
                assert_eq!(rest.and(p(1, left)), p(1, count));
                rest = rest.and(p(left - 1, left));
            }
            assert_eq!(rest, p(0, 1));
        }
    }

    #[test]
    fn fractions_are_in_lowest_terms_and_never_overflow() {
        assert_eq!((p(2, 6).numerator(), p(2, 6).denominator()), (1, 3));
        assert_eq!(p(1, 3).or(p(1, 3)), p(2, 3));
        assert_eq!(p(1, 2).or(p(1, 3)), p(5, 6));
        assert_eq!(p(7, 0), p(7, 1));
        let odd = p(u64::MAX - 2, u64::MAX);
        let most = odd.and(odd).or(p(1, u64::MAX - 4)).or(odd.and(p(1, 3)));
        assert!(most.numerator() > 0 && most.denominator() > 0, "{most:?}");
        assert!((odd.and(odd).numerator() as f64 / odd.and(odd).denominator() as f64 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn small_fractions_are_shown_as_they_are() {
        assert_eq!(p(1, 3).to_string(), "1 of 3");
        assert_eq!(p(2, 4).fraction(), "1/2");
        assert_eq!(p(12_345, 100_000).to_string(), "about 12.35 %");
    }
}
