//! Licence expressions (SPDX specification, annex D), as far as packages use them.

use std::collections::BTreeSet;

/// Whether someone who accepts only the licences in `allowed` may use a package under `expression`. An exception is part
/// of its licence's name: `Apache-2.0 WITH LLVM-exception` must be allowed as such or by its licence alone, because an
/// exception only adds permissions. An expression that cannot be read is not satisfied.
pub(super) fn is_satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // Old packages write `MIT/Apache-2.0` for `MIT OR Apache-2.0`.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens, allowed };
    parser.disjunction() == Some(true) && parser.tokens.is_empty()
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl<'a> Parser<'a> {
    fn disjunction(&mut self) -> Option<bool> {
        let mut value = self.conjunction()?;
        while self.take("OR") {
            value |= self.conjunction()?;
        }
        Some(value)
    }

    fn conjunction(&mut self) -> Option<bool> {
        let mut value = self.term()?;
        while self.take("AND") {
            value &= self.term()?;
        }
        Some(value)
    }

    fn term(&mut self) -> Option<bool> {
        if self.take("(") {
            let value = self.disjunction()?;
            return self.take(")").then_some(value);
        }
        let license = self.next().filter(|token| !["AND", "OR", "WITH", ")"].contains(token))?;
        if !self.take("WITH") {
            return Some(self.allowed.contains(license));
        }
        let with_exception = format!("{license} WITH {}", self.next()?);
        Some(self.allowed.contains(license) || self.allowed.contains(&with_exception))
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.first() == Some(&token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_evaluated() {
        let allowed = ["MIT", "ISC", "Apache-2.0"].map(str::to_owned).into();
        let cases = [
            ("MIT", true),
            ("GPL-3.0", false),
            ("", false),
            ("MIT OR GPL-3.0", true),
            ("MIT/Apache-2.0", true),
            ("MIT AND GPL-3.0", false),
            ("GPL-3.0 OR MIT AND ISC", true),
            ("(GPL-3.0 OR MIT) AND EUPL-1.2", false),
            ("Apache-2.0 WITH LLVM-exception OR BSL-1.0", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT ISC", false),
        ];
        for (expression, expected) in cases {
            assert_eq!(is_satisfied(expression, &allowed), expected, "{expression}");
        }
    }
}
