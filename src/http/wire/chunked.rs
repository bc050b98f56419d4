//! Where a chunked body ends.
//!
//! Pure. Follows the framing without looking at the contents; what is malformed counts as body
//! without end, for hyper to refuse.

/// A place in a chunked body.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// In the hexadecimal size; the value so far, and whether there is a digit.
    #[default]
    Start,
    Size(u64),
    /// In what follows the size on its line.
    Extension(u64),
    /// In the data: so many bytes to go.
    Data(u64),
    /// At the line end after the data.
    DataEnd,
    /// In the trailers: whether the line so far is empty.
    Trailer {
        empty: bool,
    },
    Done,
    Malformed,
}

impl Chunked {
    /// Moves over `bytes`. How many of them belong to the body: less than all once it is done.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut i = 0;
        while let Some(&byte) = bytes.get(i) {
            self.state = match self.state {
                State::Done => return i,
                State::Malformed => return bytes.len(),
                State::Data(left) => {
                    let here = (bytes.len() - i).min(usize::try_from(left).unwrap_or(usize::MAX));
                    i += here;
                    let left = left - here as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    continue;
                }
                state => step(state, byte),
            };
            i += 1;
        }
        i
    }

    /// Whether the body is over.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

fn step(state: State, byte: u8) -> State {
    match (state, byte) {
        (State::Start, _) => match char::from(byte).to_digit(16) {
            Some(digit) => State::Size(u64::from(digit)),
            None => State::Malformed,
        },
        (State::Size(size) | State::Extension(size), b'\n') => match size {
            0 => State::Trailer { empty: true },
            size => State::Data(size),
        },
        (State::Size(size), byte) => match char::from(byte).to_digit(16) {
            Some(digit) if size >> 60 == 0 => State::Size(size << 4 | u64::from(digit)),
            Some(_) => State::Malformed,
            None => State::Extension(size),
        },
        (State::Extension(size), _) => State::Extension(size),
        (State::DataEnd, b'\r') => State::DataEnd,
        (State::DataEnd, b'\n') => State::Start,
        (State::DataEnd, _) => State::Malformed,
        (State::Trailer { empty: true }, b'\n') => State::Done,
        (State::Trailer { .. }, b'\n') => State::Trailer { empty: true },
        (State::Trailer { empty: true }, b'\r') => State::Trailer { empty: true },
        (State::Trailer { .. }, _) => State::Trailer { empty: false },
        (state, _) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_at_any_split() {
        let cases: [&[u8]; 3] = [
            b"5\r\nhello\r\n0\r\n\r\n",
            b"a;ext=1\r\n0123456789\r\n1\r\nx\r\n0\r\nX-T: 1\r\n\r\n",
            b"0\r\n\r\n",
        ];
        for body in cases {
            let whole = [body, b"POST / HTTP/1.1"].concat();
            for split in 0..whole.len() {
                let mut chunked = Chunked::default();
                let (a, b) = whole.split_at(split);
                let used =
                    chunked.advance(a) + if chunked.is_done() { 0 } else { chunked.advance(b) };
                assert_eq!(used, body.len());
                assert!(chunked.is_done());
            }
        }
    }

    #[test]
    fn what_is_malformed_never_ends() {
        let mut chunked = Chunked::default();
        assert_eq!(chunked.advance(b"zz\r\n0\r\n\r\n"), 9);
        assert!(!chunked.is_done());
    }
}
