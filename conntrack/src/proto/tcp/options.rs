//! TCP options, read as the kernel reads them: up to the end mark or the first malformed one.

use super::{FLAG_BE_LIBERAL, FLAG_SACK_PERM, FLAG_WINDOW_SCALE, after, window::Side};
use crate::parse::be32;

const EOL: u8 = 0;
const NOP: u8 = 1;
const WINDOW: u8 = 3;
const SACK_PERM: u8 = 4;
const SACK: u8 = 5;
const MAX_SCALE: u8 = 14;

/// Kind and content of each well-formed option.
fn each(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            match *rest {
                [NOP, ref tail @ ..] => rest = tail,
                [EOL, ..] | [] | [_] => return None,
                [kind, size, ..] => {
                    let size = usize::from(size);
                    if size < 2 || size > rest.len() {
                        return None;
                    }
                    let (option, tail) = rest.split_at(size);
                    rest = tail;
                    return Some((kind, &option[2..]));
                }
            }
        }
    })
}

impl Side {
    /// Takes window scale and selective acknowledgements from a SYN's options (`tcp_options`). Without any nothing changes.
    pub(super) fn parse_options(&mut self, options: &[u8]) {
        if options.is_empty() {
            return;
        }
        self.scale = 0;
        self.flags &= FLAG_BE_LIBERAL;
        for (kind, content) in each(options) {
            match (kind, content) {
                (SACK_PERM, []) => self.flags |= FLAG_SACK_PERM,
                (WINDOW, [scale]) => {
                    self.scale = (*scale).min(MAX_SCALE);
                    self.flags |= FLAG_WINDOW_SCALE;
                }
                _ => {}
            }
        }
    }
}

/// The highest right edge among `ack` and the selectively acknowledged blocks (`tcp_sack`).
pub(super) fn highest_sack(options: &[u8], ack: u32) -> u32 {
    const TIMESTAMP_ONLY: [u8; 4] = [NOP, NOP, 8, 10];
    if options.len() == 12 && options[..4] == TIMESTAMP_ONLY {
        return ack;
    }
    // Only the first option with blocks counts.
    let blocks = each(options).find(|(kind, c)| *kind == SACK && c.len() >= 8 && c.len() % 8 == 0);
    let edges = blocks
        .into_iter()
        .flat_map(|(_, c)| c.chunks_exact(8))
        .filter_map(|b| be32(b, 4));
    edges.fold(
        ack,
        |highest, edge| if after(edge, highest) { edge } else { highest },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[u8]) -> (u8, u8) {
        let mut s = Side {
            scale: 3,
            flags: 0xff,
            ..Side::default()
        };
        s.parse_options(options);
        (s.scale, s.flags)
    }

    #[test]
    fn no_options_leave_everything_as_it_was() {
        assert_eq!(parsed(&[]), (3, 0xff));
    }

    #[test]
    fn any_option_resets_all_but_liberal() {
        assert_eq!(parsed(&[NOP, NOP, NOP, EOL]), (0, FLAG_BE_LIBERAL));
    }

    #[test]
    fn scale_is_clipped() {
        assert_eq!(
            parsed(&[WINDOW, 3, 200, NOP]),
            (14, FLAG_BE_LIBERAL | FLAG_WINDOW_SCALE)
        );
    }

    #[test]
    fn malformed_options_end_the_list() {
        let liberal = FLAG_BE_LIBERAL;
        assert_eq!(
            parsed(&[2, 1, SACK_PERM, 2]),
            (0, liberal),
            "length below two"
        );
        assert_eq!(
            parsed(&[2, 9, SACK_PERM, 2]),
            (0, liberal),
            "longer than the header"
        );
        assert_eq!(parsed(&[EOL, 0, SACK_PERM, 2]), (0, liberal), "end mark");
        assert_eq!(
            parsed(&[SACK_PERM, 2, WINDOW, 4, 7, 0]),
            (0, liberal | FLAG_SACK_PERM),
            "window option of odd size"
        );
    }

    #[test]
    fn sack_takes_the_highest_right_edge_modulo_2_32() {
        let mut o = vec![NOP, NOP, SACK, 18];
        for (l, r) in [(100u32, 200u32), (300, 400)] {
            o.extend(l.to_be_bytes());
            o.extend(r.to_be_bytes());
        }
        assert_eq!(highest_sack(&o, 50), 400);
        assert_eq!(highest_sack(&o, 500), 500);
        assert_eq!(highest_sack(&o, 0xffff_ff00), 400);
        assert_eq!(highest_sack(&o[..3], 7), 7);
    }
}
