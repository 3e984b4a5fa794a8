//! This very program in the background: what other command lines will use outlives the one that starts it.

use super::NEVER_INHERITED;
use crate::base::sys::{self, Program};
use crate::base::world::World;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Starts it with these arguments in that directory, in a session of its own and with nothing of ours but the environment.
/// Returns what it prints.
pub(crate) fn start_in_background(args: &[String], world: &World, dir: &Path) -> io::Result<File> {
    sys::keep_descriptors()?;
    let (stdin, dir) = (File::open("/dev/null")?.into(), File::open(dir)?.into());
    let env = world.inherited(NEVER_INHERITED.iter().copied());
    let program = Program { path: &world.exe, args, env, dir: Some(dir), tag: None, stdin: Some(stdin) };
    let child = program.start()?;
    Ok(child.stdout.expect("it is a pipe"))
}

/// Whether a process runs the same file as this one: the same build, however it was started.
pub(crate) fn is_this_program(pid: i32) -> io::Result<bool> {
    let file =
        |process: &str| fs::metadata(format!("/proc/{process}/exe")).map(|file| (file.dev(), file.ino()));
    Ok(file(&pid.to_string())? == file("self")?)
}
