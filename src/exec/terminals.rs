//! What is done for a program that asks its client for files and terminals: inside the directories of the task, and without
//! ever waiting. The programs that are started for it are a part of its run, and end with it.

use super::as_program;
use super::live::Live;
use super::pipes;
use super::tree::Owned;
use crate::backend::{ClientTool, Ended, Launch, ToolError, ToolReply};
use crate::base::sys::{self, Child, Exit, FileAccess, Watch};
use crate::base::world::World;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// A longer file is not read: all of it would be in memory, and in one line to the program.
const LONGEST_FILE: u64 = 8 << 20;
/// Most of a terminal's output that is kept, and as much where no limit is asked for.
const MOST_OUTPUT: usize = 1 << 20;
/// More terminals that were not released are a program that has lost its way.
const MOST_TERMINALS: usize = 64;
/// How often a terminal is read in a row, so that one that prints without end leaves time for the conversation.
const READS: usize = 16;

/// What came of a use.
type Came = Result<ToolReply, ToolError>;

/// What a program may use of its client, and what it has begun with it.
pub(super) struct ClientTools<'a> {
    launch: &'a Launch,
    marker: &'a str,
    world: &'a World,
    live: &'a Live,
    terminals: BTreeMap<String, Terminal>,
    created: usize,
    /// What came of uses that had to wait.
    replies: VecDeque<(String, Came)>,
}

/// A program that was started for another.
struct Terminal {
    child: Child,
    _owned: Owned,
    output: Vec<u8>,
    limit: usize,
    is_truncated: bool,
    exit: Option<Exit>,
    /// The uses that wait for its end.
    awaited_by: Vec<String>,
}

