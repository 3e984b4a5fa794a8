//! A server of the real binary in a scene, and a client that says what it is told and shows what came.

use super::run::Running;
use super::scene::{PATIENCE, Scene};
use serde_json::Value;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A server that is running.
pub struct Server {
    /// Its process.
    pub process: Running,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Scene {
    /// `clinvk serve` with these arguments, on a free port, once it listens.
    pub fn serve<const N: usize>(&self, args: [&str; N]) -> Server {
        self.serve_with(args, &[])
    }

    /// The same with variables.
    pub fn serve_with<const N: usize>(&self, args: [&str; N], env: &[(&str, &str)]) -> Server {
        let run = self.clinvk(["serve", "--port", "0"]).args(args);
        let run = env.iter().fold(run, |run, (name, value)| run.env(name, value));
        Server::of(run.start())
    }
}

impl Server {
    /// A `clinvk serve` that has just been started, once it listens.
    pub fn of(mut process: Running) -> Server {
        process.says("Press Ctrl+C to stop\n");
        let said = process.said();
        let address = said.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        Server { address: address.unwrap_or_default().to_owned(), process }
    }

    /// A request.
    pub fn ask(&self, method: &str, path: &str) -> Ask {
        Ask {
            address: self.address.clone(),
            head: format!("{method} {path} HTTP/1.1\r\n"),
            has_host: false,
            is_chunked: false,
            body: Vec::new(),
        }
    }

    /// What a GET of that path answers.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).answer()
    }

    /// What a POST of that JSON answers.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path).json(body).answer()
    }

    /// A POST of that JSON, whose answer is left to be read.
    pub fn post_stream(&self, path: &str, body: &Value) -> Stream {
        self.ask("POST", path).json(body).send()
    }

    /// Asks it to stop and waits until it has.
    #[track_caller]
    pub fn stop(self) -> super::run::Seen {
        self.process.signal(clinvk::base::sys::SIGTERM);
        self.process.end()
    }
}

/// A request that is being written.
#[derive(Clone)]
pub struct Ask {
    address: String,
    head: String,
    has_host: bool,
    is_chunked: bool,
    body: Vec<u8>,
}

impl Ask {
    /// A header.
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        self.has_host |= name.eq_ignore_ascii_case("host");
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    /// A body of JSON.
    pub fn json(self, body: &Value) -> Ask {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// A body in one chunk, whose length is not said before.
    pub fn chunked(mut self, body: &str) -> Ask {
        self.is_chunked = true;
        self.header("Transfer-Encoding", "chunked").body(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
    }

    /// A body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Ask {
        self.body = body.into();
        self
    }

    /// Sends it, and leaves the answer to be read.
    pub fn send(self) -> Stream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = Stream(BufReader::new(stream));
        self.send_on(&mut stream);
        stream
    }

    /// The same on a connection whose last answer was read.
    pub fn send_on(mut self, stream: &mut Stream) {
        if !self.has_host {
            let host = self.address.clone();
            self = self.header("Host", &host);
        }
        let length = if self.is_chunked {
            "\r\n".to_owned()
        } else {
            format!("Content-Length: {}\r\n\r\n", self.body.len())
        };
        stream
            .0
            .get_mut()
            .write_all(&[self.head.as_bytes(), length.as_bytes(), &self.body].concat())
            .unwrap();
    }

    /// Sends it, and waits for the whole answer.
    #[track_caller]
    pub fn answer(self) -> Answer {
        let mut stream = self.send();
        let mut answer = stream.head();
        answer.body = stream.rest(&answer);
        answer
    }
}

/// An answer on its way.
pub struct Stream(BufReader<TcpStream>);

impl Stream {
    /// The status and the headers.
    #[track_caller]
    pub fn head(&mut self) -> Answer {
        let status = self.line();
        let status =
            status.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {status:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
                None => return Answer { status, headers, body: String::new() },
            }
        }
    }

    /// The next line, without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// The next chunk of a streamed answer; empty at its end.
    #[track_caller]
    pub fn chunk(&mut self) -> String {
        let size = self.line();
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("no chunk: {size:?}"));
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        String::from_utf8(chunk).unwrap()
    }

    /// All that is left.
    #[track_caller]
    pub fn rest(&mut self, head: &Answer) -> String {
        if head.header("transfer-encoding") == Some("chunked") {
            let mut all = String::new();
            loop {
                match self.chunk() {
                    chunk if chunk.is_empty() => return all,
                    chunk => all += &chunk,
                }
            }
        }
        let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, chunks put together.
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The body as lines of JSON.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let line = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?} in {self}"))
        };
        self.body.lines().filter(|line| !line.is_empty()).map(line).collect()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}\n{}", self.status, self.headers, self.body)
    }
}
