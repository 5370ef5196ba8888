//! The protobuf messages of goim and of Halley's own push API, generated from `proto/`. Owns no rule beyond the schema
//! (goim §2.2): whoever receives a message checks it. With the feature `services` each module also holds the tonic
//! server trait and client of its service (`CometClient::new(channel)`: there is no `connect`, its name is taken by an
//! rpc).

// Generated code names its neighbour by the last part of the package.
use goim_protocol as protocol;

macro_rules! package {
    ($(#[$doc:meta])* $module:ident = $package:literal) => {
        $(#[$doc])*
        #[allow(clippy::all, rustdoc::all, reason = "generated code follows the style of its generator")]
        pub mod $module {
            include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
        }
    };
}

package! {
    /// `goim.protocol`: the frame as goim's components pass it.
    goim_protocol = "goim.protocol"
}
package! {
    /// `goim.comet`: what a gateway offers to jobs.
    goim_comet = "goim.comet"
}
package! {
    /// `goim.logic`: what logic offers to gateways, and the Kafka record.
    goim_logic = "goim.logic"
}
package! {
    /// `halley.push.v1`: our own push API.
    push = "halley.push.v1"
}