impl<'a> ClientTools<'a> {
    pub(crate) fn new(
        launch: &'a Launch,
        marker: &'a str,
        world: &'a World,
        live: &'a Live,
    ) -> ClientTools<'a> {
        let (terminals, replies) = Default::default();
        ClientTools { launch, marker, world, live, terminals, created: 0, replies }
    }

    /// Does it, and says what came of it; none where that is known later (`next_reply`).
    pub(crate) fn perform(&mut self, id: &str, tool: ClientTool) -> Option<Came> {
        let came = match tool {
            ClientTool::ReadFile { path, line, limit } => self.read(&path, line, limit),
            ClientTool::WriteFile { path, text } => self.write(&path, &text),
            ClientTool::CreateTerminal { command, args, env, dir, output_limit } => {
                self.create(&command, args, env, dir.as_deref(), output_limit)
            }
            ClientTool::TerminalOutput { terminal } => self.terminal(&terminal).map(|terminal| {
                terminal.listen();
                terminal.output()
            }),
            ClientTool::AwaitExit { terminal } => {
                match self.terminal(&terminal).map(|terminal| (terminal.exit, terminal)) {
                    Ok((None, terminal)) => {
                        terminal.awaited_by.push(id.to_owned());
                        return None;
                    }
                    Ok((Some(exit), _)) => Ok(ToolReply::Exit(ended(exit))),
                    Err(error) => Err(error),
                }
            }
            ClientTool::KillTerminal { terminal } => {
                self.terminal(&terminal).map(|terminal| terminal.child.pid).map(|pid| {
                    self.live.tree().kill_terminal(pid);
                    ToolReply::Done
                })
            }
            ClientTool::ReleaseTerminal { terminal } => match self.terminals.remove(&terminal) {
                Some(gone) => {
                    self.end(gone);
                    Ok(ToolReply::Done)
                }
                None => Err(no_terminal(&terminal)),
            },
        };
        Some(came)
    }

    /// What a program hears of uses while its run is being stopped: it can end what it has begun.
    pub(crate) fn refuse(&mut self, tool: ClientTool) -> Option<Came> {
        match tool {
            ClientTool::KillTerminal { .. } | ClientTool::ReleaseTerminal { .. } => self.perform("", tool),
            _ => Some(Err(ToolError::Failed("the run is being stopped".to_owned()))),
        }
    }

    pub(crate) fn watches(&self) -> impl Iterator<Item = Watch> {
        let pipes = self.terminals.values().flat_map(|Terminal { child, .. }| [&child.stdout, &child.stderr]);
        pipes.flatten().map(|pipe| Watch::readable(pipe.as_fd()))
    }

    /// A program has closed its output: it is about to exit.
    pub(crate) fn are_ending(&self) -> bool {
        self.terminals.values().any(|terminal| terminal.is_silent() && terminal.exit.is_none())
    }

    /// Reads what the programs have printed; whether there was anything.
    pub(crate) fn listen(&mut self) -> bool {
        let mut heard = false;
        for terminal in self.terminals.values_mut() {
            // Also of what it has left behind.
            heard |= terminal.listen();
            let Some(exit) = terminal.exit else { continue };
            let ids = terminal.awaited_by.drain(..);
            self.replies.extend(ids.map(|id| (id, Ok(ToolReply::Exit(ended(exit))))));
        }
        heard
    }

    /// What came of the next of the uses that had to wait.
    pub(crate) fn next_reply(&mut self) -> Option<(String, Came)> {
        self.replies.pop_front()
    }

    fn terminal(&mut self, name: &str) -> Result<&mut Terminal, ToolError> {
        self.terminals.get_mut(name).ok_or_else(|| no_terminal(name))
    }

    fn read(&self, path: &Path, line: usize, limit: Option<usize>) -> Came {
        let fail = |error| failed("read", path, error);
        let place = self.place(path).map_err(|error| match error {
            // Agents look for their files in every directory above: what is not there is no refusal.
            ToolError::Outside(sentence) if !path.exists() => ToolError::NotFound(sentence),
            error => error,
        })?;
        let file = sys::open_file_at(&place, FileAccess::Read).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() > LONGEST_FILE {
            let longest = format!("it has more than {} MiB", LONGEST_FILE >> 20);
            return Err(fail(io::Error::new(ErrorKind::InvalidData, longest)));
        }
        let mut text = String::new();
        // A file may grow meanwhile.
        file.take(LONGEST_FILE).read_to_string(&mut text).map_err(fail)?;
        if line > 1 || limit.is_some() {
            let lines = text.split_inclusive('\n').skip(line.saturating_sub(1));
            text = lines.take(limit.unwrap_or(usize::MAX)).collect();
        }
        Ok(ToolReply::Text(text))
    }

    fn write(&self, path: &Path, text: &str) -> Came {
        let place = self.place(path)?;
        let write = || {
            let mut file = sys::open_file_at(&place, FileAccess::Write)?;
            file.set_len(0)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|error| failed("write", path, error))?;
        Ok(ToolReply::Done)
    }

    fn create(
        &mut self,
        command: &str,
        args: Vec<String>,
        env: Vec<(String, String)>,
        dir: Option<&Path>,
        limit: Option<usize>,
    ) -> Came {
        if self.terminals.len() >= MOST_TERMINALS {
            return Err(ToolError::Failed(format!(
                "there are {MOST_TERMINALS} terminals already: release one"
            )));
        }
        let asked = dir.unwrap_or(&self.launch.dir);
        let place = self.place(asked)?;
        let dir = sys::open_directory(&place).map_err(|error| failed("use directory", asked, error))?;
        // A relative path is meant from there, a bare name on PATH.
        let path = if command.contains('/') { place.join(command) } else { command.into() };
        let program = self.world.find_program(&path.to_string_lossy());
        let program =
            program.ok_or_else(|| ToolError::NotFound(format!("there is no program `{command}`")))?;
        let launch = Launch {
            env: self.launch.env.iter().cloned().chain(env).collect(),
            unset: self.launch.unset.clone(),
            ..Launch::default()
        };
        let start = || {
            let mut program = as_program(&program, &args, &launch, dir, self.marker, self.world);
            program.stdin = Some(File::open("/dev/null")?.into());
            self.live.start_terminal(program)
        };
        let (child, _owned) =
            start().map_err(|error| ToolError::Failed(format!("cannot start `{command}`: {error}")))?;
        self.created += 1;
        let name = format!("terminal-{}", self.created);
        let limit = limit.unwrap_or(MOST_OUTPUT).min(MOST_OUTPUT);
        let (output, awaited_by) = Default::default();
        let terminal = Terminal { child, _owned, output, limit, is_truncated: false, exit: None, awaited_by };
        self.terminals.insert(name.clone(), terminal);
        Ok(ToolReply::Terminal(name))
    }

    /// The path that a path leads to, free of links, where that is inside the directories of the task. It is opened as
    /// that: a name in it that becomes a link meanwhile leads nowhere.
    fn place(&self, path: &Path) -> Result<PathBuf, ToolError> {
        if !path.is_absolute() {
            return Err(ToolError::Failed(format!("`{}` is not an absolute path", path.display())));
        }
        let place = match (fs::canonicalize(path), path.parent(), path.file_name()) {
            // It is to be made, perhaps.
            (Err(error), Some(parent), Some(name)) if error.kind() == ErrorKind::NotFound => {
                fs::canonicalize(parent).map(|parent| parent.join(name))
            }
            (found, ..) => found,
        };
        let place = place.map_err(|error| failed("use", path, error))?;
        let mut dirs = std::iter::once(&self.launch.dir).chain(&self.launch.reach);
        if dirs.any(|dir| place.starts_with(dir)) {
            Ok(place)
        } else {
            let sentence = format!("`{}` is outside of the working directory", path.display());
            Err(ToolError::Outside(sentence))
        }
    }

    /// Ends a program, where it has not ended, and tells those that wait for it.
    fn end(&mut self, mut terminal: Terminal) {
        let pid = terminal.child.pid;
        self.live.tree().kill_terminal(pid);
        sys::await_end(pid);
        terminal.exit = terminal.exit.or_else(|| sys::exited(pid));
        self.live.end_terminal(pid);
        let exit = ended(terminal.exit.unwrap_or(Exit::Signal(sys::SIGKILL)));
        let waiting = terminal.awaited_by.drain(..);
        self.replies.extend(waiting.map(|id| (id, Ok(ToolReply::Exit(exit.clone())))));
    }
}

