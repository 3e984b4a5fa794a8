//! Control characters on the terminal that standard input is: not shown for a while, so that marks around what is pasted
//! are not.
#![allow(unsafe_code)]

/// How the terminal was before. Dropping it makes it so again.
pub(crate) struct ShownControls(libc::termios);

/// Control characters that are typed are shown no more; none where standard input is no terminal.
pub(crate) fn hide_controls() -> Option<ShownControls> {
    // SAFETY: a zeroed termios is a valid one, and tcgetattr fills it or fails.
    let before = unsafe {
        let mut before: libc::termios = std::mem::zeroed();
        (libc::tcgetattr(libc::STDIN_FILENO, &mut before) == 0).then_some(before)?
    };
    let hidden = libc::termios { c_lflag: before.c_lflag & !libc::ECHOCTL, ..before };
    set(&hidden).then_some(ShownControls(before))
}

impl Drop for ShownControls {
    fn drop(&mut self) {
        set(&self.0);
    }
}

fn set(settings: &libc::termios) -> bool {
    // SAFETY: tcsetattr reads the settings.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, settings) == 0 }
}
