//! What callers may ask of the ingress. Owns the names of these things; who may, [`halley_service::access`] decides.

use halley_service::access::Scope;

/// Who is online, how many, and where. Without tokens open to everybody who names us rightly, as in goim.
pub const QUESTIONS: Scope =
    Scope { bit: 0, what: "asking who is online", setting: "read_token", needs_this_machine: false };

/// Pushing, over HTTP and gRPC.
pub const PUSH: Scope = Scope { bit: 1, what: "pushing", setting: "push_token", needs_this_machine: true };
