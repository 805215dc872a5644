//! Which session sequence numbers were seen: each is accepted once (IPMI 2.0 §6.12.13).

/// How far behind the highest number a late packet may be.
const BEHIND: u32 = 16;

/// A sliding window over the sequence numbers that passed the MAC. Any number ahead is taken: the MAC proves that
/// the peer sent it, and a peer whose last packets were all lost must not be locked out.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u32,
}

impl Window {
    /// Notes `sequence`; false when it was seen before or is too old. 0 is never a session's number.
    pub(super) fn accept(&mut self, sequence: u32) -> bool {
        if sequence > self.highest {
            self.seen = self.seen.checked_shl(sequence - self.highest).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        let fresh = sequence != 0 && behind <= BEHIND && self.seen & (1 << behind) == 0;
        if fresh {
            self.seen |= 1 << behind;
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_up_to_16_behind_are_accepted_once_and_older_ones_never() {
        let mut window = Window::default();
        assert!(!window.accept(0));
        assert!(window.accept(100));
        assert!(!window.accept(100));
        assert!(window.accept(84));
        assert!(!window.accept(84));
        assert!(!window.accept(83));
        assert!(window.accept(u32::MAX));
        assert!(!window.accept(100));
    }

    proptest! {
        #[test]
        fn no_number_is_accepted_twice(numbers in proptest::collection::vec(1u32..60, 0..200)) {
            let mut window = Window::default();
            let mut accepted = std::collections::HashSet::new();
            for number in numbers {
                if window.accept(number) {
                    prop_assert!(accepted.insert(number));
                }
            }
        }
    }
}
