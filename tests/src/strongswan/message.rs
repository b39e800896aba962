//! Reader of the messages that `swanctl --raw` prints.

use anyhow::{Context as _, Result, bail, ensure};
use std::iter::Peekable;
use std::str::Chars;

/// One section of a message: `key=value`, `key=[value value]` and `key {section}`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    values: Vec<(String, String)>,
    sections: Vec<(String, Section)>,
}

impl Section {
    /// Reads the text between the outermost braces of one line, such as `list-sa event {site {uniqueid=1}}`.
    pub(super) fn parse(line: &str) -> Result<Self> {
        let start = line.find('{').with_context(|| format!("no message in {line:?}"))?;
        let mut characters = line[start + 1..].chars().peekable();
        section(&mut characters).with_context(|| format!("in {line:?}"))
    }

    /// The value of `key`; empty when there is none.
    pub(super) fn value(&self, key: &str) -> &str {
        self.values.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    /// The subsections with their names.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.sections.iter().map(|(name, section)| (name.as_str(), section))
    }

    /// The subsection `name`.
    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        self.sections().find(|(found, _)| *found == name).map(|(_, section)| section)
    }
}

/// Reads up to the brace that ends the section.
fn section(characters: &mut Peekable<Chars<'_>>) -> Result<Section> {
    let mut found = Section::default();
    loop {
        while characters.next_if(|c| *c == ' ').is_some() {}
        if characters.next_if_eq(&'}').is_some() {
            return Ok(found);
        }
        let name = word(characters, &['=', ' ', '{', '}']);
        ensure!(!name.is_empty(), "a name is missing");
        while characters.next_if(|c| *c == ' ').is_some() {}
        match characters.next() {
            Some('{') => found.sections.push((name, section(characters)?)),
            Some('=') if characters.next_if_eq(&'[').is_some() => {
                found.values.push((name, word(characters, &[']'])));
                characters.next();
            }
            Some('=') => found.values.push((name, word(characters, &[' ', '}']))),
            other => bail!("{other:?} after {name:?}"),
        }
    }
}

fn word(characters: &mut Peekable<Chars<'_>>, ends: &[char]) -> String {
    std::iter::from_fn(|| characters.next_if(|c| !ends.contains(c))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lists_and_sections_are_read() {
        let line = "list-sa event {site {uniqueid=7 state=ESTABLISHED child-sas {net-3 {spi-in=c0ffee local-ts=[10.2.0.0/16 \
                    10.3.0.0/16]}} tasks=[]}}";
        let message = Section::parse(line).unwrap();
        let site = message.section("site").unwrap();
        assert_eq!(
            (site.value("uniqueid"), site.value("state"), site.value("tasks")),
            ("7", "ESTABLISHED", "")
        );
        let (name, child) = site.section("child-sas").unwrap().sections().next().unwrap();
        assert_eq!((name, child.value("spi-in")), ("net-3", "c0ffee"));
        assert_eq!(child.value("local-ts"), "10.2.0.0/16 10.3.0.0/16");
    }

    #[test]
    fn a_broken_message_is_refused() {
        for line in ["list-sas reply", "event {site {a=1}", "event {=1}"] {
            assert!(Section::parse(line).is_err(), "{line}");
        }
    }
}
