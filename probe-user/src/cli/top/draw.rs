//! What is seen. Made for 80 columns and 24 lines, on any background, with or without colours.

mod panels;

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line as TextLine, Span},
    widgets::{Cell, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap},
};

use super::{
    app::{App, Column, Page, Tab},
    numbers,
    rows::{Line, Row},
};

/// Below this nothing can be read.
const LEAST: (u16, u16) = (40, 8);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("at least {} x {}", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let [header, status, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_header(frame, app, header);
    draw_status(frame, app, status);
    match (&app.page, app.newest()) {
        (_, None) => draw_waiting(frame, app, body),
        (Page::Services, Some(_)) => draw_services(frame, app, body),
        (Page::Service { name, tab, first }, Some(_)) => {
            draw_service(frame, app, (name, *tab, *first), body);
        }
    }
    draw_keys(frame, app, keys);
    if app.help {
        draw_help(frame, area);
    }
}

fn draw_header(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let about = app.newest().map(|answer| &answer.overview.about);
    let left = match about {
        Some(about) => format!(
            " hostprobe {} on {}, Linux {}",
            about.version, app.address, about.kernel
        ),
        None => format!(" hostprobe on {}", app.address),
    };
    let right = match (&app.lost, app.paused) {
        (Some(_), _) => " no answer ",
        (None, true) => " paused ",
        (None, false) => " live ",
    };
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(left).style(style), area);
    let right = Paragraph::new(right)
        .style(style)
        .alignment(Alignment::Right);
    let width = 11.min(area.width);
    let corner = Rect {
        x: area.right().saturating_sub(width),
        width,
        ..area
    };
    frame.render_widget(right, corner);
}

/// The most important line: the daemon is gone, the host lacks something, or what is watched.
fn draw_status(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let answer = app.newest();
    let host = answer.and_then(|answer| answer.verdicts.host.first());
    let line = if let Some(why) = &app.lost {
        TextLine::from(format!(" trying again: {why}")).red().bold()
    } else if let Some(hint) = host {
        TextLine::from(format!(" {hint}")).yellow()
    } else if let Some(answer) = answer {
        TextLine::from(format!(
            " {}; rates over {:.0} s",
            answer.overview.about.summary,
            app.seconds()
        ))
        .dim()
    } else {
        TextLine::default()
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_waiting(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let text = match &app.lost {
        Some(why) => format!("\n {why}\n\n It is asked again every second."),
        None => "\n Waiting for the first answer.".to_owned(),
    };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), area);
}

fn draw_services(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let rows = app.rows();
    if rows.is_empty() {
        let text = if app.filter.is_empty() {
            "\n No service yet. Start Postgres or a web server and it appears here by itself,\n or name one in the configuration with [[service]]."
        } else {
            "\n No service has this in its name. Esc shows all again."
        };
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), area);
        return;
    }
    // The panel below gets what the list does not need, and half of the space at least.
    let list = u16::try_from(rows.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let list = list.min((area.height / 2).max(4));
    let [list, panel] =
        Layout::vertical([Constraint::Length(list), Constraint::Min(0)]).areas(area);
    let position = app.position(&rows);
    draw_list(frame, app, &rows, position, list);
    if let Some(row) = rows.get(position) {
        let statements = app
            .detail(&row.name)
            .map(|(_, detail)| detail.statements)
            .unwrap_or_default();
        panels::draw_panel(frame, row, &statements, panel);
    }
}

/// Columns need as much; all of them with one column of space between each are 80.
fn width(column: Column) -> u16 {
    match column {
        Column::Name => 13,
        Column::Cause => 9,
        Column::Calls | Column::P50 | Column::P99 | Column::RunQueue | Column::Disk => 6,
        Column::Errors | Column::Cpu | Column::Resident => 5,
    }
}

/// The columns that a narrow terminal has room for: a number that is cut is a wrong one.
fn columns(available: u16) -> Vec<Column> {
    const DISPENSABLE: [Column; 8] = [
        Column::Resident,
        Column::P50,
        Column::Disk,
        Column::Errors,
        Column::RunQueue,
        Column::Cpu,
        Column::P99,
        Column::Cause,
    ];
    let mut columns = Column::ALL.to_vec();
    for column in DISPENSABLE {
        let needed: u16 = columns.iter().map(|column| width(*column) + 1).sum();
        if needed <= available.saturating_add(1) {
            break;
        }
        columns.retain(|other| *other != column);
    }
    columns
}

fn draw_list(frame: &mut Frame<'_>, app: &App, rows: &[Row], position: usize, area: Rect) {
    let columns = columns(area.width);
    let heading = columns.iter().map(|column| {
        let column = *column;
        let mark = if column == app.sort {
            Modifier::UNDERLINED
        } else {
            Modifier::empty()
        };
        aligned(column, column.heading().to_owned())
            .style(Style::new().add_modifier(Modifier::BOLD | mark))
    });
    let lines = rows.iter().map(|row| {
        let cells = columns.iter().map(|column| service_cell(*column, row));
        TableRow::new(cells.collect::<Vec<_>>())
    });
    let widths = columns.iter().map(|column| match column {
        Column::Name => Constraint::Min(width(*column)),
        _ => Constraint::Length(width(*column)),
    });
    let table = Table::new(lines, widths)
        .header(TableRow::new(heading))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(Some(position));
    frame.render_stateful_widget(table, area, &mut state);
}

