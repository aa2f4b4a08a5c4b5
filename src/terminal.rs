//! The terminal while bars are on it.

use std::io::{IsTerminal, stderr, stdin};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// Whether the terminal's modes are other than they were.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// While it lives, the terminal does not write `^C` where Ctrl-C is pressed: behind the last of the bars, which are as wide as the terminal, that begins a
/// line that nobody counts, and one of the bars stays when they go.
pub(crate) struct NoCarets(());

impl NoCarets {
    pub(crate) fn begin() -> Self {
        let set = modes().filter(|modes| stderr().is_terminal() && modes.local_modes.contains(LocalModes::ECHOCTL));
        if let Some(mut modes) = set {
            modes.local_modes.remove(LocalModes::ECHOCTL);
            CHANGED.store(
                tcsetattr(stdin(), OptionalActions::Now, &modes).is_ok(),
                Ordering::SeqCst,
            );
        }
        Self(())
    }
}

impl Drop for NoCarets {
    fn drop(&mut self) {
        restore();
    }
}

/// For a process that ends without dropping what it has.
pub(crate) fn restore() {
    if CHANGED.swap(false, Ordering::SeqCst)
        && let Some(mut modes) = modes()
    {
        modes.local_modes.insert(LocalModes::ECHOCTL);
        // A terminal that has gone away needs nothing.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
    }
}

/// Those of the terminal that keys come from, if it is this process's: one in the background is stopped when it changes them.
fn modes() -> Option<Termios> {
    let keys = stdin();
    let ours = keys.is_terminal() && tcgetpgrp(&keys).ok()? == getpgrp();
    ours.then(|| tcgetattr(&keys).ok())?
}
