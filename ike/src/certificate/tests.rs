use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::certificate::details::Details;
use crate::config::Identity;

#[path = "../../tests/pki/mod.rs"]
mod pki;

use pki::{Authority, Kind, gateway};

/// 2026-06-01 00:00 UTC.
const NOW: Duration = Duration::from_hours(494_520);

fn trust(authority: &Authority) -> TrustAnchors {
    TrustAnchors::from_pem(authority.pem().as_bytes()).unwrap()
}

fn name(text: &str) -> Identity {
    text.parse().unwrap()
}

fn ders(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

/// What is wrong with the chain for `gw1.example`, an empty text for nothing.
fn problem(trust: &TrustAnchors, chain: &str) -> String {
    problem_at(trust, chain, NOW)
}

fn problem_at(trust: &TrustAnchors, chain: &str, now: Duration) -> String {
    let verified = trust.verify(&ders(chain), &name("gw1.example"), Some(now));
    verified.err().map_or_else(String::new, |distrust| distrust.to_string())
}

/// The chain of a gateway gw1 that was changed.
fn edited(authority: &Authority, edit: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = gateway("gw1");
    edit(&mut params);
    authority.issue(Kind::P256, &params).chain
}

#[test]
fn certificates_of_each_kind_of_key_are_accepted_from_each_kind_of_authority() {
    for authority_kind in Kind::ALL {
        let root = Authority::root_with("Root", authority_kind, |_| {});
        for kind in Kind::ALL {
            let chain = root.issue(kind, &gateway("gw1")).chain;
            assert_eq!(problem(&trust(&root), &chain), "", "{kind:?} by {authority_kind:?}");
        }
    }
}

#[test]
fn an_identity_must_be_in_the_certificate() {
    let root = Authority::root("Root");
    let chain = edited(&root, |params| {
        params.subject_alt_names.extend([
            SanType::Rfc822Name("gw1@example".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::DnsName("*.wild.example".try_into().unwrap()),
        ]);
    });
    let (trust, chain) = (trust(&root), ders(&chain));
    let verify = |identity: &str| trust.verify(&chain, &name(identity), Some(NOW));
    for proven in
        ["gw1.example", "GW1.Example", "gw1@example", "192.0.2.1", "2001:db8::1", "C=DE, O=example, CN=GW1"]
    {
        verify(proven).unwrap();
    }
    let others = [
        "gw2.example",
        "gw1.example.com",
        "a.wild.example",
        "gw2@example",
        "192.0.2.2",
        "@192.0.2.1",
        "CN=gw1",
        "C=DE, O=Example, CN=gw2",
    ];
    for other in others {
        assert!(matches!(verify(other), Err(Distrust::OtherName { .. })), "{other}");
    }
    assert_eq!(
        verify("gw2.example").unwrap_err().to_string(),
        "certificate of C=DE, O=Example, CN=gw1 does not prove its identity gw2.example, its subject \
         alternative names are gw1.example, gw1@example, 192.0.2.1, 2001:db8::1, *.wild.example"
    );
}

#[test]
fn an_empty_subject_proves_nothing() {
    let root = Authority::root("Root");
    let chain = edited(&root, |params| params.distinguished_name = rcgen::DistinguishedName::new());
    let trust = trust(&root);
    let empty = Identity::DistinguishedName(crate::config::DistinguishedName::from_der(&[0x30, 0]).unwrap());
    assert!(matches!(trust.verify(&ders(&chain), &empty, Some(NOW)), Err(Distrust::OtherName { .. })));
    assert_eq!(problem(&trust, &chain), "");
}

#[test]
fn validity_is_checked_with_the_dates_told() {
    let root = Authority::root("Root");
    let (trust, chain) = (trust(&root), edited(&root, |_| {}));
    let year = Duration::from_hours(365 * 24);
    assert_eq!(
        problem_at(&trust, &chain, NOW + year),
        "certificate of C=DE, O=Example, CN=gw1 has expired on 2027-01-01 00:00 UTC (issued by C=DE, O=Example, \
         CN=Root)"
    );
    assert_eq!(
        problem_at(&trust, &chain, Duration::from_hours(47 * 365 * 24)),
        "certificate of C=DE, O=Example, CN=gw1 is not valid before 2025-01-01 00:00 UTC (issued by C=DE, \
         O=Example, CN=Root)"
    );
    let without_time = trust.verify(&ders(&chain), &name("gw1.example"), None);
    assert_eq!(without_time, Err(Distrust::NoTime));
}

#[test]
fn an_expired_authority_certifies_nothing() {
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2026, 1, 1);
    let reason = "certificate of C=DE, O=Example, CN=gw1 (issued by C=DE, O=Example, CN=Old): a certificate \
                  above it has expired on 2026-01-01 00:00 UTC";
    let root = Authority::root_with("Old", Kind::P256, expired);
    assert_eq!(problem(&trust(&root), &edited(&root, |_| {})), reason);
    let root = Authority::root("Root");
    let intermediate = root.intermediate("Old", expired);
    assert_eq!(problem(&trust(&root), &edited(&intermediate, |_| {})), reason);
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(2026, 12, 1);
    let root = Authority::root_with("New", Kind::P256, future);
    assert!(
        problem(&trust(&root), &edited(&root, |_| {})).ends_with("is not valid before 2026-12-01 00:00 UTC")
    );
}

#[test]
fn an_unknown_authority_is_named() {
    let (root, other) = (Authority::root("Root"), Authority::root("Other"));
    let prefix = "certificate of C=DE, O=Example, CN=gw1";
    assert_eq!(
        problem(&trust(&root), &edited(&other, |_| {})),
        format!("{prefix}: its issuer C=DE, O=Example, CN=Other is not trusted")
    );
    let intermediate = other.intermediate("Between", |_| {});
    let chain = edited(&intermediate, |_| {});
    assert_eq!(
        problem(&trust(&root), &chain),
        format!("{prefix}: its issuer C=DE, O=Example, CN=Other is not trusted")
    );
    assert_eq!(problem(&trust(&other), &chain), "");
    let end = ders(&chain).swap_remove(0);
    let missing = trust(&other).verify(&[end], &name("gw1.example"), Some(NOW)).unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!("{prefix}: its issuer C=DE, O=Example, CN=Between is not trusted")
    );
}

