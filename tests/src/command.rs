//! Running short commands and reporting their failures in full.

use anyhow::{Context as _, Result, bail};
use std::process::{Command, Output, Stdio};

/// Runs `command` to its end without standard input; returns its output whatever the exit status.
pub fn output_of(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", describe(command)))
}

/// Runs `command` and returns its standard output; a non-zero exit status is an error that quotes standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output_of(command)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}{}", describe(command), output.status, stderr.trim(), trailer(&stdout));
    }
    Ok(stdout)
}

/// Runs the program and arguments that `line` lists, separated by spaces (no quoting); see [`run`].
pub fn try_run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("empty command")?;
    run(Command::new(program).args(words))
}

fn trailer(stdout: &str) -> String {
    let stdout = stdout.trim();
    if stdout.is_empty() { String::new() } else { format!("; it printed: {stdout}") }
}

pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    format!("`{}`", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_quotes_what_it_said() {
        let error = run(Command::new("ls").arg("/nowhere-at-all")).unwrap_err().to_string();
        assert!(error.contains("`ls /nowhere-at-all`"), "{error}");
        assert!(error.contains("No such file"), "{error}");
        assert!(run(&mut Command::new("no-such-program-here")).is_err());
    }

    #[test]
    fn standard_output_comes_back() {
        assert_eq!(try_run("echo one two").unwrap(), "one two\n");
    }
}
