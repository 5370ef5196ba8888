//! That ARCHITECTURE.md and README.md are true where that can be seen: names of files, tests, constants and metrics.
//! Owns how their tables are read.

use halley_gateway::close::CloseReason;

use crate::source::read;

/// ARCHITECTURE.md names every reason for which a connection may end, in the row of its WebSocket status.
#[test]
fn every_close_reason_is_documented() {
    let text = read("ARCHITECTURE.md");
    for reason in CloseReason::ALL {
        let label = format!("`{}`", reason.label());
        let status = reason.code().map_or("none".to_owned(), |code| code.0.to_string());
        let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains(&label));
        let documented =
            rows.filter_map(|row| row.split('|').nth(1)).any(|cell| cell.split(',').any(|one| one.trim() == status));
        assert!(documented, "{label} belongs to the row of status {status} in ARCHITECTURE.md");
    }
}
