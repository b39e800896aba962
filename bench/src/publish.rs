//! Results in the documents: tables between markers of `docs/BENCHMARKS.md`, pictures and the figures themselves in `docs/bench`.
//!
//! All of it is made from the one file of figures, so that no text can say something else than what was measured.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::report::Report;
use crate::{floods, plot};

/// Folder of the documents, and what lies in it.
pub(crate) const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
pub(crate) const DOCUMENT: &str = "BENCHMARKS.md";
pub(crate) const FOLDER: &str = "bench";
const FIGURES: &str = "results.json";
/// The section on floods, and its figures.
const FLOODS: &str = "floods";
const FLOOD_FIGURES: &str = "floods.json";

/// Arguments of `bench publish`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// JSON of a run of the whole benchmark.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Publishes the figures of an earlier run.
///
/// # Errors
/// See [`publish`].
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    publish(&arguments.file)
}

/// Publishes the figures in `file`.
///
/// # Errors
/// They are not those of a whole run, or a file cannot be written.
pub(crate) fn publish(file: &Path) -> Result<()> {
    let figures = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let report = read(&figures).with_context(|| format!("in {}", file.display()))?;
    ensure!(report.micro.is_some() && report.end_to_end.is_some(), "only a run of all parts is published");
    let documents = Path::new(DOCUMENTS);
    let document = documents.join(DOCUMENT);
    let mut text =
        fs::read_to_string(&document).with_context(|| format!("cannot read {}", document.display()))?;
    for (section, content) in sections(&report) {
        text = replace(&text, section, &content)?;
    }
    let folder = documents.join(FOLDER);
    fs::create_dir_all(&folder)?;
    for (name, picture) in pictures(&report) {
        fs::write(folder.join(name), picture)?;
    }
    fs::write(folder.join(FIGURES), figures)?;
    fs::write(&document, text)?;
    println!("{} and {} hold these figures now.", document.display(), folder.display());
    Ok(())
}

/// Publishes the figures of floods in `file`.
///
/// # Errors
/// They are no such figures, or a file cannot be written.
pub(crate) fn publish_floods(file: &Path) -> Result<()> {
    let figures = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let report: floods::Report = serde_json::from_str(&figures).context("not the figures of floods")?;
    let document = Path::new(DOCUMENTS).join(DOCUMENT);
    let text =
        fs::read_to_string(&document).with_context(|| format!("cannot read {}", document.display()))?;
    let text = replace(&text, FLOODS, &report.to_string())?;
    fs::write(Path::new(DOCUMENTS).join(FOLDER).join(FLOOD_FIGURES), figures)?;
    Ok(fs::write(&document, text)?)
}

fn read(figures: &str) -> Result<Report> {
    serde_json::from_str(figures).context("not the figures of a run of this benchmark")
}

/// What stands between the markers of each name.
fn sections(report: &Report) -> Vec<(&'static str, String)> {
    let mut sections = vec![("machine", format!("{}; {}", report.machine, report.date))];
    sections.extend(report.micro.iter().map(|micro| ("micro", micro.to_string())));
    sections.extend(report.end_to_end.iter().map(|run| ("end-to-end", run.to_string())));
    sections
}

/// Each picture with the name of its file.
fn pictures(report: &Report) -> Vec<(&'static str, String)> {
    let subtitle = format!("{}; {}", report.machine, report.date.split('T').next().unwrap_or_default());
    let run = report.end_to_end.as_ref();
    let pictures = [
        ("throughput.svg", run.and_then(|run| plot::throughput(run, &subtitle))),
        ("latency.svg", run.and_then(|run| plot::latency(run, &subtitle))),
        ("scaling.svg", report.micro.as_ref().and_then(|micro| plot::scaling(micro, &subtitle))),
    ];
    pictures.into_iter().filter_map(|(name, picture)| Some((name, picture?))).collect()
}

/// `document` with other content between the markers of `section`.
pub(crate) fn replace(document: &str, section: &str, content: &str) -> Result<String> {
    let [begin, end] = ["begin", "end"].map(|place| format!("<!-- {place}: {section} -->"));
    let (before, rest) =
        document.split_once(&begin).with_context(|| format!("the document has no {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the document has no {end}"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", content.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = "one\n<!-- begin: a -->\nold\n<!-- end: a -->\ntwo <!-- begin: b --><!-- end: b -->";
        let text = replace(document, "a", "new\n").unwrap();
        assert_eq!(
            text,
            "one\n<!-- begin: a -->\n\nnew\n\n<!-- end: a -->\ntwo <!-- begin: b --><!-- end: b -->"
        );
        assert_eq!(replace(&text, "a", "new").unwrap(), text);
        assert!(replace(document, "c", "").is_err());
    }

    #[test]
    fn the_published_table_of_floods_is_that_of_the_published_figures() {
        let documents = Path::new(DOCUMENTS);
        let text = fs::read_to_string(documents.join(DOCUMENT)).unwrap();
        let figures = fs::read_to_string(documents.join(FOLDER).join(FLOOD_FIGURES)).unwrap();
        let report: floods::Report = serde_json::from_str(&figures).unwrap();
        assert!(
            replace(&text, FLOODS, &report.to_string()).unwrap() == text,
            "the table is of other figures"
        );
    }

    /// After a change of tables or pictures, `cargo xtask bench publish docs/bench/results.json` makes them anew.
    #[test]
    fn published_tables_and_pictures_are_those_of_the_published_figures() {
        let documents = Path::new(DOCUMENTS);
        let folder = documents.join(FOLDER);
        let text = fs::read_to_string(documents.join(DOCUMENT)).unwrap();
        let Ok(figures) = fs::read_to_string(folder.join(FIGURES)) else {
            let is_empty =
                |section| text.contains(&format!("<!-- begin: {section} -->\n<!-- end: {section} -->"));
            assert!(["machine", "micro", "end-to-end"].into_iter().all(is_empty), "tables without figures");
            return;
        };
        let report = read(&figures).unwrap();
        for (section, content) in sections(&report) {
            assert!(
                replace(&text, section, &content).unwrap() == text,
                "section {section} is of other figures"
            );
        }
        let pictures = pictures(&report);
        assert_eq!(pictures.len(), 3);
        for (name, picture) in pictures {
            assert!(fs::read_to_string(folder.join(name)).unwrap() == picture, "{name} is of other figures");
        }
    }
}
