//! Compiles `proto/` into the `proto` modules with a compiler of its own, so that no `protoc` has to be installed.

use std::error::Error;

const FILES: [&str; 4] = ["goim/protocol.proto", "goim/comet.proto", "goim/logic.proto", "halley/push.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let services = std::env::var_os("CARGO_FEATURE_SERVICES").is_some();
    tonic_prost_build::configure()
        .build_server(services)
        .build_client(services)
        // Its `connect` helper would clash with the rpc Connect; clients are made from a `Channel`.
        .build_transport(false)
        .bytes(".")
        // Ordered, so that equal messages are equal bytes.
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .compile_fds(protox::compile(FILES, ["proto"])?)?;
    Ok(())
}
