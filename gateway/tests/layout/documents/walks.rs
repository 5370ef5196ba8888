//! The two walks of ARCHITECTURE.md: the head of every file that a step names says that step. Owns how steps and heads
//! are read.

use super::{alternatives, section, ticked};
use crate::source::{has_word, read, root, sources};

const OUT: &str = "A push on its way out";
const IN: &str = "A frame on its way in";

/// Every step's number, and the files and folders it names by path, from the root.
fn steps(section: &str) -> Vec<(u32, Vec<String>)> {
    let mut found: Vec<(u32, String)> = Vec::new();
    for line in section.lines() {
        let number = line.split_once(". ").and_then(|(number, rest)| Some((number.parse().ok()?, rest)));
        match number {
            Some((number, rest)) => found.push((number, rest.to_owned())),
            None if line.starts_with("   ") => {
                if let Some((_, text)) = found.last_mut() {
                    text.push(' ');
                    text.push_str(line.trim());
                }
            }
            None => {}
        }
    }
    let files = |text: &str| ticked(text).into_iter().flat_map(alternatives).filter_map(file).collect();
    found.iter().map(|(number, text)| (*number, files(text))).collect()
}

/// The file that a name in backticks means: a folder is its `mod.rs`, and what begins with none of the packages stands
/// in the gateway's source. What is no path means none.
fn file(name: String) -> Option<String> {
    let name = if name.ends_with('/') { format!("{name}mod.rs") } else { name };
    if !name.ends_with(".rs") || name.contains(' ') {
        return None;
    }
    let of_a_package = ["gateway/", "dispatcher/", "service/", "protocol/"].iter().any(|start| name.starts_with(start));
    Some(if of_a_package { name } else { format!("gateway/src/{name}") })
}

/// What is wrong with a file's head as that of a step of this walk.
fn fault(path: &str, text: &str, number: u32, walk: &str) -> Option<String> {
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    let head = head.join(" ").replace("//!", "").split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let walk = walk.to_lowercase();
    let said = head.match_indices("step ").any(|(at, _)| {
        let rest = &head[at + "step ".len()..];
        let (said, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        said.parse() == Ok(number) && rest.strip_prefix(" of ").is_some_and(|rest| rest.starts_with(&walk))
    });
    (!said).then(|| format!("{path}: its head says that it is step {number} of {walk}"))
}

#[test]
fn the_heads_of_the_walks_name_their_steps() {
    let text = read("ARCHITECTURE.md");
    let mut faults = Vec::new();
    for walk in [OUT, IN] {
        let steps = steps(section(&text, &format!("## {walk}")));
        assert!(steps.len() > 6 && steps.iter().all(|(_, files)| !files.is_empty()), "{walk} was found: {steps:?}");
        for (number, path) in steps.iter().flat_map(|(number, files)| files.iter().map(move |file| (*number, file))) {
            match std::fs::read_to_string(root().join(path)) {
                Ok(text) => faults.extend(fault(path, &text, number, walk)),
                Err(error) => faults.push(format!("{path}: {error}")),
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Whoever names a step names one of a file that the walk names.
#[test]
fn no_head_names_a_step_that_is_not_its_own() {
    let text = read("ARCHITECTURE.md");
    for walk in [OUT, IN] {
        let steps = steps(section(&text, &format!("## {walk}")));
        for source in sources(&[".rs"]).iter().filter(|source| source.path.contains("/src/")) {
            for number in (1..=20).filter(|&number| fault(&source.path, &source.text, number, walk).is_none()) {
                let named = steps.iter().any(|(step, files)| *step == number && files.contains(&source.path));
                assert!(named, "{} says that it is step {number} of {walk}: that step does not name it", source.path);
            }
        }
    }
}

/// From the shards' inbox to the kernel nobody waits for a lock.
#[test]
fn no_lock_stands_on_the_way_from_the_rings_to_the_kernel() {
    let text = read("ARCHITECTURE.md");
    let mut files: Vec<String> = steps(section(&text, &format!("## {OUT}")))
        .into_iter()
        .filter(|(number, _)| (8..=12).contains(number))
        .flat_map(|(_, files)| files)
        .collect();
    let ring = sources(&[".rs"]).into_iter().filter(|source| source.path.starts_with("gateway/src/io/uring/"));
    files.extend(ring.map(|source| source.path));
    files.extend(["conns", "rooms", "accepts", "timers", "turn"].map(|name| format!("gateway/src/shard/{name}.rs")));
    assert!(files.len() > 15, "they were found: {files:?}");
    for path in files {
        let text = read(&path);
        let locks = ["Mutex", "RwLock", "Condvar", "OnceLock"].map(|lock| has_word(&text, lock));
        assert_eq!(locks, [false; 4], "{path} takes no lock");
    }
}

/// Each rule is broken once, and must say so.
#[test]
fn a_wrong_head_is_noticed() {
    let walk =
        "\n1. `service/src/serve/`: a request;\n   `shard/{a,b}.rs`, not `push_keys_max`.\n2. `io/uring/`: out.\n";
    let named = |files: &[&str]| files.iter().map(|&file| file.to_owned()).collect::<Vec<_>>();
    let (first, second) = (
        named(&["service/src/serve/mod.rs", "gateway/src/shard/a.rs", "gateway/src/shard/b.rs"]),
        named(&["gateway/src/io/uring/mod.rs"]),
    );
    assert_eq!(steps(walk), [(1, first), (2, second)]);
    let said = |text: &str| fault("a.rs", text, 12, OUT).is_none();
    assert!(said("//! Step 1 of a frame on its way in, and step 12 of a\n//! push on its way out: a.\n"));
    assert!(!said("//! Step 1 of a push on its way out: a.\n"));
    assert!(!said("//! Step 12 of a frame on its way in: a.\n"));
    assert!(!said("//! Owns a.\n\n// Step 12 of a push on its way out.\n"));
}
