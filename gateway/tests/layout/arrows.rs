//! Which part may use which. Owns the arrows that ARCHITECTURE.md draws, within the gateway and between the packages:
//! one that is used and not allowed fails, and so does one that is allowed and not used.

use std::collections::BTreeMap;

use crate::source::{Source, has_word, module_path, product_code, read, sources, used_paths};

/// What each part of the gateway may use of the others; the longest name that fits a module decides, and a part may
/// always use itself. What threads tell each other (`mesh::msg`), why connections end (`close`), the bounds (`limits`)
/// and the counters (`shard::stats`) are vocabulary: they use no machinery. `table` holds anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("table", &[]),
    ("close", &[]),
    ("shard::stats", &["close"]),
    ("mesh::msg", &["close", "limits"]),
    ("mesh", &[]),
    ("io", &["mesh", "limits"]),
    ("conn", &["mesh::msg", "limits", "table"]),
    ("shard", &["mesh", "close", "conn", "io", "limits", "table"]),
    ("feed", &["mesh", "close", "limits", "table"]),
    ("control", &["mesh", "feed::intake", "feed::stats", "close", "shard::stats", "limits"]),
    ("comet", &["feed::intake"]),
    ("config", &["feed", "limits"]),
    ("cli", &["config"]),
    ("placement", &["limits"]),
];

/// Modules that put everything together and may use all of it, the dispatcher too. The configuration may know the
/// section of settings that the dispatcher brings.
const ASSEMBLY: &[&str] = &["standalone", "node", "main"];

/// Uses of the gateway's other parts that the arrows do not allow.
pub fn broken_arrows(path: &str, module: &[String], code: &str) -> Vec<String> {
    let name = module.join("::");
    if ASSEMBLY.iter().any(|part| module.first().is_some_and(|first| first == part)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if has_word(&code.replace("halley_dispatcher::config::", ""), "halley_dispatcher")
        || (has_word(code, "halley_dispatcher") && module.first().is_none_or(|part| part != "config"))
    {
        faults.push(format!("{path}: only {ASSEMBLY:?} join gateway and dispatcher"));
    }
    if module.is_empty() {
        return faults;
    }
    let rule = ARROWS.iter().filter(|(part, _)| begins(&name, part)).max_by_key(|(part, _)| part.len());
    let Some((part, allowed)) = rule else {
        faults.push(format!(
            "{path}: `{name}` has no place in the arrows; give it one in this test and in ARCHITECTURE.md"
        ));
        return faults;
    };
    for used in used_paths(code, module) {
        // Within a part there are no arrows, except that vocabulary uses no machinery.
        if begins(&used, part) || allowed.iter().any(|allowed| begins(&used, allowed)) {
            continue;
        }
        faults.push(format!("{path}: `{part}` must not use `{used}`"));
    }
    faults
}

/// Whether a `::` path is `prefix` or inside it.
fn begins(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every arrow within the gateway that nothing uses.
fn unused_arrows(sources: &[Source], arrows: &[(&str, &[&str])]) -> Vec<String> {
    let mut unused = Vec::new();
    for (part, allowed) in arrows {
        // As it is decided in `broken_arrows`: the longest name that fits.
        let of_part = sources.iter().filter_map(|Source { path, text }| {
            let module = module_path(path.strip_prefix("gateway/src/")?);
            let name = module.join("::");
            let rule =
                arrows.iter().map(|(part, _)| *part).filter(|part| begins(&name, part)).max_by_key(|part| part.len());
            (rule == Some(*part)).then(|| used_paths(&product_code(path, text), &module))
        });
        let used: Vec<String> = of_part.flatten().collect();
        for target in allowed.iter().filter(|target| !used.iter().any(|used| begins(used, target))) {
            unused.push(format!("`{part}` may use `{target}` and does not"));
        }
    }
    unused
}

#[test]
fn every_arrow_within_the_gateway_is_used() {
    let sources = sources(&[".rs"]);
    assert_eq!(unused_arrows(&sources, ARROWS), [""; 0]);
    let bites = unused_arrows(&sources, &[("close", &["limits"])]);
    assert_eq!(bites, ["`close` may use `limits` and does not"]);
}

/// The packages' own arrows: nothing back, nothing else, and each of them used. Fuzz targets use what they stand
/// beside.
const PACKAGES: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("protocol/fuzz", &["halley-protocol"]),
    ("service", &[]),
    ("dispatcher", &["halley-protocol", "halley-service"]),
    ("gateway", &["halley-protocol", "halley-service", "halley-dispatcher"]),
    ("gateway/fuzz", &["halley-gateway", "halley-protocol"]),
    ("dispatcher/fuzz", &["halley-dispatcher"]),
    ("perf", &["halley-protocol", "halley-dispatcher"]),
];

#[test]
fn packages_depend_downwards_only() {
    let sources = sources(&[".rs"]);
    for (folder, allowed) in PACKAGES {
        let manifest: toml::Table = read(&format!("{folder}/Cargo.toml")).parse().expect("TOML");
        let mut named = Vec::new();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(section).and_then(|section| section.as_table());
            named.extend(table.into_iter().flat_map(|table| table.keys()).filter(|name| name.starts_with("halley-")));
        }
        named.sort();
        let mut allowed = allowed.to_vec();
        allowed.sort_unstable();
        assert_eq!(named, allowed, "{folder}/Cargo.toml names what it may, and all of it");
        // Fuzz targets lend their oracles from the tests beside them.
        let named = named.into_iter().filter(|_| !folder.ends_with("/fuzz"));
        for name in named.map(|name| name.replace('-', "_")) {
            let uses =
                |source: &&Source| source.path.starts_with(&format!("{folder}/")) && has_word(&source.text, &name);
            assert!(sources.iter().any(|source| uses(&source)), "{folder} depends on {name} and does not use it");
        }
    }
    // A package that is added has a place here.
    let workspace: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let members =
        workspace["workspace"]["members"].as_array().expect("members").iter().filter_map(|name| name.as_str());
    let known: BTreeMap<_, _> = PACKAGES.iter().copied().collect();
    for member in members {
        assert!(known.contains_key(member), "{member} has no place in the arrows");
    }
}
