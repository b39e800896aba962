//! The benchmark as a whole.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::end_to_end::{self, EndToEnd};
use crate::options::{Options, Part};
use crate::report::{Report, write_json};
use crate::{handshakes, machine, micro, publish};

/// Measures, prints tables, keeps JSON.
///
/// # Errors
/// Privileges or `vgw` are missing, or the micro-benchmarks or a system failed; then the rest was measured, printed and kept all the same.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.wants(Part::Handshakes) {
        return handshakes::run(&handshakes::Arguments::new(options.quick, options.json.clone()));
    }
    let systems = end_to_end::choose(&options.systems)?;
    let mut report = Report { machine: machine::describe(), date: now()?, micro: None, end_to_end: None };
    println!("{}\n", report.machine);
    let mut failed = Vec::new();
    if options.wants(Part::Micro) {
        let effort = if options.quick { micro::Effort::QUICK } else { micro::Effort::FULL };
        match micro::run(effort) {
            Ok(micro) => {
                println!("{micro}");
                report.micro = Some(micro);
            }
            Err(error) => {
                eprintln!("error: micro-benchmarks: {error:#}");
                failed.push("micro");
            }
        }
    }
    if options.wants(Part::EndToEnd) {
        let run = end_to_end::run(&systems, &options.settings())?;
        println!("{run}");
        report.end_to_end = Some(run);
    }
    let path = match &options.json {
        Some(path) => path.clone(),
        None => default_file(&report.date)?,
    };
    write_json(Some(&path), &report)?;
    println!("The figures are kept in {}.", path.display());
    if options.publish {
        publish::publish(&path)?;
    }
    failed.extend(report.end_to_end.iter().flat_map(EndToEnd::failed));
    ensure!(failed.is_empty(), "these failed: {}", failed.join(", "));
    Ok(())
}

/// The time in UTC.
///
/// # Errors
/// `date` is missing.
pub(crate) fn now() -> Result<String> {
    let text = testbed::run(Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ"]))?;
    Ok(text.trim().to_owned())
}

/// A file in `target/bench`, beside the profile that this program was built in, that is named after a time.
///
/// # Errors
/// The directory cannot be made.
pub(crate) fn default_file(date: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("the program is not in a target directory")?;
    let directory = target.join("bench");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory.join(format!("{}.json", date.replace(':', "-"))))
}