#[test]
fn an_authority_of_the_same_name_with_another_key_does_not_count() {
    let (root, namesake) = (Authority::root("Root"), Authority::root("Root"));
    assert_eq!(
        problem(&trust(&root), &edited(&namesake, |_| {})),
        "certificate of C=DE, O=Example, CN=gw1 (issued by C=DE, O=Example, CN=Root): its signature is not that \
         of the issuer, or that of a certificate above it"
    );
}

#[test]
fn key_usage_must_allow_signatures_and_ike() {
    let root = Authority::root("Root");
    let of_usage = |usage: KeyUsagePurpose| edited(&root, |params| params.key_usages = vec![usage]);
    let of_purpose =
        |purpose: ExtendedKeyUsagePurpose| edited(&root, |params| params.extended_key_usages = vec![purpose]);
    let trust = trust(&root);
    for usage in [KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment] {
        assert_eq!(problem(&trust, &of_usage(usage)), "");
    }
    assert_eq!(
        problem(&trust, &of_usage(KeyUsagePurpose::KeyEncipherment)),
        "certificate of C=DE, O=Example, CN=gw1 must not be used for digital signatures, by its key usage"
    );
    let (ipsec_ike, ike_intermediate) = (vec![1, 3, 6, 1, 5, 5, 7, 3, 17], vec![1, 3, 6, 1, 5, 5, 8, 2, 2]);
    let accepted = [
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Other(ipsec_ike),
        ExtendedKeyUsagePurpose::Other(ike_intermediate),
    ];
    for purpose in accepted {
        assert_eq!(problem(&trust, &of_purpose(purpose)), "");
    }
    assert_eq!(
        problem(&trust, &of_purpose(ExtendedKeyUsagePurpose::CodeSigning)),
        "certificate of C=DE, O=Example, CN=gw1 is not for IKE, by its extended key usage (serverAuth, \
         clientAuth or ipsecIKE)"
    );
}

