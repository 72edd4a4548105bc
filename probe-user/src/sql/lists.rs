//! Collapses lists whose length is data: `IN (...)`, `ARRAY[...]` and the rows of `VALUES`.

/// Nesting that is still looked at; deeper lists keep their length.
const MAX_DEPTH: usize = 128;

/// What an open bracket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Nothing to collapse: arguments, columns, one row.
    Plain,
    /// The list of an `IN`.
    In,
    /// The elements of an `ARRAY`.
    Array,
    /// The rows of a `VALUES`: no bracket of its own, ends where no row follows.
    Rows,
}

#[derive(Debug)]
struct Frame {
    list: List,
    /// Where the element at hand starts in the output.
    start: usize,
    /// Where the one before stands, without the space before it.
    previous: Option<(usize, usize)>,
}

/// The brackets that are open in the normalised text.
#[derive(Debug, Default)]
pub(super) struct Lists {
    frames: Vec<Frame>,
    /// Brackets beyond the limit.
    beyond: usize,
}

impl Lists {
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.beyond = 0;
    }

    /// What the innermost open list is.
    pub(super) fn innermost(&self) -> Option<List> {
        if self.beyond > 0 {
            return Some(List::Plain);
        }
        self.frames.last().map(|frame| frame.list)
    }

    /// A list whose first element starts at `start` of the output.
    pub(super) fn open(&mut self, list: List, start: usize) {
        if self.frames.len() >= MAX_DEPTH {
            self.beyond += 1;
            return;
        }
        self.frames.push(Frame {
            list,
            start,
            previous: None,
        });
    }

    /// The innermost list ends.
    pub(super) fn close(&mut self, output: &mut Vec<u8>) {
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        self.element_ends(output);
        self.frames.pop();
    }

    /// An element of the innermost list is complete: an equal neighbour makes it superfluous.
    pub(super) fn element_ends(&mut self, output: &mut Vec<u8>) {
        let Some(frame) = self.frames.last_mut().filter(|_| self.beyond == 0) else {
            return;
        };
        if frame.list == List::Plain {
            return;
        }
        let end = output.len();
        let start = frame.start + usize::from(output.get(frame.start) == Some(&b' '));
        let Some(element) = output.get(start..end) else {
            return;
        };
        // Only values: `IN (SELECT a, a ...)` is no list.
        let of_values =
            matches!(element.first(), Some(b'?' | b'(' | b'[')) || element.starts_with(b"array[");
        let before = frame.previous.and_then(|(from, to)| output.get(from..to));
        match frame.previous {
            Some((_, to)) if of_values && before == Some(element) => output.truncate(to),
            _ => frame.previous = Some((start, end)),
        }
    }

    /// The next element of the innermost list starts at `start`.
    pub(super) fn element_starts(&mut self, start: usize) {
        if self.beyond == 0
            && let Some(frame) = self.frames.last_mut()
        {
            frame.start = start;
        }
    }
}
