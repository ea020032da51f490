//! Time: the caller's nanoseconds, the kernel's ticks.
//!
//! The tracker owns no clock. Every packet, scan and dump says when it happens, so recordings replay exactly and tests need no sleeping. Inside,
//! deadlines are kernel ticks (`jiffies`, HZ = 250) in 32 bits, compared modulo 2³² with a signed difference as the kernel does.

/// Nanoseconds since an epoch of the caller's choice (the Unix epoch if timestamps shall mean something).
pub type Nanos = u64;

/// Ticks per second.
pub const HZ: u32 = 250;
const NS_PER_TICK: u64 = 1_000_000_000 / HZ as u64;

/// A point in time or a span, in ticks modulo 2³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jiffies(pub u32);

impl Jiffies {
    /// The tick in which `ns` lies.
    #[must_use]
    pub const fn at(ns: Nanos) -> Self {
        Self((ns / NS_PER_TICK) as u32)
    }

    /// A span of whole seconds, at most `i32::MAX` ticks.
    #[must_use]
    pub const fn secs(s: u32) -> Self {
        let t = s as u64 * HZ as u64;
        Self(if t > i32::MAX as u64 {
            i32::MAX as u32
        } else {
            t as u32
        })
    }

    /// Ticks from `now` until `self`, negative when that is past.
    #[must_use]
    pub const fn until(self, now: Jiffies) -> i32 {
        self.0.wrapping_sub(now.0) as i32
    }

    /// `self` plus a span.
    #[must_use]
    pub const fn plus(self, span: Jiffies) -> Self {
        Self(self.0.wrapping_add(span.0))
    }

    /// A span in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> Nanos {
        self.0 as u64 * NS_PER_TICK
    }

    /// Whole seconds of a span, rounded down.
    #[must_use]
    pub const fn whole_secs(self) -> u32 {
        self.0 / HZ
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_seconds() {
        assert_eq!(Jiffies::at(0), Jiffies(0));
        assert_eq!(Jiffies::at(3_999_999), Jiffies(0));
        assert_eq!(Jiffies::at(4_000_000), Jiffies(1));
        assert_eq!(Jiffies::secs(3), Jiffies(750));
        assert_eq!(Jiffies(750).as_nanos(), 3_000_000_000);
        assert_eq!(Jiffies(1000).whole_secs(), 4);
        assert_eq!(Jiffies(999).whole_secs(), 3);
    }

    #[test]
    fn spans_are_cut_and_compared_across_the_wrap() {
        let longest = i32::MAX as u32;
        assert_eq!(Jiffies::secs(longest / HZ), Jiffies(longest / HZ * HZ));
        assert_eq!(Jiffies::secs(longest / HZ + 1), Jiffies(longest));
        assert_eq!(Jiffies::secs(u32::MAX), Jiffies(longest));
        let late = Jiffies(u32::MAX);
        assert_eq!(late.plus(Jiffies(3)), Jiffies(2));
        assert_eq!(Jiffies(2).until(late), 3);
        assert_eq!(late.until(Jiffies(2)), -3);
    }
}