impl Drop for ClientTools<'_> {
    fn drop(&mut self) {
        while let Some((_, terminal)) = self.terminals.pop_first() {
            self.end(terminal);
        }
    }
}

impl Terminal {
    fn is_silent(&self) -> bool {
        self.child.stdout.is_none() && self.child.stderr.is_none()
    }

    /// Reads what is there, and sees whether it has ended; whether there was anything.
    fn listen(&mut self) -> bool {
        let mut heard = false;
        // Asked before the pipes are read: what it wrote is there when it has ended. Another process may hold them and print
        // without end: what the pipes held at its end is read by then.
        let exit = sys::exited(self.child.pid);
        for _ in 0..READS {
            let Child { stdout, stderr, .. } = &mut self.child;
            let mut read = |pipe| pipes::read_into(pipe, &mut self.output).unwrap_or(false);
            let came = read(stdout) | read(stderr);
            self.cut();
            heard |= came;
            if !came {
                break;
            }
        }
        self.exit = self.exit.or(exit);
        heard
    }

    /// Keeps the last of the output, from the beginning of a character on.
    fn cut(&mut self) {
        let mut excess = self.output.len().saturating_sub(self.limit);
        if excess == 0 {
            return;
        }
        let is_within = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        excess += self.output[excess..].iter().take(3).take_while(|byte| is_within(byte)).count();
        self.output.drain(..excess);
        self.is_truncated = true;
    }

    fn output(&self) -> ToolReply {
        ToolReply::Output {
            text: String::from_utf8_lossy(&self.output).into_owned(),
            is_truncated: self.is_truncated,
            exit: self.exit.map(ended),
        }
    }
}

fn ended(exit: Exit) -> Ended {
    pipes::ended(Some(exit), &[])
}

fn no_terminal(name: &str) -> ToolError {
    ToolError::NotFound(format!("there is no terminal `{name}`"))
}

fn failed(verb: &str, path: &Path, error: io::Error) -> ToolError {
    let sentence = format!("cannot {verb} `{}`: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound => ToolError::NotFound(sentence),
        _ => ToolError::Failed(sentence),
    }
}
