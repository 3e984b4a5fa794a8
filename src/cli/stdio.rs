//! The commands that other programs speak to over standard input and output: a client starts one, and it lasts as long as its
//! input.

use super::flags::{Name, Typed};
use super::print::Out;
use super::{exit, prompt, signals};
use crate::backend::Agents;
use crate::base::sys::{self, Watch};
use crate::base::world::{self, World};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::policy::{Bounds, Policy};
use crate::engine::request::{Request, directory, list};
use crate::exec::{Cancel, Control};
use crate::model::error::{Error, Kind};
use crate::model::fields::Word;
use crate::stdio::mcp::Offer;
use crate::stdio::{acp, mcp};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `clinvk acp`
pub(crate) fn acp(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let request = prompt::request(typed)?;
    let engine = Engine::of(world, config, Agents::Known);
    let Streams { input, out, cancel } = Streams::open()?;
    acp::serve(&engine, config, &request, input, out, cancel)?;
    Ok(status())
}

/// `clinvk mcp`: the flags say what calls are completed from, and they are the most that calls may ask for.
pub(crate) fn mcp(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let given = Request { workdir: None, add_dirs: None, ..prompt::request(typed)? };
    let engine = Engine::of(world, config, Agents::Known);
    let directory = |name: &str| directory(&engine.world.cwd, Path::new(name));
    let dir = directory(typed.value(Name::Workdir).unwrap_or("."))?;
    let further = typed.values(Name::AddDir).map(directory);
    let backends = typed.value(Name::Backends).map(list);
    backends.iter().flatten().try_for_each(|name| engine.registry.get(name).map(drop))?;
    let general = &config.unified_flags;
    let policy = Policy::of_flags(Bounds {
        backends,
        approval: given.approval_mode.map_or(general.approval_mode, |Word(mode)| mode),
        sandbox: given.sandbox_mode.map_or(general.sandbox_mode, |Word(mode)| mode),
        dirs: [Ok(dir.clone())].into_iter().chain(further).collect::<Result<_, _>>()?,
    });
    let Streams { input, out, cancel } = Streams::open()?;
    let offer = Offer { engine: &engine, config, given: &given, policy: &policy, dir: &dir };
    mcp::serve(offer, input, out, cancel)?;
    Ok(status())
}

fn status() -> u8 {
    match sys::signal_that_came() {
        Some(_) => exit::status(Kind::Cancelled, 0),
        None => 0,
    }
}

/// How a client is spoken with, and what ends it all: a signal, or the end of its input.
struct Streams {
    input: Input,
    out: Out,
    cancel: Arc<Cancel>,
}

impl Streams {
    fn open() -> Result<Streams, Error> {
        if world::stdin_is_terminal() {
            log::warn!("another program is to speak to this one, in JSON-RPC: Ctrl-D ends it");
        }
        let cancel = Cancel::new()?;
        let cancel = Arc::new(cancel);
        signals::watch(cancel.clone())?;
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let stdin = stdin.map_err(|error| Error::System { what: "read standard input", error })?;
        let out = Out::new(Control::with(cancel.clone()), None);
        Ok(Streams { input: Input { stdin: stdin.into(), cancel: cancel.clone() }, out, cancel })
    }
}

/// Standard input, which also ends when all has to end.
struct Input {
    stdin: File,
    cancel: Arc<Cancel>,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.cancel.is_thrown() {
            let mut watches = [Watch::readable(self.stdin.as_fd()), self.cancel.watch()];
            sys::poll(&mut watches, Duration::MAX)?;
            if !watches[0].woke() {
                continue;
            }
            match self.stdin.read(buffer) {
                // Another program has set it to O_NONBLOCK, and was faster.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
        Ok(0)
    }
}
