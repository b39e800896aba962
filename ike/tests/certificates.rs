//! Certificates and private keys from files: what is accepted, and what a user is told otherwise.

use ike::crypto::SignatureError;
use ike::{CertificateError, Credentials, Identity, TrustAnchors};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

mod pki;

use pki::{Authority, Issued, Kind, gateway};

fn load(issued: &Issued) -> Result<Credentials, CertificateError> {
    Credentials::from_pem(issued.chain.as_bytes(), issued.key.as_bytes())
}

fn error(chain: &str, key: &str) -> CertificateError {
    Credentials::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err()
}

#[test]
fn credentials_of_each_kind_load_and_name_their_subject() {
    let root = Authority::root("Root");
    for kind in Kind::ALL {
        let credentials = load(&root.issue(kind, &gateway("gw1"))).unwrap();
        assert_eq!(credentials.identity().to_string(), "C=DE, O=Example, CN=gw1");
        assert!(credentials.proves(&"gw1.example".parse().unwrap()));
        assert!(!credentials.proves(&"gw2.example".parse().unwrap()));
        assert_eq!(format!("{credentials:?}"), r#"Credentials { subject: "C=DE, O=Example, CN=gw1", .. }"#);
    }
}

#[test]
fn a_certificate_without_subject_goes_by_its_first_alternative_name() {
    let mut params = gateway("gw1");
    params.distinguished_name = rcgen::DistinguishedName::new();
    let issue = |params: &CertificateParams| Authority::root("Root").issue(Kind::P256, params);
    assert_eq!(load(&issue(&params)).unwrap().identity(), Identity::Fqdn("gw1.example".to_owned()));
    params.subject_alt_names.clear();
    assert_eq!(load(&issue(&params)).unwrap_err(), CertificateError::Nameless);
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let issued = Authority::root("Root").issue(Kind::P256, &gateway("gw1"));
    assert_eq!(error("", &issued.key), CertificateError::NoCertificate);
    assert_eq!(error(&issued.key, &issued.key), CertificateError::NoCertificate);
    assert_eq!(error(&issued.chain, &issued.chain), CertificateError::NoPrivateKey);
    let twice = issued.key.clone() + &issued.key;
    assert_eq!(error(&issued.chain, &twice), CertificateError::SeveralPrivateKeys);
    let encrypted = issued.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    assert_eq!(error(&issued.chain, &encrypted), CertificateError::NoPrivateKey);
    let cut = &issued.chain[..issued.chain.len() / 2];
    assert!(matches!(error(cut, &issued.key), CertificateError::Pem(_)));
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let second = issued.chain.clone() + no_der;
    assert!(matches!(error(&second, &issued.key), CertificateError::Malformed { number: 2, .. }));
}

#[test]
fn a_damaged_private_key_is_not_shown() {
    let issued = Authority::root("Root").issue(Kind::P256, &gateway("gw1"));
    let body = issued.key.lines().nth(1).unwrap();
    let damaged = issued.key.replace(body, &format!("{body}!"));
    let error = error(&issued.chain, &damaged);
    assert_eq!(error, CertificateError::DamagedPrivateKey);
}

#[test]
fn the_private_key_must_be_that_of_the_certificate() {
    let root = Authority::root("Root");
    let (one, other) = (root.issue(Kind::P256, &gateway("gw1")), root.issue(Kind::P256, &gateway("gw2")));
    assert_eq!(error(&one.chain, &other.key), CertificateError::Key(SignatureError::OtherPublicKey));
    let of_other_kind = root.issue(Kind::Ed25519, &gateway("gw3"));
    let reason = error(&one.chain, &of_other_kind.key).to_string();
    assert!(reason.starts_with("private key cannot be used as ECDSA P-256: "), "{reason}");
}

#[test]
fn the_chain_must_lead_from_the_gateway_upwards() {
    let root = Authority::root("Root");
    let issued = root.intermediate("Between", |_| {}).issue(Kind::P256, &gateway("gw1"));
    let ordered = issued.chain.clone() + &root.pem();
    Credentials::from_pem(ordered.as_bytes(), issued.key.as_bytes()).unwrap();
    let upside_down = root.pem() + &issued.chain;
    let subject = "C=DE, O=Example, CN=Root".to_owned();
    assert_eq!(
        error(&upside_down, &issued.key),
        CertificateError::AuthorityFirst { subject: subject.clone() }
    );
    let gap = root.issue(Kind::P256, &gateway("gw1"));
    let unrelated = gap.chain.clone() + &Authority::root("Other").pem();
    let subject = subject.replace("Root", "Other");
    assert_eq!(error(&unrelated, &gap.key), CertificateError::OutOfOrder { number: 2, subject });
    let long = gap.chain.clone() + &root.pem().repeat(8);
    assert_eq!(error(&long, &gap.key), CertificateError::TooLong);
}

#[test]
fn a_certificate_for_other_uses_is_refused() {
    let usages: [fn(&mut CertificateParams); 2] = [
        |params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment],
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
    ];
    for edit in usages {
        let mut params = gateway("gw1");
        edit(&mut params);
        let subject = "C=DE, O=Example, CN=gw1".to_owned();
        let issued = Authority::root("Root").issue(Kind::P256, &params);
        assert_eq!(load(&issued).unwrap_err(), CertificateError::Usage { subject });
    }
}

#[test]
fn only_authorities_can_be_trusted() {
    let root = Authority::root("Root");
    let load = |pem: &str| TrustAnchors::from_pem(pem.as_bytes());
    load(&(root.pem() + &root.intermediate("Between", |_| {}).pem())).unwrap();
    assert_eq!(load("").unwrap_err(), CertificateError::NoCertificate);
    let subject = "C=DE, O=Example, CN=gw1".to_owned();
    let end_entity = root.issue(Kind::P256, &gateway("gw1")).chain;
    assert_eq!(load(&end_entity).unwrap_err(), CertificateError::NoAuthority { subject });
    let no_certificates = Authority::root_with("CRLs only", Kind::P256, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    assert!(matches!(load(&no_certificates.pem()), Err(CertificateError::NoAuthority { .. })));
}

#[test]
fn revocation_lists_are_read() {
    let root = Authority::root("Root");
    let trust = || TrustAnchors::from_pem(root.pem().as_bytes()).unwrap();
    let list = root.revocation_list(&[7], 2030);
    assert_ne!(trust().with_crls(list.as_bytes()).unwrap(), trust());
    assert_eq!(trust().with_crls(b"").unwrap_err(), CertificateError::NoRevocationList);
    let damaged = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let error = trust().with_crls(damaged).unwrap_err();
    assert!(matches!(error, CertificateError::RevocationList { number: 1, .. }), "{error}");
}
