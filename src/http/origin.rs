//! Which pages may ask. A web page can reach a port on the loopback interface, so a request has to be addressed to a
//! name that is ours (a page that lets its own name mean our address is betrayed by that name), and one that a page makes
//! has to come from our own page or one on the list.

use crate::config::Server;
use crate::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The methods that pages may use.
const METHODS: &str = "GET, POST, PATCH, DELETE, OPTIONS";
/// The headers of answers that pages may read.
const EXPOSED: &str = "request-id, x-request-id, retry-after, x-clinvk-ignored";

/// The names and pages that are let in.
#[derive(Debug, Clone)]
pub struct Doors {
    hosts: Vec<String>,
    origins: Vec<String>,
    any_origin: bool,
    credentials: bool,
    max_age: u64,
}

/// What the headers of a request say of where it was sent and from where. Values as they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// `Host`; HTTP/1.0 may have none.
    pub host: Option<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
    /// `Access-Control-Request-Method`.
    pub wanted_method: Option<&'a [u8]>,
    /// `Access-Control-Request-Headers`.
    pub wanted_headers: Option<&'a [u8]>,
    /// It came by the Unix socket, which no page can reach: any `Host` will do.
    pub by_unix_socket: bool,
}

impl Asked<'_> {
    /// A browser asks whether a page may ask: with no key, and before the request itself.
    pub fn is_preflight(&self) -> bool {
        self.method == "OPTIONS" && self.origin.is_some() && self.wanted_method.is_some()
    }
}

impl Doors {
    /// Reads the lists of the configuration. `has_keys`: a request needs an API key.
    ///
    /// # Errors
    /// When an entry is no name or no origin, or lets everybody in.
    pub fn of(server: &Server, has_keys: bool) -> Result<Doors, Error> {
        let refuse = |key: &str, entry: &str, problem: &str| {
            Err(Error::Config {
                origin: format!("server.{key}"),
                position: None,
                problem: format!("`{entry}` {problem}"),
            })
        };
        let hosts: Vec<String> = server.allowed_hosts.iter().map(|host| plain(host.trim())).collect();
        for host in &hosts {
            if host.is_empty()
                || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            {
                return refuse("allowed_hosts", host, "is no host name: no scheme, port or `*`");
            }
        }
        let mut origins = Vec::new();
        for entry in server.cors_allowed_origins.iter().map(|entry| entry.trim()) {
            if entry == "*" && server.cors_allow_credentials {
                let problem = "cannot be together with server.cors_allow_credentials: name the origins";
                return refuse("cors_allowed_origins", entry, problem);
            } else if entry == "*" && !has_keys {
                let problem = "would let every web page run agents: name the origins, or have API keys";
                return refuse("cors_allowed_origins", entry, problem);
            } else if entry != "*" && normal_origin(entry).is_none() {
                let problem = "is no origin such as https://chat.example.org or http://localhost:3000";
                return refuse("cors_allowed_origins", entry, problem);
            }
            origins.extend(normal_origin(entry));
        }
        Ok(Doors {
            hosts,
            origins,
            any_origin: server.cors_allowed_origins.iter().any(|entry| entry.trim() == "*"),
            credentials: server.cors_allow_credentials,
            max_age: server.cors_max_age,
        })
    }

    /// Whether a request may come in.
    ///
    /// # Errors
    /// The rule that says no.
    pub fn admit(&self, asked: &Asked<'_>) -> Result<(), Error> {
        self.host(asked)?;
        let Some(origin) = asked.origin else { return Ok(()) };
        if self.is_listed(origin) || is_own(origin, asked.host) {
            return Ok(());
        }
        let listed = self.origins.iter().map(|origin| format!(", `{origin}`"));
        Err(Error::Policy {
            rule: "server.cors_allowed_origins".to_owned(),
            asked: format!("origin `{}`", shown(origin)),
            allowed: listed.fold("the server's own pages".to_owned(), |all, one| all + &one),
        })
    }

    fn host(&self, asked: &Asked<'_>) -> Result<(), Error> {
        let Some(host) = asked.host.filter(|_| !asked.by_unix_socket) else { return Ok(()) };
        let name = std::str::from_utf8(host).ok().and_then(without_port).map(plain);
        if name.is_some_and(|name| is_loopback_name(&name) || is_address(&name) || self.hosts.contains(&name))
        {
            return Ok(());
        }
        let listed = self.hosts.iter().map(|host| format!(", `{host}`"));
        Err(Error::Policy {
            rule: "server.allowed_hosts".to_owned(),
            asked: format!("host `{}`", shown(host)),
            allowed: listed.fold("`localhost`, addresses".to_owned(), |all, one| all + &one),
        })
    }

    fn is_listed(&self, origin: &[u8]) -> bool {
        let origin = std::str::from_utf8(origin).ok().and_then(normal_origin);
        origin.is_some_and(|origin| self.any_origin || self.origins.contains(&origin))
    }

    /// The headers by which a browser lets a listed page have the answer. They belong on every answer, errors too.
    pub fn headers(&self, asked: &Asked<'_>) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if self.any_origin || !self.origins.is_empty() {
            // Also where no page asked: whoever keeps this answer must not give it to one.
            headers.push(("Vary", "Origin".to_owned()));
        }
        let Some(origin) = asked.origin.filter(|origin| self.is_listed(origin)) else { return headers };
        // A listed one has nothing in it that a header cannot have.
        headers.push(("Access-Control-Allow-Origin", String::from_utf8_lossy(origin).into_owned()));
        if self.credentials {
            headers.push(("Access-Control-Allow-Credentials", "true".to_owned()));
        }
        if asked.is_preflight() {
            headers.push(("Access-Control-Allow-Methods", METHODS.to_owned()));
            headers.extend(
                asked.wanted_headers.and_then(names).map(|names| ("Access-Control-Allow-Headers", names)),
            );
            headers.push(("Access-Control-Max-Age", self.max_age.to_string()));
        } else {
            headers.push(("Access-Control-Expose-Headers", EXPOSED.to_owned()));
        }
        headers
    }
}

/// Text that came from outside, as it can stand in a sentence.
fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().filter(|letter| !letter.is_control()).take(200).collect()
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

/// Names that mean this machine to everybody (RFC 6761 section 6.3): nobody can own one, so no page has it.
fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// An address is no name that could mean another tomorrow.
fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// `scheme://host[:port]` in small letters without the scheme's own port. `None` for anything else, `null` first of all: a
/// page in a sandbox has it, whoever it is from.
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
