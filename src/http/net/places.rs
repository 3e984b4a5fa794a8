//! The places for connections: so many in all, so many of one address. Where there is none left, the client that has said
//! nothing for the longest time gives way; where all are at work, a few more are let in to ask how the server is.

use crate::base::sync::lock;
use crate::base::sys::Watch;
use crate::http::net::accept::Gauges;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// So many more may come in when all places are taken, one request each.
const FOR_HEALTH: usize = 16;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) all: usize,
    /// Of one address; 0 is as many as in all.
    pub(crate) per_address: usize,
}

/// All connections.
pub(crate) struct Places {
    gauges: Arc<Gauges>,
    state: Mutex<PlacesState>,
}

#[derive(Default)]
struct PlacesState {
    next: u64,
    taken: BTreeMap<u64, Client>,
}

struct Client {
    /// None where it speaks for many, or is of this machine's own.
    address: Option<IpAddr>,
    stream: Arc<TcpStream>,
    /// It may only ask how the server is.
    is_for_health: bool,
    /// Since when it could give way: it has not asked for anything, or not to its end.
    idle: Option<Instant>,
}

impl Places {
    pub(crate) fn new(gauges: Arc<Gauges>) -> Arc<Places> {
        Arc::new(Places { gauges, state: Mutex::default() })
    }

    /// A place for a client, for whom another one may have to leave. `present` is held as long as it is taken.
    pub(crate) fn take(
        self: &Arc<Places>,
        Bounds { all, per_address }: Bounds,
        address: Option<IpAddr>,
        stream: &Arc<TcpStream>,
        present: &Arc<OwnedFd>,
    ) -> Option<Place> {
        let (address, mut state) = (address.map(network), lock(&self.state));
        let is_ordinary = |client: &Client| !client.is_for_health;
        let is_own = |client: &Client| {
            is_ordinary(client) && address.is_some() && client.address == address && per_address > 0
        };
        let is_for_health = !(state.has_room(per_address, is_own) && state.has_room(all, is_ordinary));
        if is_for_health && !state.has_room(FOR_HEALTH, |client| client.is_for_health) {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let idle = Some(Instant::now());
        state.taken.insert(number, Client { address, stream: stream.clone(), is_for_health, idle });
        self.gauges.add(1);
        let (places, present) = (self.clone(), present.clone());
        Some(Place { places, number, is_for_health, _present: present })
    }

    /// One that only waits leaves, for want of descriptors.
    pub(crate) fn make_room(&self) -> bool {
        lock(&self.state).give_way(|_| true)
    }
}

/// Who has one address of version 6 has the whole of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

impl PlacesState {
    /// Whether there may be one more of these, perhaps because another one has left.
    fn has_room(&mut self, most: usize, is_one: impl Fn(&Client) -> bool) -> bool {
        let count = self.taken.values().filter(|client| is_one(client)).count();
        count == 0 || count < most || self.give_way(is_one)
    }

    /// Whether one of these has left: the one that has been idle for the longest time.
    fn give_way(&mut self, may: impl Fn(&Client) -> bool) -> bool {
        let idle = self.taken.iter().filter(|(_, client)| may(client));
        let mut idle: Vec<(Instant, u64)> =
            idle.filter_map(|(number, client)| Some((client.idle?, *number))).collect();
        idle.sort_unstable();
        // What it has asked may not have been read yet.
        let is_silent = |number: &u64| {
            self.taken.get(number).is_some_and(|client| !Watch::readable(client.stream.as_fd()).is_awake())
        };
        let longest = idle.into_iter().map(|(_, number)| number).find(is_silent);
        let Some(client) = longest.and_then(|number| self.taken.remove(&number)) else { return false };
        // Its thread hears that it is over. Whether the client has left by itself makes no difference.
        let _ = client.stream.shutdown(Shutdown::Both);
        true
    }
}

/// A place that is taken, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    /// It is one of those that may only ask how the server is.
    pub(crate) is_for_health: bool,
    _present: Arc<OwnedFd>,
}

impl Place {
    /// The client has nothing under way.
    pub(crate) fn rest(&self) {
        if let Some(client) = lock(&self.places.state).taken.get_mut(&self.number) {
            client.idle = Some(Instant::now());
        }
    }

    /// The client has asked for something. False when it has had to give way.
    pub(crate) fn work(&self) -> bool {
        let mut state = lock(&self.places.state);
        state.taken.get_mut(&self.number).map(|client| client.idle = None).is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places.state).taken.remove(&self.number);
        self.places.gauges.add(-1);
    }
}
