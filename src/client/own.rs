//! The server of a user's own command lines, which `--server auto` means: found by its socket in clinvk's home, started where
//! it is not there, and ended where it is of another build.

use super::http::{Address, Ask};
use crate::base::json::{self, json};
use crate::base::lock::{self, Lock};
use crate::base::sys::{self, Watch};
use crate::base::world::World;
use crate::exec::{self, Cancel};
use crate::model::error::Error;
use serde_json::Value;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What it is called where a server is named.
pub(crate) const NAME: &str = "auto";
/// Its socket, in clinvk's home.
pub(crate) const SOCKET: &str = "socket";
/// How long it may take to be there, or to be gone.
const COMES: Duration = Duration::from_secs(30);
/// How often a thread that waits for it looks.
const LOOK: Duration = Duration::from_millis(10);
/// The longest line in which it says how its start went.
const MOST: usize = 64 << 10;

/// What is needed to start it.
#[derive(Debug, Clone)]
pub(crate) struct OwnServer {
    world: Arc<World>,
    /// The configuration file that is named.
    config: Option<PathBuf>,
    socket: PathBuf,
}

/// There is one in a home.
impl PartialEq for OwnServer {
    fn eq(&self, other: &OwnServer) -> bool {
        self.socket == other.socket
    }
}

/// Who listens on the socket.
enum Found {
    /// This very build.
    Same,
    /// Another one: its process.
    Other(i32),
}

impl OwnServer {
    /// The one of this process' home. `config`: the configuration file that is named.
    pub(crate) fn of(world: &Arc<World>, config: Option<&Path>) -> Result<OwnServer, Error> {
        let socket = world.home()?.join(SOCKET);
        let config = config.map(|file| world.cwd.join(file));
        if let Some(file) = config.as_ref().filter(|file| file.to_str().is_none()) {
            // It goes to the server as text.
            let sentence = "is not valid UTF-8: `--server auto` can be given no such configuration file";
            return Err(Error::Invalid(format!("`{}` {sentence}", file.display())));
        }
        Ok(OwnServer { world: world.clone(), config, socket })
    }

    /// Connects to it; has it started where it is not there, once for all that want it at the same time.
    pub(super) fn connect(&self, cancel: Option<&Cancel>) -> Result<UnixStream, Error> {
        let until = Instant::now() + COMES;
        loop {
            match self.try_connect()? {
                None => self.start(cancel, until)?,
                Some(stream) => match self.found(&stream)? {
                    Found::Same => return Ok(stream),
                    Found::Other(_) => self.replace(cancel, until)?,
                },
            }
            keep_waiting(cancel, until, "it starts, and is gone again")?;
        }
    }

