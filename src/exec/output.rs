//! Runs a program that is no backend's run, without talking to it, and hands back what it prints.

use super::live::Live;
use super::{NEVER_INHERITED, pipes, tree};
use crate::backend::Ended;
use crate::base::sys::{self, Child, Program, Watch};
use crate::base::world::World;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Most bytes that are kept of the output; more is an error.
const MOST: usize = 1 << 20;
/// How often a silent program is looked at: it may have ended while another process holds its pipes.
const TICK: Duration = Duration::from_millis(50);

/// What a program has printed, and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Printed {
    /// Its standard output.
    pub out: Vec<u8>,
    /// How it ended, and the end of its standard error.
    pub ended: Ended,
}

/// Runs a program to its end: without input, and without our keys in its environment. What is left of its process group
/// when it has ended, or after `limit`, is killed.
///
/// # Errors
/// When it is not there or cannot be started, has not ended after `limit`, or prints more than 1 MiB.
pub fn output(argv: &[&str], world: &World, limit: Duration) -> io::Result<Printed> {
    let (name, args) = argv.split_first().ok_or(ErrorKind::InvalidInput)?;
    let deadline = Instant::now() + limit;
    let missing = || io::Error::new(ErrorKind::NotFound, format!("`{name}` is not on PATH"));
    let path = world.find_program(name).ok_or_else(missing)?;
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let env = world.inherited(NEVER_INHERITED.iter().copied());
    let stdin = Some(File::open("/dev/null")?.into());
    let program = Program { path: &path, args: &args, env, dir: None, tag: None, stdin };
    let (mut child, _owned) = Live::start_apart(program)?;
    let printed = listen(&mut child, deadline);
    // Not reaped yet, so the number is still its own.
    let _ = sys::kill_group(child.pid, sys::SIGKILL);
    tree::reap(child.pid);
    printed
}

/// The first line that a program prints with these arguments: its version. None where it says none in `limit`.
pub(crate) fn version(program: &Path, args: &[&str], world: &World, limit: Duration) -> Option<String> {
    let name = program.to_string_lossy();
    let argv: Vec<&str> = std::iter::once(&*name).chain(args.iter().copied()).collect();
    let printed = output(&argv, world, limit).ok()?;
    let text = String::from_utf8_lossy(&printed.out);
    text.lines().next().map(|line| line.trim().to_owned())
}

/// Reads until the program has ended and nothing more comes.
fn listen(child: &mut Child, deadline: Instant) -> io::Result<Printed> {
    let Child { pid, stdout, stderr, .. } = child;
    let (mut out, mut said) = (Vec::new(), Vec::new());
    loop {
        // Asked before the pipes are read: what it wrote is there when it has ended.
        let exit = sys::exited(*pid);
        let came = pipes::read_into(stdout, &mut out)? | pipes::read_into(stderr, &mut said)?;
        if out.len() > MOST {
            return Err(io::Error::new(ErrorKind::InvalidData, "it prints more than 1 MiB"));
        }
        pipes::keep_tail(&mut said);
        if let Some(exit) = exit.filter(|_| !came) {
            return Ok(Printed { out, ended: pipes::ended(Some(exit), &said) });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "it does not end"));
        }
        let open = [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)];
        let mut watches: Vec<Watch> = open.into_iter().flatten().map(Watch::readable).collect();
        if !came {
            sys::poll(&mut watches, left.min(TICK))?;
        }
    }
}
