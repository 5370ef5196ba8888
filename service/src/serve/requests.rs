//! What requests over HTTP came to: how many by route and status, and how long their answers took. Owns counting
//! them in a table of fixed size, without a lock or an allocation, and the names of the metrics. A path that a
//! stranger makes up is no route: it is counted as `other`.

use std::array;
use std::time::Duration;

use http::StatusCode;

use crate::counters::Counter;
use crate::metrics::histogram::{Bounds, Histogram};
use crate::metrics::{Exposition, Kind};

/// What is no route, or a status that no answer of ours has.
const OTHER: &str = "other";
/// Statuses that are counted one by one.
const STATUSES: [StatusCode; 10] = [
    StatusCode::OK,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];
/// Bounds on the time to an answer, in microseconds. A body may take 30 s to come, a wrong token 4 s to be answered.
const ANSWER_US: Bounds<11> = Bounds {
    upper: [250, 500, 1_000, 2_500, 5_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000, 30_000_000],
    per_named: 1_000_000,
};

/// The table of one kind of listeners.
#[derive(Debug)]
pub struct Requests {
    /// By path, ascending.
    routes: Vec<Route>,
    other: Route,
}

#[derive(Debug)]
struct Route {
    path: &'static str,
    /// As [`STATUSES`], and one more for all others.
    by_status: [Counter; STATUSES.len() + 1],
    times: Histogram<11>,
}

impl Route {
    fn new(path: &'static str) -> Route {
        Route { path, by_status: array::from_fn(|_| Counter::default()), times: Histogram::default() }
    }

    /// Counts by the label of the status, those that are not 0.
    fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        let labels = STATUSES.iter().map(StatusCode::as_str).chain([OTHER]);
        labels.zip(&self.by_status).map(|(label, count)| (label, count.get())).filter(|(_, n)| *n > 0)
    }
}

impl Requests {
    /// The routes that are told apart, by path; they have no parameters.
    pub(super) fn new(mut paths: Vec<&'static str>) -> Requests {
        paths.sort_unstable();
        paths.dedup();
        Requests { routes: paths.into_iter().map(Route::new).collect(), other: Route::new(OTHER) }
    }

    /// The place of a path in the table.
    pub(super) fn place(&self, path: &str) -> Counting {
        Counting(self.routes.binary_search_by(|route| route.path.cmp(path)).ok())
    }

    /// A request was answered with this status, so long after its header was there.
    pub(super) fn answered(&self, at: Counting, status: StatusCode, took: Duration) {
        let route = at.0.and_then(|place| self.routes.get(place)).unwrap_or(&self.other);
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        route.by_status[status].add(1);
        route.times.record(&ANSWER_US, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Routes that were asked.
    fn asked(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().chain([&self.other]).filter(|route| route.counts().next().is_some())
    }
}

/// Where a request is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counting(Option<usize>);

/// Write what the requests of these listeners, by name, came to: those routes and statuses that there were.
pub fn collect(listeners: &[(&str, &Requests)], out: &mut Exposition) {
    let help = "Requests over HTTP that reached the routes and were answered, by route and status.";
    let mut family = out.family("halley_http_requests_total", Kind::Counter, help);
    for (listener, requests) in listeners {
        for route in requests.asked() {
            for (status, count) in route.counts() {
                let labels: [(&str, &dyn std::fmt::Display); 3] =
                    [("listener", listener), ("route", &route.path), ("status", &status)];
                family.sample(&labels, count);
            }
        }
    }
    let help = "Time from a request's header to the beginning of its answer.";
    let mut family = out.family("halley_http_request_seconds", Kind::Histogram, help);
    for (listener, requests) in listeners {
        for route in requests.asked() {
            let labels: [(&str, &dyn std::fmt::Display); 2] = [("listener", listener), ("route", &route.path)];
            family.histogram(&labels, &ANSWER_US, &route.times.read());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many paths and statuses strangers and routes make up, the table has its size.
    #[test]
    fn only_known_routes_and_statuses_have_names() {
        let requests = Requests::new(vec!["/b", "/a"]);
        for (path, status) in [("/a", 200), ("/a", 200), ("/b", 404), ("/a/", 404), ("/c", 418), ("/a", 431)] {
            let status = StatusCode::from_u16(status).expect("a status");
            requests.answered(requests.place(path), status, Duration::from_micros(300));
        }
        let mut out = Exposition::default();
        collect(&[("http", &requests)], &mut out);
        let text = out.into_text();
        let counts: Vec<&str> = text.lines().filter(|line| line.starts_with("halley_http_requests_total{")).collect();
        assert_eq!(
            counts,
            [
                "halley_http_requests_total{listener=\"http\",route=\"/a\",status=\"200\"} 2",
                "halley_http_requests_total{listener=\"http\",route=\"/a\",status=\"other\"} 1",
                "halley_http_requests_total{listener=\"http\",route=\"/b\",status=\"404\"} 1",
                "halley_http_requests_total{listener=\"http\",route=\"other\",status=\"404\"} 1",
                "halley_http_requests_total{listener=\"http\",route=\"other\",status=\"other\"} 1",
            ]
        );
        assert!(text.contains("_bucket{listener=\"http\",route=\"/a\",le=\"0.00025\"} 0\n"), "{text}");
        assert!(text.contains("_bucket{listener=\"http\",route=\"/a\",le=\"0.0005\"} 3\n"), "{text}");
    }
}
