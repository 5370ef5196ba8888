//! What callers may ask of the admin side. Owns the names of these things; who may, [`halley_service::access`] decides.

use halley_service::access::Scope;

/// Metrics and traces.
pub const OBSERVE: Scope =
    Scope { bit: 2, what: "reading metrics and traces", setting: "read_token", needs_this_machine: true };

/// Looking at connections, and ending them.
pub const ADMIN: Scope = Scope { bit: 3, what: "the admin side", setting: "admin_token", needs_this_machine: true };
