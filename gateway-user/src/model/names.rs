//! The rule for names.

/// Most characters of a name.
pub const MAX_NAME_LEN: usize = 63;

/// Whether `name` may name a virtual network, a site or anything else: 1 to 63 ASCII letters, digits, `-`, `_` or `.`,
/// first a letter or digit, no `..`. Names become path components, hence no spaces or separators.
pub fn is_valid_name(name: &str) -> bool {
    let permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= MAX_NAME_LEN
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(permitted)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_path_components() {
        for name in ["VNet1", "7", "a.b-c_d.", &"x".repeat(63)] {
            assert!(is_valid_name(name), "{name}");
        }
        for name in ["", ".", "..", "../etc", "a/b", "a..b", "-a", ".a", "a b", "é", &"x".repeat(64)] {
            assert!(!is_valid_name(name), "{name}");
        }
    }
}
