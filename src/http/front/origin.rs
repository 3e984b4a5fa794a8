//! Which pages may ask. A web page can reach a port on the loopback interface, so a request has to be addressed to a
//! name that is ours (a page that lets its own name mean our address is betrayed by that name), and one that a page makes
//! has to come from our own page or one on the list.

use crate::config::Server;
use crate::model::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The methods that pages may use.
const METHODS: &str = "GET, POST, PATCH, DELETE, OPTIONS";
/// The key that lists the pages.
const ORIGINS: &str = "cors_allowed_origins";
/// The headers of answers that pages may read.
const EXPOSED: &str = "request-id, x-request-id, retry-after, x-clinvk-ignored, x-clinvk-backend, x-clinvk-model, \
     x-clinvk-usage, x-clinvk-session";

/// The names and pages that requests may have.
#[derive(Debug, Clone)]
pub(crate) struct OriginPolicy {
    hosts: Vec<String>,
    origins: Vec<String>,
    any_origin: bool,
    credentials: bool,
    max_age: u64,
}

/// What the headers of a request say of where it was sent and from where. Values as they came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OriginHeaders<'a> {
    pub(crate) method: &'a str,
    /// `Host`; HTTP/1.0 may have none.
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) origin: Option<&'a [u8]>,
    /// `Access-Control-Request-Method`.
    pub(crate) wanted_method: Option<&'a [u8]>,
    /// `Access-Control-Request-Headers`.
    pub(crate) wanted_headers: Option<&'a [u8]>,
    /// It came by the Unix socket, which no page can reach: any `Host` will do.
    pub(crate) by_unix_socket: bool,
}

impl OriginHeaders<'_> {
    /// A browser asks whether a page may ask: with no key, and before the request itself.
    pub(crate) fn is_preflight(&self) -> bool {
        self.method == "OPTIONS" && self.origin.is_some() && self.wanted_method.is_some()
    }
}

impl OriginPolicy {
    /// Reads the lists of the configuration.
    pub(crate) fn of(server: &Server) -> Result<OriginPolicy, Error> {
        let hosts: Vec<String> = server.allowed_hosts.iter().map(|host| plain(host.trim())).collect();
        let is_name = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if let Some(host) = hosts.iter().find(|host| !is_name(host)) {
            return Err(refused("allowed_hosts", host, "is no host name: no scheme, port or `*`"));
        }
        let (mut origins, mut any_origin) = (Vec::new(), false);
        for entry in server.cors_allowed_origins.iter().map(|entry| entry.trim()) {
            match normal_origin(entry) {
                Some(origin) => origins.push(origin),
                None if entry == "*" && server.cors_allow_credentials => {
                    let problem = "cannot be together with server.cors_allow_credentials: name the origins";
                    return Err(refused(ORIGINS, entry, problem));
                }
                None if entry == "*" => any_origin = true,
                None => {
                    let problem = "is no origin such as https://chat.example.org or http://localhost:3000";
                    return Err(refused(ORIGINS, entry, problem));
                }
            }
        }
        let (credentials, max_age) = (server.cors_allow_credentials, server.cors_max_age);
        Ok(OriginPolicy { hosts, origins, any_origin, credentials, max_age })
    }

    /// The same where requests need no API key: then not every page may ask.
    pub(crate) fn without_keys(self) -> Result<OriginPolicy, Error> {
        let problem = "would let every web page run agents: name the origins, or have API keys";
        if self.any_origin { Err(refused(ORIGINS, "*", problem)) } else { Ok(self) }
    }

    /// Refuses a request that was sent to a name that is not ours, or from a page that may not ask.
    pub(crate) fn admit(&self, sent: &OriginHeaders<'_>) -> Result<(), Error> {
        self.host(sent)?;
        let Some(origin) = sent.origin else { return Ok(()) };
        if self.is_listed(origin) || is_own(origin, sent.host) {
            return Ok(());
        }
        Err(foreign(ORIGINS, "origin", origin, "the server's own pages", &self.origins))
    }

