//! What a person gets to see: progress while it runs, and a Markdown report with the host and the command in it, since
//! a number without them says nothing. Owns no measurement.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::{Doing, Result};

/// One line on standard error. Never coloured, so that it reads the same in a file.
pub(crate) fn progress(line: &str) {
    eprintln!("{line}");
}

/// Print a report, and write it to `output` if there is one.
pub(crate) fn publish(title: &str, body: &str, output: Option<&Path>) -> Result<()> {
    let report = format!("# {title}\n\n{}\n{body}", host());
    print!("{report}");
    if let Some(path) = output {
        fs::write(path, &report).doing(|| format!("write {}", path.display()))?;
        progress(&format!("written to {}", path.display()));
    }
    Ok(())
}

/// Where and how this was measured.
fn host() -> String {
    let first_line = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.lines().next().map(str::to_owned));
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let mut table = Table::new(&["", ""]);
    let mut fact = |name: &str, value: Option<String>| {
        table.row(&[name.to_owned(), value.unwrap_or_else(|| "unknown".to_owned())]);
    };
    fact("kernel", first_line("/proc/sys/kernel/osrelease"));
    fact("processor", Some(model.trim_start_matches(['\t', ':', ' ']).to_owned()).filter(|model| !model.is_empty()));
    fact("CPUs", Some(cpuinfo.lines().filter(|line| line.starts_with("processor")).count().to_string()));
    fact("load average before and after", first_line("/proc/loadavg").map(|now| format!("{} / {now}", started_load())));
    fact("congestion control", first_line("/proc/sys/net/ipv4/tcp_congestion_control"));
    fact("transparent huge pages", first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
    fact("revision", revision());
    fact("command", Some(format!("`halley-perf {}`", std::env::args().skip(1).collect::<Vec<_>>().join(" "))));
    table.to_string()
}

fn revision() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

static STARTED_LOAD: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Remember the load of the host before we add to it.
pub(crate) fn note_start() {
    let _ = started_load();
}

fn started_load() -> &'static str {
    STARTED_LOAD.get_or_init(|| fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned())
}

/// A Markdown table.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these column titles.
    pub(crate) fn new(titles: &[&str]) -> Table {
        Table { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// Add a row with as many cells as there are titles.
    pub(crate) fn row(&mut self, cells: &[String]) {
        assert_eq!(cells.len(), self.rows[0].len(), "a row has a cell for each title");
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            writeln!(out, "| {} |", cells.join(" | "))?;
            if index == 0 {
                writeln!(out, "|{}", "---|".repeat(row.len()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_whatever_its_cells_hold() {
        let mut table = Table::new(&["a", "b"]);
        table.row(&["1".to_owned(), "x|y".to_owned()]);
        assert_eq!(table.to_string(), "| a | b |\n|---|---|\n| 1 | x\\|y |\n");
    }
}
