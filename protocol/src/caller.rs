//! Who sends an HTTP request, as far as its headers say: the token it shows, and the host it takes us for. Owns how these are read
//! and compared, for pushing and for the admin side alike; decides nothing, which `ingress::access` and `control::guard` do with
//! what they learn here.

use core::net::IpAddr;

/// The token in an `Authorization` value (RFC 6750 §2.1).
pub fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Compares without stopping at the first difference, so that the time taken tells nothing but the length.
pub fn same_bytes(ours: &[u8], theirs: &[u8]) -> bool {
    let differences = ours.iter().zip(theirs).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    ours.len() == theirs.len() && differences == 0
}

/// Whether a `Host` value is one of ours, whatever the port: an address, `localhost`, or one of `names`. Any other name may be that
/// of a foreign page whose owner points it at us.
pub fn is_own_host(host: &str, names: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_from_their_scheme() {
        assert_eq!(bearer(b"Bearer secret"), Some(&b"secret"[..]));
        assert_eq!(bearer(b"bearer  secret "), Some(&b"secret"[..]));
        assert_eq!((bearer(b"Basic secret"), bearer(b"Bearer")), (None, None));
        assert!(same_bytes(b"secret", b"secret"));
        assert!(
            !same_bytes(b"secret", b"secre") && !same_bytes(b"secret", b"secret2") && !same_bytes(b"secret", b"Secret")
        );
    }

    #[test]
    fn own_hosts_are_addresses_and_names_we_know() {
        let names = ["push.example".to_owned()];
        for own in ["127.0.0.1:3111", "[::1]:3111", "[::1]", "localhost", "LocalHost:1", "Push.Example:80", "192.0.2.1"]
        {
            assert!(is_own_host(own, &names), "{own}");
        }
        for foreign in ["", "evil.example", "push.example.evil", "[evil]", "localhost.evil:80"] {
            assert!(!is_own_host(foreign, &names), "{foreign}");
        }
    }
}
