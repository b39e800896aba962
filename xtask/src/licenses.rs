//! Licences of the dependencies.

mod spdx;

use crate::{cargo, environment};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use testbed::run as output;

/// Checks every package that any build of this project uses, those of the XDP programs and of the fuzz targets included.
pub(crate) fn run() -> Result<()> {
    let deny = std::fs::read_to_string(environment::workspace().join("deny.toml"))
        .context("cannot read deny.toml")?;
    let allowed = allow_list(&deny).context("deny.toml has no list `allow`")?;
    let mut checked = BTreeSet::new();
    let mut refused = Vec::new();
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml", "gateway-ebpf/Cargo.toml"] {
        for package in packages(manifest)? {
            let name = format!("{} {}", text(&package, "name"), text(&package, "version"));
            let license = text(&package, "license").to_owned();
            if checked.insert(name.clone()) && !spdx::is_satisfied(&license, &allowed) {
                let license = if license.is_empty() { "no licence expression" } else { &license };
                refused.push(format!("{name}: {license}"));
            }
        }
    }
    ensure!(refused.is_empty(), "licences that deny.toml does not allow:\n  {}", refused.join("\n  "));
    println!("{} packages, every licence is allowed", checked.len());
    Ok(())
}

fn packages(manifest: &str) -> Result<Vec<Value>> {
    let text = output(&mut cargo::cargo(["metadata", "--format-version", "1", "--manifest-path", manifest]))?;
    let mut metadata: Value = serde_json::from_str(&text).context("cargo metadata printed no JSON")?;
    match metadata["packages"].take() {
        Value::Array(packages) => Ok(packages),
        other => anyhow::bail!("cargo metadata has no list of packages but {other}"),
    }
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

/// The strings of the array `allow` in the section `[licenses]`.
fn allow_list(deny: &str) -> Option<BTreeSet<String>> {
    let section =
        deny.split("\n[").find(|section| section.trim_start_matches('[').starts_with("licenses]"))?;
    let list = section.split("\nallow = [").nth(1)?.split(']').next()?;
    Some(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_from_its_section() {
        let deny = "[bans]\nallow = [\"x\"]\n\n[licenses]\nversion = 2\nallow = [\n  \"MIT\",\n  \"ISC\",\n]\n[sources]\n";
        assert_eq!(allow_list(deny), Some(["MIT", "ISC"].map(str::to_owned).into()));
        assert_eq!(allow_list("[licenses]\nconfidence = 1\n"), None);
    }

    #[test]
    fn the_project_has_a_list() {
        let deny = std::fs::read_to_string(environment::workspace().join("deny.toml")).unwrap();
        let allowed = allow_list(&deny).unwrap();
        assert!(allowed.contains("MIT") && !allowed.contains("GPL-3.0"));
    }
}
