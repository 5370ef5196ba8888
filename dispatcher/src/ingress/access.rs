//! What callers may ask of the ingress. Owns the names of these things; who may, [`halley_service::access`] decides.

use std::path::Path;

use halley_service::access::Scope;
use halley_service::access::settings::TokenSettings;
use halley_service::config::value::text::Secret;

/// Who is online, how many, and where. Without tokens open to everybody who names us rightly, as in goim.
pub const QUESTIONS: Scope =
    Scope { bit: 0, what: "asking who is online", setting: "read_token", needs_this_machine: false };

/// Pushing, over HTTP and gRPC.
pub const PUSH: Scope = Scope { bit: 1, what: "pushing", setting: "push_token", needs_this_machine: true };

/// Metrics, and what else shows how a process is.
pub const OBSERVE: Scope = Scope { bit: 2, what: "reading metrics", setting: "read_token", needs_this_machine: true };

/// The tokens of who pushes, and of who reads only: what the settings hold, and the files that they name.
pub fn tokens<'c>(push: (&'c [Secret], &'c Path), read: (&'c [Secret], &'c Path)) -> [TokenSettings<'c>; 2] {
    [
        TokenSettings {
            setting: "push_token",
            file_setting: "push_token_file",
            texts: push.0,
            file: push.1,
            scopes: &[PUSH, QUESTIONS, OBSERVE],
        },
        TokenSettings {
            setting: "read_token",
            file_setting: "read_token_file",
            texts: read.0,
            file: read.1,
            scopes: &[QUESTIONS, OBSERVE],
        },
    ]
}
