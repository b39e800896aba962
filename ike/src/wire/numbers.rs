//! Numbers of the IANA registry "Internet Key Exchange Version 2 (IKEv2) Parameters".

macro_rules! registry {
    ($(#[$doc:meta])* $name:ident($repr:ty) { $($(#[$const_doc:meta])* $constant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$const_doc])* pub const $constant: Self = Self($value);)*
        }
    };
}

registry! {
    /// Exchange type (RFC 7296 §3.1).
    ExchangeType(u8) {
        /// The key exchange that starts an IKE SA.
        IKE_SA_INIT = 34,
        /// Authentication and the first Child SA.
        IKE_AUTH = 35,
        /// Further Child SAs and all rekeying.
        CREATE_CHILD_SA = 36,
        /// Deletes, errors, liveness.
        INFORMATIONAL = 37,
    }
}

registry! {
    /// Payload type (RFC 7296 §3.2).
    PayloadType(u8) {
        /// Nothing follows.
        NONE = 0,
        /// Security Association.
        SA = 33,
        /// Key Exchange.
        KE = 34,
        /// Identification of the initiator.
        ID_I = 35,
        /// Identification of the responder.
        ID_R = 36,
        /// Certificate.
        CERT = 37,
        /// Certificate Request.
        CERTREQ = 38,
        /// Authentication.
        AUTH = 39,
        /// Nonce.
        NONCE = 40,
        /// Notify.
        NOTIFY = 41,
        /// Delete.
        DELETE = 42,
        /// Vendor ID.
        VENDOR_ID = 43,
        /// Traffic selectors of the initiator.
        TS_I = 44,
        /// Traffic selectors of the responder.
        TS_R = 45,
        /// Encrypted and Authenticated.
        SK = 46,
        /// Encrypted and Authenticated Fragment (RFC 7383 §2.5).
        SKF = 53,
    }
}

registry! {
    /// Protocol of an SPI or proposal (RFC 7296 §3.3.1).
    ProtocolId(u8) {
        /// No protocol: a Notify that concerns no particular SA.
        NONE = 0,
        /// IKE.
        IKE = 1,
        /// AH.
        AH = 2,
        /// ESP.
        ESP = 3,
    }
}

registry! {
    /// Kind of transform (RFC 7296 §3.3.2).
    TransformType(u8) {
        /// Encryption algorithm.
        ENCR = 1,
        /// Pseudo-random function.
        PRF = 2,
        /// Integrity algorithm.
        INTEG = 3,
        /// Diffie-Hellman group, since RFC 9370 "key exchange method".
        DH = 4,
        /// Extended sequence numbers.
        ESN = 5,
    }
}

registry! {
    /// Identification type (RFC 7296 §3.5).
    IdType(u8) {
        /// An IPv4 address of four octets.
        IPV4_ADDR = 1,
        /// A domain name.
        FQDN = 2,
        /// An e-mail address.
        RFC822_ADDR = 3,
        /// An IPv6 address of sixteen octets.
        IPV6_ADDR = 5,
        /// A distinguished name in DER.
        DER_ASN1_DN = 9,
    }
}

registry! {
    /// Certificate encoding (RFC 7296 §3.6).
    CertEncoding(u8) {
        /// X.509 certificate in DER, for a signature.
        X509_SIGNATURE = 4,
        /// Hash and URL of an X.509 certificate.
        HASH_AND_URL = 12,
        /// Hash and URL of a bundle of X.509 certificates.
        HASH_AND_URL_BUNDLE = 13,
    }
}

registry! {
    /// Authentication method (RFC 7296 §3.8).
    AuthMethod(u8) {
        /// RSA Digital Signature.
        RSA = 1,
        /// Shared Key Message Integrity Code.
        SHARED_KEY = 2,
        /// DSS Digital Signature.
        DSS = 3,
        /// ECDSA with SHA-256 on the P-256 curve (RFC 4754).
        ECDSA_256 = 9,
        /// ECDSA with SHA-384 on the P-384 curve (RFC 4754).
        ECDSA_384 = 10,
        /// ECDSA with SHA-512 on the P-521 curve (RFC 4754).
        ECDSA_521 = 11,
        /// NULL Authentication (RFC 7619).
        NULL = 13,
        /// Digital Signature (RFC 7427).
        DIGITAL_SIGNATURE = 14,
    }
}

impl AuthMethod {
    /// What a human calls it.
    pub fn name(self) -> String {
        let name = match self {
            Self::RSA => "an RSA signature without RFC 7427",
            Self::SHARED_KEY => "a pre-shared key",
            Self::DSS => "a DSS signature",
            Self::ECDSA_256 | Self::ECDSA_384 | Self::ECDSA_521 => "an ECDSA signature without RFC 7427",
            Self::NULL => "no authentication at all",
            Self::DIGITAL_SIGNATURE => "a digital signature",
            Self(method) => return format!("authentication method {method}"),
        };
        name.to_owned()
    }
}

