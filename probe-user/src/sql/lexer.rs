//! Splits SQL text into tokens, by the lexical rules of PostgreSQL 15 ("SQL Syntax", "Lexical
//! Structure").
//!
//! Works on bytes, because the text is in whatever encoding the client chose; bytes over 0x7f are
//! letters, as they are for the server.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or an unquoted identifier.
    Word,
    /// `"..."` or `U&"..."`.
    QuotedIdentifier,
    /// Any string constant: `'...'`, `E'...'`, `B'...'`, `X'...'`, `N'...'`, `U&'...'`, `$tag$...$tag$`.
    String,
    /// A numeric constant, without sign.
    Number,
    /// `$1`; the number is the value.
    Parameter(u32),
    /// `(`, `)`, `[`, `]`, `,`, `;`, `.`: the byte.
    Punctuation(u8),
    /// An operator, `:`, `::`, `:=`.
    Operator,
    /// `-- ...` or `/* ... */`.
    Comment,
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Its bytes as they stand in the text.
    pub text: &'a [u8],
    /// Where it starts in the text.
    pub offset: usize,
    /// Whether the text ends before the token does.
    pub unterminated: bool,
}

impl Token<'_> {
    /// Whether it is this word, which must be given in lower case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }
}

/// The tokens of a text, in order.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    backslash_escapes: bool,
}

const SPACE: u8 = 1;
const LETTER: u8 = 2;
const DIGIT: u8 = 4;
const OPERATOR: u8 = 8;
const SINGLE: u8 = 16;

/// What each byte can be; a table, because this is asked for every byte.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let class = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => LETTER,
            b'0'..=b'9' => DIGIT,
            b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%'
            | b'^' | b'&' | b'|' | b'`' | b'?' => OPERATOR,
            b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' => SINGLE,
            _ => 0,
        };
        #[expect(clippy::indexing_slicing, reason = "evaluated while compiling")]
        {
            table[byte] = class;
        }
        byte += 1;
    }
    table
}

