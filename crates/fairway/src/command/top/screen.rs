//! The live view: one table at a time, chosen by keys.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use fairway_inspect::doctor::Severity;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Table, Tabs, Wrap};

use super::overview::{Row, Sample, View, views};
use super::sampler::Answer;

/// How long to wait for a key before the next look at what the daemon answered.
const WAIT: Duration = Duration::from_millis(100);
/// The space between columns.
const GAP: u16 = 2;
/// How many lines the finding in the first row has below the table.
const DETAIL: u16 = 3;
/// How many rows a page is.
const PAGE: usize = 10;
/// The bytes of a signal that is read, `struct signalfd_siginfo`.
const SIGNAL: usize = 128;
const KEYS: &str = "1-4 or Tab: view   Up, Down, PgUp, PgDn: scroll   q: quit";

/// What the screen shows.
#[derive(Debug, Default)]
struct State {
    /// Which view is shown.
    chosen: usize,
    /// The first row that is shown.
    first: usize,
    views: Vec<View>,
    last: Option<(Sample, Instant)>,
    /// Why the daemon does not answer.
    trouble: Option<String>,
}

impl State {
    /// Takes an answer of the daemon. What was shown before stays when there is none.
    fn take(&mut self, answer: Answer) {
        match answer {
            Ok((sample, at)) => {
                let before = self.last.as_ref().map(|(last, then)| (last, at.duration_since(*then)));
                self.views = views(&sample, before).into();
                (self.last, self.trouble) = (Some((sample, at)), None);
                self.scroll(0);
            }
            Err(reason) => self.trouble = Some(reason),
        }
    }

    /// Follows a key; returns whether to go on.
    fn press(&mut self, key: KeyCode, modifiers: KeyModifiers) -> bool {
        let count = self.views.len().max(1);
        match key {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char(digit @ '1'..='4') => {
                let place = digit.to_digit(10).map_or(0, |digit| digit as usize - 1);
                self.choose(place.min(count - 1));
            }
            KeyCode::Tab | KeyCode::Right => self.choose((self.chosen + 1) % count),
            KeyCode::BackTab | KeyCode::Left => self.choose((self.chosen + count - 1) % count),
            KeyCode::Down => self.scroll(1),
            KeyCode::Up => self.scroll(-1),
            KeyCode::PageDown => self.scroll(PAGE as isize),
            KeyCode::PageUp => self.scroll(-(PAGE as isize)),
            _ => {}
        }
        true
    }

    fn choose(&mut self, place: usize) {
        (self.chosen, self.first) = (place, 0);
    }

    fn scroll(&mut self, rows: isize) {
        let last = self.views.get(self.chosen).map_or(0, |view| view.rows.len().saturating_sub(1));
        self.first = self.first.saturating_add_signed(rows).min(last);
    }
}

/// Shows what the daemon answers until a key ends it, or a signal that can be read from `ended`.
///
/// # Errors
/// The terminal cannot be used.
pub(super) fn show(answers: Receiver<Answer>, ended: &OwnedFd) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let mut state = State::default();
    let outcome = loop {
        match answers.try_recv() {
            Ok(answer) => state.take(answer),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        if let Err(error) = terminal.draw(|frame| draw(&state, frame)) {
            break Err(error);
        }
        if rustix::io::read(ended, &mut [0; SIGNAL]).is_ok() {
            break Ok(());
        }
        match key() {
            Ok(Some((key, modifiers))) if !state.press(key, modifiers) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    outcome
}

/// The next key, if one is pressed within [`WAIT`].
fn key() -> io::Result<Option<(KeyCode, KeyModifiers)>> {
    if !event::poll(WAIT)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => Some((key.code, key.modifiers)),
        _ => None,
    })
}

/// Draws a state.
fn draw(state: &State, frame: &mut Frame<'_>) {
    let [tabs, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    let titles = state.views.iter().enumerate();
    let titles = titles.map(|(place, view)| format!("{} {} {}", place + 1, view.title, view.rows.len()));
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Tabs::new(titles).select(state.chosen).highlight_style(chosen), tabs);
    match state.views.get(state.chosen) {
        Some(view) => draw_view(view, state.first, frame, body),
        None => frame.render_widget(Paragraph::new("waiting for the daemon"), body),
    }
    let foot_line = match &state.trouble {
        Some(reason) => Line::styled(reason.as_str(), Style::new().fg(Color::Red)),
        None => Line::from(KEYS),
    };
    frame.render_widget(Paragraph::new(foot_line), foot);
}

fn draw_view(view: &View, first: usize, frame: &mut Frame<'_>, area: Rect) {
    if view.rows.is_empty() {
        return frame.render_widget(Paragraph::new(format!("no {}", view.title.to_lowercase())), area);
    }
    let finding = view.rows.get(first).filter(|row| row.severity != Severity::Ok);
    let [area, below] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(finding.map_or(0, |_| DETAIL))]).areas(area);
    if let Some(row) = finding {
        // Its columns are cut off in the table.
        let text = Paragraph::new(row.cells.join("  ")).wrap(Wrap { trim: true });
        frame.render_widget(text.style(style(row.severity)), below);
    }
    let shown = view.rows.iter().skip(first).take(area.height.into());
    let cells = |row: &Row| ratatui::widgets::Row::new(row.cells.clone()).style(style(row.severity));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let header = ratatui::widgets::Row::new(view.header.to_vec()).style(bold);
    let table = Table::new(shown.map(cells), widths(view)).column_spacing(GAP).header(header);
    frame.render_widget(table, area);
}

/// Each column is as wide as its widest cell.
fn widths(view: &View) -> Vec<Constraint> {
    let column = |(place, title): (usize, &&str)| {
        let cells = view.rows.iter().filter_map(|row| row.cells.get(place)).map(|cell| cell.chars().count());
        let width = cells.chain([title.chars().count()]).max().unwrap_or(0);
        Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX))
    };
    view.header.iter().enumerate().map(column).collect()
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Ok | Severity::Note => Style::new(),
        Severity::Unknown | Severity::Warning => Style::new().fg(Color::Yellow),
        Severity::Error => Style::new().fg(Color::Red),
    }
}

#[cfg(test)]
mod tests;