    /// None where no server listens.
    fn try_connect(&self) -> Result<Option<UnixStream>, Error> {
        match UnixStream::connect(&self.socket) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => Err(failed(format!(
                "the path of its socket, `{}`, is longer than 107 bytes: set CLINVK_HOME to a shorter one",
                self.socket.display()
            ))),
            Err(error) => {
                Err(failed(format!("it cannot be reached at `{}`: {error}", self.socket.display())))
            }
        }
    }

    /// Who it is. What is asked has keys in it: it is for this user's eyes alone.
    fn found(&self, stream: &UnixStream) -> Result<Found, Error> {
        let socket = self.socket.display();
        let (pid, user) = sys::peer(stream.as_fd())
            .map_err(|error| failed(format!("it is not known who listens on `{socket}`: {error}")))?;
        if user != sys::effective_user() {
            return Err(failed(format!(
                "another user (uid {user}) listens on `{socket}`: set CLINVK_HOME to a directory of your own"
            )));
        }
        match exec::is_this_program(pid) {
            Ok(true) => Ok(Found::Same),
            Ok(false) => Ok(Found::Other(pid)),
            Err(error) => Err(failed(format!(
                "process {pid}, which listens on `{socket}`, cannot be looked at: {error}"
            ))),
        }
    }

    /// Starts it, unless it is there by now.
    fn start(&self, cancel: Option<&Cancel>, until: Instant) -> Result<(), Error> {
        let home = self.prepare_home()?;
        let _starting = self.lock(cancel, until)?;
        if self.try_connect()?.is_some() {
            return Ok(());
        }
        let mut args: Vec<String> = ["serve", "--auto", "--json"].map(str::to_owned).into();
        if let Some(config) = &self.config {
            args.extend(["--config".to_owned(), config.to_string_lossy().into_owned()]);
        }
        let cannot = |problem: String| failed(format!("it cannot be started: {problem}"));
        let printed = exec::start_in_background(&args, &self.world, &home)
            .map_err(|error| cannot(format!("`{}`: {error}", self.world.exe.display())))?;
        let line = first_line(printed, cancel, until)?;
        let said: Value = json::from_slice(&line).unwrap_or_default();
        match said["error"]["message"].as_str() {
            Some(problem) => Err(cannot(problem.to_owned())),
            None if said["listening"].is_array() => Ok(()),
            None => Err(cannot(format!("it ended at once: see `{}`", home.join(LOG).display()))),
        }
    }

    /// Ends the server of another build where it has nothing to do that would be lost. What runs in it goes on to its end,
    /// and what comes then is another one's.
    fn replace(&self, cancel: Option<&Cancel>, until: Instant) -> Result<(), Error> {
        let _starting = self.lock(cancel, until)?;
        let Some(stream) = self.try_connect()? else { return Ok(()) };
        let Found::Other(pid) = self.found(&stream)? else { return Ok(()) };
        drop(stream);
        let address = Address::parse(&format!("unix:{}", self.socket.display()), Path::new("/"))?;
        let ask =
            Ask { method: "GET", path: "/api/v1/runs", accept: "application/json", cancel, ..Ask::default() };
        let runs: Value = json::from_slice(&ask.send(&address)?.whole()?).unwrap_or_default();
        let Some(runs) = runs["runs"].as_array() else {
            return Err(failed(format!(
                "process {pid}, which listens on its socket, does not answer as clinvk does"
            )));
        };
        let is_detached = |run: &&Value| run["detached"] == true && run["state"] == json!("running");
        let detached = runs.iter().filter(is_detached).count();
        if detached > 0 {
            return Err(failed(format!(
                "it is another build of clinvk (process {pid}), in which {detached} detached runs go on: wait until they \
                 are over, or end it: kill {pid}"
            )));
        }
        log::debug!("process {pid} is the server of another build: it is ended");
        // It may have ended by itself.
        let _ = sys::kill(pid, sys::SIGTERM);
        while self.try_connect()?.is_some() {
            keep_waiting(
                cancel,
                until,
                &format!("it is another build of clinvk, and does not end: kill {pid}"),
            )?;
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Held by the one process that starts or ends it.
    fn lock(&self, cancel: Option<&Cancel>, until: Instant) -> Result<Lock, Error> {
        let path = self.socket.with_extension("lock");
        let wait = || keep_waiting(cancel, until, "another process has been starting it for too long");
        let fail = |error| Error::File { verb: "lock", path: path.clone(), error };
        lock::wait_for(&path, &wait, fail)
    }

    /// The directory of its socket, made where it is not there. That of another user is not used: `sudo` may leave HOME as it
    /// is.
    fn prepare_home(&self) -> Result<PathBuf, Error> {
        let home = self.world.home()?.to_owned();
        let fail = |verb| {
            let path = home.clone();
            move |error| Error::File { verb, path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&home).map_err(fail("create"))?;
        let owner = fs::metadata(&home).map_err(fail("read"))?.uid();
        if owner != sys::effective_user() {
            return Err(failed(format!(
                "`{}` belongs to another user (uid {owner}): set CLINVK_HOME to a directory of your own",
                home.display()
            )));
        }
        Ok(home)
    }
}

/// The file that has what it logs, in clinvk's home.
pub(crate) const LOG: &str = "server.log";

fn failed(problem: String) -> Error {
    Error::Remote { server: NAME.to_owned(), problem }
}

fn keep_waiting(cancel: Option<&Cancel>, until: Instant, problem: &str) -> Result<(), Error> {
    match cancel {
        Some(cancel) if cancel.is_thrown() => Err(Error::Cancelled),
        _ if Instant::now() >= until => Err(failed(problem.to_owned())),
        _ => Ok(()),
    }
}

/// What it prints up to the end of the line, or as much as comes.
fn first_line(mut printed: File, cancel: Option<&Cancel>, until: Instant) -> Result<Vec<u8>, Error> {
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    while line.len() < MOST && !line.contains(&b'\n') {
        keep_waiting(cancel, until, "it does not say that it has started")?;
        let mut watch = [Watch::readable(printed.as_fd())];
        let read = sys::poll(&mut watch, LOOK).and_then(|()| printed.read(&mut buffer));
        match read {
            Ok(0) => break,
            Ok(read) => line.extend(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(failed(format!("it cannot be started: {error}"))),
        }
    }
    Ok(line)
}
