//! Who may be ended in a run, and for what. Owns one client's permissions, which the script grants as it acts, and what
//! follows from them: whoever has none stays, whoever is told a reason is told one of its own, and no reason is counted
//! more often than there are clients that may end for it.

use halley_gateway::close::CloseReason;
use halley_gateway::io::sim::ServerEnd;
use halley_gateway::shard::stats::Counts;

use crate::client::Client;

/// What one client may be ended for; nothing, until the script gives a reason.
#[derive(Debug, Default)]
pub struct MayEnd(Vec<CloseReason>);

impl MayEnd {
    pub fn allow(&mut self, reason: CloseReason) {
        if !self.allows(reason) {
            self.0.push(reason);
        }
    }

    pub fn allows(&self, reason: CloseReason) -> bool {
        self.0.contains(&reason)
    }

    /// For everything that a client's own doing may lead to.
    pub fn allow_all_of_a_client(&mut self) {
        let ours = [CloseReason::IoFailed, CloseReason::InternalError, CloseReason::ServerFull];
        CloseReason::ALL.iter().filter(|reason| !ours.contains(reason)).for_each(|&reason| self.allow(reason));
    }

    /// For nothing but this.
    pub fn only(&self, reason: CloseReason) -> bool {
        self.0 == [reason]
    }

    fn has_code(&self, code: u16) -> bool {
        self.0.iter().any(|reason| reason.code().is_some_and(|own| own.0 == code))
    }
}

/// At any time: nobody is ended without a reason of its own.
pub fn check_client(client: &Client, end: ServerEnd) {
    let (number, may_end) = (client.number, &client.may_end);
    if end != ServerEnd::Open || client.closed.is_some() {
        assert!(!may_end.0.is_empty(), "client {number} was ended ({end:?}, {:?}) for no reason", client.closed);
    }
    if let Some(code) = client.closed {
        assert!(may_end.has_code(code), "client {number} was told {code}, it may be ended for {may_end:?}");
    }
}

/// When everything has happened: no reason is counted more often than there are clients that may end for it. Most
/// reasons (failed operations, limits that nobody reaches) are no client's, so they must not be counted at all.
pub fn check_totals(clients: &[Client], counts: &Counts) {
    for &reason in CloseReason::ALL {
        let most = clients.iter().filter(|client| client.may_end.allows(reason)).count() as u64;
        let ended = counts.closes[reason as usize];
        assert!(ended <= most, "{ended} connections ended as {}, {most} may at most", reason.label());
    }
}

/// When everything has happened: of the clients of one key no two are left, and one is unless another reason may have
/// ended it.
pub fn check_shared_key(sharers: &[(&Client, ServerEnd)]) {
    let left = sharers.iter().filter(|(client, end)| client.authenticated && *end == ServerEnd::Open).count();
    assert!(left <= 1, "{left} clients of one key are left");
    if sharers.len() > 1 && sharers.iter().all(|(client, _)| client.may_end.only(CloseReason::KeyReplaced)) {
        assert_eq!(left, 1, "of {} clients of one key none is left", sharers.len());
    }
}
