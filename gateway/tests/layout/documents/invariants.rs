//! "Architecture Invariant" of ARCHITECTURE.md: each names the file that holds it and the test that proves it. Owns
//! how these names are written and found.

use super::{is_there, ticked};
use crate::source::{Source, read, sources};

const MARK: &str = "**Architecture Invariant:**";

/// Every invariant of the text, as one line each.
fn invariants(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(item) = line.strip_prefix("- ") {
            inside = item.starts_with(MARK);
            if inside {
                found.push(item.to_owned());
            }
        } else if line.starts_with("  ") && inside {
            let last = found.last_mut().expect("its first line was there");
            last.push(' ');
            last.push_str(line.trim());
        } else {
            inside = false;
        }
    }
    found
}

/// What is wrong with these, one sentence each.
fn faults(invariants: &[String], tests: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for invariant in invariants {
        let mut fault = |what: String| faults.push(format!("{invariant}\n    {what}"));
        let proof = invariant.strip_suffix(")").and_then(|text| text.rsplit_once(" (`")).map(|(_, proof)| proof);
        let Some((files, proofs)) = proof.and_then(|proof| proof.split_once("; test")) else {
            fault("it ends with (`the/file.rs`; test `its::module::name`)".to_owned());
            continue;
        };
        for path in ticked(&format!("`{files}")) {
            if !is_there(path) {
                fault(format!("there is no {path}"));
            }
        }
        let names = ticked(proofs);
        if names.is_empty() {
            fault("it names no test".to_owned());
        }
        for name in names {
            if !tests.iter().any(|source| holds(source, name)) {
                fault(format!("there is no test `{name}`"));
            }
        }
    }
    faults
}

/// Whether a file has this test: the file's path has every module of the name, in order.
fn holds(source: &Source, name: &str) -> bool {
    let mut modules: Vec<&str> = name.split("::").collect();
    let function = modules.pop().unwrap_or_default();
    let mut places = source.path.trim_end_matches(".rs").split('/');
    modules.iter().all(|module| places.any(|place| place == *module)) && has_test(&source.text, function)
}

fn has_test(text: &str, function: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let heads = [format!("fn {function}("), format!("async fn {function}(")];
    lines.iter().enumerate().filter(|(_, line)| heads.iter().any(|head| line.starts_with(head))).any(|(at, _)| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn every_invariant_names_its_file_and_its_test() {
    let text = read("ARCHITECTURE.md");
    let invariants = invariants(&text);
    assert_eq!(invariants.len(), text.matches(MARK).count(), "each is an item of a list");
    assert!(invariants.len() > 10, "they were found: {}", invariants.len());
    let faults = faults(&invariants, &sources(&[".rs"]));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Each rule is broken once, and must say so.
#[test]
fn a_wrong_invariant_is_noticed() {
    let text = "#[test]\nfn first() {}\n/// Why.\n#[tokio::test]\nasync fn second() {}\nfn third() {}\n";
    let tests = [Source { path: "gateway/tests/simulation/queues.rs".into(), text: text.into() }];
    let good =
        "- **Architecture Invariant:** all is\n  well (`README.md`; tests `simulation::queues::first`, `second`)\n";
    let said = |text: &str| faults(&invariants(text), &tests).join(" ");
    assert_eq!(invariants(&format!("{good}- more\n  (`x`)\n")).len(), 1);
    assert_eq!(said(good), "");
    for (from, to, sentence) in [
        (" (`README.md`; tests `simulation::queues::first`, `second`)", "", "it ends with"),
        (")\n", ").\n", "it ends with"),
        ("; tests `simulation::queues::first`, `second`", "", "it ends with"),
        ("README.md", "README.txt", "there is no README.txt"),
        ("second", "third", "there is no test `third`"),
        ("simulation::queues::first", "simulation::first::first", "there is no test"),
        ("tests `simulation::queues::first`, `second`", "tests", "names no test"),
    ] {
        let text = good.replace(from, to);
        assert!(said(&text).contains(sentence), "{text}: {}", said(&text));
    }
}
