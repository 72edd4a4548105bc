//! Columns that fit the terminal, and stay where they are while more rows come.

use std::io::{IsTerminal as _, Write};

use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

/// Space between two columns.
const GAP: u16 = 2;
/// Stands in no cell, see [`printable`].
const NOWHERE: char = '\u{1}';
/// The least that is left for the last column.
const LEAST: u16 = 20;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Column {
    name: &'static str,
    /// The most that it takes; `None` for the last one, which takes what is left.
    widest: Option<u16>,
    right: bool,
}

impl Column {
    /// Of text.
    pub(in crate::cli) const fn left(name: &'static str, widest: u16) -> Self {
        Self {
            name,
            widest: Some(widest),
            right: false,
        }
    }

    /// Of numbers.
    pub(in crate::cli) const fn right(name: &'static str, widest: u16) -> Self {
        Self {
            name,
            widest: Some(widest),
            right: true,
        }
    }

    /// The last one.
    pub(in crate::cli) const fn rest(name: &'static str) -> Self {
        Self {
            name,
            widest: None,
            right: false,
        }
    }
}

/// Where rows appear.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Terminal {
    /// Columns of it; `None` where lines may have any length, as in a file.
    pub(in crate::cli) width: Option<u16>,
    /// Whether colours are wanted.
    pub(in crate::cli) colours: bool,
}

impl Terminal {
    /// What standard output is.
    pub(in crate::cli) fn of_this_process() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self {
                width: None,
                colours: false,
            };
        }
        let size = terminal_size::terminal_size();
        Self {
            width: Some(size.map_or(80, |(width, _)| width.0)),
            // https://no-color.org
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

/// Decided widths.
#[derive(Debug)]
pub(in crate::cli) struct Layout {
    columns: &'static [Column],
    widths: Vec<u16>,
    terminal: Terminal,
}

impl Layout {
    /// Widths that fit the rows at hand, and the terminal.
    pub(in crate::cli) fn new<const N: usize>(
        columns: &'static [Column; N],
        rows: &[[String; N]],
        terminal: Terminal,
    ) -> Self {
        let mut table = Table::new();
        table.set_header(columns.iter().map(|column| column.name));
        for row in rows {
            table.add_row(row.iter().map(|cell| printable(cell)));
        }
        let mut widths: Vec<u16> = table
            .column_max_content_widths()
            .into_iter()
            .zip(columns)
            .map(|(width, column)| width.min(column.widest.unwrap_or(u16::MAX)))
            .collect();
        if let Some(width) = terminal.width
            && let Some((last, others)) = widths.split_last_mut()
        {
            let gaps = GAP * u16::try_from(others.len()).unwrap_or(0);
            let room = width.saturating_sub(gaps).saturating_sub(LEAST);
            // The widest text gives way first; numbers are short already.
            while others.iter().sum::<u16>() > room {
                let texts = others.iter_mut().zip(columns);
                let texts = texts.filter(|(width, column)| !column.right && **width > 8);
                match texts.max_by_key(|(width, _)| **width) {
                    Some((widest, _)) => *widest -= 1,
                    None => break,
                }
            }
            let taken = others.iter().sum::<u16>() + gaps;
            *last = width.saturating_sub(taken).max(LEAST);
        }
        Self {
            columns,
            widths,
            terminal,
        }
    }

    /// Writes the rows, with the names of the columns before them if they are the first.
    pub(in crate::cli) fn print<const N: usize>(
        &self,
        out: &mut impl Write,
        rows: &[[String; N]],
        first: bool,
        is_error: impl Fn(usize) -> bool,
    ) -> std::io::Result<()> {
        if first {
            let names = self.columns.iter().map(|column| column.name.to_owned());
            self.line(out, &self.render(names), Some("1"))?;
        }
        for (at, row) in rows.iter().enumerate() {
            let cells = row.iter().map(|cell| printable(cell));
            self.line(out, &self.render(cells), is_error(at).then_some("31"))?;
        }
        Ok(())
    }

    fn line(&self, out: &mut impl Write, line: &str, colour: Option<&str>) -> std::io::Result<()> {
        match colour.filter(|_| self.terminal.colours) {
            Some(colour) => writeln!(out, "\x1b[{colour}m{line}\x1b[0m"),
            None => writeln!(out, "{line}"),
        }
    }

    fn render(&self, cells: impl Iterator<Item = String>) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.terminal.width.is_some() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::MAX);
        }
        let cells = cells.zip(self.columns).map(|(cell, column)| {
            let cell = Cell::new(cell).set_alignment(match column.right {
                true => CellAlignment::Right,
                false => CellAlignment::Left,
            });
            // What is too long is cut where the column ends, not before the word that does not fit.
            cell.set_delimiter(NOWHERE)
        });
        let mut row = Row::from(cells.collect::<Vec<Cell>>());
        if self.terminal.width.is_some() {
            row.max_height(1);
        }
        table.add_row(row);
        let last = self.widths.len().saturating_sub(1);
        for (at, (column, width)) in table.column_iter_mut().zip(&self.widths).enumerate() {
            let gap = if at == last { 0 } else { GAP };
            column.set_padding((0, gap));
            let width = Width::Fixed(width.saturating_add(gap));
            column.set_constraint(match self.terminal.width {
                Some(_) => ColumnConstraint::Absolute(width),
                None if at < last => ColumnConstraint::LowerBoundary(width),
                None => ColumnConstraint::ContentWidth,
            });
        }
        table.trim_fmt()
    }
}

