//! The rules of access as listeners share them. Owns the rules of now, which a reload replaces, and counting who was
//! turned away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::{Access, Caller, Denied, Peer, Role, Scope};

/// The rules in force, which a reload replaces, and how often each kept somebody out; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AccessRules(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    access: ArcSwap<Access>,
    denied: [AtomicU64; 8],
}

impl AccessRules {
    /// These, until they are replaced.
    pub fn new(access: Access) -> AccessRules {
        AccessRules(Arc::new(Inner { access: ArcSwap::from_pointee(access), denied: Default::default() }))
    }

    /// These from now on. Failures go on being counted where they were.
    pub fn replace(&self, access: Access) {
        let failures = Arc::clone(self.0.access.load().failures());
        self.0.access.store(Arc::new(access.counting_with(failures)));
    }

    /// Whether these rules have the same tokens.
    pub fn has_tokens_of(&self, access: &Access) -> bool {
        self.0.access.load().has_tokens_of(access)
    }

    /// As [`Access::check`], counted.
    pub fn check(&self, caller: &Caller<'_>, scope: Scope) -> Result<Role, Denied> {
        self.0.access.load().check(caller, scope).inspect_err(|_| {
            self.0.denied[usize::from(scope.bit)].fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Hold the answer to a wrong token back, see [`super::failures`].
    pub async fn slow_down(&self, peer: Peer, denied: Denied) -> Denied {
        let failures = Arc::clone(self.0.access.load().failures());
        failures.slow_down(peer, denied).await
    }

    /// Whether a caller over TCP needs a token for this now.
    pub fn needs_token(&self, scope: Scope) -> bool {
        self.0.access.load().needs_token(scope)
    }

    /// Callers turned away who asked for this.
    pub fn denied(&self, scope: Scope) -> u64 {
        self.0.denied[usize::from(scope.bit)].load(Ordering::Relaxed)
    }

    /// Wrong tokens so far.
    pub fn failures(&self) -> u64 {
        self.0.access.load().failures().total()
    }
}