registry! {
    /// Notify message type (RFC 7296 §3.10.1); below 16384 these are errors.
    NotifyType(u16) {
        /// A payload with the critical bit was not understood; the data is its type.
        UNSUPPORTED_CRITICAL_PAYLOAD = 1,
        /// The SPIs of the message are those of no IKE SA (RFC 7296 §2.21.4).
        INVALID_IKE_SPI = 4,
        /// The major version of the message is newer than that of the answer (RFC 7296 §2.5).
        INVALID_MAJOR_VERSION = 5,
        /// Malformed message.
        INVALID_SYNTAX = 7,
        /// An ESP packet came with the SPI in the data, which is that of no SA (RFC 7296 §1.5).
        INVALID_SPI = 11,
        /// None of the proposed suites was acceptable.
        NO_PROPOSAL_CHOSEN = 14,
        /// Another group is wanted; the data is its number.
        INVALID_KE_PAYLOAD = 17,
        /// The peer's authentication was not accepted.
        AUTHENTICATION_FAILED = 24,
        /// Only selectors of a single pair of addresses are acceptable.
        SINGLE_PAIR_REQUIRED = 34,
        /// No more Child SAs on this IKE SA.
        NO_ADDITIONAL_SAS = 35,
        /// The responder has no internal address to assign (RFC 7296 §3.10.1).
        INTERNAL_ADDRESS_FAILURE = 36,
        /// The responder wants a request for an internal address (RFC 7296 §3.10.1).
        FAILED_CP_REQUIRED = 37,
        /// Addresses, protocols or ports of the traffic selectors are not acceptable.
        TS_UNACCEPTABLE = 38,
        /// Cannot be done right now (RFC 7296 §2.25).
        TEMPORARY_FAILURE = 43,
        /// The Child SA to rekey does not exist (RFC 7296 §2.25).
        CHILD_SA_NOT_FOUND = 44,
        /// No more Child SAs for these traffic selectors (RFC 9611).
        TS_MAX_QUEUE = 48,
        /// The only IKE SA between the two identities.
        INITIAL_CONTACT = 16384,
        /// Hash of the sender's address and port.
        NAT_DETECTION_SOURCE_IP = 16388,
        /// Hash of the recipient's address and port.
        NAT_DETECTION_DESTINATION_IP = 16389,
        /// The request must be repeated with this cookie.
        COOKIE = 16390,
        /// The CREATE_CHILD_SA request replaces the Child SA with this SPI.
        REKEY_SA = 16393,
        /// The sender understands fragments (RFC 7383 §2.3).
        IKEV2_FRAGMENTATION_SUPPORTED = 16430,
        /// Another authentication of the same end follows (RFC 4739).
        ANOTHER_AUTH_FOLLOWS = 16405,
        /// The hash algorithms that signatures may use (RFC 7427 §4).
        SIGNATURE_HASH_ALGORITHMS = 16431,
        /// The Child SA is one of several with the same traffic selectors, most of which belong to one resource each; the
        /// data, if any, names the sender's resource (RFC 9611).
        SA_RESOURCE_INFO = 16444,
    }
}

impl NotifyType {
    /// Whether this is an error rather than a status.
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }

    /// The name in its RFC, or the number of a type unknown here.
    pub fn name(self) -> String {
        let name = match self {
            Self::UNSUPPORTED_CRITICAL_PAYLOAD => "UNSUPPORTED_CRITICAL_PAYLOAD",
            Self::INVALID_IKE_SPI => "INVALID_IKE_SPI",
            Self::INVALID_MAJOR_VERSION => "INVALID_MAJOR_VERSION",
            Self::INVALID_SYNTAX => "INVALID_SYNTAX",
            Self::INVALID_SPI => "INVALID_SPI",
            Self::NO_PROPOSAL_CHOSEN => "NO_PROPOSAL_CHOSEN",
            Self::INVALID_KE_PAYLOAD => "INVALID_KE_PAYLOAD",
            Self::AUTHENTICATION_FAILED => "AUTHENTICATION_FAILED",
            Self::SINGLE_PAIR_REQUIRED => "SINGLE_PAIR_REQUIRED",
            Self::NO_ADDITIONAL_SAS => "NO_ADDITIONAL_SAS",
            Self::INTERNAL_ADDRESS_FAILURE => "INTERNAL_ADDRESS_FAILURE",
            Self::FAILED_CP_REQUIRED => "FAILED_CP_REQUIRED",
            Self::TS_UNACCEPTABLE => "TS_UNACCEPTABLE",
            Self::TEMPORARY_FAILURE => "TEMPORARY_FAILURE",
            Self::CHILD_SA_NOT_FOUND => "CHILD_SA_NOT_FOUND",
            Self::TS_MAX_QUEUE => "TS_MAX_QUEUE",
            Self::INITIAL_CONTACT => "INITIAL_CONTACT",
            Self::NAT_DETECTION_SOURCE_IP => "NAT_DETECTION_SOURCE_IP",
            Self::NAT_DETECTION_DESTINATION_IP => "NAT_DETECTION_DESTINATION_IP",
            Self::COOKIE => "COOKIE",
            Self::REKEY_SA => "REKEY_SA",
            Self::IKEV2_FRAGMENTATION_SUPPORTED => "IKEV2_FRAGMENTATION_SUPPORTED",
            Self::ANOTHER_AUTH_FOLLOWS => "ANOTHER_AUTH_FOLLOWS",
            Self::SIGNATURE_HASH_ALGORITHMS => "SIGNATURE_HASH_ALGORITHMS",
            Self::SA_RESOURCE_INFO => "SA_RESOURCE_INFO",
            Self(number) => return format!("notification {number}"),
        };
        name.to_owned()
    }
}
