use proptest::prelude::*;

use super::*;

fn name(text: &str) -> DistinguishedName {
    text.parse().unwrap()
}

/// A name with one CN whose value has this tag.
fn common_name(tag: u8, value: &[u8]) -> DistinguishedName {
    let value = der::element(tag, &[value]);
    let attribute = der::element(0x30, &[&[0x06, 0x03, 0x55, 0x04, 0x03], &value]);
    let level = der::element(0x31, &[&attribute]);
    DistinguishedName::from_der(&der::element(0x30, &[&level])).unwrap()
}

#[test]
fn text_becomes_the_der_that_certificates_have() {
    let der = concat!(
        "302e310b3009060355040613024445",
        "3110300e060355040a0c0742c3bc63686572",
        "310d300b06035504031304676f6f64",
    );
    let der = der.replacen("302e", "302c", 1).replacen("3110300e060355040a0c07", "310e300c060355040a0c05", 1);
    let der = der.replacen("42c3bc63686572", "42c3bc6368", 1);
    let encoded = name("C=DE, o = B\u{fc}ch ,CN=good");
    assert_eq!(hex::encode(encoded.as_der()), der);
    assert_eq!(encoded.to_string(), "C=DE, O=B\u{fc}ch, CN=good");
}

#[test]
fn encodings_case_and_spaces_do_not_tell_names_apart() {
    let printable = common_name(0x13, b"Gateway One");
    let utf8 = common_name(0x0c, b" gateway  one ");
    let bmp = common_name(0x1e, &"GATEWAY ONE".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>());
    assert!(printable.is_same(&utf8) && printable.is_same(&bmp));
    assert_ne!(printable, utf8);
    assert!(!printable.is_same(&common_name(0x13, b"GatewayOne")));
}

#[test]
fn order_number_and_kind_of_attributes_tell_names_apart() {
    let one = name("C=DE, O=a, CN=b");
    for other in
        ["C=DE, CN=b, O=a", "C=DE, O=a", "C=DE, O=a, CN=b, CN=b", "C=DE, O=b, CN=a", "C=DE, O=a, OU=b"]
    {
        assert!(!one.is_same(&name(other)), "{other}");
    }
    assert!(name("C=DE, O=a+CN=b").is_same(&name("C=DE, CN=b + O=a")));
    assert!(!name("C=DE, O=a+CN=b").is_same(&one));
}

#[test]
fn values_that_are_no_text_are_compared_as_octets() {
    let (one, other) = (common_name(0x03, &[0, 1]), common_name(0x03, &[0, 2]));
    assert!(one.is_same(&one.clone()) && !one.is_same(&other));
    assert_eq!(one.to_string(), "CN=#03020001");
    assert_eq!(name("CN=#03020001"), one);
}

#[test]
fn special_characters_are_escaped_and_read_again() {
    let special = name(r"O=Foo\, Inc., CN=a\+b\\c, OU=\#1, L=\ x\20");
    assert_eq!(special.to_string(), r"O=Foo\, Inc., CN=a\+b\\c, OU=\#1, L=\20x\20");
    assert_eq!(name(&special.to_string()), special);
    let hostile = common_name(0x0c, "a\n\u{202e}b\u{1b}[0m".as_bytes());
    assert_eq!(hostile.to_string(), r"CN=a\0a\e2\80\aeb\1b[0m");
}

#[test]
fn unknown_attributes_are_object_identifiers() {
    assert_eq!(name("1.2.3.4=a").to_string(), "1.2.3.4=a");
    assert_eq!(name("2.5.4.3=a").to_string(), "CN=a");
    assert_eq!(name("emailAddress=a@b").to_string(), "E=a@b");
}

#[test]
fn octets_that_are_no_name_are_refused() {
    let mut trailing = name("CN=a").as_der().to_vec();
    trailing[1] += 2;
    trailing.extend([0x05, 0x00]);
    for der in [&[][..], &[0x30], &[0x30, 0x01, 0x00], &[0x30, 0x00, 0x00], &[0x31, 0x00], &trailing] {
        assert_eq!(DistinguishedName::from_der(der), Err(IdentityError::MalformedDer), "{der:x?}");
    }
    assert!(DistinguishedName::from_der(&[0x30, 0x00]).unwrap().is_empty());
    assert_eq!(DistinguishedName::from_der(&[0; 5000]), Err(IdentityError::TooLong));
}

#[test]
fn malformed_object_identifiers_are_refused() {
    let name_of = |kind: &[u8]| {
        let attribute = der::element(0x30, &[&der::element(0x06, &[kind]), &[0x0c, 0x01, b'a']]);
        DistinguishedName::from_der(&der::element(0x30, &[&der::element(0x31, &[&attribute])]))
    };
    assert_eq!(name_of(&[0x55, 0x04, 0x03]).unwrap().to_string(), "CN=a");
    assert_eq!(name_of(&[0x2a, 0x86, 0x48]).unwrap().to_string(), "1.2.840=a");
    let longest_arc = [&[0x2a][..], &[0xff; 8], &[0x7f]].concat();
    assert_eq!(name_of(&longest_arc).unwrap().to_string(), format!("1.2.{}=a", (1_u64 << 63) - 1));
    let too_long = [&[0x2a][..], &[0xff; 9], &[0x7f]].concat();
    for kind in [&[][..], &[0x55, 0x04, 0x83], &[0x55, 0x80, 0x04], &too_long] {
        assert_eq!(name_of(kind), Err(IdentityError::MalformedDer), "{kind:x?}");
    }
}

proptest! {
    #[test]
    fn any_text_survives_writing_and_reading(values in prop::collection::vec("\\PC{1,20}|[ \\\\,+#=]{1,5}", 1..5)) {
        let attributes: Vec<_> = values.iter().map(|value| {
            let value = der::element(0x0c, &[value.as_bytes()]);
            der::element(0x31, &[&der::element(0x30, &[&[0x06, 0x03, 0x55, 0x04, 0x0a], &value])])
        }).collect();
        let attributes: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
        let written = DistinguishedName::from_der(&der::element(0x30, &attributes)).unwrap();
        let read: DistinguishedName = written.to_string().parse().unwrap();
        prop_assert!(read.is_same(&written), "{written} became {read}");
    }

    #[test]
    fn no_text_and_no_octets_make_it_panic(text in "\\PC{0,40}", octets in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = text.parse::<DistinguishedName>();
        if let Ok(name) = DistinguishedName::from_der(&octets) {
            let _ = (name.to_string(), name.is_same(&name));
        }
    }
}
