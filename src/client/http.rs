//! An HTTP/1.1 client, as small as a server of ours needs: a connection a request, no TLS, no redirects. No server is
//! trusted: heads, chunks, lines and silences have bounds, and an answer that ends too soon is an error.

use super::own::{self, OwnServer};
use crate::base::sys::{self, Watch};
use crate::exec::Cancel;
use crate::model::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may be silent while it owes us something. In a stream it says every 15 s that it is alive.
const SILENCE: Duration = Duration::from_secs(60);
/// How many bytes a second it has to send beyond that.
const SLOWEST: u64 = 1 << 10;
/// How often a reader that waits looks around.
const LOOK: Duration = Duration::from_millis(100);
/// How much is read at once.
const READ: usize = 64 << 10;
/// Most bytes of a head, and of what may stand behind the last chunk.
const MOST_HEAD: usize = 64 << 10;
/// Most bytes of the line that says how long a chunk is.
const MOST_SIZE: usize = 1 << 10;
/// Most bytes of an answer that comes whole, and of a line of a stream: an answer of 64 MiB with most of it escaped.
const MOST_BODY: usize = 256 << 20;

/// Where a server is.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// As it was given.
    shown: String,
    place: Place,
    /// What stands before every path.
    prefix: String,
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
    pub(super) fn own(server: OwnServer) -> Address {
        Address { shown: own::NAME.to_owned(), place: Place::Own(server), prefix: String::new() }
    }

    /// It is started where it is not there, so that one that ends is none that fails.
    pub(super) fn is_own(&self) -> bool {
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
    fn connect(&self, cancel: Option<&Cancel>) -> Result<Socket, Error> {
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

    fn unreachable(&self, error: io::Error) -> Error {
        self.failed(format!("it cannot be reached: {error}"))
    }

    fn host(&self) -> String {
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

fn is_thrown(cancel: Option<&Cancel>) -> bool {
    cancel.is_some_and(Cancel::is_thrown)
}

/// A request.
#[derive(Default, Clone, Copy)]
pub struct Ask<'a> {
    pub method: &'a str,
    /// Path and query, escaped.
    pub path: &'a str,
    pub accept: &'a str,
    /// The API key, where there is one.
    pub key: Option<&'a str>,
    /// The JSON that goes along.
    pub body: Option<&'a [u8]>,
    /// Calls it off before the head of the answer is here.
    pub cancel: Option<&'a Cancel>,
    /// How long the server may be silent, where that is not `SILENCE`.
    pub silence: Option<Duration>,
}

impl Ask<'_> {
    /// Sends it, and waits for the head of the answer.
    pub fn send(&self, address: &Address) -> Result<Reply, Error> {
        let socket = address.connect(self.cancel)?;
        let mut head = format!(
            "{} {}{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: {}\r\n",
            self.method,
            address.prefix,
            self.path,
            address.host(),
            self.accept
        );
        if let Some(key) = self.key {
            head += &format!("Authorization: Bearer {key}\r\n");
        }
        if let Some(body) = self.body {
            head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let silence = self.silence.unwrap_or(SILENCE);
        let sent = match self.write(&socket, head.as_bytes(), silence) {
            Ok(()) => self.write(&socket, self.body.unwrap_or_default(), silence),
            failed => failed,
        };
        let mut reply = Reply {
            address: address.clone(),
            socket,
            raw: Vec::new(),
            body: Vec::new(),
            seen: 0,
            rest: Rest::Nothing,
            is_over: false,
            pace: Pace { silence, since: Instant::now(), bytes: 0 },
            status: 0,
            is_json: false,
        };
        if is_thrown(self.cancel) {
            return Err(Error::Cancelled);
        }
        // A server that refuses a body need not read it.
        match (reply.read_head(self.cancel), sent) {
            (Err(Error::Cancelled), _) => Err(Error::Cancelled),
            // It was about to end.
            (Err(_), _) if address.is_own() && reply.is_silent() => Err(Error::Draining),
            (Err(_), Err(error)) => Err(address.unreachable(error)),
            (head, _) => head.map(|()| reply),
        }
    }

    /// Writes as fast as the server reads, until the switch is thrown.
    fn write(&self, mut socket: &Socket, mut bytes: &[u8], silence: Duration) -> io::Result<()> {
        let mut since = Instant::now();
        while !bytes.is_empty() && !is_thrown(self.cancel) {
            match socket.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => (bytes, since) = (&bytes[written..], Instant::now()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if since.elapsed() > silence {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    wait(Watch::writable(socket.fd()), self.cancel)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Waits a moment for it, or until the switch is thrown; says whether it woke.
fn wait(watch: Watch, cancel: Option<&Cancel>) -> io::Result<bool> {
    let mut watches = vec![watch];
    // One that was thrown would wake for ever.
    watches.extend(cancel.filter(|cancel| !cancel.is_thrown()).map(Cancel::watch));
    sys::poll(&mut watches, LOOK)?;
    Ok(watches[0].woke())
}

/// Whether a server says what it owes us fast enough: a byte now and then is no sign of life.
struct Pace {
    silence: Duration,
    /// The last line ended, or the request was sent.
    since: Instant,
    /// So much came since then.
    bytes: u64,
}

impl Pace {
    fn is_too_slow(&self) -> bool {
        self.since.elapsed() > self.silence + Duration::from_secs(self.bytes / SLOWEST)
    }

    fn problem(&self) -> String {
        let seconds = self.since.elapsed().as_secs();
        match self.bytes {
            0 => format!("it has said nothing for {seconds} s"),
            bytes => format!("it is too slow: {bytes} bytes in {seconds} s"),
        }
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn fd(&self) -> BorrowedFd<'_> {
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

/// What is still to come of a body.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rest {
    Nothing,
    Bytes(u64),
    UntilClose,
    /// The line with the length of the next chunk.
    Size,
    /// So much of a chunk.
    Chunk(u64),
    /// The end of the line behind a chunk.
    ChunkEnd,
    /// What stands behind the last chunk, of which so many bytes were read.
    Trailer(usize),
}

/// An answer that is being read.
pub struct Reply {
    address: Address,
    socket: Socket,
    /// What was read and not understood yet.
    raw: Vec<u8>,
    /// What was understood of the body and not handed out yet.
    body: Vec<u8>,
    /// So much of the body was looked through for the end of a line.
    seen: usize,
    rest: Rest,
    /// The server has closed the connection.
    is_over: bool,
    pace: Pace,
    pub(crate) status: u16,
    /// The body is one JSON value.
    pub(crate) is_json: bool,
}

/// What there is of a stream.
#[derive(Debug, PartialEq)]
pub enum Next {
    Line(String),
    /// A moment has passed, the switch was thrown, or the server says that it is alive.
    Nothing,
    End,
}

impl Reply {
    /// The next line that is not empty. Waits a moment for it, or until the switch is thrown. `is_patient`: the server may
    /// be silent for as long as it likes.
    pub fn line(&mut self, cancel: &Cancel, is_patient: bool) -> Result<Next, Error> {
        loop {
            if let Some(end) = self.body[self.seen..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.body.drain(..=self.seen + end).collect();
                self.seen = 0;
                (self.pace.since, self.pace.bytes) = (Instant::now(), 0);
                let line = String::from_utf8(line)
                    .map_err(|_| self.address.failed("it sent a line that is not valid UTF-8"))?;
                // An empty one is a sign of life, of which many may come.
                return Ok(if line.trim().is_empty() { Next::Nothing } else { Next::Line(line) });
            }
            self.seen = self.body.len();
            if self.rest == Rest::Nothing {
                return match self.body.iter().all(u8::is_ascii_whitespace) {
                    true => Ok(Next::End),
                    false => Err(self.cut()),
                };
            }
            if !self.more(Some(cancel), is_patient)? {
                return Ok(Next::Nothing);
            }
        }
    }

    /// The whole body.
    pub fn whole(mut self) -> Result<Vec<u8>, Error> {
        while self.rest != Rest::Nothing {
            self.more(None, false)?;
        }
        Ok(self.body)
    }

    /// Nothing came of it at all, and nothing will.
    fn is_silent(&self) -> bool {
        self.pace.bytes == 0 && !self.pace.is_too_slow()
    }

    fn cut(&self) -> Error {
        self.address.failed("its answer broke off")
    }

    /// Reads some more of the body; says no where nothing came for a moment.
    fn more(&mut self, cancel: Option<&Cancel>, is_patient: bool) -> Result<bool, Error> {
        if !self.read(cancel, is_patient)? {
            return Ok(false);
        }
        self.understand().map_err(|what| self.address.failed(format!("its answer is no HTTP: {what}")))?;
        if self.body.len() > MOST_BODY {
            return Err(self.address.failed(format!("its answer has more than {} MiB", MOST_BODY >> 20)));
        }
        if self.is_over && !matches!(self.rest, Rest::Nothing) {
            return Err(self.cut());
        }
        Ok(true)
    }

    /// Reads what has come, and waits a moment for it.
    fn read(&mut self, cancel: Option<&Cancel>, is_patient: bool) -> Result<bool, Error> {
        let broke = |error: io::Error| self.address.failed(format!("the connection to it broke: {error}"));
        if !is_patient && self.pace.is_too_slow() {
            return Err(self.address.failed(self.pace.problem()));
        }
        if !wait(Watch::readable(self.socket.fd()), cancel).map_err(broke)? {
            return Ok(false);
        }
        let before = self.raw.len();
        self.raw.resize(before + READ, 0);
        let read = (&self.socket).read(&mut self.raw[before..]);
        self.raw.truncate(before + read.as_ref().map_or(0, |read| *read));
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(broke(error)),
            Ok(read) => {
                self.is_over = read == 0;
                self.pace.bytes += read as u64;
            }
        }
        Ok(true)
    }

    /// Takes out of the raw bytes what is of the body.
    fn understand(&mut self) -> Result<(), &'static str> {
        loop {
            let before = (self.raw.len(), self.rest);
            match self.rest {
                Rest::Nothing => self.raw.clear(),
                Rest::UntilClose => {
                    self.body.append(&mut self.raw);
                    if self.is_over {
                        self.rest = Rest::Nothing;
                    }
                }
                Rest::Bytes(left) => {
                    let left = self.take(left);
                    self.rest = if left == 0 { Rest::Nothing } else { Rest::Bytes(left) };
                }
                Rest::Chunk(left) => {
                    let left = self.take(left);
                    self.rest = if left == 0 { Rest::ChunkEnd } else { Rest::Chunk(left) };
                }
                Rest::Size => {
                    let Some(line) = self.raw_line(MOST_SIZE)? else { return Ok(()) };
                    let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                    self.rest = match hex(size).ok_or("a chunk has no length")? {
                        0 => Rest::Trailer(0),
                        size => Rest::Chunk(size),
                    };
                }
                Rest::ChunkEnd => match self.raw_line(MOST_SIZE)? {
                    None => return Ok(()),
                    Some(line) if line.is_empty() => self.rest = Rest::Size,
                    Some(_) => return Err("a chunk is longer than it says"),
                },
                Rest::Trailer(read) => match self.raw_line(MOST_HEAD)? {
                    None => return Ok(()),
                    Some(line) if line.is_empty() => self.rest = Rest::Nothing,
                    Some(line) if read + line.len() > MOST_HEAD => return Err("it does not end"),
                    Some(line) => self.rest = Rest::Trailer(read + line.len()),
                },
            }
            if before == (self.raw.len(), self.rest) {
                return Ok(());
            }
        }
    }

    /// Moves as much to the body, as far as it is there; returns what is left.
    fn take(&mut self, left: u64) -> u64 {
        let there = usize::try_from(left).unwrap_or(usize::MAX).min(self.raw.len());
        self.body.extend(self.raw.drain(..there));
        left - there as u64
    }

    /// A line of the raw bytes without its end, where it is there as a whole.
    fn raw_line(&mut self, most: usize) -> Result<Option<Vec<u8>>, &'static str> {
        let Some(end) = self.raw.iter().position(|byte| *byte == b'\n') else {
            return if self.raw.len() > most { Err("a line does not end") } else { Ok(None) };
        };
        let mut line: Vec<u8> = self.raw.drain(..=end).take(end).collect();
        if line.ends_with(b"\r") {
            line.pop();
        }
        Ok(Some(line))
    }

    fn read_head(&mut self, cancel: Option<&Cancel>) -> Result<(), Error> {
        let no_http = |what: &str| format!("its answer is no HTTP: {what}");
        loop {
            let mut lines = Vec::new();
            let mut length = 0;
            loop {
                match self.raw_line(MOST_HEAD).map_err(|what| self.address.failed(no_http(what)))? {
                    Some(line) if line.is_empty() && !lines.is_empty() => break,
                    Some(line) if line.is_empty() => {
                        return Err(self.address.failed(no_http("it has no status")));
                    }
                    Some(line) => {
                        length += line.len();
                        lines.push(String::from_utf8_lossy(&line).into_owned());
                    }
                    None if self.is_over => return Err(self.cut()),
                    None if is_thrown(cancel) => return Err(Error::Cancelled),
                    None => _ = self.read(cancel, false)?,
                }
                if length > MOST_HEAD {
                    return Err(self.address.failed(no_http("its head does not end")));
                }
            }
            self.understand_head(&lines).map_err(|what| self.address.failed(no_http(what)))?;
            // What is said in between is no answer yet.
            if self.status >= 200 {
                break;
            }
        }
        self.understand().map_err(|what| self.address.failed(no_http(what)))
    }

    fn understand_head(&mut self, lines: &[String]) -> Result<(), &'static str> {
        let mut words = lines[0].split(' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().filter(|word| word.len() == 3).and_then(|word| word.parse().ok());
        self.status = status.filter(|_| version.starts_with("HTTP/1.")).ok_or("it has no status")?;
        let (mut length, mut is_chunked) = (None, false);
        for line in &lines[1..] {
            let (name, value) = line.split_once(':').ok_or("a header has no name")?;
            let value = value.trim();
            match &*name.to_ascii_lowercase() {
                "content-length" => {
                    let number: u64 = value.parse().map_err(|_| "its length is no number")?;
                    if length.replace(number).is_some_and(|before| before != number) {
                        return Err("it has two lengths");
                    }
                }
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => is_chunked = true,
                "transfer-encoding" => return Err("its transfer encoding is unknown"),
                "content-type" => {
                    let kind = value.split(';').next().unwrap_or_default().trim();
                    self.is_json = kind.eq_ignore_ascii_case("application/json");
                }
                _ => {}
            }
        }
        self.rest = match (is_chunked, length) {
            _ if matches!(self.status, 100..200 | 204 | 304) => Rest::Nothing,
            (true, _) => Rest::Size,
            (false, Some(0)) => Rest::Nothing,
            (false, Some(length)) => Rest::Bytes(length),
            (false, None) => Rest::UntilClose,
        };
        Ok(())
    }
}

/// A number of hexadecimal digits, and nothing else.
fn hex(digits: &[u8]) -> Option<u64> {
    let text =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u64::from_str_radix(text, 16).ok()
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

    /// The address of a server that answers with this at once, and then a byte a moment for as long as it is heard.
    fn dripping(at_once: &'static str, byte: &'static [u8]) -> Address {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let drip = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut sent = stream.write_all(at_once.as_bytes());
            while sent.is_ok() {
                thread::sleep(Duration::from_millis(10));
                sent = stream.write_all(byte);
            }
        };
        thread::Builder::new().spawn(drip).unwrap();
        Address::parse(&address, Path::new("/")).unwrap()
    }

    #[test]
    fn a_byte_now_and_then_is_no_sign_of_life() {
        let ask =
            Ask { method: "GET", path: "/", silence: Some(Duration::from_millis(300)), ..Ask::default() };
        let said = |error: Error| error.to_string();
        let of_head = ask.send(&dripping("HTTP/1.1 200 OK\r\nX: ", b"x")).err().map(said);
        assert!(of_head.as_ref().is_some_and(|said| said.contains("it is too slow: ")), "{of_head:?}");
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        let of_body = ask.send(&dripping(head, b"x")).and_then(Reply::whole).err().map(said);
        assert!(of_body.as_ref().is_some_and(|said| said.contains("it is too slow: ")), "{of_body:?}");
        let cancel = Cancel::new().unwrap();
        let line = |mut reply: Reply| loop {
            match reply.line(&cancel, false) {
                Ok(Next::Nothing) => {}
                other => break other,
            }
        };
        let of_line = ask.send(&dripping(head, b"x")).and_then(line).err().map(said);
        assert!(of_line.as_ref().is_some_and(|said| said.contains("it is too slow: ")), "{of_line:?}");
        // What is said in lines is one, however little there is in them.
        let since = Instant::now();
        let mut reply = ask.send(&dripping(head, b"\n")).unwrap();
        while since.elapsed() < Duration::from_secs(1) {
            assert_eq!(reply.line(&cancel, false).map_err(said), Ok(Next::Nothing));
        }
    }
}
