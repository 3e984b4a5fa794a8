//! What an agent may ask its client to do for it: to read and write files, and to run programs in terminals. A dialogue says
//! whether it is done (`Step::Use`), and `exec` does it.

use super::Ended;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq)]
pub enum ClientTool {
    /// The text of a file, or so many of its lines from this one on, which is counted from 1.
    ReadFile { path: PathBuf, line: usize, limit: Option<usize> },
    /// A file gets this text, and is made where it is not there.
    WriteFile { path: PathBuf, text: String },
    /// A program is started, and goes on while the conversation does.
    CreateTerminal {
        command: String,
        args: Vec<String>,
        env: Vec<(String, String)>,
        /// Where it starts; where there is none, where the agent did.
        dir: Option<PathBuf>,
        /// So many bytes of its output are kept: the last ones.
        output_limit: Option<usize>,
    },
    /// What a terminal's program has printed.
    TerminalOutput { terminal: String },
    /// How a terminal's program has ended, once it has.
    AwaitExit { terminal: String },
    /// Ends a terminal's program.
    KillTerminal { terminal: String },
    /// The same, and the terminal is forgotten.
    ReleaseTerminal { terminal: String },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolReply {
    Text(String),
    Done,
    /// The name of the new terminal.
    Terminal(String),
    Output {
        text: String,
        is_truncated: bool,
        exit: Option<Ended>,
    },
    Exit(Ended),
}

/// Why nothing came of it: sentences for the agent.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolError {
    /// There is no such file or terminal.
    NotFound(String),
    /// It is outside of the directories of the task.
    Outside(String),
    Failed(String),
}
