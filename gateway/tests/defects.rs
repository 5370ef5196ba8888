//! goim's comet has 28 known defects (goim §8, C1 to C28). The table in `README.md` beside this file names for each the
//! test that shows it is not here; this test holds the table to the truth: every number once, every test where it is
//! said to be.

use std::path::Path;

const DEFECTS: u32 = 28;

/// The rows of the table: number, test, file.
fn rows(table: &str) -> Vec<(u32, &str, &str)> {
    table
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| C")?.split('|').map(str::trim).collect();
            let number = cells.first()?.split(' ').next()?.parse().ok()?;
            Some((number, cells.get(1)?.trim_matches('`'), *cells.get(2)?))
        })
        .collect()
}

/// What is wrong with the table; `read` gives the text of a file.
fn faults(table: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let rows = rows(table);
    let numbers: Vec<u32> = rows.iter().map(|(number, ..)| *number).collect();
    if numbers != (1..=DEFECTS).collect::<Vec<_>>() {
        faults.push(format!("the table must have C1 to C{DEFECTS} in order, each once: {numbers:?}"));
    }
    for (number, test, file) in rows {
        if !test.starts_with(&format!("c{number:02}_")) {
            faults.push(format!("the test of C{number} is named {test}"));
        }
        let text = read(file).unwrap_or_default();
        if !text.contains(&format!("#[test]\nfn {test}(")) && !text.contains(&format!("#[test]\n    fn {test}(")) {
            faults.push(format!("C{number}: {file} has no test {test}"));
        }
    }
    faults
}

#[test]
fn every_defect_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = std::fs::read_to_string(root.join("gateway/tests/README.md")).expect("the table");
    let faults = faults(&table, |file| std::fs::read_to_string(root.join(file)).ok());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_wrong_table_is_noticed() {
    let good: String = (1..=DEFECTS).map(|n| format!("| C{n} words | `c{n:02}_x` | f.rs |\n")).collect();
    let file: String = (1..=DEFECTS).map(|n| format!("#[test]\nfn c{n:02}_x() {{}}\n")).collect();
    assert_eq!(faults(&good, |_| Some(file.clone())), [""; 0]);
    let wrong = [
        good.replace("| C7 words | `c07_x` | f.rs |\n", ""),
        good.replace("`c07_x`", "`c08_x`"),
        good.replace("`c07_x`", "`c07_y`"),
        good.replace("| C8 ", "| C7 "),
    ];
    for table in wrong {
        assert_ne!(faults(&table, |_| Some(file.clone())), [""; 0], "{table}");
    }
    assert_ne!(faults(&good, |_| None), [""; 0]);
    assert_ne!(faults(&good, |_| Some(file.replace("#[test]\nfn c07_x", "fn c07_x"))), [""; 0]);
}
