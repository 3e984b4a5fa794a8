//! Where clients come in: TCP addresses, Unix sockets, and sockets that systemd has opened for us.

use crate::base::sys;
use crate::base::world::World;
use crate::http::net::connection::Peer;
use crate::model::error::Error;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 4096;

#[derive(Debug)]
pub enum Listen {
    /// A host by name or address, and a port; 0 is any free one. A name is listened to at all its addresses.
    Tcp(String, u16),
    /// A Unix socket at this path, for us alone.
    Unix(PathBuf),
    /// Sockets that are open already.
    Inherited(Vec<OwnedFd>),
}

impl Listen {
    /// The sockets that systemd has opened for this very process. They can be had once.
    pub fn inherited(world: &World) -> Option<Listen> {
        /// Where the protocol begins to count.
        const FIRST: i32 = 3;
        let number = |name: &str| world.env.get(name).and_then(|value| value.parse::<u32>().ok());
        if number("LISTEN_PID")? != std::process::id() {
            return None;
        }
        let count = number("LISTEN_FDS").filter(|count| *count > 0)?;
        sys::take_inherited(FIRST, i32::try_from(count).ok()?).map(Listen::Inherited)
    }

    /// Opens it: one listener an address.
    pub(crate) fn open(self) -> Result<Vec<Listener>, Error> {
        match self {
            Listen::Tcp(host, port) => tcp(&host, port),
            Listen::Unix(path) => unix(&path).map(|listener| vec![listener]),
            Listen::Inherited(sockets) => sockets.into_iter().map(inherited).collect(),
        }
    }
}

/// An open listener. A Unix socket's file goes with it.
pub(crate) struct Listener {
    socket: ListenSocket,
    /// As it is printed: `http://127.0.0.1:8080`, `unix:/path`.
    pub(crate) address: String,
    _file: Option<SocketFile>,
}

enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Takes the next client in, where there is one.
    pub(crate) fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        match &self.socket {
            ListenSocket::Tcp(socket) => {
                socket.accept().map(|(stream, from)| (stream, Peer::Ip(from.ip().to_canonical())))
            }
            // One type for both: std's calls for TCP are those for Unix sockets.
            ListenSocket::Unix(socket) => {
                socket.accept().map(|(stream, _)| (TcpStream::from(OwnedFd::from(stream)), Peer::Unix))
            }
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListenSocket::Tcp(socket) => socket.as_fd(),
            ListenSocket::Unix(socket) => socket.as_fd(),
        }
    }

    fn new(socket: ListenSocket, address: String, file: Option<SocketFile>) -> Result<Listener, Error> {
        let listener = Listener { socket, address, _file: file };
        let ready =
            sys::listen(listener.as_fd(), BACKLOG).and_then(|()| sys::set_nonblocking(listener.as_fd()));
        ready.map_err(|error| fail(&listener.address, error.to_string()))?;
        Ok(listener)
    }
}

fn fail(address: &str, problem: impl Into<String>) -> Error {
    Error::Listen { address: address.to_owned(), problem: problem.into() }
}

fn tcp(host: &str, port: u16) -> Result<Vec<Listener>, Error> {
    let named =
        if host.contains(':') { format!("http://[{host}]:{port}") } else { format!("http://{host}:{port}") };
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|error| fail(&named, format!("the host is not known: {error}")))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let (mut open, mut missing) = (Vec::new(), None);
    for address in addresses {
        let text = format!("http://{address}");
        match TcpListener::bind(address) {
            Ok(socket) => {
                let text = socket.local_addr().map_or(text, |address| format!("http://{address}"));
                open.push(Listener::new(ListenSocket::Tcp(socket), text, None)?);
            }
            // `localhost` means ::1 also where there is no IPv6. Any other failure would leave half of the name to others.
            Err(error) if is_missing(&error) => {
                missing = Some(fail(&text, "this machine has no such address"))
            }
            Err(error) => return Err(fail(&text, advice(&error))),
        }
    }
    match missing {
        Some(error) if open.is_empty() => Err(error),
        _ if open.is_empty() => Err(fail(&named, "the host has no address")),
        _ => Ok(open),
    }
}

/// This machine has no such address, or no such kind of address.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(sys::EAFNOSUPPORT)
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "another program listens there: stop it, or choose another port with `--port`".to_owned()
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: choose another one with `--port`".to_owned()
        }
        _ => error.to_string(),
    }
}

/// A Unix socket that only we may connect to: 0600, in a directory where no other user can put one in its place.
fn unix(path: &Path) -> Result<Listener, Error> {
    let address = format!("unix:{}", path.display());
    let fail = |problem: String| fail(&address, problem);
    prepare_directory(path).map_err(fail)?;
    make_room(path).map_err(fail)?;
    // From the beginning: whoever has connected stays so when the rights are changed.
    let socket = sys::in_private(|| UnixListener::bind(path)).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => fail("the path is longer than 107 bytes: choose a shorter one".to_owned()),
        _ => fail(error.to_string()),
    })?;
    let file = SocketFile::new(path).map_err(|error| fail(error.to_string()))?;
    Listener::new(ListenSocket::Unix(socket), address, Some(file))
}

fn prepare_directory(path: &Path) -> Result<(), String> {
    let dir = match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => return Err("that is no path of a file".to_owned()),
    };
    let shown = dir.display();
    if !dir.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| format!("cannot create `{shown}`: {error}"))?;
    }
    let meta = fs::metadata(dir).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    let (others_write, sticky) = (meta.mode() & 0o022 != 0, meta.mode() & 0o1000 != 0);
    if others_write && !sticky {
        return Err(format!(
            "others can write to `{shown}`: `chmod go-w {shown}`, or choose another directory"
        ));
    }
    if meta.uid() != sys::effective_user() && meta.uid() != 0 {
        return Err(format!("`{shown}` belongs to somebody else: choose another directory"));
    }
    Ok(())
}

/// Removes a socket that no server listens to any more.
fn make_room(path: &Path) -> Result<(), String> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err("there is a file that is no socket: choose another path".to_owned());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("another server listens there: stop it, or choose another path".to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| format!("cannot remove the socket of a server that is gone: {error}")),
        Err(error) => Err(format!("cannot tell whether another server listens there: {error}")),
    }
}

/// The file of a Unix socket, removed with it, unless it is another server's by then.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // At worst the next server finds it stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

fn inherited(socket: OwnedFd) -> Result<Listener, Error> {
    if !sys::is_listening(socket.as_fd()) {
        let problem = "it is no listening stream socket: the unit needs `ListenStream=` and `Accept=no`";
        return Err(fail("socket from systemd", problem));
    }
    let socket = TcpListener::from(socket);
    match socket.local_addr() {
        Ok(address) => Listener::new(ListenSocket::Tcp(socket), format!("http://{address}"), None),
        // Another family than the Internet's.
        Err(_) => {
            let socket = UnixListener::from(OwnedFd::from(socket));
            let path = socket.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
            let address = path.map_or("unix:".to_owned(), |path| format!("unix:{}", path.display()));
            Listener::new(ListenSocket::Unix(socket), address, None)
        }
    }
}
