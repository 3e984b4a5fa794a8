//! `clinvk serve`: opens its listeners, says where they are, and serves until a signal stops it.

mod reload; // the configuration: with the flags over it, and again

use self::reload::{Overrides, Reload};
use super::flags::{Name, Typed, known};
use super::{leftovers, locks, say, signals};
use crate::base::json::json;
use crate::base::logging::{LogFormat, LogLevel};
use crate::base::sync::Current;
use crate::base::world::{self, World};
use crate::base::{disk, sys};
use crate::client;
use crate::config::{self, Config};
use crate::exec;
use crate::http::front::keys::VARIABLE as KEYS;
use crate::http::layers::Front;
use crate::http::net::memory::Memory;
use crate::http::net::{Acceptor, Limits, Listen};
use crate::http::state::reuse::Which;
use crate::http::state::server::{Lasting, Server};
use crate::model::error::Error;
use crate::session::Store;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// Descriptors of the server's own: listeners, logs, the session store, requests that wait for their turn.
const OWN_FILES: u64 = 48;
/// Descriptors of a run: its pipes, its switch, its session's lock, its directory.
const FILES_OF_RUN: u64 = 12;
/// Descriptors of a kept program: its pipes, and what wakes its thread.
const FILES_OF_KEPT: u64 = 5;

/// How often the server looks after itself: keys that changed, results that no client came for.
const ROUND: Duration = Duration::from_secs(5);
/// How long a cancelled run may take to be gone, beyond its grace.
const LAST_MOMENT: Duration = Duration::from_secs(10);

/// Returns when a signal stopped it and nothing is left.
pub(crate) fn run(
    typed: &Typed,
    mut world: World,
    explicit: Option<&Path>,
    config: Config,
) -> Result<u8, Error> {
    sys::keep_little_memory();
    let home = world.home()?.to_owned();
    let is_auto = typed.has(Name::Auto);
    if is_auto {
        // A command line that may open its socket is let in.
        world.env.remove(KEYS);
        log_to(&home.join(client::LOG))?;
    }
    logging(typed, &world)?;
    // One that is there has to be there the next time: without it the policy of the server would be gone, too.
    let file = Some(config::file_in_use(&home, explicit)).filter(|file| file.exists());
    let overrides = Overrides::of(typed, &home)?;
    let config = overrides.over(config);
    let listen = if is_auto { Listen::Unix(home.join(client::SOCKET)) } else { listen(&world, &config) };
    let others_come_by = others_come_by(&listen, &config);
    let world = Arc::new(world);
    let (engine, keys) = reload::open(&world, &config, others_come_by.as_deref())?;
    leftovers::warn(&world);
    locks_exclude(&engine.store, &world)?;
    let stop = signals()?;
    let acceptor = Acceptor::open(vec![listen])?;
    let addresses = acceptor.addresses();
    let started = config.server.clone();
    let limits = Current::new(limits(&config, Memory::new(config.server.max_memory_bytes)));
    let lasting = Arc::new(Lasting { has_callers: is_auto, ..Lasting::new(acceptor.gauges()) });
    let server = Current::new(Server::new(config, engine, keys, lasting, &addresses)?);
    // A program that reads the address reads a line.
    match typed.has(Name::Json) {
        true => say(&format!("{}\n", json!({"listening": addresses})))?,
        // A caller that closes everything, as one does to start a daemon, has no use for it.
        false if sys::stdout_was_closed() => 0,
        false => say(&banner(&addresses))?,
    };
    if is_auto {
        // The command line that started it has read that, and goes its way.
        let nowhere = OpenOptions::new().write(true).open("/dev/null");
        let quiet = nowhere.and_then(|nowhere| sys::redirect(sys::stdout_fd(), nowhere.as_fd()));
        quiet.map_err(lacks("close standard output"))?;
    }
    let reload = Reload {
        world,
        file,
        overrides,
        started,
        others_come_by,
        has_terminal: world::has_terminal(),
        addresses,
        server: server.clone(),
        limits: limits.clone(),
    };
    // Never joined: it waits for signals until the process ends.
    spawn("reload", move || reload.when_told())?;
    let over = Arc::new(AtomicBool::new(false));
    let rounds = look_after(&server, &over)?;
    let served = acceptor.serve(limits, Arc::new(Front(server.clone())), stop);
    end_detached(&server.get());
    over.store(true, Ordering::SeqCst);
    rounds.thread().unpark();
    let _ = rounds.join();
    server.get().engine.pool.iter().for_each(|pool| pool.end());
    server.get().forget(Which::All, Instant::now() + LAST_MOMENT);
    served.map(|()| 0).map_err(lacks("serve"))
}

