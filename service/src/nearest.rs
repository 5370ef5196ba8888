//! Names that do not exist: what was meant by them, and whether they may be repeated to whoever reads the message. Owns
//! the one rule for settings, sections, words, variables, flags, commands and the fields of requests.

/// Characters of the longest name of a setting, and some more.
const NAME_CHARACTERS_MAX: usize = 48;

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

/// Whether a word that stands where a name should may be repeated. On a command line a secret gets there easily, by a
/// blank for an `=` or by a padding `=` at its end. So a word is repeated if it looks like our names, or is one of them
/// but for a slip.
pub fn is_repeatable<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> bool {
    let ours = |byte: u8| byte.is_ascii_lowercase() || b"_-.".contains(&byte);
    (word.len() <= NAME_CHARACTERS_MAX && word.bytes().all(ours)) || is_slip_of(word, candidates)
}

/// Whether a word is one of these but for a slip or two.
pub fn is_slip_of<'a>(word: &str, mut candidates: impl Iterator<Item = &'a str>) -> bool {
    let word = word.to_ascii_lowercase();
    candidates.any(|candidate| strsim::normalized_damerau_levenshtein(&word, candidate) >= 0.8)
}

#[cfg(test)]
mod tests {
    use super::{is_repeatable, is_slip_of, nearest};

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        let names = ["push_token", "ipv6_only", "jwt.secret"];
        let shown = |word| is_repeatable(word, names.into_iter());
        for name in ["push_tokn", "colour", "nod.region", "ipv6_onyl", "IPV6_ONLY", "tcp-listen"] {
            assert!(shown(name), "{name}");
        }
        for secret in ["c2VjcmV0", "3f9a0c", "push_token hunter", "push_token:hunter", "Hunter", "", &"a".repeat(49)] {
            assert!(!shown(secret) || secret.is_empty(), "{secret}");
        }
        assert!(is_slip_of("check-confg", ["check-config"].into_iter()));
        assert!(!is_slip_of("hunter", ["check-config"].into_iter()));
    }

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
