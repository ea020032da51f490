//! States of a TCP connection, and the transitions between them (`tcp_conntracks`).

use crate::tuple::Direction;

/// A state (`enum tcp_conntrack`); the numbers are the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum State {
    #[default]
    None,
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    SynSent2,
}

impl State {
    /// All of them, by number.
    pub(crate) const ALL: [Self; 10] = [
        Self::None,
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::SynSent2,
    ];

    /// As `/proc` prints it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::SynSent2 => "SYN_SENT2",
        }
    }
}

/// Kind of a segment (`enum tcp_bit_set`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    #[default]
    None,
}

impl Class {
    /// RST outweighs SYN, SYN outweighs FIN, FIN outweighs ACK.
    pub(crate) const fn of(rst: bool, syn: bool, fin: bool, ack: bool) -> Self {
        if rst {
            Self::Rst
        } else if syn {
            if ack { Self::SynAck } else { Self::Syn }
        } else if fin {
            Self::Fin
        } else if ack {
            Self::Ack
        } else {
            Self::None
        }
    }
}

/// Where a segment leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Into this state, if the window agrees.
    State(State),
    /// Nowhere, and it cannot be.
    Invalid,
    /// Nowhere, but let it pass.
    Ignore,
}

const SS: Next = Next::State(State::SynSent);
const SR: Next = Next::State(State::SynRecv);
const ES: Next = Next::State(State::Established);
const FW: Next = Next::State(State::FinWait);
const CW: Next = Next::State(State::CloseWait);
const LA: Next = Next::State(State::LastAck);
const TW: Next = Next::State(State::TimeWait);
const CL: Next = Next::State(State::Close);
const S2: Next = Next::State(State::SynSent2);
const IV: Next = Next::Invalid;
const IG: Next = Next::Ignore;

/// Rows: SYN, SYN-ACK, FIN, ACK, RST, none. Columns: states in numerical order.
const ORIGINAL: [[Next; 10]; 6] = [
    //  NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
    [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
    [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
    [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
    [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
    [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
    [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
];

const REPLY: [[Next; 10]; 6] = [
    //  NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
    [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
    [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
    [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
    [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
    [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
    [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
];

/// The transition for a segment of class `class` in direction `dir`.
pub(crate) const fn next(dir: Direction, class: Class, old: State) -> Next {
    let table = match dir {
        Direction::Original => &ORIGINAL,
        Direction::Reply => &REPLY,
    };
    table[class as usize][old as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both tables once more, as text in the kernel's own shorthand: a slip in one of the two shows.
    const TEXT: &str = "\
        O syn    SS SS IG IG IG IG IG SS SS S2
        O synack IV IV SR IV IV IV IV IV IV SR
        O fin    IV IV FW FW LA LA LA TW CL IV
        O ack    ES IV ES ES CW CW TW TW CL IV
        O rst    IV CL CL CL CL CL CL CL CL CL
        O none   IV IV IV IV IV IV IV IV IV IV
        R syn    IV S2 IV IV IV IV IV SS IV S2
        R synack IV SR IG IG IG IG IG IG IG SR
        R fin    IV IV FW FW LA LA LA TW CL IV
        R ack    IV IG SR ES CW CW TW TW CL IG
        R rst    IV CL CL CL CL CL CL CL CL CL
        R none   IV IV IV IV IV IV IV IV IV IV";

    const STATES: [State; 10] = [
        State::None,
        State::SynSent,
        State::SynRecv,
        State::Established,
        State::FinWait,
        State::CloseWait,
        State::LastAck,
        State::TimeWait,
        State::Close,
        State::SynSent2,
    ];

    #[test]
    fn every_cell_of_both_tables() {
        let mut cells = 0;
        for line in TEXT.lines() {
            let mut words = line.split_whitespace();
            let dir = if words.next() == Some("O") {
                Direction::Original
            } else {
                Direction::Reply
            };
            let class = match words.next().expect("a class") {
                "syn" => Class::Syn,
                "synack" => Class::SynAck,
                "fin" => Class::Fin,
                "ack" => Class::Ack,
                "rst" => Class::Rst,
                _ => Class::None,
            };
            for (old, word) in STATES.into_iter().zip(words) {
                let expected = match word {
                    "IV" => Next::Invalid,
                    "IG" => Next::Ignore,
                    w => Next::State(
                        *STATES
                            .iter()
                            .find(|s| short(**s) == w)
                            .expect("a known state"),
                    ),
                };
                assert_eq!(
                    next(dir, class, old),
                    expected,
                    "{dir:?} {class:?} in {old:?}"
                );
                cells += 1;
            }
        }
        assert_eq!(cells, 120);
    }

    fn short(s: State) -> &'static str {
        match s {
            State::None => "NO",
            State::SynSent => "SS",
            State::SynRecv => "SR",
            State::Established => "ES",
            State::FinWait => "FW",
            State::CloseWait => "CW",
            State::LastAck => "LA",
            State::TimeWait => "TW",
            State::Close => "CL",
            State::SynSent2 => "S2",
        }
    }

    #[test]
    fn states_are_numbered_as_in_the_kernel() {
        for (n, s) in STATES.into_iter().enumerate() {
            assert_eq!(s as usize, n);
        }
    }
}