    fn host(&self, sent: &OriginHeaders<'_>) -> Result<(), Error> {
        let Some(host) = sent.host.filter(|_| !sent.by_unix_socket) else { return Ok(()) };
        let name = std::str::from_utf8(host).ok().and_then(without_port).map(plain);
        if name.is_some_and(|name| is_address_or_loopback(&name) || self.hosts.contains(&name)) {
            return Ok(());
        }
        Err(foreign("allowed_hosts", "host", host, "`localhost`, addresses", &self.hosts))
    }

    fn is_listed(&self, origin: &[u8]) -> bool {
        let origin = std::str::from_utf8(origin).ok().and_then(normal_origin);
        origin.is_some_and(|origin| self.any_origin || self.origins.contains(&origin))
    }

    /// The headers by which a browser lets a listed page have the answer. They belong on every answer, errors too.
    pub(crate) fn headers(&self, sent: &OriginHeaders<'_>) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if self.any_origin || !self.origins.is_empty() {
            // Also where no page asked: a cache that keeps this answer must not give it to one.
            headers.push(("Vary", "Origin".to_owned()));
        }
        let Some(origin) = sent.origin.filter(|origin| self.is_listed(origin)) else { return headers };
        // A listed one has nothing in it that a header cannot have.
        headers.push(("Access-Control-Allow-Origin", String::from_utf8_lossy(origin).into_owned()));
        if self.credentials {
            headers.push(("Access-Control-Allow-Credentials", "true".to_owned()));
        }
        if sent.is_preflight() {
            headers.push(("Access-Control-Allow-Methods", METHODS.to_owned()));
            headers.extend(
                sent.wanted_headers.and_then(names).map(|names| ("Access-Control-Allow-Headers", names)),
            );
            headers.push(("Access-Control-Max-Age", self.max_age.to_string()));
        } else {
            headers.push(("Access-Control-Expose-Headers", EXPOSED.to_owned()));
        }
        headers
    }
}

/// An entry of the configuration that cannot be.
fn refused(key: &str, entry: &str, problem: &str) -> Error {
    Error::Config { origin: format!("server.{key}"), position: None, problem: format!("`{entry}` {problem}") }
}

/// A host or an origin that may not ask. What came from outside is shown as it can stand in a sentence.
fn foreign(key: &str, what: &str, sent: &[u8], always: &str, listed: &[String]) -> Error {
    let shown: String =
        String::from_utf8_lossy(sent).chars().filter(|letter| !letter.is_control()).take(200).collect();
    let listed = listed.iter().map(|entry| format!(", `{entry}`"));
    Error::Policy {
        rule: format!("server.{key}"),
        asked: format!("{what} `{shown}`"),
        allowed: always.to_owned() + &listed.collect::<String>(),
    }
}

/// Names compare without regard to case, and with or without the dot of the root.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`; the brackets stay.
fn without_port(host: &str) -> Option<&str> {
    let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
    match host[end..].split_once(':') {
        None if end == 0 || end == host.len() => Some(host),
        Some((name, port)) if end == 0 || name.is_empty() => {
            port.bytes().all(|byte| byte.is_ascii_digit()).then(|| &host[..end + name.len()])
        }
        _ => None,
    }
}

/// An address is no name that could mean another tomorrow, and some names always mean this machine (RFC 6761 section 6.3):
/// they cannot be registered, so no page has one.
fn is_address_or_loopback(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host == "localhost" || host.ends_with(".localhost") || host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// `scheme://host[:port]` in small letters without the scheme's own port. `None` for anything else, `null` first of all: a
/// page in a sandbox has it, wherever it is from.
fn normal_origin(origin: &str) -> Option<String> {
    let origin = origin.to_ascii_lowercase();
    let (scheme, host) = origin.split_once("://")?;
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let is_host = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte))
    };
    if !is_scheme(scheme) || !is_host(host) || without_port(host).is_none_or(str::is_empty) {
        return None;
    }
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    Some(format!("{scheme}://{}", host.strip_suffix(own_port).unwrap_or(host)))
}

