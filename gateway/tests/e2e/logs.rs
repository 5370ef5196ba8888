//! What strangers choose stays within its line of the log, and tells a terminal nothing.

use halley_service::plain::is_plain;

use crate::support::gateway::Start;
use crate::support::*;

/// A key with a newline, a terminal's command and a turn of direction in it, as a query has it, and as a log line shows
/// it.
const QUERY: &str = "a%0AERROR%20forged%1B%5B2J%C2%9B2J%E2%80%AE%E2%80%A8%7F%0Db";
const SHOWN: &str = "a\\nERROR forged\\u{1b}[2J\\u{9b}2J\\u{202e}\\u{2028}\\u{7f}\\rb";

#[test]
fn a_stranger_begins_no_line_and_commands_no_terminal() {
    for format in ["text", "json"] {
        let gateway = Start::new().config(&format!("[log]\nformat = \"{format}\"\nlevel = \"debug\"")).run();
        let path = format!("/v1/connections?key={QUERY}");
        assert_eq!(http::request(gateway.http(), "DELETE", &path, &[], b"").status, 200);
        let told = |line: &&str| line.contains("an operator closed connections");
        let line = eventually("it is logged", || gateway.log().lines().find(told).map(str::to_owned));
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert!(line["whose"].as_str().is_some_and(|whose| whose.contains("\u{1b}[2J\u{9b}2J\u{202e}")), "{line}");
        } else {
            assert!(line.contains(SHOWN), "{line}");
        }
        let log = gateway.log();
        let lines: Vec<&str> = log.split_terminator('\n').collect();
        assert!(lines.iter().all(|line| line.chars().all(is_plain)), "{log:?}");
        assert!(!lines.iter().any(|line| line.starts_with("ERROR forged")), "{log:?}");
    }
}
