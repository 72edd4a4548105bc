//! The terminal, the clock and the daemon, held together.

use std::{io, time::Duration};

use anyhow::Context as _;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{Receiver, Sender, channel},
    time::MissedTickBehavior,
};

use super::{
    answer::Answer,
    app::{App, Wish},
    draw::draw,
};
use crate::cli::client::Client;

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Gives the terminal back whatever happens; a panic does so by the hook that `try_init` sets.
pub(super) struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Changes to a screen of our own, until what is returned is dropped or something panics.
///
/// # Errors
/// There is no terminal.
pub(super) fn take_over() -> anyhow::Result<(DefaultTerminal, Restore)> {
    let restore = Restore;
    let terminal = ratatui::try_init().context("cannot use the terminal")?;
    Ok((terminal, restore))
}

/// Shows the daemon until a key or a signal ends it.
///
/// # Errors
/// The terminal can't be used.
pub(super) async fn run(client: Client, address: &str) -> anyhow::Result<()> {
    // Before the terminal is changed: a signal from here on is waited for.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for signals")?;
    let (mut terminal, restore) = take_over()?;
    let mut events = read_events()?;
    let mut answers = ask_periodically(client);
    let mut app = App::new(address);
    loop {
        terminal
            .draw(|frame| draw(frame, &app))
            .context("cannot draw on the terminal")?;
        tokio::select! {
            event = events.recv() => match event {
                Some(Ok(Event::Key(key))) => {
                    if app.key(key) == Wish::Quit {
                        break;
                    }
                }
                // A new size is drawn at once, as everything is.
                Some(Ok(_)) => {}
                // The terminal is gone.
                Some(Err(_)) | None => break,
            },
            answer = answers.recv() => match answer {
                Some(answer) => app.take(answer),
                // Who asks has panicked, and the terminal has been given back for that.
                None => break,
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => break,
        }
    }
    drop(restore);
    Ok(())
}

/// Keys come from a thread of their own, since reading them blocks.
fn read_events() -> anyhow::Result<Receiver<io::Result<Event>>> {
    let (sender, events) = channel(64);
    std::thread::Builder::new()
        .name("keys".into())
        .spawn(move || {
            loop {
                let event = event::read();
                let failed = event.is_err();
                if sender.blocking_send(event).is_err() || failed {
                    return;
                }
            }
        })
        .context("cannot wait for keys")?;
    Ok(events)
}

/// Asks in a task of its own, so that keys work while the daemon is slow or gone.
fn ask_periodically(client: Client) -> Receiver<Result<Answer, String>> {
    let (sender, answers) = channel(1);
    tokio::spawn(ask(client, sender));
    answers
}

async fn ask(client: Client, answers: Sender<Result<Answer, String>>) {
    let mut clock = tokio::time::interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        if answers.send(Answer::ask(&client).await).await.is_err() {
            return;
        }
    }
}
