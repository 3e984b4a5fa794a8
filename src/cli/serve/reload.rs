//! The configuration of a server: with the flags over it when it starts, and read again when SIGHUP asks for that. One that is
//! wrong changes nothing.

use crate::backend::Agents;
use crate::base::disk;
use crate::base::sync::Current;
use crate::base::sys;
use crate::base::world::{self, World};
use crate::cli::flags::{Name, Typed};
use crate::client;
use crate::config::{self, Config};
use crate::engine::Engine;
use crate::engine::pool::Pool;
use crate::http::front::keys::Keys;
use crate::http::net::Limits;
use crate::http::state::server::Server;
use crate::model::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What wins over the configuration: flags.
pub(super) struct Overrides {
    /// It is the server of this user's command lines, in that home.
    auto: Option<PathBuf>,
    host: Option<String>,
    port: Option<u16>,
    socket: Option<String>,
}

impl Overrides {
    pub(super) fn of(typed: &Typed, home: &Path) -> Result<Overrides, Error> {
        let text = |flag| typed.value(flag).map(str::to_owned);
        let port = "a number from 0 to 65535; 0 takes a free port";
        Ok(Overrides {
            auto: typed.has(Name::Auto).then(|| home.to_owned()),
            host: text(Name::Host),
            port: typed.read(Name::Port, port, |word| word.parse().ok())?,
            socket: text(Name::Socket),
        })
    }

    /// The configuration with these over it.
    pub(super) fn over(&self, mut config: Config) -> Config {
        if let Some(home) = &self.auto {
            config.server = of_command_lines(home);
        }
        let of_server = &mut config.server;
        self.host.as_ref().inspect(|host| of_server.host.clone_from(host));
        self.socket.as_ref().inspect(|socket| of_server.socket.clone_from(socket));
        of_server.port = self.port.unwrap_or(of_server.port);
        config
    }
}

/// What holds of the server of this user's command lines, which may do what those may: the bounds that keep others from its
/// runs are for others.
fn of_command_lines(home: &Path) -> config::Server {
    /// As many runs, and connections, as there are descriptors and processes for.
    const MANY: usize = 1024;
    config::Server {
        socket: home.join(client::SOCKET).to_string_lossy().into_owned(),
        max_runs: MANY,
        max_connections: 4 * MANY,
        max_request_body_bytes: u32::MAX as usize,
        max_memory_bytes: 64 << 30,
        // What runs has no limit but its own, also when the server is to end.
        drain_secs: 0,
        ..config::Server::default()
    }
}

/// The engine and the API keys of a configuration. Without keys only this machine's users may come in: there is to be no host
/// by which others do.
pub(super) fn open(
    world: &Arc<World>,
    config: &Config,
    others_come_by: Option<&str>,
) -> Result<(Engine, Keys), Error> {
    let (keys, warnings) = Keys::load(&config.server, world)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    if let Some(host) = others_come_by.filter(|_| keys.is_empty()) {
        let problem = format!(
            "without API keys only this machine may be let in, and `{host}` lets others in: set CLINVK_API_KEYS or \
             server.api_keys_file, or use --host 127.0.0.1"
        );
        return Err(Error::Config { origin: "serve".to_owned(), position: None, problem });
    }
    if !keys.is_empty() {
        // The programs that it runs are of the same user.
        sys::hide_memory();
    }
    let mut engine = Engine::of(World::clone(world), config, Agents::Configured);
    engine.pool = Some(Arc::new(Pool::of(config)));
    Ok((engine, keys))
}

/// What is needed to read the configuration of a running server again.
pub(super) struct Reload {
    pub(super) world: Arc<World>,
    /// The file that there was when the server was started.
    pub(super) file: Option<PathBuf>,
    pub(super) overrides: Overrides,
    /// What it was started with: where it listens stays as it is.
    pub(super) started: config::Server,
    pub(super) others_come_by: Option<String>,
    /// It was started from a terminal, and ends with it.
    pub(super) has_terminal: bool,
    pub(super) addresses: Vec<String>,
    pub(super) server: Arc<Current<Server>>,
    pub(super) limits: Arc<Current<Limits>>,
}

impl Reload {
    /// Reads it again whenever SIGHUP comes, until it means that the terminal is gone.
    pub(super) fn when_told(&self) {
        loop {
            sys::wait_for_hangup();
            if self.has_terminal && !world::has_terminal() {
                log::info!("SIGHUP: the terminal was closed: the server ends");
                return sys::raise(sys::SIGTERM);
            }
            match self.reload() {
                Ok(file) => log::info!("SIGHUP: {file} was read again"),
                Err(error) => log::error!("SIGHUP: {error}: the configuration stays as it was"),
            }
        }
    }

    fn reload(&self) -> Result<String, Error> {
        // A pipe, as of `--config <(...)`, is read once: opened again, it would wait for a writer, and all that is to come with it.
        let path = config::file_in_use(&self.world.home, self.file.as_deref());
        if let Some(error) = disk::open_linked(&path).err().filter(disk::is_no_file) {
            return Err(Error::File { verb: "read", path, error });
        }
        let loaded = Config::load(&self.world.home, self.file.as_deref(), &self.world.env)?;
        loaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let config = self.overrides.over(loaded.config);
        let (engine, keys) = open(&self.world, &config, self.others_come_by.as_deref())?;
        let (before, memory) = (self.server.get(), self.limits.get().memory.clone());
        let server = Server::new(config, engine, keys, before.lasting.clone(), &self.addresses)?;
        for key in self.fixed(&server.config.server) {
            log::warn!("SIGHUP: `{key}` has changed: it holds when the server is started the next time");
        }
        memory.set_most(server.config.server.max_memory_bytes);
        self.limits.replace(super::limits(&server.config, memory));
        if let (Some(old), Some(new)) = (&before.engine.pool, &server.engine.pool) {
            new.succeed(old);
        }
        self.server.replace(server);
        Ok(loaded.path.display().to_string())
    }

    /// The keys that have another value by now, and that a running server cannot change.
    fn fixed(&self, new: &config::Server) -> Vec<&'static str> {
        let old = &self.started;
        let changes = [
            ("server.host", old.host != new.host),
            ("server.port", old.port != new.port),
            ("server.socket", old.socket != new.socket),
        ];
        changes.into_iter().filter(|(_, is_other)| *is_other).map(|(key, _)| key).collect()
    }
}
