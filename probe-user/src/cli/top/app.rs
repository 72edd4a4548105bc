//! What is shown, and how keys change it. No terminal, no clock.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    answer::Answer,
    rows::{self, Detail, Row},
};

/// Rates are over the answers of this many seconds: over one second they would jump.
const RATES_OVER: f64 = 5.0;
/// Answers that are kept, whatever their times say.
const ANSWERS: usize = 16;
/// Rows that a page key moves.
const PAGE: usize = 10;

/// What the list of services is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Calls,
    Errors,
    P50,
    P99,
    Cpu,
    Resident,
    RunQueue,
    Disk,
    Cause,
}

impl Column {
    /// All, from left to right.
    pub(super) const ALL: [Self; 10] = [
        Self::Name,
        Self::Calls,
        Self::Errors,
        Self::P50,
        Self::P99,
        Self::Cpu,
        Self::Resident,
        Self::RunQueue,
        Self::Disk,
        Self::Cause,
    ];

    /// Heading.
    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Name => "SERVICE",
            Self::Calls => "REQ/S",
            Self::Errors => "ERR/S",
            Self::P50 => "P50",
            Self::P99 => "P99",
            Self::Cpu => "CPU",
            Self::Resident => "RSS",
            Self::RunQueue => "RUNQ99",
            Self::Disk => "DISK99",
            Self::Cause => "CAUSE",
        }
    }

    fn order(self, one: &Row, other: &Row) -> std::cmp::Ordering {
        // Nothing sorts below zero.
        let number = |value: Option<f64>| value.unwrap_or(-1.0);
        let by =
            |value: fn(&Row) -> Option<f64>| number(value(one)).total_cmp(&number(value(other)));
        match self {
            Self::Name => other.name.cmp(&one.name),
            Self::Calls => by(|row| Some(row.answered.calls)),
            Self::Errors => by(|row| Some(row.answered.errors)),
            Self::P50 => by(|row| row.answered.p50),
            Self::P99 => by(|row| row.answered.p99),
            Self::Cpu => by(|row| row.cpu),
            Self::Resident => one.resident_bytes.cmp(&other.resident_bytes),
            Self::RunQueue => by(|row| row.run_queue_p99),
            Self::Disk => by(|row| row.disk_p99),
            Self::Cause => {
                let rank = |row: &Row| (row.slow, row.cause.clone());
                rank(one).cmp(&rank(other))
            }
        }
    }
}

/// What a service's own page lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Routes,
    Statements,
    Syscalls,
}

impl Tab {
    /// All, from left to right.
    pub(super) const ALL: [Self; 3] = [Self::Routes, Self::Statements, Self::Syscalls];

    /// Title.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Statements => "statements",
            Self::Syscalls => "syscalls",
        }
    }
}

/// Which page is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    Services,
    Service {
        name: String,
        tab: Tab,
        first: usize,
    },
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct App {
    pub(super) address: String,
    pub(super) page: Page,
    pub(super) sort: Column,
    pub(super) reversed: bool,
    pub(super) filter: String,
    /// A filter is being typed.
    pub(super) typing: bool,
    pub(super) help: bool,
    pub(super) paused: bool,
    /// Why there is no answer any more.
    pub(super) lost: Option<String>,
    pub(super) selected: Option<String>,
    answers: VecDeque<Answer>,
}

/// What a key asks for beyond what it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
}

