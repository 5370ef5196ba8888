//! What callers may ask of the admin side. Owns the names of these things; who may, [`halley_service::access`] decides.

use halley_dispatcher::ingress::access;
use halley_service::access::Scope;

/// Metrics and traces.
pub const OBSERVE: Scope = Scope { what: "reading metrics and traces", ..access::OBSERVE };

/// Looking at connections, and ending them.
pub const ADMIN: Scope = Scope { bit: 3, what: "the admin side", setting: "admin_token", needs_this_machine: true };
