//! How many connections the listeners of one process may have, as configured and as far as the limit on open files
//! goes. Owns how the bounds of the three kinds follow from a configuration; serving within them is [`super::serve`]'s.

use super::{KEPT_PLACES, ServeLimits};
use crate::open_files::{self, FewerPlaces};

/// Connections to each listener of the admin side.
const ADMIN_PLACES: usize = 64;

/// What a configuration asks for. A listener is an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Listeners of HTTP.
    pub http: usize,
    /// Connections to each of them.
    pub http_connections_max: u32,
    /// Of those, connections of one address; 0 for half.
    pub http_connections_per_address: u32,
    /// Listeners of gRPC.
    pub grpc: usize,
    /// Connections to each of them; half of them of one address at most.
    pub grpc_connections_max: u32,
    /// Listeners of the admin side alone.
    pub admin: usize,
}

/// What there is for each listener of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// HTTP.
    pub http: ServeLimits,
    /// gRPC.
    pub grpc: ServeLimits,
    /// The admin side alone.
    pub admin: ServeLimits,
    /// What the operator should know, where that is less than was asked for.
    pub note: Option<FewerPlaces>,
}

impl Wanted {
    /// Listeners together.
    pub fn listeners(&self) -> usize {
        self.http + self.grpc + self.admin
    }

    /// What this limit on open files lets be, beside so many descriptors of the process's own.
    pub fn fit(&self, open_files: u64, own: u32) -> Fit {
        let to_usize = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let wanted = [
            (self.http, to_usize(self.http_connections_max) + KEPT_PLACES),
            (self.grpc, to_usize(self.grpc_connections_max)),
            (self.admin, ADMIN_PLACES + KEPT_PLACES),
        ];
        let all: Vec<usize> = wanted.iter().flat_map(|&(listeners, places)| vec![places; listeners]).collect();
        let (parts, note) = open_files::share(open_files, own, &all);
        let mut parts = parts.into_iter();
        let mut next =
            |(listeners, wanted): (usize, usize)| (0..listeners).filter_map(|_| parts.next()).min().unwrap_or(wanted);
        let [http, grpc, admin] = wanted.map(&mut next);
        let mut http = ServeLimits::http_with_kept(http);
        if self.http_connections_per_address > 0 {
            http.places.per_address_max = to_usize(self.http_connections_per_address).min(http.places.places_max);
        }
        let (grpc, admin) = (ServeLimits::grpc(grpc), ServeLimits::http_with_kept(admin));
        Fit { http, grpc, admin, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted {
        http: 2,
        http_connections_max: 4_096,
        http_connections_per_address: 0,
        grpc: 1,
        grpc_connections_max: 1_024,
        admin: 0,
    };

    fn places(fit: &Fit) -> [usize; 3] {
        [&fit.http, &fit.grpc, &fit.admin].map(|limits| limits.places.places_max)
    }

    /// Where everything fits each kind has what the configuration says, and nothing is said.
    #[test]
    fn with_descriptors_enough_it_is_as_configured() {
        let asked = WANTED.fit(u64::MAX, 100);
        assert_eq!(asked.note, None);
        let half = asked.http.places.per_address_max;
        let few = Wanted { http_connections_per_address: 10, ..WANTED }.fit(u64::MAX, 100);
        assert_eq!((few.http.places.per_address_max, places(&few)), (10, places(&asked)));
        assert!(half > 10 && asked.http.places.places_max > asked.grpc.places.places_max);
    }

    /// Under a low limit every kind has less, all listeners together no more than there is, and that is said.
    #[test]
    fn under_a_low_limit_each_listener_has_less() {
        let (asked, fit) = (WANTED.fit(u64::MAX, 100), WANTED.fit(1_000, 100));
        let ([http, grpc, _], [http_asked, grpc_asked, _]) = (places(&fit), places(&asked));
        assert!(http < http_asked && grpc < grpc_asked && http > grpc && 2 * http + grpc <= 900);
        assert!(fit.note.is_some_and(|note| WANTED.fit(note.open_files, 100).note.is_none()));
    }
}
