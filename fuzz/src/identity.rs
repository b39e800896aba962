//! Identities and distinguished names against arbitrary octets and text.

use ike::{DistinguishedName, Identity};

/// A DER Name: what is accepted reads back from its text as the same name.
pub fn name(der: &[u8]) {
    let Ok(name) = DistinguishedName::from_der(der) else { return };
    assert_eq!(name.as_der(), der);
    assert!(name.is_same(&name));
    let text = name.to_string();
    assert!(!text.chars().any(char::is_control), "a control character in {text:?}");
    if let Ok(again) = text.parse::<DistinguishedName>() {
        assert!(again.is_same(&name) && name.is_same(&again), "{text} reads back as {again}");
    }
}

/// Text of a user: a distinguished name is shown in a form that means the same.
pub fn text(text: &str) {
    let Ok(Identity::DistinguishedName(name)) = text.parse::<Identity>() else { return };
    let shown = name.to_string();
    match shown.parse::<DistinguishedName>() {
        Ok(again) => assert!(again.is_same(&name), "{text:?} is shown as {shown:?}"),
        Err(error) => panic!("{text:?} is shown as {shown:?}: {error}"),
    }
}