fn aligned(column: Column, text: String) -> Cell<'static> {
    match column {
        Column::Name | Column::Cause => Cell::new(text),
        _ => Cell::new(TextLine::from(text).right_aligned()),
    }
}

fn service_cell(column: Column, row: &Row) -> Cell<'static> {
    let answered = &row.answered;
    let text = match column {
        Column::Name => row.name.clone(),
        Column::Calls => numbers::short(answered.calls),
        Column::Errors => numbers::short(answered.errors),
        Column::P50 => numbers::duration(answered.p50),
        Column::P99 => numbers::duration(answered.p99),
        Column::Cpu => numbers::percent(row.cpu),
        Column::Resident => numbers::bytes(row.resident_bytes),
        Column::RunQueue => numbers::duration(row.run_queue_p99),
        Column::Disk => numbers::duration(row.disk_p99),
        Column::Cause => panels::cause_words(row).to_owned(),
    };
    let cell = aligned(column, text);
    match column {
        Column::Errors if answered.errors > 0.0 => cell.style(Style::new().fg(Color::Red)),
        Column::Cause if row.slow => {
            cell.style(Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD))
        }
        _ => cell,
    }
}

fn draw_service(
    frame: &mut Frame<'_>,
    app: &App,
    (name, tab, first): (&str, Tab, usize),
    area: Rect,
) {
    let Some((row, detail)) = app.detail(name) else {
        let text = format!("\n {name} is not watched any more. Esc goes back.");
        frame.render_widget(Paragraph::new(text), area);
        return;
    };
    let [top, tabs, list] = Layout::vertical([
        Constraint::Length(5),
        Constraint::Length(1),
        Constraint::Min(1),
    ])
    .areas(area);
    panels::draw_verdict(frame, &row, top);
    let titles = Tab::ALL.iter().flat_map(|other| {
        let title = format!(" {} {} ", other.title(), detail.lines(*other).len());
        let style = if *other == tab {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        [Span::styled(title, style), Span::raw(" ")]
    });
    frame.render_widget(Paragraph::new(TextLine::from_iter(titles)), tabs);
    let lines = detail.lines(tab);
    let visible = usize::from(list.height.saturating_sub(1)).max(1);
    let first = first.min(lines.len().saturating_sub(visible));
    let shown = lines.get(first..).unwrap_or_default();
    draw_lines(frame, tab.title(), shown, list);
}

/// A table of what happened again and again.
fn draw_lines(frame: &mut Frame<'_>, title: &str, lines: &[Line], area: Rect) {
    if lines.is_empty() {
        let text = format!(" No {title} seen.");
        frame.render_widget(Paragraph::new(text).dim(), area);
        return;
    }
    let total: f64 = lines.iter().map(|line| line.busy).sum();
    let right = |text: String| Cell::new(TextLine::from(text).right_aligned());
    let rows = lines.iter().map(|line| {
        let share = (total > 0.0).then(|| line.busy / total);
        let errors = right(numbers::short(line.errors));
        TableRow::new([
            right(numbers::short(line.calls)),
            if line.errors > 0.0 {
                errors.style(Style::new().fg(Color::Red))
            } else {
                errors
            },
            right(numbers::duration(line.p50)),
            right(numbers::duration(line.p99)),
            right(numbers::percent(share)),
            Cell::new(line.name.clone()),
        ])
    });
    let heading = ["CALL/S", "ERR/S", "P50", "P99", "TIME"].map(|text| right(text.to_owned()));
    let heading = heading.into_iter().chain([Cell::new(title.to_uppercase())]);
    let widths = [6, 5, 6, 6, 5].map(Constraint::Length);
    let widths = widths.into_iter().chain([Constraint::Min(10)]);
    let table = Table::new(rows, widths)
        .header(TableRow::new(heading).style(Style::new().add_modifier(Modifier::BOLD)));
    frame.render_widget(table, area);
}

fn draw_keys(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let text = if app.typing {
        format!(" filter: {}_   Enter keeps it, Esc shows all", app.filter)
    } else {
        match app.page {
            Page::Services if app.filter.is_empty() => {
                " q quit  Enter open  s sort  r reverse  / filter  p pause  ? help".to_owned()
            }
            Page::Services => format!(
                " only services with \"{}\"  Esc all  q quit  Enter open  ? help",
                app.filter
            ),
            Page::Service { .. } => {
                " q quit  Esc back  Tab routes, statements, syscalls  p pause  ? help".to_owned()
            }
        }
    };
    frame.render_widget(Paragraph::new(text).reversed(), area);
}

const HELP: &str = " Up, Down, PgUp, PgDn   choose a service, scroll
 Enter                  open it: routes, statements, syscalls
 Tab, Shift-Tab         next list, list before
 Esc                    back; show all services
 s, S                   sort by another column
 r                      reverse the order
 /                      only services with this in their name
 p, Space               hold the picture, go on
 q, Ctrl-C              quit

 REQ/S     requests and statements answered
 RUNQ99    99 % of the waits for a CPU were shorter
 DISK99    99 % of the requests to disks were shorter
 CAUSE     what a slow service loses its time to
 TIME      share of the time of all that is listed";

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let height = u16::try_from(HELP.lines().count())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let width = 64.min(area.width);
    let height = height.min(area.height);
    let area = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, area);
    let block = ratatui::widgets::Block::bordered().title(" Keys and columns ");
    frame.render_widget(Paragraph::new(HELP).block(block), area);
}
