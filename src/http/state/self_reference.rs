//! Backends that would ask this very server: a base URL in the environment, meant for the clients of the server, that a
//! backend's program obeys, too. What stands in a vendor's own settings is not seen, nor is a proxy that leads back here.

use crate::base::world::World;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

/// How the variables end by which programs are led to another server.
const ENDING: &str = "_BASE_URL";

/// The variables that point at one of these addresses, as `Acceptor::addresses` has them, and where to.
pub(crate) fn variables(world: &World, addresses: &[String]) -> Vec<(String, String)> {
    let ours: Vec<SocketAddr> =
        addresses.iter().filter_map(|address| address.strip_prefix("http://")?.parse().ok()).collect();
    let all = world.env.iter().filter(|(name, _)| name.ends_with(ENDING));
    all.filter(|(_, url)| leads_to(url, &ours)).map(|(name, url)| (name.clone(), url.clone())).collect()
}

fn leads_to(url: &str, ours: &[SocketAddr]) -> bool {
    let Some((host, port)) = host_and_port(url) else { return false };
    // Names are looked up only where the port is one of ours: elsewhere no request waits for it.
    let listening: Vec<IpAddr> =
        ours.iter().filter(|address| address.port() == port).map(SocketAddr::ip).collect();
    if listening.is_empty() {
        return false;
    }
    let meant = (host, port).to_socket_addrs().into_iter().flatten();
    let is_ours = |ip: IpAddr| {
        let ip = ip.to_canonical();
        // Where all addresses are listened to, those of this machine are: whatever can be bound.
        listening.iter().any(|own| *own == ip || (own.is_unspecified() && TcpListener::bind((ip, 0)).is_ok()))
    };
    meant.map(|address| address.ip()).any(is_ours)
}

fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, behind)| behind);
    let default = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    Some((host.trim_start_matches('[').trim_end_matches(']'), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, expected) in [
            ("http://127.0.0.1:8080/anthropic", Some(("127.0.0.1", 8080))),
            ("HTTPS://user:word@host.example/x", Some(("host.example", 443))),
            ("http://[::1]:99", Some(("::1", 99))),
            ("http://[::1]/", Some(("::1", 80))),
            ("127.0.0.1:8080", None),
            ("http://host:port/", None),
        ] {
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }

    #[test]
    fn only_what_leads_to_one_of_our_listeners_is_a_loop() {
        let all = ["http://0.0.0.0:8080".to_owned()];
        let one = ["http://127.0.0.1:8080".to_owned(), "unix:/run/x".to_owned()];
        let found = |url: &str, addresses: &[String]| {
            let env = [("ANTHROPIC_BASE_URL", url), ("OTHER", url)];
            let env = env.map(|(name, url)| (name.to_owned(), url.to_owned())).into();
            variables(&World { env, ..World::default() }, addresses).len()
        };
        for url in
            ["http://localhost:8080/anthropic", "http://127.0.0.1:8080", "http://127.0.0.1:8080/openai/v1"]
        {
            assert_eq!((found(url, &one), found(url, &all)), (1, 1), "{url}");
        }
        assert_eq!((found("http://127.0.0.2:8080", &one), found("http://127.0.0.2:8080", &all)), (0, 1));
        for url in ["http://127.0.0.1:8081", "http://192.0.2.1:8080", "nonsense", ""] {
            assert_eq!((found(url, &one), found(url, &all)), (0, 0), "{url}");
        }
    }
}