fn spawn(name: &str, does: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new().name(name.to_owned()).spawn(does).map_err(lacks("start a thread"))
}

fn lacks(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::System { what, error }
}

/// Refuses a store in which two runs could have the same session. Where none can be kept at all, runs go on without.
fn locks_exclude(store: &Store, world: &World) -> Result<(), Error> {
    // An NFS client remembers for a minute that a name is not there: a server that looks for sessions where none has been
    // kept yet would not find those of another host.
    match store.make_place().and_then(|()| locks::problem(world)) {
        Ok(None) => Ok(()),
        Ok(Some(problem)) => {
            let error = io::Error::other(format!("{problem}: {}", locks::REMEDY));
            Err(Error::Store { verb: "keep sessions in", path: world.home.clone(), error })
        }
        Err(error) => {
            log::warn!("{error}");
            Ok(())
        }
    }
}

/// Where the requests to stop come from. SIGHUP is none.
fn signals() -> Result<OwnedFd, Error> {
    sys::count_hangups().map_err(lacks("listen for signals"))?;
    let ending = sys::ending_signals().into_iter().filter(|signal| *signal != sys::SIGHUP);
    signals::pipe_of(&ending.collect::<Vec<_>>())
}

/// From now on what is logged is in that file: the new behind the old, unless there is too much of that.
fn log_to(path: &Path) -> Result<(), Error> {
    const MOST: u64 = 1 << 20;
    let fail = |error| Error::File { verb: "write", path: path.to_owned(), error };
    let is_long = fs::symlink_metadata(path).is_ok_and(|meta| meta.len() > MOST);
    if is_long {
        fs::remove_file(path).map_err(fail)?;
    }
    let file = disk::open(path, OpenOptions::new().append(true).create(true).mode(0o600)).map_err(fail)?;
    sys::redirect(sys::stderr_fd(), file.as_fd()).map_err(fail)
}

/// What is logged, and how: flags, then `CLINVK_LOG`, then a line for each request.
fn logging(typed: &Typed, world: &World) -> Result<(), Error> {
    let format = match typed.value(Name::LogFormat) {
        None => LogFormat::Text,
        Some(given) => known("log format", given)?,
    };
    let of_flags = match (typed.has(Name::Verbose), typed.has(Name::Quiet)) {
        (true, _) => Some("debug"),
        (false, true) => Some("off"),
        (false, false) => None,
    };
    let of_world = world.env.get("CLINVK_LOG").map(String::as_str).filter(|level| !level.is_empty());
    let level = match typed.value(Name::LogLevel).or(of_flags).or(of_world) {
        None if typed.has(Name::Auto) => LogLevel::Warn,
        None => LogLevel::Info,
        Some(given) => known("log level", given)?,
    };
    crate::base::logging::of_server(format, level);
    Ok(())
}

/// Where to listen: what systemd opened for us, else a Unix socket, else host and port.
fn listen(world: &World, config: &Config) -> Listen {
    let of_server = &config.server;
    Listen::inherited(world).unwrap_or_else(|| match &*of_server.socket {
        "" => Listen::Tcp(of_server.host.clone(), of_server.port),
        socket => Listen::Unix(world.cwd.join(socket)),
    })
}