#[test]
fn only_authorities_certify() {
    type Case = (&'static str, fn(&mut CertificateParams), &'static str);
    let root = Authority::root("Root");
    let cases: [Case; 3] = [
        ("no authority", |params| params.is_ca = IsCa::ExplicitNoCa, "not allowed to issue certificates"),
        (
            "no certificates by key usage",
            |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
            "not allowed to issue certificates",
        ),
        (
            "other names only",
            |params| {
                let permitted_subtrees = vec![GeneralSubtree::DnsName("other.example".to_owned())];
                params.name_constraints =
                    Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
            },
            "a certificate above it does not allow its name",
        ),
    ];
    for (what, edit, reason) in cases {
        let intermediate = root.intermediate("Between", edit);
        let problem = problem(&trust(&root), &edited(&intermediate, |_| {}));
        assert!(problem.ends_with(reason), "{what}: {problem}");
    }
    let network = GeneralSubtree::IpAddress(CidrSubnet::V4([192, 0, 2, 0], [255, 255, 255, 0]));
    let intermediate = root.intermediate("Between", |params| {
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: vec![network], excluded_subtrees: vec![] });
    });
    let address = |address: [u8; 4]| SanType::IpAddress(Ipv4Addr::from(address).into());
    let inside = edited(&intermediate, |params| params.subject_alt_names.push(address([192, 0, 2, 1])));
    assert_eq!(problem(&trust(&root), &inside), "");
}

