//! That ARCHITECTURE.md and README.md are true where that can be seen: names of files, tests, constants and metrics.
//! Owns how their sections and tables are read; what each must keep to stands in the modules below.

mod folders;
mod invariants;
mod queues;
mod walks;

use halley_gateway::close::CloseReason;

use crate::source::{read, root};

/// What stands below this heading, down to the next one that is as high.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, below) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("`{heading}` is there"));
    let level = heading.split(' ').next().unwrap_or_default().len();
    let end = (1..=level).filter_map(|level| below.find(&format!("\n{} ", "#".repeat(level)))).min();
    &below[..end.unwrap_or(below.len())]
}

/// The rows of the tables in there, without their heads: the cells of each.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = section.lines().collect();
    let is_rule = |line: &str| line.starts_with("|---");
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|next| is_rule(next));
    let rows = lines.iter().enumerate().filter(|&(at, line)| line.starts_with('|') && !is_rule(line) && !is_head(at));
    rows.filter_map(|(_, line)| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|cells| cells.split('|').map(str::trim).collect())
        .collect()
}

/// What stands between backticks.
fn ticked(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What `a/{b,c}.rs` stands for: `a/b.rs` and `a/c.rs`.
fn alternatives(name: &str) -> Vec<String> {
    let braces = name.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?)));
    let Some((start, (names, end))) = braces else { return vec![name.to_owned()] };
    names.split(',').map(|one| format!("{start}{one}{end}")).collect()
}

fn is_there(path: &str) -> bool {
    root().join(path).exists()
}

/// ARCHITECTURE.md names every reason for which a connection may end, in the row of its WebSocket status.
#[test]
fn every_close_reason_is_documented() {
    let text = read("ARCHITECTURE.md");
    let rows = rows(section(&text, "## How connections end"));
    for reason in CloseReason::ALL {
        let label = format!("`{}`", reason.label());
        let status = reason.code().map_or("none".to_owned(), |code| code.0.to_string());
        let documented =
            rows.iter().any(|row| row[1].contains(&label) && row[0].split(',').any(|one| one.trim() == status));
        assert!(documented, "{label} belongs to the row of status {status} in ARCHITECTURE.md");
    }
}

#[test]
fn sections_tables_and_names_are_read() {
    let text = "# A\n\n## B\n\n| x | y |\n|---|---|\n| 1 | `2`, `3` |\n\n### C\n\n| z |\n|---|\n| 4 |\n\n## D\n| 5 |\n";
    assert_eq!(rows(section(text, "## B")), [vec!["1", "`2`, `3`"], vec!["4"]]);
    assert_eq!(rows(section(text, "### C")), [["4"]]);
    assert_eq!(ticked("`a`: b, `c`"), ["a", "c"]);
    assert_eq!(alternatives("a/{b,c}.rs"), ["a/b.rs", "a/c.rs"]);
    assert_eq!(alternatives("a/b.rs"), ["a/b.rs"]);
}
