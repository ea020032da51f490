//! Settings by their kernel names, from the command line, sysctl.conf-like files and JSON.

use std::fs;
use std::path::PathBuf;

/// A setting as the kernel names it below `net/netfilter`, and its value.
pub(crate) type Setting = (String, String);

/// The kernel's name of a setting: `net.netfilter.` (or with slashes) and `nf_conntrack_` may be left out. Names
/// below `net.ipv4` (`ipfrag_time` matters) keep theirs.
pub(crate) fn kernel_name(name: &str) -> String {
    let name = name.trim().replace('/', ".");
    if name.starts_with("net.ipv4.") {
        return name;
    }
    let name = name.strip_prefix("net.netfilter.").unwrap_or(&name);
    match name.strip_prefix("nf_conntrack_") {
        Some(_) => name.to_owned(),
        None => format!("nf_conntrack_{name}"),
    }
}

/// What the command line gives: files first, then single assignments.
pub(crate) fn read(files: &[PathBuf], assignments: &[String]) -> Result<Vec<Setting>, String> {
    let mut all = Vec::new();
    for path in files {
        let place = |e: String| format!("{}: {e}", path.display());
        let text = fs::read_to_string(path).map_err(|e| place(e.to_string()))?;
        all.extend(file(&text).map_err(place)?);
    }
    for text in assignments {
        all.push(assignment(text)?);
    }
    Ok(all)
}

/// Parses `name=value`.
pub(crate) fn assignment(text: &str) -> Result<Setting, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{}` is not of the form name=value", text.trim()))?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err(format!("`{}` is not of the form name=value", text.trim()));
    }
    Ok((kernel_name(name), value.to_owned()))
}

/// Parses a settings file: a JSON object of numbers and strings, or lines `name = value` with `#` and `;` comments.
pub(crate) fn file(text: &str) -> Result<Vec<Setting>, String> {
    if text.trim_start().starts_with('{') {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|e| e.to_string())?;
        return object
            .into_iter()
            .map(|(name, value)| match value {
                serde_json::Value::Number(n) => Ok((kernel_name(&name), n.to_string())),
                serde_json::Value::String(s) => Ok((kernel_name(&name), s)),
                other => Err(format!(
                    "`{name}`: {other} is neither a number nor a string"
                )),
            })
            .collect();
    }
    text.lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
        .map(|(n, line)| assignment(line).map_err(|e| format!("line {n}: {e}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_spelling() {
        for name in [
            "net.netfilter.nf_conntrack_tcp_loose",
            "net/netfilter/nf_conntrack_tcp_loose",
            "nf_conntrack_tcp_loose",
            "tcp_loose",
        ] {
            assert_eq!(kernel_name(name), "nf_conntrack_tcp_loose");
        }
    }

    #[test]
    fn files_of_both_kinds() {
        let want = vec![
            ("nf_conntrack_acct".to_owned(), "1".to_owned()),
            ("nf_conntrack_max".to_owned(), "7".to_owned()),
        ];
        assert_eq!(
            file("# c\n\nnet.netfilter.nf_conntrack_acct = 1\n; d\nmax=7\n").unwrap(),
            want
        );
        assert_eq!(
            file(" {\"acct\": 1, \"nf_conntrack_max\": \"7\"}").unwrap(),
            want
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert!(file("a = 1\nb\n").unwrap_err().starts_with("line 2: `b`"));
        assert!(file("{\"a\": [1]}").unwrap_err().contains("`a`"));
        assert!(assignment("=1").is_err());
        assert!(assignment("x=").is_err());
    }
}