#[test]
fn an_authority_is_no_gateway() {
    let root = Authority::root("Root");
    let chain = edited(&root, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(problem(&trust(&root), &chain).ends_with("it is one of an authority"));
}

#[test]
fn the_path_length_of_an_authority_is_kept_to() {
    let root = Authority::root_with("Root", Kind::P256, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    assert_eq!(problem(&trust(&root), &edited(&root, |_| {})), "");
    let root = Authority::root("Root");
    let first = root.intermediate("First", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let second = first.intermediate("Second", |_| {});
    assert_eq!(problem(&trust(&root), &edited(&first, |_| {})), "");
    let problem = problem(&trust(&root), &edited(&second, |_| {}));
    assert!(problem.ends_with("the chain above it is longer than allowed"), "{problem}");
}

#[test]
fn the_number_and_size_of_certificates_are_bounded() {
    let root = Authority::root("Root");
    let chain = edited(&root, |_| {});
    assert_eq!(problem(&trust(&root), &chain.repeat(MAX_CHAIN)), "");
    let too_long = Distrust::TooLong.to_string();
    assert_eq!(problem(&trust(&root), &chain.repeat(MAX_CHAIN + 1)), too_long);
    let long = edited(&root, |params| {
        let names =
            (0..1000).map(|index| SanType::DnsName(format!("gw{index}.example.com").try_into().unwrap()));
        params.subject_alt_names.extend(names);
    });
    assert_eq!(problem(&trust(&root), &(chain + &long + &long)), too_long);
    assert_eq!(trust(&root).verify(&[], &name("a"), Some(NOW)), Err(Distrust::Missing));
}

#[test]
fn octets_that_are_no_certificate_are_refused() {
    let root = Authority::root("Root");
    let der = ders(&edited(&root, |_| {})).swap_remove(0).to_vec();
    let trust = trust(&root);
    for cut in [0, 1, 10, der.len() / 2, der.len() - 1] {
        let verified = trust.verify(&[der[..cut].into()], &name("gw1.example"), Some(NOW));
        assert!(matches!(verified, Err(Distrust::Malformed(_))), "{cut}");
    }
    for at in 0..der.len() {
        for bits in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[at] ^= bits;
            assert!(
                trust.verify(&[changed.into()], &name("gw1.example"), Some(NOW)).is_err(),
                "{at} {bits:x}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn changed_chains_are_neither_accepted_nor_a_danger(
        which in 0_usize..3,
        at in any::<prop::sample::Index>(),
        octets in prop::collection::vec(any::<u8>(), 0..4),
        removed in 0_usize..4,
    ) {
        static CHAIN: LazyLock<(String, Vec<Vec<u8>>)> = LazyLock::new(|| {
            let root = Authority::root("Root");
            let lowest = root.intermediate("First", |_| {}).intermediate("Second", |_| {});
            let chain = ders(&edited(&lowest, |_| {}));
            (root.pem(), chain.into_iter().map(|der| der.to_vec()).collect())
        });
        let (root, chain) = &*CHAIN;
        let trust = TrustAnchors::from_pem(root.as_bytes()).unwrap();
        let mut changed = chain.clone();
        let at = at.index(changed[which].len());
        let end = (at + removed).min(changed[which].len());
        changed[which].splice(at..end, octets);
        let accepted = |chain: &[Vec<u8>]| {
            let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
            trust.verify(&chain, &name("gw1.example"), Some(NOW)).is_ok()
        };
        prop_assert!(accepted(chain));
        prop_assert_eq!(accepted(&changed), changed == *chain);
    }

    #[test]
    fn arbitrary_octets_are_no_danger(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Details::parse(&octets).is_err());
    }
}

#[test]
fn revoked_certificates_are_refused() {
    let root = Authority::root("Root");
    let with_serial =
        |serial: u64| edited(&root, |params| params.serial_number = Some(SerialNumber::from(serial)));
    let with_list = |serials: &[u64], until| {
        trust(&root).with_crls(root.revocation_list(serials, until).as_bytes()).unwrap()
    };
    let reason = problem(&with_list(&[6, 7], 2030), &with_serial(7));
    assert!(reason.ends_with("it has been revoked, or a certificate above it"), "{reason}");
    assert_eq!(problem(&with_list(&[6, 7], 2030), &with_serial(8)), "");
    let reason = problem(&with_list(&[6], 2026), &with_serial(8));
    assert!(reason.ends_with("the revocation list of its issuer is out of date"), "{reason}");
    // Whoever has no list is not checked.
    let other = Authority::root("Other");
    let both = TrustAnchors::from_pem((root.pem() + &other.pem()).as_bytes()).unwrap();
    let both = both.with_crls(root.revocation_list(&[7], 2030).as_bytes()).unwrap();
    assert_eq!(problem(&both, &edited(&other, |_| {})), "");
}

#[test]
fn a_revoked_authority_certifies_nothing() {
    let root = Authority::root("Root");
    let intermediate = root.intermediate("Between", |params| {
        params.serial_number = Some(SerialNumber::from(99));
    });
    let chain = edited(&intermediate, |_| {});
    let trust = trust(&root).with_crls(root.revocation_list(&[99], 2030).as_bytes()).unwrap();
    assert!(problem(&trust, &chain).ends_with("it has been revoked, or a certificate above it"));
}

#[test]
fn our_chain_ends_below_what_the_peer_trusts() {
    let root = Authority::root("Root");
    let (first, second) = (root.intermediate("First", |_| {}), Authority::root("Unrelated"));
    let lowest = first.intermediate("Lowest", |_| {});
    let issued = lowest.issue(Kind::Ed25519, &gateway("gw1"));
    // A root in the file is not sent.
    let file = issued.chain + &root.pem();
    let own = Credentials::from_pem(file.as_bytes(), issued.key.as_bytes()).unwrap();
    let sent_to = |authorities: &[&Authority]| {
        let hashes: Vec<_> =
            authorities.iter().flat_map(|one| trust(one).key_hashes().copied().collect::<Vec<_>>()).collect();
        own.chain_for(&hashes).count()
    };
    assert_eq!(sent_to(&[]), 3);
    assert_eq!(sent_to(&[&root]), 3);
    assert_eq!(sent_to(&[&second]), 3);
    assert_eq!(sent_to(&[&first]), 2);
    assert_eq!(sent_to(&[&second, &lowest, &root]), 1);
}
