//! How many descriptors a process may have open, and how many connections its servers may take of them. Owns the limit,
//! which it raises as far as that goes, and the words for one that is too low; what a process opens besides connections
//! is handed in.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors left for HTTP and gRPC connections and for files that are read, at the least.
pub const SPARE: u32 = 96;
/// Of them, those that no connection takes: reading the configuration and the files that it names needs some.
const KEPT: u32 = 16;

/// The limit on open files, after the soft one was raised to the hard one: the low soft limit protects programs that
/// use `select`, and none of ours does.
pub fn raise() -> u64 {
    let files = getrlimit(Resource::Nofile);
    if files.current != files.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Why a process cannot start under the limit on open files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooFew {
    /// The limit.
    pub open_files: u64,
    /// The one that would do.
    pub needed: u32,
    /// What it is needed for, as a clause.
    pub purpose: String,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooFew { open_files, needed, purpose } = self;
        write!(
            f,
            "the limit on open files is {open_files}, at least {needed} are needed: {purpose}; set \
             LimitNOFILE={needed} or more in the systemd unit, or `ulimit -n {needed}`"
        )
    }
}

/// The listeners of HTTP and gRPC have fewer places than they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FewerPlaces {
    /// Connections that they should hold together.
    pub wanted: u64,
    /// Connections that they hold.
    pub fit: u64,
    /// The limit on open files that would do.
    pub open_files: u64,
}

impl fmt::Display for FewerPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FewerPlaces { wanted, fit, open_files } = self;
        write!(
            f,
            "http_listen, grpc_listen and admin_listen hold {fit} connections together instead of {wanted}: raise the \
             limit on open files to {open_files} (LimitNOFILE={open_files} in the systemd unit, or `ulimit -Hn \
             {open_files}`)"
        )
    }
}

/// Places for the connections of listeners, each of which should have as many as `wanted` says: less where the limit
/// does not let all of them be taken at once beside the process's `own` descriptors, so that connections never take the
/// last one. A limit below `own` and [`SPARE`] leaves each of them one place: it is for the caller to refuse.
pub fn share(open_files: u64, own: u32, wanted: &[usize]) -> (Vec<usize>, Option<FewerPlaces>) {
    let taken = u64::from(own) + u64::from(KEPT);
    let all: u64 = wanted.iter().map(|&places| places as u64).sum();
    let free = open_files.saturating_sub(taken);
    if all <= free {
        return (wanted.to_vec(), None);
    }
    let part = |&places: &usize| usize::try_from(places as u64 * free / all).unwrap_or(usize::MAX).max(1);
    let parts: Vec<usize> = wanted.iter().map(part).collect();
    let fit = parts.iter().map(|&places| places as u64).sum();
    (parts, Some(FewerPlaces { wanted: all, fit, open_files: taken + all }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However low the limit is, connections leave descriptors for what the process itself opens.
    #[test]
    fn connections_never_take_the_last_descriptor() {
        let (own, wanted) = (39, [4_112, 1_024, 80]);
        let (all, note) = share(20_000, own, &wanted);
        assert_eq!((all.as_slice(), note), (&wanted[..], None));
        for limit in [135, 500, 1_024, 4_096] {
            let (parts, note) = share(limit, own, &wanted);
            let taken = parts.iter().sum::<usize>() as u64 + u64::from(own + KEPT);
            assert!(taken <= limit && parts.iter().all(|&places| places > 0), "{limit}: {parts:?}");
            let Some(FewerPlaces { open_files, .. }) = note else { panic!("{limit}: nothing is said") };
            assert_eq!(share(open_files, own, &wanted).1, None);
        }
    }

    /// Afterwards the soft limit is the hard one, and that is the number that is said.
    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let raised = raise();
        let files = getrlimit(Resource::Nofile);
        assert_eq!(files.current, files.maximum);
        assert_eq!(raised, files.maximum.unwrap_or(u64::MAX));
    }
}
