//! Guessing what was meant by a name that does not exist. Owns the one rule for settings, sections, words and variables.

/// The candidate most like `name`, unless none is like it at all.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let likeness = |candidate: &str| {
        let edits = strsim::normalized_damerau_levenshtein(&name, candidate);
        // Somebody who writes `queue_bytes` for `queue_bytes_max` made no typing error, but left something out.
        let shorter = name.len().min(candidate.len());
        let part =
            if shorter >= 4 && (candidate.contains(name.as_str()) || name.contains(candidate)) { 0.7 } else { 0.0 };
        edits.max(part)
    };
    candidates
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn likely_names_are_found_and_unlikely_ones_are_not() {
        let names = ["tcp_listen", "ws_listen", "queue_bytes_max", "shards"];
        let guess = |name| nearest(name, names.into_iter());
        assert_eq!(guess("tcp_listne"), Some("tcp_listen"));
        assert_eq!(guess("TCP-Listen"), Some("tcp_listen"));
        assert_eq!(guess("queue_bytes"), Some("queue_bytes_max"));
        assert_eq!(guess("shard"), Some("shards"));
        assert_eq!(guess("colour"), None);
    }
}