impl App {
    /// Nothing known yet.
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            page: Page::Services,
            sort: Column::Calls,
            reversed: false,
            filter: String::new(),
            typing: false,
            help: false,
            paused: false,
            lost: None,
            selected: None,
            answers: VecDeque::new(),
        }
    }

    /// Takes an answer, or why there is none.
    pub(super) fn take(&mut self, outcome: Result<Answer, String>) {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(why) => {
                self.lost = Some(why);
                return;
            }
        };
        self.lost = None;
        if self.paused {
            return;
        }
        let started = answer.overview.about.started_at_seconds;
        // Another start time is another daemon, whose totals began at zero.
        self.answers.retain(|old| {
            (old.overview.about.started_at_seconds - started).abs() < 1e-3
                && old.overview.at_seconds < answer.overview.at_seconds
        });
        let newest = answer.overview.at_seconds;
        self.answers.push_back(answer);
        while self.answers.len() > 2
            && (self.answers.len() > ANSWERS
                || self
                    .answers
                    .get(1)
                    .is_some_and(|second| newest - second.overview.at_seconds >= RATES_OVER))
        {
            self.answers.pop_front();
        }
    }

    /// The newest answer, and the one that it is compared with.
    fn compared(&self) -> Option<(&Answer, Option<&Answer>)> {
        let newest = self.answers.back()?;
        let oldest = self.answers.front().filter(|_| self.answers.len() > 1);
        Some((newest, oldest))
    }

    /// The newest answer.
    pub(super) fn newest(&self) -> Option<&Answer> {
        self.answers.back()
    }

    /// Over how many seconds rates are.
    pub(super) fn seconds(&self) -> f64 {
        self.compared().map_or(0.0, |(now, then)| {
            rows::seconds_between(&now.overview, then.map(|then| &then.overview))
        })
    }

    /// The services that the filter lets through, sorted.
    pub(super) fn rows(&self) -> Vec<Row> {
        let Some((now, then)) = self.compared() else {
            return Vec::new();
        };
        let wanted = self.filter.to_lowercase();
        let mut rows = rows::rows(now, then);
        rows.retain(|row| {
            row.name.to_lowercase().contains(&wanted) || row.kind.to_lowercase().contains(&wanted)
        });
        rows.sort_by(|one, other| {
            let order = self.sort.order(other, one).then(one.name.cmp(&other.name));
            if self.reversed {
                order.reverse()
            } else {
                order
            }
        });
        rows
    }

    /// Where the selected service is in the list; the first when it is gone.
    pub(super) fn position(&self, rows: &[Row]) -> usize {
        let selected = self.selected.as_deref();
        let position = rows
            .iter()
            .position(|row| Some(row.name.as_str()) == selected);
        position.unwrap_or(0)
    }

    /// What is known of a service.
    pub(super) fn detail(&self, name: &str) -> Option<(Row, Detail)> {
        let (now, then) = self.compared()?;
        let row = rows::rows(now, then)
            .into_iter()
            .find(|row| row.name == name)?;
        Some((row, rows::detail(now, then, name)?))
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Wish::Quit,
                _ => Wish::Nothing,
            };
        }
        if self.typing {
            self.type_filter(key.code);
            return Wish::Nothing;
        }
        if self.help {
            self.help = false;
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            code => self.page_key(code),
        }
        Wish::Nothing
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(character) => self.filter.push(character),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            _ => {}
        }
    }

    fn page_key(&mut self, code: KeyCode) {
        match &mut self.page {
            Page::Services => self.services_key(code),
            Page::Service { tab, first, .. } => match code {
                KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.page = Page::Services,
                KeyCode::Tab | KeyCode::Right => {
                    *tab = next(&Tab::ALL, *tab, 1);
                    *first = 0;
                }
                KeyCode::BackTab => {
                    *tab = next(&Tab::ALL, *tab, Tab::ALL.len() - 1);
                    *first = 0;
                }
                KeyCode::Down | KeyCode::Char('j') => *first = first.saturating_add(1),
                KeyCode::Up | KeyCode::Char('k') => *first = first.saturating_sub(1),
                KeyCode::PageDown => *first = first.saturating_add(PAGE),
                KeyCode::PageUp => *first = first.saturating_sub(PAGE),
                KeyCode::Home => *first = 0,
                _ => {}
            },
        }
    }

    fn services_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s' | '>') => self.sort = next(&Column::ALL, self.sort, 1),
            KeyCode::Char('S' | '<') => {
                self.sort = next(&Column::ALL, self.sort, Column::ALL.len() - 1);
            }
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Down | KeyCode::Char('j') => self.select(|at| at.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.select(|at| at.saturating_sub(1)),
            KeyCode::PageDown => self.select(|at| at.saturating_add(PAGE)),
            KeyCode::PageUp => self.select(|at| at.saturating_sub(PAGE)),
            KeyCode::Home => self.select(|_| 0),
            KeyCode::End => self.select(|_| usize::MAX),
            KeyCode::Enter | KeyCode::Right => {
                let rows = self.rows();
                if let Some(row) = rows.get(self.position(&rows)) {
                    self.selected = Some(row.name.clone());
                    self.page = Page::Service {
                        name: row.name.clone(),
                        tab: Tab::Routes,
                        first: 0,
                    };
                    self.open_first_tab();
                }
            }
            _ => {}
        }
    }

    /// A database has no routes: its page begins with what it has.
    fn open_first_tab(&mut self) {
        let Page::Service { name, .. } = &self.page else {
            return;
        };
        let Some((_, detail)) = self.detail(name) else {
            return;
        };
        let first = Tab::ALL
            .into_iter()
            .find(|tab| !detail.lines(*tab).is_empty());
        if let (Page::Service { tab, .. }, Some(first)) = (&mut self.page, first) {
            *tab = first;
        }
    }

    fn select(&mut self, to: impl FnOnce(usize) -> usize) {
        let rows = self.rows();
        let at = to(self.position(&rows)).min(rows.len().saturating_sub(1));
        self.selected = rows.get(at).map(|row| row.name.clone());
    }
}

impl Detail {
    /// What a tab lists.
    pub(super) fn lines(&self, tab: Tab) -> &[rows::Line] {
        match tab {
            Tab::Routes => &self.routes,
            Tab::Statements => &self.statements,
            Tab::Syscalls => &self.syscalls,
        }
    }
}

fn next<T: Copy + PartialEq>(all: &[T], one: T, step: usize) -> T {
    let at = all.iter().position(|other| *other == one).unwrap_or(0);
    let count = all.len().max(1);
    all.get((at + step) % count).copied().unwrap_or(one)
}
