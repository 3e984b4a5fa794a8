//! What a run says, kept for clients that listen later: the events of a detached run, the answer to a request that is sent
//! again. One writes, any number read, from wherever they are.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A log with more bytes than this forgets its oldest pieces.
const MOST_BYTES: usize = 8 << 20;

/// Pieces in the order in which they were written.
pub(crate) struct EventLog {
    state: Mutex<LogState>,
    grew: Condvar,
}

#[derive(Default)]
struct LogState {
    pieces: VecDeque<Piece>,
    /// The number of the first piece that is still there.
    first: usize,
    bytes: usize,
    has_answer: bool,
    over: bool,
}

/// One thing that was said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    /// What was said.
    pub(crate) text: Arc<str>,
    /// It is worth a status line.
    pub(crate) is_of_answer: bool,
}

/// What a reader finds.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// The piece of that number.
    Piece(usize, Piece),
    /// There will be no more.
    Over,
    /// Nothing came for as long as was waited.
    Nothing,
}

impl Default for EventLog {
    fn default() -> EventLog {
        EventLog { state: Mutex::default(), grew: Condvar::new() }
    }
}

impl EventLog {
    /// Writes a piece.
    pub(crate) fn write(&self, text: &str, is_of_answer: bool) {
        let mut state = self.state();
        state.bytes += text.len();
        state.pieces.push_back(Piece { text: text.into(), is_of_answer });
        state.has_answer |= is_of_answer;
        while state.bytes > MOST_BYTES && state.pieces.len() > 1 {
            let forgotten = state.pieces.pop_front().map_or(0, |piece| piece.text.len());
            state.bytes -= forgotten;
            state.first += 1;
        }
        drop(state);
        self.grew.notify_all();
    }

    /// How many bytes are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Something was written that is worth a status line.
    pub(crate) fn has_answer(&self) -> bool {
        self.state().has_answer
    }

    /// Nothing more will be written.
    pub(crate) fn end(&self) {
        self.state().over = true;
        self.grew.notify_all();
    }

    /// The first piece whose number is `from` or more; waits for it so long.
    pub(crate) fn next(&self, from: usize, wait_limit: Duration) -> Next {
        let mut state = self.state();
        let mut waited = false;
        loop {
            let number = from.max(state.first);
            if let Some(piece) = state.pieces.get(number - state.first) {
                return Next::Piece(number, piece.clone());
            }
            if state.over {
                return Next::Over;
            }
            if waited {
                return Next::Nothing;
            }
            let (woken, timeout) =
                self.grew.wait_timeout(state, wait_limit).unwrap_or_else(|poisoned| poisoned.into_inner());
            (state, waited) = (woken, timeout.timed_out());
        }
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        crate::base::sync::lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_find_every_piece_once_in_order_until_the_end() {
        let event_log = EventLog::default();
        std::thread::scope(|scope| {
            let read = || {
                let (mut from, mut seen) = (0, Vec::new());
                loop {
                    match event_log.next(from, Duration::from_secs(60)) {
                        Next::Piece(number, piece) => {
                            seen.push(piece.text.to_string());
                            from = number + 1;
                        }
                        Next::Over => return seen,
                        Next::Nothing => panic!("nothing came"),
                    }
                }
            };
            let (one, other) = (scope.spawn(read), scope.spawn(read));
            let pieces: Vec<String> = (0..100).map(|number| number.to_string()).collect();
            pieces.iter().for_each(|piece| event_log.write(piece, true));
            event_log.end();
            assert!(one.join().unwrap() == pieces && other.join().unwrap() == pieces);
        });
        let last = Piece { text: "98".into(), is_of_answer: true };
        assert_eq!(event_log.next(98, Duration::ZERO), Next::Piece(98, last));
    }

    #[test]
    fn the_oldest_pieces_are_forgotten_first() {
        let event_log = EventLog::default();
        let large = "x".repeat(MOST_BYTES / 2);
        (0..3).for_each(|_| event_log.write(&large, true));
        assert!(matches!(event_log.next(0, Duration::ZERO), Next::Piece(1, _)));
        event_log.write(&"y".repeat(MOST_BYTES + 1), true);
        assert!(
            matches!(event_log.next(0, Duration::ZERO), Next::Piece(3, _)),
            "the newest stays, however large"
        );
    }
}
