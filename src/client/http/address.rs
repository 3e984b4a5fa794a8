//! Where a server is, and the connection to it.

use super::{LOOK, is_thrown};
use crate::base::sys;
use crate::client::own::{self, OwnServer};
use crate::exec::Cancel;
use crate::model::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Where a server is.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// As it was given.
    shown: String,
    place: Place,
    /// What stands before every path.
    pub(super) prefix: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    /// The one of this user's command lines, which is started where it is not there.
    Own(OwnServer),
}

impl Address {
    /// That of the server of this user's command lines.
    pub(crate) fn own(server: OwnServer) -> Address {
        Address { shown: own::NAME.to_owned(), place: Place::Own(server), prefix: String::new() }
    }

    /// It is started where it is not there, so that one that ends is none that fails.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.place, Place::Own(_))
    }

    /// Reads `http://HOST[:PORT][/PREFIX]` or `unix:PATH`.
    pub fn parse(word: &str, cwd: &Path) -> Result<Address, Error> {
        let wrong = |why: &str| Error::Invalid(format!("`{word}` is no server: {why}"));
        let expected = || wrong("expected http://HOST:PORT or unix:PATH");
        if let Some(path) = word.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let place = Place::Unix(cwd.join(path));
            return match path {
                "" => Err(expected()),
                _ => Ok(Address { shown: word.to_owned(), place, prefix: String::new() }),
            };
        }
        if word.starts_with("https:") {
            return Err(wrong("TLS is left to a proxy beside clinvk, see TLS in clinvk(1)"));
        }
        let rest = word.strip_prefix("http://").ok_or_else(expected)?;
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(Error::Invalid(
                "a server's address has no password: CLINVK_API_KEY is for that".to_owned(),
            ));
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"<>".contains(&byte);
        if !rest.bytes().all(is_plain) {
            return Err(expected());
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of an IPv6 address without a port stands inside its brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| expected())?),
            _ => (authority, 80),
        };
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains([':', '[', ']']) && !is_bracketed) {
            return Err(expected());
        }
        let (shown, prefix) = (word.to_owned(), prefix.trim_end_matches('/').to_owned());
        Ok(Address { shown, place: Place::Tcp { host: host.to_owned(), port }, prefix })
    }

    /// The server is on this machine, and the paths of its files are ours.
    pub(crate) fn is_local(&self) -> bool {
        match &self.place {
            Place::Unix(_) | Place::Own(_) => true,
            Place::Tcp { host, .. } => {
                let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
                host == "localhost" || address.is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// The error of a server that does not answer as one of ours does.
    pub(crate) fn failed(&self, problem: impl Into<String>) -> Error {
        Error::Remote { server: self.shown.clone(), problem: problem.into() }
    }

    /// Connects to it, unless the switch is thrown before.
    pub(super) fn connect(&self, cancel: Option<&Cancel>) -> Result<Socket, Error> {
        let unreachable = |error| self.unreachable(error);
        let socket = match &self.place {
            Place::Own(server) => Socket::Unix(server.connect(cancel)?),
            Place::Unix(path) => Socket::Unix(UnixStream::connect(path).map_err(unreachable)?),
            Place::Tcp { host, port } => {
                let (tell, told) = mpsc::channel();
                let (host, port) = (host.trim_matches(['[', ']']).to_owned(), *port);
                // Neither the question after a name nor a connection can be called off: what it comes to is dropped then.
                let connect = move || tell.send(connected(&host, port));
                thread::Builder::new().name("connect".to_owned()).spawn(connect).map_err(unreachable)?;
                loop {
                    match told.recv_timeout(LOOK) {
                        Ok(result) => break Socket::Tcp(result.map_err(unreachable)?),
                        Err(RecvTimeoutError::Timeout) if is_thrown(cancel) => return Err(Error::Cancelled),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => {
                            return Err(self.failed("it cannot be reached"));
                        }
                    }
                }
            }
        };
        sys::set_nonblocking(socket.fd()).map_err(unreachable)?;
        Ok(socket)
    }

    pub(super) fn unreachable(&self, error: io::Error) -> Error {
        self.failed(format!("it cannot be reached: {error}"))
    }

    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::Unix(_) | Place::Own(_) => "localhost".to_owned(),
            Place::Tcp { host, port } => format!("{host}:{port}"),
        }
    }
}

/// The first address of a host that accepts a connection.
fn connected(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&mut &*stream).read(buffer),
            Socket::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&mut &*stream).write(bytes),
            Socket::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |word: &str| Address::parse(word, Path::new("/here")).map_err(|error| error.to_string());
        let tcp = |host: &str, port| Place::Tcp { host: host.to_owned(), port };
        for (word, place, prefix, is_local) in [
            ("http://127.0.0.1:8080", tcp("127.0.0.1", 8080), "", true),
            ("http://localhost", tcp("localhost", 80), "", true),
            ("http://[::1]:9/", tcp("[::1]", 9), "", true),
            ("http://[::1]", tcp("[::1]", 80), "", true),
            ("http://ai.example.org:8080/clinvk/", tcp("ai.example.org", 8080), "/clinvk", false),
            ("http://10.0.0.1:1", tcp("10.0.0.1", 1), "", false),
            ("unix:socket", Place::Unix("/here/socket".into()), "", true),
            ("unix:///run/s", Place::Unix("/run/s".into()), "", true),
        ] {
            let address = read(word).unwrap();
            assert_eq!((&address.place, &*address.prefix, address.is_local()), (&place, prefix, is_local));
        }
        for word in [
            "",
            "localhost:8080",
            "http://",
            "http://:80",
            "http://h:x",
            "http://a b",
            "http://h?x",
            "http://::1",
            "unix:",
        ] {
            assert_eq!(
                read(word),
                Err(format!("`{word}` is no server: expected http://HOST:PORT or unix:PATH")),
                "{word}"
            );
        }
        assert!(read("https://h").unwrap_err().contains("proxy"));
        // A password is not said again.
        assert!(!read("http://me:secret@h").unwrap_err().contains("secret"));
    }
}
