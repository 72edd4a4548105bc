//! What is said of one service: its sentence, where its time goes, its top statements.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line as TextLine, Span},
    widgets::{Block, Borders, Paragraph, Wrap},
};

use super::super::rows::{Line, Row};
use crate::verdict::State;

/// Colour, and a sign of its own for terminals without colours.
fn look(state: State) -> (Color, &'static str) {
    match state {
        State::OnCpu => (Color::Blue, "█"),
        State::RunQueue => (Color::Red, "▓"),
        State::Disk => (Color::Yellow, "▒"),
        State::Database => (Color::Magenta, "░"),
        State::Network => (Color::Cyan, "="),
        State::Lock => (Color::LightRed, "#"),
        State::Other => (Color::Gray, "-"),
        State::Unknown => (Color::DarkGray, "?"),
        State::Idle => (Color::DarkGray, " "),
    }
}

/// What a slow service loses its time to, in at most nine characters.
pub(super) fn cause_words(row: &Row) -> &'static str {
    let cause = State::ALL
        .into_iter()
        .find(|state| Some(state.as_str()) == row.cause.as_deref());
    match cause {
        Some(State::OnCpu) => "CPU",
        Some(State::RunQueue) => "run queue",
        Some(State::Disk) => "disk",
        Some(State::Database) => "Postgres",
        Some(State::Network) => "network",
        Some(State::Lock) => "lock",
        Some(State::Other) => "other",
        Some(State::Unknown) => "unknown",
        Some(State::Idle) | None if row.slow => "several",
        Some(State::Idle) | None => "",
    }
}

/// Below the list: the verdict, and the statements that take most of the time.
pub(super) fn draw_panel(frame: &mut Frame<'_>, row: &Row, statements: &[Line], area: Rect) {
    if area.height < 3 {
        return;
    }
    let verdict = 5.min(area.height);
    let [top, list] =
        Layout::vertical([Constraint::Length(verdict), Constraint::Min(0)]).areas(area);
    draw_verdict(frame, row, top);
    if list.height > 1 {
        super::draw_lines(frame, "statements", statements, list);
    }
}

/// A bar of the work, what its parts are, and the sentence.
pub(super) fn draw_verdict(frame: &mut Frame<'_>, row: &Row, area: Rect) {
    let processes = if row.processes == 1 {
        "process"
    } else {
        "processes"
    };
    let kind = if row.kind.is_empty() {
        String::new()
    } else {
        format!(" {},", row.kind)
    };
    let title = format!(" {}:{kind} {} {processes} ", row.name, row.processes);
    let block = Block::new().borders(Borders::TOP).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [bar, legend, sentence] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
    ])
    .areas(inner);
    frame.render_widget(Paragraph::new(time_bar(row, bar.width)), bar);
    frame.render_widget(Paragraph::new(parts(row)), legend);
    let text = if row.sentence.is_empty() {
        "The daemon has not judged it yet.".to_owned()
    } else {
        row.sentence.clone()
    };
    let style = if row.slow {
        Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD)
    } else {
        Style::new()
    };
    let text = Paragraph::new(text).style(style).wrap(Wrap { trim: false });
    let sentence = Rect {
        x: sentence.x.saturating_add(1),
        width: sentence.width.saturating_sub(1),
        ..sentence
    };
    frame.render_widget(text, sentence);
}

fn share(row: &Row, state: State) -> f64 {
    row.work.get(state.as_str()).copied().unwrap_or(0.0)
}

/// As wide as the area, so that its parts can be compared; empty when there was no work.
fn time_bar(row: &Row, width: u16) -> TextLine<'static> {
    let width = f64::from(width.saturating_sub(2));
    let mut line = TextLine::from(" ");
    let mut until = 0.0;
    let mut drawn = 0.0;
    for state in State::ALL {
        until += share(row, state);
        // Rounding the ends and not the lengths: the parts always fill the bar.
        let end = (until * width / 100.0).round();
        let mut cells = String::new();
        let (color, sign) = look(state);
        while drawn < end {
            cells.push_str(sign);
            drawn += 1.0;
        }
        line.push_span(Span::styled(cells, Style::new().fg(color)));
    }
    line
}

fn parts(row: &Row) -> TextLine<'static> {
    let mut states: Vec<State> = State::ALL
        .into_iter()
        .filter(|state| share(row, *state) >= 0.5)
        .collect();
    if states.is_empty() {
        return TextLine::from(" no work in the last seconds").dim();
    }
    states.sort_by(|one, other| share(row, *other).total_cmp(&share(row, *one)));
    let mut line = TextLine::from(" ");
    for state in states {
        let (color, sign) = look(state);
        line.push_span(Span::styled(sign.repeat(2), Style::new().fg(color)));
        line.push_span(Span::raw(format!(
            " {} {:.0}%  ",
            state.words(),
            share(row, state)
        )));
    }
    let idle = row.shares.get(State::Idle.as_str()).copied().unwrap_or(0.0);
    if idle >= 0.5 {
        line.push_span(Span::raw(format!("(idle {idle:.0}% of the time)")).dim());
    }
    line
}