/// The page came from this very server, which a proxy may have given TLS.
fn is_own(origin: &[u8], host: Option<&[u8]>) -> bool {
    let text = |value| std::str::from_utf8(value).ok();
    let (Some(origin), Some(host)) = (text(origin).and_then(normal_origin), host.and_then(text)) else {
        return false;
    };
    ["http", "https"]
        .iter()
        .any(|scheme| normal_origin(&format!("{scheme}://{host}")).as_ref() == Some(&origin))
}

/// A list of headers' names; `None` when anything else is in it.
fn names(list: &[u8]) -> Option<String> {
    let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(byte);
    std::str::from_utf8(list).ok().filter(|_| list.iter().all(is_fine)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(hosts: &[&str], origins: &[&str]) -> Server {
        let list = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
        Server { allowed_hosts: list(hosts), cors_allowed_origins: list(origins), ..Server::default() }
    }

    fn policy(hosts: &[&str], origins: &[&str]) -> Result<OriginPolicy, String> {
        OriginPolicy::of(&listed(hosts, origins)).map_err(|error| error.to_string())
    }

    fn sent<'a>(host: Option<&'a str>, origin: Option<&'a str>) -> OriginHeaders<'a> {
        OriginHeaders {
            method: "POST",
            host: host.map(str::as_bytes),
            origin: origin.map(str::as_bytes),
            ..OriginHeaders::default()
        }
    }

    #[test]
    fn a_request_is_addressed_to_a_name_that_is_ours() {
        let policy = policy(&["Box.example.org", "clinvk."], &[]).unwrap();
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "localhost.:1",
            "app.localhost:80",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.0.0.1.",
            "127.8.8.8",
            "192.168.1.5:8080",
            "0.0.0.0:80",
            "[::1]",
            "[::1]:8080",
            "[2001:db8::5]:1",
            "[::ffff:127.0.0.1]",
            "box.example.org",
            "BOX.example.org:443",
            "box.example.org.",
            "clinvk:8080",
            "localhost:",
        ] {
            assert!(policy.admit(&sent(Some(host), None)).is_ok(), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil-localhost",
            "127.0.0.1.evil.example",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "::1",
            "[::1",
            "[::1]evil",
            "[::1]:x",
            "[evil]",
            "[fe80::1%25eth0]",
            "evil@localhost",
            "localhost@evil",
            "localhost:80:80",
            "localhost:8o",
            "localhost evil",
            "localhost,evil",
            "xbox.example.org",
            "example.org",
            "localhost\0",
            "löcalhost",
        ] {
            assert!(policy.admit(&sent(Some(host), None)).is_err(), "{host}");
        }
        assert!(policy.admit(&OriginHeaders { host: Some(b"\xff"), ..OriginHeaders::default() }).is_err());
        // HTTP/1.0 has no Host; no page can reach a Unix socket.
        assert!(policy.admit(&sent(None, None)).is_ok());
        assert!(
            policy.admit(&OriginHeaders { by_unix_socket: true, ..sent(Some("evil.example"), None) }).is_ok()
        );
        let error = policy.admit(&sent(Some("evil.example\r\nx: y"), None)).unwrap_err();
        assert_eq!(error.kind(), crate::model::error::Kind::Policy);
        assert_eq!(
            error.to_string(),
            "host `evil.examplex: y` is not allowed: `server.allowed_hosts` allows `localhost`, addresses, \
             `box.example.org`, `clinvk`"
        );
    }

    #[test]
    fn a_page_is_our_own_or_on_the_list() {
        let listed =
            ["https://Chat.example.org", "http://localhost:3000", "app://obsidian.md", "https://[::1]:444"];
        let policy = policy(&["box.example.org"], &listed).unwrap();
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost:8080", "http://LOCALHOST:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            // A proxy has given us TLS.
            ("box.example.org", "https://box.example.org"),
            ("box.example.org:443", "https://box.example.org"),
            ("box.example.org:80", "http://box.example.org"),
            ("localhost:8080", "https://chat.example.org"),
            ("localhost:8080", "HTTPS://chat.example.org:443"),
            ("localhost:8080", "http://localhost:3000"),
            ("localhost:8080", "app://obsidian.md"),
            ("localhost:8080", "https://[::1]:444"),
        ] {
            assert!(policy.admit(&sent(Some(host), Some(origin))).is_ok(), "{host} {origin}");
        }
        for (host, origin) in [
            ("localhost:8080", "null"),
            ("localhost:8080", ""),
            ("localhost:8080", "http://evil.example"),
            // Another port, scheme or name of this machine is another page.
            ("localhost:8080", "http://localhost"),
            ("localhost:8080", "http://localhost:8081"),
            ("localhost:8080", "http://127.0.0.1:8080"),
            ("localhost:8080", "ftp://localhost:8080"),
            ("localhost", "https://localhost:80"),
            ("localhost:8080", "http://chat.example.org"),
            ("localhost:8080", "https://chat.example.org:444"),
            ("localhost:8080", "https://chat.example.org.evil.example"),
            ("localhost:8080", "https://evil.example/https://chat.example.org"),
            ("localhost:8080", "https://chat.example.org, http://evil.example"),
            ("localhost:8080", "https://chat.example.org https://evil.example"),
            ("localhost:8080", "https://evil@chat.example.org"),
            ("localhost:8080", "localhost:8080"),
            // A rebinding page: its own name, which now means our address.
            ("evil.example:8080", "http://evil.example:8080"),
        ] {
            assert!(policy.admit(&sent(Some(host), Some(origin))).is_err(), "{host} {origin}");
        }
        // Without Host no page is our own.
        assert!(policy.admit(&sent(None, Some("http://localhost:8080"))).is_err());
        assert!(policy.admit(&sent(None, Some("http://localhost:3000"))).is_ok());
        let by_socket = |origin| OriginHeaders { by_unix_socket: true, ..sent(Some("x"), Some(origin)) };
        assert!(policy.admit(&by_socket("http://evil.example")).is_err());
        assert_eq!(
            policy.admit(&sent(Some("localhost"), Some("null"))).unwrap_err().to_string(),
            "origin `null` is not allowed: `server.cors_allowed_origins` allows the server's own pages, \
             `https://chat.example.org`, `http://localhost:3000`, `app://obsidian.md`, `https://[::1]:444`"
        );
    }

    #[test]
    fn a_star_is_every_page_but_none_without_a_name() {
        let policy = policy(&[], &["*"]).unwrap();
        assert!(policy.admit(&sent(Some("localhost"), Some("http://evil.example"))).is_ok());
        assert!(policy.admit(&sent(Some("localhost"), Some("null"))).is_err());
        assert!(policy.admit(&sent(Some("evil.example"), Some("http://evil.example"))).is_err());
        let headers = policy.headers(&sent(Some("localhost"), Some("http://any.example")));
        assert!(headers.contains(&("Access-Control-Allow-Origin", "http://any.example".to_owned())));
    }

    #[test]
    fn a_list_that_says_nothing_sensible_keeps_the_server_from_starting() {
        for (hosts, origins, problem) in [
            (
                &["http://x"][..],
                &[][..],
                "server.allowed_hosts: `http://x` is no host name: no scheme, port or `*`",
            ),
            (&["x:80"], &[], "server.allowed_hosts: `x:80` is no host name: no scheme, port or `*`"),
            (&["*"], &[], "server.allowed_hosts: `*` is no host name: no scheme, port or `*`"),
            (&[""], &[], "server.allowed_hosts: `` is no host name: no scheme, port or `*`"),
            (
                &[],
                &["null"],
                "server.cors_allowed_origins: `null` is no origin such as https://chat.example.org or http://localhost:3000",
            ),
        ] {
            assert_eq!(policy(hosts, origins).map(|_| ()), Err(problem.to_owned()));
        }
        assert_eq!(
            policy(&[], &["*"]).unwrap().without_keys().unwrap_err().to_string(),
            "server.cors_allowed_origins: `*` would let every web page run agents: name the origins, or have API keys"
        );
        assert_eq!(
            OriginPolicy::of(&Server { cors_allow_credentials: true, ..listed(&[], &["*"]) })
                .unwrap_err()
                .to_string(),
            "server.cors_allowed_origins: `*` cannot be together with server.cors_allow_credentials: name the origins"
        );
        for entry in [
            "",
            "chat.example.org",
            "https://",
            "https://x/",
            "https://x/y",
            "https://*.x",
            "://x",
            "1a://x",
            "https://:80",
        ] {
            assert!(policy(&[], &[entry]).is_err(), "{entry}");
        }
    }

    #[test]
    fn a_preflight_is_told_what_may_be_asked_and_every_answer_who_may_read_it() {
        let page = "https://Chat.example.org";
        let shut = policy(&[], &[]).unwrap();
        let open = Server { cors_allow_credentials: true, ..listed(&[], &[page]) };
        let open = OriginPolicy::of(&open).unwrap();
        let preflight = |origin| OriginHeaders {
            method: "OPTIONS",
            wanted_method: Some(b"POST"),
            wanted_headers: Some(b"authorization,content-type,x-stainless-arch"),
            ..sent(Some("localhost"), Some(origin))
        };
        let told = |headers: Vec<(&str, String)>| {
            headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            told(open.headers(&preflight(page))),
            "Vary: Origin\n\
             Access-Control-Allow-Origin: https://Chat.example.org\n\
             Access-Control-Allow-Credentials: true\n\
             Access-Control-Allow-Methods: GET, POST, PATCH, DELETE, OPTIONS\n\
             Access-Control-Allow-Headers: authorization,content-type,x-stainless-arch\n\
             Access-Control-Max-Age: 300"
        );
        assert_eq!(
            told(open.headers(&sent(Some("localhost"), Some(page)))),
            "Vary: Origin\n\
             Access-Control-Allow-Origin: https://Chat.example.org\n\
             Access-Control-Allow-Credentials: true\n\
             Access-Control-Expose-Headers: request-id, x-request-id, retry-after, x-clinvk-ignored, x-clinvk-backend, \
             x-clinvk-model, x-clinvk-usage, x-clinvk-session"
        );
        for origin in ["http://evil.example", "null", "http://localhost"] {
            assert_eq!(told(open.headers(&preflight(origin))), "Vary: Origin", "{origin}");
        }
        assert_eq!(told(open.headers(&sent(Some("localhost"), None))), "Vary: Origin");
        assert_eq!(told(shut.headers(&preflight(page))), "");
        let split = OriginHeaders { wanted_headers: Some(b"a\r\nSet-Cookie: b"), ..preflight(page) };
        assert!(!told(open.headers(&split)).contains("Cookie"));
    }

    #[test]
    fn a_preflight_is_exactly_that() {
        let preflight = OriginHeaders {
            method: "OPTIONS",
            origin: Some(b"http://x"),
            wanted_method: Some(b"POST"),
            ..OriginHeaders::default()
        };
        assert!(preflight.is_preflight());
        for other in [
            OriginHeaders { method: "POST", ..preflight },
            OriginHeaders { origin: None, ..preflight },
            OriginHeaders { wanted_method: None, ..preflight },
        ] {
            assert!(!other.is_preflight(), "{other:?}");
        }
    }
}
