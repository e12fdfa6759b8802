//! How far a run is, on stderr: a bar for a terminal, lines for a log that somebody reads later.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a run is, in steps of about equal length.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    quiet: bool,
    /// Says in a line of its own what is done now.
    lines: bool,
}

impl Progress {
    /// A bar for `steps`. `quiet` hides it; so does a stderr that is no terminal.
    pub(crate) fn new(steps: u64, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {bar:30} {percent:>3} % {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, quiet, lines: false }
    }

    /// Where stderr is no terminal, each [`show`](Self::show) is a line. For runs that take minutes
    /// in few steps, of which a log is read while they last.
    pub(crate) fn for_logs(self) -> Self {
        let lines = !self.quiet && !io::stderr().is_terminal();
        Self { lines, ..self }
    }

    /// What is being done now.
    pub(crate) fn show(&self, what: String) {
        if self.lines {
            // A reader that has gone away is no reason to leave what was applied behind.
            let _ = writeln!(io::stderr(), "{what}");
        }
        self.bar.set_message(what);
    }

    /// So many steps more are done.
    pub(crate) fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
