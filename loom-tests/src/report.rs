//! Plain-text tables.

use std::fmt::Write;

/// A table whose columns are as wide as their widest cell; the first column and the last are flush left.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a line of headings.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|h| (*h).to_owned()).collect()],
        }
    }

    /// Adds a line, which has as many cells as there are headings.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Table {
    /// The same as a table in Markdown. What a model said when it failed must not look like a link.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|c| escaped(c)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
            if n == 0 {
                let _ = writeln!(out, "|{}", " --- |".repeat(row.len()));
            }
        }
        out
    }
}

/// A cell without what Markdown would take for the end of it, or for the beginning of a link.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('[', "\\[")
}

/// Puts `text` between the marks of section `name` in a document.
///
/// # Errors
///
/// The document has no such section.
pub fn replace_section(document: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end {name} -->"));
    let at = document.find(&begin).map(|i| i + begin.len());
    let to = at.and_then(|at| document[at..].find(&end).map(|i| at + i));
    let (Some(at), Some(to)) = (at, to) else {
        anyhow::bail!("no section {name}");
    };
    Ok(format!("{}{text}{}", &document[..at], &document[to..]))
}

/// Writes `text` into section `name` of this package's README.
///
/// # Errors
///
/// The file cannot be read or written, or has no such section.
pub fn write_readme(name: &str, text: &str) -> anyhow::Result<()> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let old = std::fs::read_to_string(&path)?;
    let new = replace_section(&old, name, text)?;
    if new != old {
        std::fs::write(&path, new)?;
    }
    println!("README.md: section {name} written");
    Ok(())
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows[0].len();
        let width = |c: usize| {
            self.rows
                .iter()
                .filter_map(|r| r.get(c))
                .map(|s| s.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
        for (n, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (c, cell) in row.iter().enumerate() {
                let w = widths[c];
                if c == 0 || c + 1 == columns {
                    write!(line, "{cell:<w$}  ")?;
                } else {
                    write!(line, "{cell:>w$}  ")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
            if n == 0 {
                writeln!(
                    f,
                    "{}",
                    "-".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1))
                )?;
            }
        }
        Ok(())
    }
}

/// The beginning of a text that is too long for a cell.
#[must_use]
pub fn shortened(text: &str) -> String {
    const LENGTH: usize = 70;
    match text.char_indices().nth(LENGTH) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A number with its digits in groups of three.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn sections_are_replaced() {
        let d = "a\n<!-- x -->\nold\n<!-- end x -->\nb\n";
        let new = replace_section(d, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- x -->\nnew\n<!-- end x -->\nb\n");
        assert!(replace_section(d, "y", "").is_err());
    }

    #[test]
    fn markdown_escapes_bars_and_links() {
        let mut t = Table::new(&["a", "b"]);
        t.row(["x|y".to_owned(), "[1]".to_owned()]);
        assert_eq!(
            t.markdown(),
            "| a | b |\n| --- | --- |\n| x\\|y | \\[1] |\n"
        );
    }

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(&["a", "b", "c"]);
        t.row(["long".to_owned(), "1".to_owned(), "x".to_owned()]);
        assert_eq!(t.to_string(), "a     b  c\n----------\nlong  1  x\n");
    }
}
