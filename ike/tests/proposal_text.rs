//! Proposals in strongSwan's syntax: what is understood, and what is refused with which reason.

use ike::{
    DhGroup, EspAead, EspProposal, IkeAead, IkeCbc, IkeEncryption, IkeProposal, Integrity, Prf, ProposalError,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn ike(text: &str) -> Result<IkeProposal, ProposalError> {
    text.parse()
}

fn esp(text: &str) -> Result<EspProposal, ProposalError> {
    text.parse()
}

/// The parsed proposal, written again in full.
fn ike_text(text: &str) -> String {
    ike(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

fn ike_error(text: &str) -> String {
    ike(text).unwrap_err().to_string()
}

fn esp_error(text: &str) -> String {
    esp(text).unwrap_err().to_string()
}

#[test]
fn one_algorithm_of_each_kind_is_understood() {
    assert_eq!(
        ike("aes256gcm16-prfsha384-ecp384"),
        Ok(IkeProposal::single(IkeAead::Aes256Gcm16, Prf::HmacSha384, DhGroup::Ecp384))
    );
    assert_eq!(
        ike("aes256-sha256-prfsha512-modp3072"),
        Ok(IkeProposal {
            encryption: IkeEncryption::Cbc {
                ciphers: vec![IkeCbc::Aes256],
                integrity: vec![Integrity::HmacSha256]
            },
            prf: vec![Prf::HmacSha512],
            groups: vec![DhGroup::Modp3072],
        })
    );
    assert_eq!(
        esp("chacha20poly1305-ecp521-noesn"),
        Ok(EspProposal::single(EspAead::ChaCha20Poly1305, Some(DhGroup::Ecp521), false))
    );
}

#[test]
fn the_order_within_a_kind_is_kept_and_repetitions_count_once() {
    assert_eq!(
        ike_text("x25519-aes128gcm16-prfsha256-chacha20poly1305-modp4096-prfsha512-aes128gcm16"),
        "aes128gcm16-chacha20poly1305-prfsha256-prfsha512-x25519-modp4096"
    );
}

#[test]
fn without_a_named_prf_it_follows_the_integrity_algorithms() {
    assert_eq!(ike_text("aes256-sha256-modp2048"), "aes256-sha256-prfsha256-modp2048");
    assert_eq!(ike_text("aes128-sha512-sha384-x25519"), "aes128-sha512-sha384-prfsha512-prfsha384-x25519");
    assert_eq!(ike_text("aes128-sha512-prfsha256-x25519"), "aes128-sha512-prfsha256-x25519");
}

#[test]
fn strongswans_other_names_mean_the_same() {
    for (alias, name) in [
        ("aes256gcm", "aes256gcm16"),
        ("aes128gcm128", "aes128gcm16"),
        ("aes256gcm128", "aes256gcm16"),
        ("aes128gcm", "aes128gcm16"),
    ] {
        assert_eq!(ike(&format!("{alias}-prfsha256-x25519")), ike(&format!("{name}-prfsha256-x25519")));
        assert_eq!(esp(alias), esp(name));
    }
    assert_eq!(
        ike_text("aes-sha2_256-sha2_384-sha2_512-prfsha256-curve25519"),
        "aes128-sha256-sha384-sha512-prfsha256-x25519"
    );
    assert_eq!(esp("aes256gcm16-curve25519"), esp("aes256gcm16-x25519"));
}

#[test]
fn an_esp_proposal_says_secrecy_and_sequence_numbers_or_leaves_them_open() {
    assert_eq!(esp("chacha20poly1305").unwrap().to_string(), "chacha20poly1305-esn-noesn");
    assert_eq!(esp("aes256gcm16-noesn-esn").unwrap().esn, [false, true]);
    assert_eq!(esp("aes256gcm16-noesn").unwrap().esn, [false]);
    assert!(esp("aes256gcm16").unwrap().groups.is_empty());
}

#[test]
fn an_esp_cipher_may_have_an_implicit_iv() {
    assert_eq!(
        esp("chacha20poly1305iiv-aes128gcm16iiv-noesn").unwrap().encryption,
        [EspAead::ChaCha20Poly1305Iiv, EspAead::Aes128Gcm16Iiv]
    );
}

#[test]
fn insecure_algorithms_are_refused_with_the_reason() {
    for (token, reason) in [
        ("null", "does not encrypt"),
        ("des", "56 bits"),
        ("3des", "Sweet32"),
        ("blowfish256", "Sweet32"),
        ("cast128", "Sweet32"),
        ("rc4", "broken"),
        ("aes256ecb", "ECB"),
        ("aes128gmac", "does not encrypt"),
        ("md5", "MD5"),
        ("prfmd5", "MD5"),
        ("sha1", "SHA-1"),
        ("sha", "SHA-1"),
        ("prfsha1", "SHA-1"),
        ("modp768", "too short"),
        ("modp1024", "too short"),
        ("modp1536", "too short"),
        ("modp1024s160", "subgroup"),
        ("modp2048s256", "subgroup"),
        ("modpnull", "no key"),
    ] {
        for error in [ike(&format!("aes256-sha256-x25519-{token}")).unwrap_err(), esp(token).unwrap_err()] {
            assert!(
                matches!(&error, ProposalError::Insecure { token: found, .. } if found == token),
                "{error:?}"
            );
            let text = error.to_string();
            assert!(text.starts_with(token) && text.contains("insecure") && text.contains(reason), "{text}");
        }
    }
}

#[test]
fn algorithms_that_only_strongswan_has_are_told_from_unknown_ones() {
    for token in [
        "aes192",
        "aes192gcm16",
        "aes256gcm8",
        "aes256gcm96",
        "aes128ccm16",
        "aes256ctr",
        "camellia256",
        "camellia128ctr",
        "serpent128",
        "twofish256",
        "aesxcbc",
        "prfaescmac",
        "sha256_96",
        "modp6144",
        "modp8192",
        "modpnone",
        "ecp192",
        "ecp224",
        "ecp384bp",
        "x448",
        "curve448",
        "ntru256",
        "newhope128",
        "mlkem768",
        "kyber3",
        "ke1_mlkem768",
    ] {
        for error in [ike(token).unwrap_err(), esp(token).unwrap_err()] {
            assert!(
                matches!(&error, ProposalError::Unsupported { token: found, .. } if found == token),
                "{error:?}"
            );
            let text = error.to_string();
            assert!(text.contains("known but not supported") && text.contains("chacha20poly1305"), "{text}");
        }
    }
}

#[test]
fn unknown_names_are_shown_with_all_that_are_accepted() {
    for token in [
        "aes257gcm16",
        "sha3",
        "AES256",
        "aes256gcm16!",
        "ke8_x",
        "ke1",
        "prfsha3",
        "\u{1b}[31m",
        "camellia\u{1b}[31m",
    ] {
        let error = ike(token).unwrap_err();
        assert!(matches!(error, ProposalError::Unknown { .. }), "{error:?}");
    }
    let error = ike_error("aes256gcm16-blub-x25519");
    assert!(error.starts_with("unknown algorithm \"blub\"; accepted are aes256gcm16, "), "{error}");
    for name in ["aes128", "sha384", "prfsha512", "x25519", "ecp521", "modp4096"] {
        assert!(error.contains(name), "{error}");
    }
    let error = esp_error("blub");
    assert!(
        error.contains("aes128gcm16") && error.contains("modp3072") && error.contains("noesn"),
        "{error}"
    );
    assert!(!error.contains("prfsha") && !error.contains("sha384"), "{error}");
    // What a terminal would act on is not repeated as it is.
    assert!(!ike_error("camellia\u{1b}[31m").contains('\u{1b}'));
}

#[test]
fn missing_kinds_are_named() {
    assert!(ike_error("prfsha256-x25519").contains("no cipher; name one of aes256gcm16"));
    assert!(ike_error("aes256gcm16-x25519").contains("no pseudo-random function; name one of prfsha256"));
    assert!(ike_error("aes256gcm16-prfsha256").contains("no key exchange group; name one of x25519"));
    assert!(ike_error("aes256-prfsha256-x25519").contains("no integrity algorithm; name one of sha256"));
    assert!(esp_error("x25519-esn").contains("no cipher; name one of chacha20poly1305"));
    for empty in ["", "-", "aes256gcm16--x25519"] {
        assert!(matches!(ike(empty), Err(ProposalError::Unknown { .. })), "{empty:?}");
        assert!(matches!(esp(empty), Err(ProposalError::Unknown { .. })), "{empty:?}");
    }
}

#[test]
fn algorithms_in_the_wrong_place_are_refused_with_the_reason() {
    for (text, token, reason) in [
        ("aes256gcm16-aes256-sha256-prfsha256-x25519", "aes256", "a proposal each"),
        ("aes256gcm16-sha256-prfsha256-x25519", "sha256", "themselves"),
        ("aes256gcm16-prfsha256-x25519-esn", "esn", "sequence numbers"),
        ("aes256gcm16iiv-prfsha256-x25519", "aes256gcm16iiv", "RFC 8750"),
        ("chacha20poly1305iiv-prfsha256-x25519", "chacha20poly1305iiv", "RFC 8750"),
        ("aes256gcm16-prfsha256-x25519-noesn", "noesn", "sequence numbers"),
    ] {
        let error = ike(text).unwrap_err();
        assert!(
            matches!(&error, ProposalError::Misplaced { token: found, .. } if found == token),
            "{error:?}"
        );
        assert!(error.to_string().contains(reason), "{error}");
    }
    for (text, token, reason) in [
        ("aes256-sha256-modp2048", "aes256", "AEAD only"),
        ("aes256gcm16-sha384", "sha384", "AEAD only"),
        ("aes256gcm16-prfsha384", "prfsha384", "no pseudo-random function"),
    ] {
        let error = esp(text).unwrap_err();
        assert!(
            matches!(&error, ProposalError::Misplaced { token: found, .. } if found == token),
            "{error:?}"
        );
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// Some of these, in any order.
fn some<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    subsequence(all, 1..=all.len()).prop_shuffle()
}

fn ike_proposal() -> impl Strategy<Value = IkeProposal> {
    let aead = some(&IkeAead::ALL).prop_map(IkeEncryption::Aead);
    let cbc = (some(&IkeCbc::ALL), some(&Integrity::ALL))
        .prop_map(|(ciphers, integrity)| IkeEncryption::Cbc { ciphers, integrity });
    (prop_oneof![aead, cbc], some(&Prf::ALL), some(&DhGroup::ALL))
        .prop_map(|(encryption, prf, groups)| IkeProposal { encryption, prf, groups })
}

fn esp_proposal() -> impl Strategy<Value = EspProposal> {
    let groups = prop_oneof![Just(Vec::new()), some(&DhGroup::ALL)];
    (some(&EspAead::ALL), groups, some(&[false, true])).prop_map(|(encryption, groups, esn)| EspProposal {
        encryption,
        groups,
        esn,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(ike in ike_proposal(), esp in esp_proposal()) {
        prop_assert_eq!(ike.to_string().parse(), Ok(ike));
        prop_assert_eq!(esp.to_string().parse(), Ok(esp));
    }

    #[test]
    fn no_text_panics(
        text in ".{0,60}",
        tokens in vec(select(["aes", "aes256gcm", "gcm", "", "sha256", "ke1", "ke", "aesgcm16", "esn"].as_slice()), 0..6),
    ) {
        for text in [text, tokens.join("-")] {
            let _ = (ike(&text), esp(&text));
        }
    }
}
