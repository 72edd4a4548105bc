//! A scanner of JSON text that finds a few members and holds nothing else: not a string, not an
//! array, however large. It works byte by byte, so that it does not matter where the text is cut.
//!
//! Text is a sequence of documents: one object, several after another, or arrays of them to any
//! depth, as the API sends streams without `alt=sse` and wraps some errors.

use memchr::memchr2;

/// Longest value that is handed out; a longer one is told as [`Found::TooLarge`].
pub(in crate::gemini) const MAX_VALUE: usize = 16 * 1024;
/// Longest name of a member that can be a wanted one.
const MAX_NAME: usize = 32;
/// Deepest object that is looked into, the document itself counted.
const MAX_NODES: usize = 4;
/// Deepest nesting of arrays around documents, and of values in one. More is no answer of the API.
const MAX_DEPTH: u32 = 512;

/// Which members of an object matter. An object that is looked into is a `Self`.
pub(in crate::gemini) trait Shape: Copy {
    /// What a value is wanted as.
    type Want: Copy;

    /// The document itself.
    const DOCUMENT: Self;

    /// What to do with a member of this object. The name is as it is written, escapes and all.
    fn member(self, name: &[u8]) -> Member<Self, Self::Want>;
}

/// What is done with a member's value.
#[derive(Clone, Copy, Debug)]
pub(in crate::gemini) enum Member<S, W> {
    /// Nothing.
    Skip,
    /// It is handed out.
    Take(W),
    /// Its members are looked at, when it is an object.
    Enter(S),
}

/// Something that was found.
#[derive(Debug)]
pub(in crate::gemini) enum Found<'a, S, W> {
    /// The JSON text of a wanted value.
    Value(W, &'a [u8]),
    /// A wanted value is longer than [`MAX_VALUE`].
    TooLarge(W),
    /// An object that is looked into begins.
    Entered(S),
}

/// Who takes what is found.
type Out<'a, S> = dyn FnMut(Found<'_, S, <S as Shape>::Want>) + 'a;

/// The state between two bytes.
#[derive(Debug)]
pub(in crate::gemini) struct Scanner<S: Shape> {
    state: State<S::Want>,
    /// Arrays around the document.
    arrays: u32,
    /// Objects that are looked into, the outermost first.
    nodes: [S; MAX_NODES],
    depth: usize,
    name: Vec<u8>,
    /// The wanted value so far.
    value: Vec<u8>,
    /// Documents and other values that ended.
    ended: u64,
}

#[derive(Clone, Copy, Debug)]
enum State<W> {
    /// Between documents.
    Outside,
    /// In an object that is looked into, before a name or its end.
    BeforeName,
    InName {
        escaped: bool,
    },
    BeforeColon,
    BeforeValue,
    /// In a value, at this depth of arrays and objects in it.
    InValue {
        want: Option<W>,
        depth: u32,
        text: Text,
    },
    /// The text can't be JSON.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// Not in a string: a number, a word, or between values.
    No,
    Yes,
    Escaped,
}

impl<S: Shape> Default for Scanner<S> {
    fn default() -> Self {
        Self {
            state: State::Outside,
            arrays: 0,
            nodes: [S::DOCUMENT; MAX_NODES],
            depth: 0,
            name: Vec::new(),
            value: Vec::new(),
            ended: 0,
        }
    }
}

impl<S: Shape> Scanner<S> {
    /// Whether everything that began has ended, and something has.
    pub(in crate::gemini) fn is_complete(&self) -> bool {
        matches!(self.state, State::Outside) && self.arrays == 0 && self.ended > 0
    }

    /// Whether nothing has begun.
    pub(in crate::gemini) fn is_empty(&self) -> bool {
        matches!(self.state, State::Outside) && self.arrays == 0 && self.ended == 0
    }

    /// Begins anew.
    pub(in crate::gemini) fn reset(&mut self) {
        self.state = State::Outside;
        self.arrays = 0;
        self.depth = 0;
        self.ended = 0;
        self.name.clear();
        self.value.clear();
    }

