//! An HTTP/1.1 client, as small as a server of ours needs: a connection a request, no TLS, no redirects. No server is
//! trusted: heads, chunks, lines and silences have bounds, and an answer that ends too soon is an error.

mod address; // where a server is
mod reply; // an answer that is being read

pub use address::Address;
pub use reply::{Next, Reply};

use crate::base::sys::{self, Watch};
use crate::exec::Cancel;
use crate::model::error::Error;
use address::Socket;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

/// How long it may be silent while it owes us something. In a stream it says every 15 s that it is alive.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a reader that waits looks around.
const LOOK: Duration = Duration::from_millis(100);

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
        let mut reply = Reply::begin(address.clone(), socket, silence);
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

fn is_thrown(cancel: Option<&Cancel>) -> bool {
    cancel.is_some_and(Cancel::is_thrown)
}

/// Waits a moment for it, or until the switch is thrown; says whether it woke.
fn wait(watch: Watch, cancel: Option<&Cancel>) -> io::Result<bool> {
    let mut watches = vec![watch];
    // One that was thrown would wake for ever.
    watches.extend(cancel.filter(|cancel| !cancel.is_thrown()).map(Cancel::watch));
    sys::poll(&mut watches, LOOK)?;
    Ok(watches[0].woke())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::thread;

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
