//! What the screen shows, and what keys do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::command::top::overview::tests::sample;

fn state() -> State {
    let (mut state, then) = (State::default(), Instant::now());
    state.take(Ok((sample(1_000), then)));
    state.take(Ok((sample(5_000), then + Duration::from_secs(2))));
    state
}

fn shown(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(state, frame)).unwrap();
    terminal.backend().to_string()
}

fn press(state: &mut State, keys: &[KeyCode]) -> bool {
    keys.iter().all(|key| state.press(*key, KeyModifiers::NONE))
}

#[test]
fn each_view_has_a_key() {
    let mut state = state();
    insta::assert_snapshot!("networks", shown(&state, 100, 6));
    press(&mut state, &[KeyCode::Char('2')]);
    insta::assert_snapshot!("sandboxes", shown(&state, 100, 6));
    press(&mut state, &[KeyCode::Tab]);
    insta::assert_snapshot!("published_ports", shown(&state, 100, 6));
    press(&mut state, &[KeyCode::Char('4')]);
    insta::assert_snapshot!("findings", shown(&state, 60, 8));
    press(&mut state, &[KeyCode::Right, KeyCode::Left, KeyCode::Left, KeyCode::BackTab]);
    assert_eq!(state.chosen, 1);
}

#[test]
fn rows_scroll_and_the_last_one_stays() {
    let mut state = state();
    press(&mut state, &[KeyCode::Down]);
    assert!(!shown(&state, 100, 6).contains("172.18.0.0/16"));
    press(&mut state, &[KeyCode::PageDown, KeyCode::Down]);
    assert!(shown(&state, 100, 6).contains("host"));
    press(&mut state, &[KeyCode::PageUp]);
    assert!(shown(&state, 100, 6).contains("172.18.0.0/16"));
}

#[test]
fn what_was_shown_stays_while_the_daemon_does_not_answer() {
    assert!(shown(&State::default(), 100, 6).contains("waiting for the daemon"));
    let mut state = state();
    state.take(Err("Cannot connect to the Fairway daemon".to_owned()));
    let text = shown(&state, 100, 6);
    assert!(
        text.contains("172.18.0.0/16") && text.contains("Cannot connect to the Fairway daemon"),
        "{text}"
    );
    state.take(Ok((sample(5_000), Instant::now())));
    assert!(shown(&state, 100, 6).contains(KEYS));
}

#[test]
fn a_small_terminal_shows_what_fits() {
    for (width, height) in [(1, 1), (20, 2), (30, 4)] {
        shown(&state(), width, height);
    }
}

#[test]
fn q_escape_and_control_c_end_it() {
    for key in [KeyCode::Char('q'), KeyCode::Esc] {
        assert!(!state().press(key, KeyModifiers::NONE));
    }
    assert!(!state().press(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(state().press(KeyCode::Char('c'), KeyModifiers::NONE));
}