/// The host by which users of other machines may come, if they may.
fn others_come_by(listen: &Listen, config: &Config) -> Option<String> {
    let others_may_come = match listen {
        Listen::Unix(_) => false,
        Listen::Tcp(host, port) => {
            let mut addresses = (host.as_str(), *port).to_socket_addrs().into_iter().flatten();
            addresses.any(|address| !address.ip().is_loopback())
        }
        Listen::Inherited(sockets) => !sockets.iter().all(is_local),
    };
    others_may_come.then(|| config.server.host.clone())
}

/// Whether only this machine can connect to a socket.
fn is_local(socket: &OwnedFd) -> bool {
    let clone = || socket.try_clone();
    let is_loopback = |listener: TcpListener| Ok(listener.local_addr()?.ip().is_loopback());
    let is_unix = |listener: UnixListener| listener.local_addr().map(drop);
    // Each kind of socket has an address of its own kind alone.
    clone().map(TcpListener::from).and_then(is_loopback).unwrap_or(false)
        || clone().map(UnixListener::from).and_then(is_unix).is_ok()
}

/// What the configuration says of connections.
fn limits(config: &Config, memory: Arc<Memory>) -> Limits {
    let of_server = &config.server;
    let kept: usize = config.pools.values().map(|pool| pool.max).sum();
    let limits = Limits {
        head: HEAD,
        idle: Duration::from_secs(of_server.idle_timeout_secs),
        read: Duration::from_secs(of_server.read_timeout_secs),
        write: Duration::from_secs(of_server.write_timeout_secs),
        connections: of_server.max_connections,
        per_address: of_server.max_connections_per_address,
        descriptors: OWN_FILES + FILES_OF_RUN * of_server.max_runs as u64 + FILES_OF_KEPT * kept as u64,
        memory,
        wait: Duration::from_secs(of_server.queue_timeout_secs),
        drain: Duration::from_secs(of_server.drain_secs),
    };
    limits.within_open_files()
}

fn banner(addresses: &[String]) -> String {
    let mut text: String = addresses.iter().map(|address| format!("clinvk listens on {address}\n")).collect();
    text += "\n  /api/v1         prompt, parallel, compare, chain, backends, sessions, runs\n";
    text += "  /openai/v1      chat/completions, responses, completions, models\n";
    text += "  /anthropic/v1   messages, messages/count_tokens, models\n";
    text += "  /health, /ready, /live, /metrics, /docs, /openapi.json\n\nPress Ctrl+C to stop\n";
    text
}

/// Looks after the server until it is over. One of command lines ends by itself when it has had nothing to do for long enough.
fn look_after(server: &Arc<Current<Server>>, over: &Arc<AtomicBool>) -> Result<JoinHandle<()>, Error> {
    let (server, over) = (server.clone(), over.clone());
    spawn("rounds", move || {
        server.get().sweep();
        let (mut since, mut is_ending) = (Instant::now(), false);
        while !over.load(Ordering::SeqCst) {
            let idle = Duration::from_secs(server.get().config.client.idle_secs);
            let may_end = server.get().lasting.has_callers && !is_ending;
            thread::park_timeout(if may_end { idle.min(ROUND) } else { ROUND });
            let server = server.get();
            server.look_after();
            exec::reap_orphans();
            if server.lasting.was_used() {
                since = Instant::now();
            } else if may_end && since.elapsed() >= idle {
                // As when it is asked to end. A client that comes just now starts another one.
                is_ending = true;
                sys::raise(sys::SIGTERM);
            }
        }
    })
}

/// Runs without clients end with the server too.
fn end_detached(server: &Server) {
    server.lasting.runs.cancel_all();
    let since = Instant::now();
    // An answer may be known before the last process is gone, and a slot free before the answer is.
    let is_at_work = || {
        server.lasting.slots.used().0 > 0
            || server.lasting.runs.all().iter().any(|run| run.status().is_none())
    };
    while is_at_work() && since.elapsed() < LAST_MOMENT {
        thread::sleep(Duration::from_millis(20));
    }
}
