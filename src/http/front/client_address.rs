//! Where a request comes from: the address of the peer, or what proxies that we trust say of theirs in
//! `X-Forwarded-For`. `Forwarded` is not read: two headers that may disagree are a way around the rules.

use crate::model::error::Error;
use std::net::{IpAddr, SocketAddr};

/// The proxies whose word is taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Proxies(Vec<Network>);

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Proxies {
    /// Reads `server.trusted_proxies`: addresses and networks such as `10.0.0.0/8`.
    pub(crate) fn parse(list: &[String]) -> Result<Proxies, Error> {
        let read = |entry: &String| {
            network(entry.trim()).ok_or_else(|| Error::Config {
                origin: "server.trusted_proxies".to_owned(),
                position: None,
                problem: format!("`{entry}` is neither an address nor a network such as 10.0.0.0/8"),
            })
        };
        list.iter().map(read).collect::<Result<_, _>>().map(Proxies)
    }

    /// The address that a request comes from. `forwarded_for` are the values of all its `X-Forwarded-For` headers, in
    /// order: each proxy adds the address that it was asked from at the end, so they are read from there, for as long as
    /// it is a trusted one that speaks.
    pub(crate) fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        for hop in forwarded_for.rev().flat_map(|value| value.rsplit(|byte| *byte == b',')) {
            if !self.trusts(client) {
                break;
            }
            // A proxy that writes what is no address does not know who was there.
            let Some(before) = std::str::from_utf8(hop).ok().and_then(|hop| address(hop.trim())) else {
                break;
            };
            client = before;
        }
        client
    }

    /// Whether this is the address of one of them.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.has(peer))
    }
}

impl Network {
    fn has(&self, other: IpAddr) -> bool {
        let differ = match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => u128::from(own.to_bits() ^ other.to_bits()) << 96,
            (IpAddr::V6(own), IpAddr::V6(other)) => own.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= self.bits
    }
}

fn network(entry: &str) -> Option<Network> {
    let (address, bits) =
        entry.split_once('/').map_or((entry, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        // Not `+8`, which `parse` would take.
        Some(bits) => bits.parse().ok().filter(|_| bits.bytes().all(|byte| byte.is_ascii_digit()))?,
        None => width,
    };
    let canonical = address.to_canonical();
    // The 96 bits of the prefix by which an IPv6 address is an IPv4 one.
    let mapped = if canonical.is_ipv4() { width - 32 } else { 0 };
    (mapped..=width).contains(&bits).then(|| Network { address: canonical, bits: bits - mapped })
}

/// An address as proxies write it: some with the port, some IPv6 ones in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok();
    let with_port = || text.parse().ok().map(|socket: SocketAddr| socket.ip());
    bare().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(list: &[&str]) -> Proxies {
        Proxies::parse(&list.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        let ours: &[&str] = &["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"];
        let all: &[&str] = &["0.0.0.0/0", "::/0"];
        for (trusted, peer, headers, client) in [
            // A client without a proxy says nothing of itself.
            (&[][..], "203.0.113.9", &["1.2.3.4"][..], "203.0.113.9"),
            (ours, "203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
            (ours, "10.1.2.3", &[], "10.1.2.3"),
            (ours, "10.1.2.3", &["203.0.113.9"], "203.0.113.9"),
            // From the right, and not beyond the first that is not ours.
            (ours, "10.1.2.3", &["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            (ours, "10.1.2.3", &["1.2.3.4, 203.0.113.9 ,192.0.2.7"], "203.0.113.9"),
            (ours, "10.1.2.3", &["1.2.3.4", "203.0.113.9,10.9.9.9", "192.0.2.7"], "203.0.113.9"),
            (ours, "10.1.2.3", &["192.0.2.7, 10.0.0.1"], "192.0.2.7"),
            (ours, "10.1.2.3", &["192.0.2.8, 10.0.0.1"], "192.0.2.8"),
            // A proxy that writes nonsense is the last address that is known.
            (ours, "10.1.2.3", &["1.2.3.4, unknown"], "10.1.2.3"),
            (ours, "10.1.2.3", &["1.2.3.4, unknown, 10.0.0.5"], "10.0.0.5"),
            (ours, "10.1.2.3", &[""], "10.1.2.3"),
            (ours, "10.1.2.3", &["1.2.3.4,"], "10.1.2.3"),
            (ours, "10.1.2.3", &["1.2.3.4.5"], "10.1.2.3"),
            (ours, "10.1.2.3", &["0x7f.1"], "10.1.2.3"),
            // Other ways to write an address.
            (ours, "10.1.2.3", &["203.0.113.9:4711"], "203.0.113.9"),
            (ours, "::1", &["[2001:db9::1]:4711"], "2001:db9::1"),
            (ours, "::1", &["[2001:db9::1]"], "2001:db9::1"),
            (ours, "2001:db8:1::1", &["2001:db9::1"], "2001:db9::1"),
            (ours, "::ffff:10.1.2.3", &["::ffff:203.0.113.9"], "203.0.113.9"),
            (ours, "::ffff:203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
            (&["::ffff:10.0.0.0/104"], "10.1.2.3", &["203.0.113.9"], "203.0.113.9"),
            (&["::ffff:10.0.0.0/104"], "11.1.2.3", &["203.0.113.9"], "11.1.2.3"),
            (&["10.1.2.3/8"], "10.9.9.9", &["203.0.113.9"], "203.0.113.9"),
            (&["10.0.0.0/9"], "10.128.0.0", &["203.0.113.9"], "10.128.0.0"),
            (all, "203.0.113.9", &["1.2.3.4, 2001:db8::5"], "1.2.3.4"),
        ] {
            let values = headers.iter().map(|value| value.as_bytes());
            let seen = proxies(trusted).client(peer.parse().unwrap(), values);
            assert_eq!(seen, client.parse::<IpAddr>().unwrap(), "{trusted:?} {peer} {headers:?}");
        }
        let broken = [&b"1.2.3.4, \xff"[..]];
        let peer: IpAddr = "10.1.2.3".parse().unwrap();
        assert_eq!(proxies(ours).client(peer, broken.into_iter()), peer);
    }

    #[test]
    fn what_is_no_network_is_an_error() {
        for entry in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0/8",
            "::/129",
            "10.0.0.1:80",
            "*",
            "::ffff:10.0.0.0/95",
        ] {
            assert_eq!(
                Proxies::parse(&[entry.to_owned()]).unwrap_err().to_string(),
                format!(
                    "server.trusted_proxies: `{entry}` is neither an address nor a network such as 10.0.0.0/8"
                )
            );
        }
    }
}
