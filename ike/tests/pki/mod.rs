//! Authorities and certificates for tests.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// Made with `openssl genpkey`, because `rcgen` cannot; it protects nothing.
const RSA_2048: &str = include_str!("../data/rsa-2048.pem");

/// An authority with its key.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
    /// The certificates from this authority's up to below the root's, in PEM.
    chain: String,
}

/// A certificate and its private key, in PEM.
pub(crate) struct Issued {
    /// With the intermediate authorities.
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// What a key is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Rsa, Self::P256, Self::P384, Self::Ed25519];

    pub(crate) fn generate(self) -> KeyPair {
        let algorithm = match self {
            Self::Rsa => return KeyPair::from_pem(RSA_2048).unwrap(),
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &PKCS_ED25519,
        };
        KeyPair::generate_for(algorithm).unwrap()
    }
}

impl Authority {
    /// A self-signed authority `C=DE, O=Example, CN=<name>`.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, Kind::P256, |_| {})
    }

    pub(crate) fn root_with(name: &str, kind: Kind, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (authority(name, edit), kind.generate());
        let certificate = params.self_signed(&key).unwrap();
        Self { params, key, certificate, chain: String::new() }
    }

    /// An authority below this one.
    pub(crate) fn intermediate(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (authority(name, edit), Kind::P384.generate());
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        let chain = certificate.pem() + &self.chain;
        Self { params, key, certificate, chain }
    }

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The certificate of a [`gateway`].
    pub(crate) fn issue(&self, kind: Kind, params: &CertificateParams) -> Issued {
        let key = kind.generate();
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        Issued { chain: certificate.pem() + &self.chain, key: key.serialize_pem() }
    }

    /// A revocation list from 2020 to 2030 or another year.
    pub(crate) fn revocation_list(&self, serials: &[u64], until: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

/// A gateway `C=DE, O=Example, CN=<name>` with the domain name `<name>.example`.
pub(crate) fn gateway(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name);
    params.subject_alt_names = vec![SanType::DnsName(format!("{name}.example").try_into().unwrap())];
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn authority(name: &str, edit: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    edit(&mut params);
    params
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "DE");
    subject.push(DnType::OrganizationName, "Example");
    subject.push(DnType::CommonName, name);
    subject
}
