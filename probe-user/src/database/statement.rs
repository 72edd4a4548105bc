//! Statements that other sessions run, without their literals.

use crate::sql::SqlCache;

/// Texts that are remembered, and bytes of them: a server shows some hundred at once.
const REMEMBERED: usize = 512;
const REMEMBERED_BYTES: usize = 1 << 20;

/// What is shown of one text, in characters.
const SHOWN: usize = 1_000;

/// Takes literals out of texts.
#[derive(Debug)]
pub(super) struct Statements {
    cache: SqlCache,
    /// Bytes of a text that the server keeps, its end included.
    kept_bytes: usize,
    /// Whether a backslash escapes inside of plain literals, as sessions have it by default.
    backslash_escapes: bool,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            cache: SqlCache::new(REMEMBERED, REMEMBERED_BYTES),
            kept_bytes: 1024,
            backslash_escapes: false,
        }
    }

    /// Takes over `track_activity_query_size` and `standard_conforming_strings`.
    pub(super) fn configure(&mut self, kept_bytes: usize, backslash_escapes: bool) {
        self.kept_bytes = kept_bytes;
        self.backslash_escapes = backslash_escapes;
    }

    /// The statements of a text, as `pg_stat_activity` shows it; `None` when it shows none.
    pub(super) fn without_literals(&mut self, text: &str) -> Option<String> {
        // What stands there instead of a statement is in angle brackets, as no statement is.
        if text.is_empty() || text.starts_with('<') {
            return None;
        }
        let cut = text.len() + 1 >= self.kept_bytes;
        let parsed = self
            .cache
            .parse(text.as_bytes(), cut, self.backslash_escapes);
        let parts: Vec<&str> = parsed.parts.iter().map(|part| &*part.info.text).collect();
        let text = parts.join("; ");
        match text.char_indices().nth(SHOWN) {
            _ if text.is_empty() => None,
            Some((end, _)) => Some(format!("{}…", text.get(..end).unwrap_or_default())),
            None => Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What others do may be shown to more people than what they do it with.
    #[test]
    fn literals_do_not_pass_also_where_the_server_cut_them() {
        let mut statements = Statements::new();
        let mut shown = |text: &str| statements.without_literals(text);
        assert_eq!(
            shown("UPDATE users SET mail = 'secret' WHERE id = 7; COMMIT").as_deref(),
            Some("update users set mail = ? where id = ?; commit")
        );
        assert_eq!(shown("<insufficient privilege>"), None);
        assert_eq!(shown(""), None);
        assert_eq!(shown("-- nothing"), None);
        let long = format!("SELECT 1, 'secret{}", "x".repeat(1100));
        let cut = shown(long.get(..1023).unwrap()).unwrap();
        assert!(
            cut.starts_with("select ?") && !cut.contains("secret"),
            "{cut}"
        );
        let many = format!("SELECT {}", "a_column, ".repeat(200));
        assert!(shown(&many).unwrap().chars().count() <= SHOWN + 1);
    }
}