fn is(byte: u8, classes: u8) -> bool {
    CLASS
        .get(usize::from(byte))
        .is_some_and(|class| class & classes != 0)
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`. `backslash_escapes` is for sessions that have
    /// `standard_conforming_strings = off`: plain strings then escape with backslashes too.
    pub fn new(text: &'a [u8], backslash_escapes: bool) -> Self {
        Self {
            text,
            at: 0,
            backslash_escapes,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, classes: u8) {
        let run = self.rest().iter().take_while(|byte| is(**byte, classes));
        self.at += run.count();
    }

    /// Letters, digits and `$` that continue a word.
    fn word(&mut self) {
        let run = self
            .rest()
            .iter()
            .take_while(|byte| is(**byte, LETTER | DIGIT) || **byte == b'$');
        self.at += run.count();
    }

    /// From an opening quote on to behind the closing one; `false` if there is none.
    fn quoted(&mut self, quote: u8, backslash: bool) -> bool {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            if byte == quote {
                if self.peek(0) != quote {
                    return true;
                }
                self.at += 1;
            } else if byte == b'\\' && backslash {
                self.at += 1;
            }
        }
        self.at = self.text.len();
        false
    }

    /// A string and what continues it: strings that are separated by white space with a newline
    /// are one constant.
    fn string(&mut self, backslash: bool) -> bool {
        loop {
            if !self.quoted(b'\'', backslash) {
                return false;
            }
            let behind = self.at;
            self.skip(SPACE);
            let gap = self.text.get(behind..self.at).unwrap_or_default();
            if self.peek(0) != b'\'' || !gap.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
                self.at = behind;
                return true;
            }
        }
    }

    /// `/* ... */`, which nests.
    fn block_comment(&mut self) -> bool {
        let mut depth = 0u32;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth = depth.saturating_add(1);
                    self.at += 2;
                }
                (b'*', b'/') => {
                    self.at += 2;
                    depth -= 1;
                    if depth == 0 {
                        return true;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.at = self.text.len();
        false
    }

    /// What starts with `$`: a parameter, a dollar-quoted string, or nothing known.
    fn dollar(&mut self) -> (TokenKind, bool) {
        self.at += 1;
        if is(self.peek(0), DIGIT) {
            let start = self.at;
            self.skip(DIGIT);
            let digits = self.text.get(start..self.at).unwrap_or_default();
            let number = digits.iter().fold(0u32, |number, digit| {
                number
                    .saturating_mul(10)
                    .saturating_add(u32::from(digit.wrapping_sub(b'0')))
            });
            return (TokenKind::Parameter(number), true);
        }
        let tag_start = self.at - 1;
        let tag = self
            .rest()
            .iter()
            .take_while(|byte| is(**byte, LETTER | DIGIT))
            .count();
        if self.peek(tag) != b'$' {
            // At the end of a cut text it may have become a quote; then nothing follows anyway.
            return (TokenKind::Operator, self.at + tag < self.text.len());
        }
        self.at += tag + 1;
        let delimiter = self.text.get(tag_start..self.at).unwrap_or_default();
        while self.at < self.text.len() {
            if self.rest().starts_with(delimiter) {
                self.at += delimiter.len();
                return (TokenKind::String, true);
            }
            let next = self.rest().iter().skip(1).position(|byte| *byte == b'$');
            self.at = next.map_or(self.text.len(), |next| self.at + 1 + next);
        }
        (TokenKind::String, false)
    }

    /// Digits with one point, an exponent, a radix prefix, underscores.
    fn number(&mut self) {
        if self.peek(0) == b'0' && matches!(self.peek(1) | 0x20, b'x' | b'o' | b'b') {
            // PostgreSQL 16; before, the letters were a (meaningless) alias.
            self.word();
            return;
        }
        let digits = |lexer: &mut Self| {
            while is(lexer.peek(0), DIGIT) || (lexer.peek(0) == b'_' && is(lexer.peek(1), DIGIT)) {
                lexer.at += 1;
            }
        };
        digits(self);
        // `1..10` is a range of two numbers.
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            digits(self);
        }
        if self.peek(0) | 0x20 == b'e' {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if is(self.peek(1 + sign), DIGIT) {
                self.at += 1 + sign;
                digits(self);
            }
        }
    }

    /// An operator ends where a comment starts, and only an unusual one may end in a sign.
    fn operator(&mut self) {
        let start = self.at;
        let mut unusual = false;
        while is(self.peek(0), OPERATOR) {
            match (self.peek(0), self.peek(1)) {
                (b'-', b'-') | (b'/', b'*') => break,
                (byte, _) => {
                    unusual |= !matches!(byte, b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=');
                    self.at += 1;
                }
            }
        }
        while !unusual
            && self.at > start + 1
            && matches!(self.text.get(self.at - 1), Some(b'+' | b'-'))
        {
            self.at -= 1;
        }
    }

    /// A prefix such as `E` or `U&` before a quote: its length and whether backslashes escape.
    fn string_prefix(&self) -> Option<(usize, bool)> {
        match (self.peek(0) | 0x20, self.peek(1), self.peek(2)) {
            (b'e', b'\'', _) => Some((1, true)),
            (b'b' | b'x', b'\'', _) => Some((1, false)),
            (b'n', b'\'', _) => Some((1, self.backslash_escapes)),
            (b'u', b'&', b'\'') => Some((2, false)),
            _ => None,
        }
    }

    fn scan(&mut self) -> (TokenKind, bool) {
        let first = self.peek(0);
        if is(first, LETTER) {
            if let Some((prefix, backslash)) = self.string_prefix() {
                self.at += prefix;
                return (TokenKind::String, self.string(backslash));
            }
            if first | 0x20 == b'u' && self.peek(1) == b'&' && self.peek(2) == b'"' {
                self.at += 2;
                return (TokenKind::QuotedIdentifier, self.quoted(b'"', false));
            }
            self.word();
            return (TokenKind::Word, true);
        }
        if is(first, DIGIT) || (first == b'.' && is(self.peek(1), DIGIT)) {
            self.number();
            return (TokenKind::Number, true);
        }
        match first {
            b'\'' => (TokenKind::String, self.string(self.backslash_escapes)),
            b'"' => (TokenKind::QuotedIdentifier, self.quoted(b'"', false)),
            b'$' => self.dollar(),
            b'-' if self.peek(1) == b'-' => {
                let end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                let length = self.rest().iter().position(end);
                self.at = length.map_or(self.text.len(), |length| self.at + length);
                (TokenKind::Comment, true)
            }
            b'/' if self.peek(1) == b'*' => (TokenKind::Comment, self.block_comment()),
            b':' => {
                self.at += 1 + usize::from(matches!(self.peek(1), b':' | b'='));
                (TokenKind::Operator, true)
            }
            _ if is(first, SINGLE) => {
                self.at += 1;
                (TokenKind::Punctuation(first), true)
            }
            _ if is(first, OPERATOR) => {
                self.operator();
                (TokenKind::Operator, true)
            }
            // No byte of SQL; the server will refuse the text.
            _ => {
                self.at += 1;
                (TokenKind::Operator, true)
            }
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip(SPACE);
        let offset = self.at;
        if offset >= self.text.len() {
            return None;
        }
        let (kind, terminated) = self.scan();
        self.at = self.at.min(self.text.len());
        Some(Token {
            kind,
            text: self.text.get(offset..self.at)?,
            offset,
            unterminated: !terminated,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(TokenKind, String)> {
        Lexer::new(text.as_bytes(), false)
            .map(|token| (token.kind, String::from_utf8_lossy(token.text).into_owned()))
            .collect()
    }

    /// A string that is taken to end too early would be shown with its secret rest.
    #[test]
    fn strings_end_where_the_server_ends_them() {
        for text in [
            "'it''s'",
            r"E'it\'s'",
            "'a'\n  'b'",
            "b'0101'",
            "X'ff'",
            "n'x'",
            r"U&'\0061'",
            "$$it's$$",
            "$a$ $b$ $$ $a$",
        ] {
            assert_eq!(tokens(text), [(TokenKind::String, text.to_owned())]);
        }
        assert_eq!(tokens(r"'a\' b")[1], (TokenKind::Word, "b".to_owned()));
        let escaped: Vec<_> = Lexer::new(br"'a\' b'", true).collect();
        assert_eq!(escaped.len(), 1);
    }

    /// A statement is split and classified by its words: comments, numbers and operators must not
    /// run into them.
    #[test]
    fn everything_else_is_told_apart() {
        use TokenKind::{Comment, Number, Operator, Parameter, QuotedIdentifier, Word};
        let kinds =
            |text| -> Vec<TokenKind> { tokens(text).into_iter().map(|(kind, _)| kind).collect() };
        assert_eq!(
            kinds("a$1 \"x\"\"y\" u&\"z\""),
            [Word, QuotedIdentifier, QuotedIdentifier]
        );
        assert_eq!(kinds("1 1.5 .5 1e-3 0xff 1_000 1e"), {
            let mut expected = vec![Number; 7];
            expected.push(Word);
            expected
        });
        assert_eq!(kinds("$12"), [Parameter(12)]);
        assert_eq!(kinds("a -- x\nb"), [Word, Comment, Word]);
        assert_eq!(kinds("/* a /* b */ c */ d"), [Comment, Word]);
        assert_eq!(
            kinds("a>=-b::int"),
            [Word, Operator, Operator, Word, Operator, Word]
        );
        assert_eq!(kinds("a @-b"), [Word, Operator, Word]);
        assert_eq!(kinds("a+--x"), [Word, Operator, Comment]);
        assert_eq!(kinds("äöü"), [Word]);
    }

    /// A text that was cut must not be taken for a whole one.
    #[test]
    fn what_is_cut_is_told() {
        for text in ["'abc", "\"abc", "/* a", "$$abc", "$a$ b $a", "E'a\\"] {
            assert!(
                Lexer::new(text.as_bytes(), false)
                    .last()
                    .unwrap()
                    .unterminated
            );
        }
    }
}
