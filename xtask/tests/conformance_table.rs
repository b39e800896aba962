//! `docs/IKE.md` claims nothing without a test: the tests it names exist, and every row that says "yes" names one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Columns of the table: source, requirement, status, tests.
const COLUMNS: usize = 4;

#[test]
fn every_claim_names_tests_that_exist() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let document = fs::read_to_string(workspace.join("docs/IKE.md")).expect("docs/IKE.md is readable");
    let rows: Vec<Row> = document.lines().filter_map(Row::parse).collect();
    assert!(rows.len() > 50, "only {} rows were recognised", rows.len());
    let mut sources = Sources { workspace: workspace.to_owned(), read: BTreeMap::new() };
    let wrong: Vec<String> = rows.iter().filter_map(|row| row.complaint(&mut sources)).collect();
    assert!(wrong.is_empty(), "docs/IKE.md:\n{}", wrong.join("\n"));
}

/// A row of the table.
struct Row<'a> {
    requirement: &'a str,
    status: &'a str,
    tests: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// `None` for lines that are no row about a requirement.
    fn parse(line: &'a str) -> Option<Self> {
        let cells: Vec<_> = line.strip_prefix('|')?.strip_suffix('|')?.split(" | ").map(str::trim).collect();
        let &[source, requirement, status, tests] = cells.as_slice() else {
            assert!(!line.starts_with("| RFC "), "a row without {COLUMNS} columns: {line}");
            return None;
        };
        source.starts_with("RFC ").then(|| Self {
            requirement,
            status,
            tests: tests.split('`').skip(1).step_by(2).collect(),
        })
    }

    /// What is wrong with the row.
    fn complaint(&self, sources: &mut Sources) -> Option<String> {
        let about = self.requirement;
        let claims = match self.status {
            "yes" => true,
            status if status.starts_with("in part: ") => true,
            status if status.starts_with("no: ") => false,
            status => return Some(format!("{about}: status {status:?}; expected yes, in part: … or no: …")),
        };
        if claims && self.tests.is_empty() {
            return Some(format!("{about}: no test is named"));
        }
        let missing: Vec<_> = self.tests.iter().copied().filter(|test| !sources.has_test(test)).collect();
        (!missing.is_empty()).then(|| format!("{about}: no such test: {}", missing.join(", ")))
    }
}

/// Source files by their path in the workspace.
struct Sources {
    workspace: PathBuf,
    read: BTreeMap<String, String>,
}

impl Sources {
    /// Whether `name`, a path in the workspace and a function joined by `::`, is a test there.
    fn has_test(&mut self, name: &str) -> bool {
        let Some((path, function)) = name.split_once("::") else { return false };
        let workspace = &self.workspace;
        let text = self
            .read
            .entry(path.to_owned())
            .or_insert_with(|| fs::read_to_string(workspace.join(path)).unwrap_or_default());
        let declaration = format!("fn {function}(");
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        // A table of tests: a macro makes one of each row.
        let row = format!("{function}: ");
        if text.contains("fn $name()") && lines.iter().any(|line| line.starts_with(&row)) {
            return true;
        }
        lines.iter().enumerate().any(|(at, line)| {
            let declared = line.strip_prefix("async ").unwrap_or(line).starts_with(&declaration);
            // Attributes and doc comments stand between the mark and the function.
            declared
                && lines[..at]
                    .iter()
                    .rev()
                    .take_while(|line| line.starts_with('#') || line.starts_with("//"))
                    .any(|line| line.contains("test]"))
        })
    }
}
