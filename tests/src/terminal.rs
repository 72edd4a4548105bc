//! A program in a terminal of its own: keys go in, and what a person would see comes out.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    num::NonZero,
    os::fd::{AsRawFd as _, OwnedFd},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::Signal,
        termios::{LocalFlags, Termios, tcgetattr},
    },
};

use crate::{process::Process, site::need, waiting};

/// A terminal, and the program in it.
#[derive(Debug)]
pub struct Terminal {
    process: Process,
    master: File,
    /// Keeps the terminal, and what the program did to it, after the program's end.
    slave: OwnedFd,
    before: Termios,
    screen: Arc<Mutex<Screen>>,
}

struct Screen(vt100::Parser);

impl std::fmt::Debug for Screen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.screen().contents())
    }
}

fn at_least_one(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap_or(NonZero::<u16>::MIN)
}

fn size(lines: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    /// Starts a command as the one program of a new terminal.
    ///
    /// # Errors
    /// There are no terminals left, or the program can't be started.
    pub fn start(name: &str, command: &Command, lines: u16, columns: u16) -> Result<Self> {
        let pty = openpty(&size(lines, columns), None).context("opening a terminal")?;
        let before = tcgetattr(&pty.slave)?;
        // A session of its own, so that the terminal is its controlling one: only then it is told
        // when the size changes.
        let mut with_terminal = Command::new(need("setsid", "util-linux")?);
        with_terminal
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR");
        let input = Stdio::from(pty.slave.try_clone()?);
        let output = [pty.slave.try_clone()?, pty.slave.try_clone()?].map(Stdio::from);
        let process = Process::spawn_in_terminal(name, with_terminal, input, output)?;
        let screen = Arc::new(Mutex::new(Screen(vt100::Parser::new(
            at_least_one(lines),
            at_least_one(columns),
            0,
        ))));
        let master = File::from(pty.master);
        let (mut reader, shown) = (master.try_clone()?, Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = reader.read(&mut bytes) {
                let mut screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
                match bytes.get(..read) {
                    None | Some([]) => return,
                    Some(bytes) => screen.0.process(bytes),
                }
            }
        });
        Ok(Self {
            process,
            master,
            slave: pty.slave,
            before,
            screen,
        })
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is seen now, line by line.
    pub fn text(&self) -> String {
        self.screen().0.screen().contents()
    }

    /// Types.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Waits until all of these are seen at once.
    ///
    /// # Errors
    /// They are not, or the program ended; the message has what is seen.
    pub fn wait_for(&mut self, parts: &[&str]) -> Result<String> {
        let what = format!("the terminal shows {parts:?}");
        let found = waiting::until(&what, Duration::from_secs(30), || {
            let text = self.text();
            if parts.iter().all(|part| text.contains(part)) {
                return Ok(Some(text));
            }
            match self.process.ended()? {
                Some(status) => bail!("the program ended with {status}"),
                None => Ok(None),
            }
        });
        found.with_context(|| format!("it shows:\n{}", self.text()))
    }

    /// Gives the terminal another size, as a window manager does.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&mut self, lines: u16, columns: u16) -> Result<()> {
        {
            let mut screen = self.screen();
            let (lines, columns) = (at_least_one(lines), at_least_one(columns));
            screen.0.screen_mut().set_size(lines, columns);
            // What is seen from here on was drawn for the new size.
            screen.0.process(b"\x1b[2J");
        }
        let size = size(lines, columns);
        // SAFETY: the descriptor is open as long as `self`, and the request reads one `Winsize`.
        let done =
            unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        nix::errno::Errno::result(done).context("changing the terminal's size")?;
        Ok(())
    }

    /// Sends the program a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits until the program has ended, and the terminal is as it was before it: the usual screen,
    /// a cursor, and keys that are echoed and make lines.
    ///
    /// # Errors
    /// It does not end, or leaves the terminal unusable.
    pub fn wait_ended(&mut self) -> Result<ExitStatus> {
        let status = self.process.wait_ended(waiting::PATIENCE)?;
        let left = tcgetattr(&self.slave)?;
        let wanted = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        if left.local_flags & wanted != self.before.local_flags & wanted {
            bail!("the terminal stays raw: {:?}", left.local_flags);
        }
        waiting::until("the usual screen is back", Duration::from_secs(5), || {
            let screen = self.screen();
            let screen = screen.0.screen();
            Ok((!screen.alternate_screen() && !screen.hide_cursor()).then_some(()))
        })?;
        Ok(status)
    }
}
