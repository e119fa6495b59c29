//! Which addresses may be asked?
//!
//! HTTPS ones, and plain HTTP ones of this very machine. Who begins with HTTPS is not led away from it.

/// Names of this machine.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// An error, one sentence, unless `url` may be asked.
pub(super) fn check(url: &str) -> Result<(), String> {
    match url.split_once("://") {
        Some(("https", rest)) if !host(rest).is_empty() => Ok(()),
        Some(("http", rest)) if LOOPBACK.contains(&host(rest)) => Ok(()),
        Some(("http", _)) => {
            Err(format!("{url}: plain http can be changed on the way; give an https address"))
        }
        _ => Err(format!("{url} is no address of a file; give one that begins with https://")),
    }
}

/// The same for where `from` sends us.
pub(super) fn check_redirection(from: &str, to: &str) -> Result<(), String> {
    let refusal = format!(
        "{from}: the server sends us on to {to}, which is not https, so nothing was fetched from there"
    );
    if from.starts_with("https://") && !to.starts_with("https://") {
        return Err(refusal);
    }
    check(to).map_err(|_| refusal)
}

/// The host, without user, port and path.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or("");
    // A user before the host would make one name look like another.
    if authority.contains('@') {
        return "";
    }
    match authority.strip_prefix('[').and_then(|inner| inner.find(']')) {
        Some(end) => &authority[..end + 2],
        None => authority.split(':').next().unwrap_or(""),
    }
}

/// `to`, which may be relative, seen from `from`.
pub(super) fn join(from: &str, to: &str) -> String {
    let (scheme, rest) = from.split_once("://").unwrap_or(("https", from));
    let authority = rest.split('/').next().unwrap_or("");
    if to.contains("://") {
        to.to_string()
    } else if let Some(other) = to.strip_prefix("//") {
        format!("{scheme}://{other}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        let path = rest.split(['?', '#']).next().unwrap_or(rest);
        let folder = path.rsplit_once('/').map_or(authority, |(folder, _)| folder);
        format!("{scheme}://{folder}/{to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_machine() {
        for good in ["https://a.org/x", "http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:8/x"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "http://a.org/x",
            "http://127.0.0.1.a.org/x",
            "http://localhost@a.org/x",
            "ftp://a.org/x",
            "x",
            "https://",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check_redirection("https://a.org/x", "http://127.0.0.1/x").is_err());
        assert!(check_redirection("https://a.org/x", "https://b.org/x").is_ok());
    }

    #[test]
    fn relative_addresses_are_joined() {
        let from = "https://a.org/m/x.pth?k=1";
        assert_eq!(join(from, "https://b.org/y"), "https://b.org/y");
        assert_eq!(join(from, "//b.org/y"), "https://b.org/y");
        assert_eq!(join(from, "/y"), "https://a.org/y");
        assert_eq!(join(from, "y"), "https://a.org/m/y");
    }
}
