//! How many requests may come: a token bucket for each API key, and for each address that has none. The time is
//! handed in.

use crate::base::sync::lock;
use crate::config::{KeyPolicy, Server};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most addresses that are remembered.
const MOST_ADDRESSES: usize = 10_000;

/// How many requests one client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub rps: u32,
    /// Requests that may come at once.
    pub burst: u32,
}

impl Rate {
    /// The rate of a key, or of a client without one; `None` is no limit. A key with numbers of its own is limited also where
    /// others are not.
    pub(crate) fn of(server: &Server, key: Option<&KeyPolicy>) -> Option<Rate> {
        let own = |number: fn(&KeyPolicy) -> u32| key.map(number).filter(|number| *number > 0);
        let (rps, burst) = (own(|key| key.rate_limit_rps), own(|key| key.rate_limit_burst));
        let is_limited = server.rate_limit_enabled || rps.is_some() || burst.is_some();
        is_limited.then(|| Rate {
            rps: rps.unwrap_or(server.rate_limit_rps),
            burst: burst.unwrap_or(server.rate_limit_burst),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// The owner of an API key.
    Key(String),
    /// An address, or for IPv6 the network of one customer.
    Address(IpAddr),
    /// All clients on the Unix socket.
    Unix,
}

impl Who {
    /// The client at this address; without one, those on the Unix socket.
    pub(crate) fn at(address: Option<IpAddr>) -> Who {
        match address.map(|address| address.to_canonical()) {
            // A client that has one address of a /64 has all of them.
            Some(IpAddr::V6(address)) => {
                Who::Address(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into())
            }
            Some(address) => Who::Address(address),
            None => Who::Unix,
        }
    }
}

#[derive(Default)]
pub(crate) struct Buckets {
    held: Mutex<RateState>,
}

#[derive(Default)]
struct RateState {
    /// How long a silent client is remembered.
    memory: Duration,
    /// As many as there are keys.
    keys: HashMap<Who, Bucket>,
    /// Clients without a key, up to a bound: they must not push out a key.
    others: HashMap<Who, Bucket>,
    cleaned: Option<Instant>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
    rate: Rate,
}

impl Bucket {
    /// How many requests it is good for now.
    fn tokens(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + since * f64::from(self.rate.rps)).min(f64::from(self.rate.burst))
    }

    /// How many it lacks to be as good as a new one.
    fn missing(&self, now: Instant) -> f64 {
        f64::from(self.rate.burst) - self.tokens(now)
    }
}

impl Buckets {
    /// From now on a silent client is remembered for so long.
    pub(crate) fn bound(&self, memory: Duration) {
        lock(&self.held).memory = memory;
    }

    /// Counts one request. One too many fails: after so many seconds (`Retry-After`, at least 1) there is room for one.
    pub(crate) fn take(&self, who: Who, rate: Rate, now: Instant) -> Result<(), u64> {
        let mut held = lock(&self.held);
        let held = &mut *held;
        let memory = held.memory;
        if held.cleaned.is_none_or(|last| now.saturating_duration_since(last) >= memory) {
            held.cleaned = Some(now);
            for buckets in [&mut held.keys, &mut held.others] {
                // One that is not full yet would be, if it were forgotten.
                buckets.retain(|_, bucket| {
                    now.saturating_duration_since(bucket.at) < memory || bucket.missing(now) > 0.0
                });
            }
        }
        let buckets = match who {
            Who::Key(_) => &mut held.keys,
            Who::Address(_) | Who::Unix => {
                if held.others.len() >= MOST_ADDRESSES && !held.others.contains_key(&who) {
                    make_room(&mut held.others, now);
                }
                &mut held.others
            }
        };
        let bucket = buckets.entry(who).or_insert(Bucket { tokens: f64::from(rate.burst), at: now, rate });
        let tokens = bucket.tokens(now);
        // Its rate may have been changed since.
        *bucket = Bucket { tokens, at: bucket.at.max(now), rate };
        if tokens < 1.0 {
            return Err(((1.0 - tokens) / f64::from(rate.rps)).ceil().max(1.0) as u64);
        }
        bucket.tokens = tokens - 1.0;
        Ok(())
    }
}

/// Forgets the tenth of the clients for whom that changes least: a client with many addresses cannot fill a bucket by
/// pushing it out.
fn make_room(buckets: &mut HashMap<Who, Bucket>, now: Instant) {
    let mut all: Vec<f64> = buckets.values().map(|bucket| bucket.missing(now)).collect();
    let mut left = all.len() / 10;
    let most = *all.select_nth_unstable_by(left, f64::total_cmp).1;
    buckets.retain(|_, bucket| {
        let goes = left > 0 && bucket.missing(now) <= most;
        left -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { rps: 2, burst: 3 };

    fn buckets() -> (Buckets, Instant) {
        let buckets = Buckets::default();
        buckets.bound(Duration::from_secs(Server::default().rate_limit_cleanup_secs));
        (buckets, Instant::now())
    }

    fn at(text: &str) -> Who {
        Who::at(Some(text.parse().unwrap()))
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (buckets, start) = buckets();
        let take = |millis| buckets.take(at("10.0.0.1"), RATE, start + Duration::from_millis(millis));
        let seen: Vec<_> = [0, 0, 0, 0, 400, 500, 600, 1000, 9000, 9000, 9000, 9000].map(take).to_vec();
        let (yes, no) = (Ok(()), Err(1));
        assert_eq!(seen, [yes, yes, yes, no, no, yes, no, yes, yes, yes, yes, no]);
    }

    #[test]
    fn whoever_has_to_wait_is_told_how_long() {
        let (buckets, start) = buckets();
        for (rate, secs) in [(Rate { rps: 1, burst: 1 }, 1), (Rate { rps: 1000, burst: 1 }, 1)] {
            let who = Who::Key(format!("{rate:?}"));
            assert_eq!(buckets.take(who.clone(), rate, start), Ok(()));
            assert_eq!(buckets.take(who, rate, start), Err(secs));
        }
        // A clock that steps back gives nothing away.
        let later = start + Duration::from_secs(10);
        let rate = Rate { rps: 1, burst: 1 };
        assert_eq!(buckets.take(Who::Unix, rate, later), Ok(()));
        assert_eq!(buckets.take(Who::Unix, rate, start), Err(1));
        assert_eq!(buckets.take(Who::Unix, rate, later), Err(1));
    }

    #[test]
    fn each_has_a_bucket_of_its_own_and_a_network_is_one_client() {
        let (buckets, now) = buckets();
        let one = Rate { rps: 1, burst: 1 };
        for (first, same) in [
            (at("10.0.0.1"), at("::ffff:10.0.0.1")),
            (at("2001:db8:0:1::1"), at("2001:db8:0:1:ffff::2")),
            (Who::at(None), Who::Unix),
            (Who::Key("ci".to_owned()), Who::Key("ci".to_owned())),
        ] {
            assert_eq!(buckets.take(first.clone(), one, now), Ok(()), "{first:?}");
            assert_eq!(buckets.take(same.clone(), one, now), Err(1), "{same:?}");
        }
        for other in [at("10.0.0.2"), at("2001:db8:0:2::1"), Who::Key("cd".to_owned())] {
            assert_eq!(buckets.take(other.clone(), one, now), Ok(()), "{other:?}");
        }
    }

    #[test]
    fn a_flood_of_addresses_neither_grows_nor_frees_whoever_has_used_up_more() {
        let (buckets, now) = buckets();
        let used_up = || buckets.take(at("10.0.0.1"), RATE, now);
        while used_up().is_ok() {}
        let key = || buckets.take(Who::Key("ci".to_owned()), RATE, now);
        while key().is_ok() {}
        for number in 0..2 * MOST_ADDRESSES as u32 {
            let address = Who::Address(IpAddr::from((0xac10_0000 + number).to_be_bytes()));
            assert_eq!(buckets.take(address, RATE, now), Ok(()));
        }
        assert_eq!((used_up(), key()), (Err(1), Err(1)));
        let held = buckets.held.lock().unwrap().others.len();
        assert!((MOST_ADDRESSES / 2..=MOST_ADDRESSES).contains(&held), "{held}");
    }

    #[test]
    fn silent_clients_are_forgotten_when_nothing_is_lost_by_it() {
        let (buckets, start) = buckets();
        let slow = Rate { rps: 1, burst: 1000 };
        let silent = Duration::from_secs(Server::default().rate_limit_cleanup_secs);
        for _ in 0..1000 {
            buckets.take(at("10.0.0.1"), slow, start).unwrap();
        }
        buckets.take(at("10.0.0.2"), RATE, start).unwrap();
        buckets.take(Who::Unix, RATE, start + silent).unwrap();
        let held = buckets.held.lock().unwrap();
        let mut left: Vec<_> = held.others.keys().collect();
        left.sort_by_key(|who| format!("{who:?}"));
        assert_eq!(left, [&at("10.0.0.1"), &Who::Unix]);
    }

    #[test]
    fn a_key_has_its_own_numbers_else_those_of_all() {
        let off = Server::default();
        let on = Server { rate_limit_enabled: true, ..Server::default() };
        let none = KeyPolicy::default();
        let own = KeyPolicy { rate_limit_rps: 5, ..KeyPolicy::default() };
        for (server, key, rate) in [
            (&off, None, None),
            (&off, Some(&none), None),
            (&off, Some(&own), Some((5, 20))),
            (&on, None, Some((10, 20))),
            (&on, Some(&none), Some((10, 20))),
            (&on, Some(&own), Some((5, 20))),
        ] {
            assert_eq!(Rate::of(server, key), rate.map(|(rps, burst)| Rate { rps, burst }));
        }
    }
}
