//! Overflow lines: type-stable, given out and taken back at once, never returned to the system before the table goes.