/// What a terminal would obey, and what would break the line, is no part of a name or a statement.
fn printable(text: &str) -> String {
    let words = text.split(|character: char| character.is_control() || character == ' ');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// As people read it: three digits and a unit.
pub(in crate::cli) fn duration(seconds: f64) -> String {
    let (number, unit) = match seconds {
        ..0.000_999_5 => (seconds * 1e6, "µs"),
        ..0.999_5 => (seconds * 1e3, "ms"),
        ..119.5 => (seconds, "s"),
        ..7_170.0 => (seconds / 60.0, "min"),
        _ => (seconds / 3_600.0, "h"),
    };
    match number {
        ..9.995 => format!("{number:.2} {unit}"),
        ..99.95 => format!("{number:.1} {unit}"),
        _ => format!("{number:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::left("SERVICE", 16),
        Column::right("TOOK", 8),
        Column::rest("STATEMENT"),
    ];

    fn lines(terminal: Terminal, rows: &[[&str; 3]]) -> Vec<String> {
        let rows: Vec<[String; 3]> = rows.iter().map(|row| row.map(str::to_owned)).collect();
        let layout = Layout::new(&COLUMNS, &rows, terminal);
        let mut out = Vec::new();
        layout.print(&mut out, &rows, true, |at| at == 1).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    const ROWS: [[&str; 3]; 2] = [
        [
            "web",
            "1.20 s",
            "select * from orders where customer = $1 order by created desc",
        ],
        ["a-very-long-service-name", "102 ms", "select\n1"],
    ];

    #[test]
    fn lines_fit_the_terminal_and_columns_stand_below_one_another() {
        let terminal = Terminal {
            width: Some(50),
            colours: false,
        };
        let lines = lines(terminal, &ROWS);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        for line in &lines {
            assert!(line.chars().count() <= 50, "{line}");
        }
        let at = lines[0].find("STATEMENT").unwrap();
        assert!(lines[1][at..].starts_with("select * from"), "{lines:#?}");
        assert!(lines[1].ends_with('…'), "{lines:#?}");
        assert!(lines[2].contains("102 ms  select 1"), "{lines:#?}");
    }

    /// `hostprobe slow | grep` finds what is in the statement, wherever.
    #[test]
    fn nothing_is_cut_where_there_is_no_terminal() {
        let terminal = Terminal {
            width: None,
            colours: false,
        };
        let lines = lines(terminal, &ROWS);
        assert!(lines[1].ends_with("order by created desc"), "{lines:#?}");
        assert!(
            lines[2].starts_with("a-very-long-service-name"),
            "{lines:#?}"
        );
    }

    /// A route has a blank after its method; what is behind it says more than what is before.
    #[test]
    fn a_cell_that_is_too_long_is_cut_at_its_end() {
        let terminal = Terminal {
            width: Some(60),
            colours: false,
        };
        let rows = [["GET /customers/{id}/orders", "1 s", "select 1"]; 2];
        let lines = lines(terminal, &rows);
        assert!(lines[1].starts_with("GET /customers/"), "{lines:#?}");
    }

    #[test]
    fn what_a_statement_says_does_not_reach_the_terminal_as_a_command() {
        let terminal = Terminal {
            width: Some(80),
            colours: true,
        };
        let lines = lines(
            terminal,
            &[["web", "1 s", "select \x1b[2J\r\n\"x\u{9b}\""], ROWS[1]],
        );
        assert!(lines[1].contains("select [2J \"x \""), "{lines:#?}");
        assert!(lines[0].starts_with("\x1b[1m") && !lines[1].contains('\x1b'));
        assert!(lines[2].starts_with("\x1b[31m") && lines[2].ends_with("\x1b[0m"));
    }

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        for (seconds, text) in [
            (0.000_05, "50.0 µs"),
            (0.101_4, "101 ms"),
            (1.204, "1.20 s"),
            (99.0, "99.0 s"),
            (600.0, "10.0 min"),
            (7_200.0, "2.00 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