    /// The next bytes.
    pub(in crate::gemini) fn push(&mut self, bytes: &[u8], found: &mut Out<'_, S>) {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = match self.state {
                State::InValue {
                    want,
                    depth,
                    text: Text::Yes,
                } => self.in_text(rest, want, depth, found),
                State::Broken => return,
                _ => {
                    if self.byte(byte, found) {
                        behind
                    } else {
                        // The byte that ended a number is not part of it.
                        rest
                    }
                }
            };
        }
    }

    /// In a string of a value: everything up to its end or an escape at once.
    fn in_text<'a>(
        &mut self,
        bytes: &'a [u8],
        want: Option<S::Want>,
        depth: u32,
        found: &mut Out<'_, S>,
    ) -> &'a [u8] {
        let end = memchr2(b'"', b'\\', bytes).map_or(bytes.len(), |at| at + 1);
        let (text, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        if want.is_some() {
            self.keep(text);
        }
        let text = match text.last() {
            Some(b'\\') => Text::Escaped,
            Some(b'"') => Text::No,
            _ => Text::Yes,
        };
        self.state = State::InValue { want, depth, text };
        if text == Text::No && depth == 0 {
            self.end_value(want, found);
        }
        rest
    }

    /// One byte; `false` when it has to be looked at once more in the new state.
    fn byte(&mut self, byte: u8, found: &mut Out<'_, S>) -> bool {
        match self.state {
            State::Outside => self.outside(byte, found),
            State::BeforeName => self.before_name(byte),
            State::InName { escaped: true } => {
                self.named(byte);
                self.state = State::InName { escaped: false };
            }
            State::InName { escaped: false } => match byte {
                b'"' => self.state = State::BeforeColon,
                _ => {
                    self.named(byte);
                    let escaped = byte == b'\\';
                    self.state = State::InName { escaped };
                }
            },
            State::BeforeColon => match byte {
                b':' => self.state = State::BeforeValue,
                _ if is_space(byte) => {}
                _ => self.state = State::Broken,
            },
            State::BeforeValue => self.before_value(byte, found),
            State::InValue { want, depth, text } => {
                return self.in_value(byte, (want, depth, text), found);
            }
            State::Broken => {}
        }
        true
    }

    fn outside(&mut self, byte: u8, found: &mut Out<'_, S>) {
        match byte {
            b',' => {}
            _ if is_space(byte) => {}
            b'[' if self.arrays < MAX_DEPTH => self.arrays += 1,
            b']' if self.arrays > 0 => {
                self.arrays -= 1;
                self.ended += u64::from(self.arrays == 0);
            }
            b'{' => self.enter(S::DOCUMENT, found),
            // An answer is an object; an array may hold anything.
            _ if self.arrays > 0 => self.begin_value(byte, None),
            _ => self.state = State::Broken,
        }
    }

    fn before_name(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.name.clear();
                self.state = State::InName { escaped: false };
            }
            b',' => {}
            _ if is_space(byte) => {}
            b'}' => {
                self.depth -= 1;
                self.after_value();
            }
            _ => self.state = State::Broken,
        }
    }

    fn named(&mut self, byte: u8) {
        // One more than is allowed, so that a longer name is not taken for its beginning.
        if self.name.len() <= MAX_NAME {
            self.name.push(byte);
        }
    }

    fn before_value(&mut self, byte: u8, found: &mut Out<'_, S>) {
        if is_space(byte) {
            return;
        }
        let node = self.nodes.get(self.depth.wrapping_sub(1)).copied();
        let member = node.map_or(Member::Skip, |node| node.member(&self.name));
        match member {
            Member::Enter(inner) if byte == b'{' && self.depth < MAX_NODES => {
                self.enter(inner, found);
            }
            Member::Take(want) => self.begin_value(byte, Some(want)),
            _ => self.begin_value(byte, None),
        }
    }

    fn enter(&mut self, node: S, found: &mut Out<'_, S>) {
        if let Some(place) = self.nodes.get_mut(self.depth) {
            *place = node;
            self.depth += 1;
            self.state = State::BeforeName;
            found(Found::Entered(node));
        } else {
            self.state = State::Broken;
        }
    }

    fn begin_value(&mut self, byte: u8, want: Option<S::Want>) {
        self.value.clear();
        let (depth, text) = match byte {
            b'"' => (0, Text::Yes),
            b'{' | b'[' => (1, Text::No),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => (0, Text::No),
            _ => {
                self.state = State::Broken;
                return;
            }
        };
        if want.is_some() {
            self.keep(&[byte]);
        }
        self.state = State::InValue { want, depth, text };
    }

    fn in_value(
        &mut self,
        byte: u8,
        (want, mut depth, mut text): (Option<S::Want>, u32, Text),
        found: &mut Out<'_, S>,
    ) -> bool {
        match (text, byte) {
            (Text::Escaped, _) => text = Text::Yes,
            (_, b'"') if depth > 0 => text = Text::Yes,
            (_, b'{' | b'[') if depth > 0 && depth < MAX_DEPTH => depth += 1,
            (_, b'}' | b']') if depth > 0 => depth -= 1,
            // A number or a word, which has no end of its own.
            _ if depth == 0 => {
                return match byte {
                    b',' | b'}' | b']' => {
                        self.end_value(want, found);
                        false
                    }
                    _ if is_space(byte) => {
                        self.end_value(want, found);
                        false
                    }
                    b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                        if want.is_some() {
                            self.keep(&[byte]);
                        }
                        true
                    }
                    _ => {
                        self.state = State::Broken;
                        true
                    }
                };
            }
            (_, b'{' | b'[') => {
                self.state = State::Broken;
                return true;
            }
            _ => {}
        }
        if want.is_some() {
            self.keep(&[byte]);
        }
        self.state = State::InValue { want, depth, text };
        if depth == 0 && text == Text::No {
            self.end_value(want, found);
        }
        true
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One byte more than is allowed tells that it was too long.
        let room = (MAX_VALUE + 1).saturating_sub(self.value.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.value.extend_from_slice(kept);
    }

    fn end_value(&mut self, want: Option<S::Want>, found: &mut Out<'_, S>) {
        if let Some(want) = want {
            if self.value.len() > MAX_VALUE {
                found(Found::TooLarge(want));
            } else {
                found(Found::Value(want, &self.value));
            }
            self.value.clear();
            // What a long one took is not held for the rest of the answer.
            self.value.shrink_to(1024);
        }
        self.after_value();
    }

    fn after_value(&mut self) {
        if self.depth == 0 {
            self.state = State::Outside;
            self.ended += 1;
        } else {
            self.state = State::BeforeName;
        }
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
impl<S: Shape> Scanner<S> {
    /// Memory that is held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.name.capacity() + self.value.capacity()
    }
}
