//! Names that strongSwan knows and this crate refuses, each with the reason.

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It protects nothing, or not enough.
    Insecure(&'static str),
    /// It may be sound, but nothing here implements it.
    Unsupported,
}

/// The reason against a name, `None` when it is in nobody's list.
pub(crate) fn refusal(token: &str) -> Option<Refusal> {
    // Names of families are prefixes; what follows is a name as well and nothing a terminal would act on.
    if !token.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') {
        return None;
    }
    insecure(token).map(Refusal::Insecure).or_else(|| is_unsupported(token).then_some(Refusal::Unsupported))
}

fn insecure(token: &str) -> Option<&'static str> {
    const SMALL_BLOCKS: &str = "its 64-bit blocks collide within hours (Sweet32)";
    const SHORT_PRIME: &str = "its prime is too short";
    const UNEXPLAINED: &str = "nobody can tell how its prime with a small subgroup was made (RFC 8247 §2.4)";
    Some(match token {
        "null" => "it does not encrypt",
        "des" => "its keys have 56 bits",
        "3des" | "idea" => SMALL_BLOCKS,
        "md5" | "md5_128" | "prfmd5" => "MD5 is broken",
        "sha" | "sha1" | "sha1_160" | "prfsha1" => "SHA-1 is broken",
        "modp768" | "modp1024" | "modp1536" => SHORT_PRIME,
        "modp1024s160" | "modp2048s224" | "modp2048s256" => UNEXPLAINED,
        "modpnull" => "it exchanges no key",
        _ if token.starts_with("blowfish") || token.starts_with("cast") => SMALL_BLOCKS,
        _ if matches!(token.as_bytes(), [b'r', b'c', b'2'..=b'6', ..]) => {
            "ciphers of this family are broken or have 64-bit blocks"
        }
        _ if is_aes(token, "ecb") => "ECB mode shows which blocks are equal",
        _ if is_aes(token, "gmac") => "it does not encrypt",
        _ => return None,
    })
}

fn is_unsupported(token: &str) -> bool {
    const NAMES: [&str; 20] = [
        "aes192",
        "aesxcbc",
        "aescmac",
        "prfaesxcbc",
        "prfaescmac",
        "prfcamelliaxcbc",
        "sha256_96",
        "sha2_256_96",
        "modp6144",
        "modp8192",
        "modpnone",
        "ecp192",
        "ecp224",
        "ecp224bp",
        "ecp256bp",
        "ecp384bp",
        "ecp512bp",
        "curve448",
        "x448",
        "default",
    ];
    const FAMILIES: [&str; 7] = ["camellia", "serpent", "twofish", "ntru", "newhope", "kyber", "mlkem"];
    let is_further_exchange = token.strip_prefix("ke").is_some_and(|rest| {
        let mut octets = rest.bytes();
        matches!(octets.next(), Some(b'1'..=b'7')) && octets.next() == Some(b'_')
    });
    NAMES.contains(&token)
        || FAMILIES.iter().any(|family| token.starts_with(family))
        || is_further_exchange
        || ["ctr", "ccm", "gcm"].iter().any(|mode| is_aes(token, mode))
}

/// Whether a name is AES of any key length in a mode that begins like this.
fn is_aes(token: &str, mode: &str) -> bool {
    let Some(rest) = token.strip_prefix("aes") else { return false };
    let rest = ["128", "192", "256"].iter().find_map(|bits| rest.strip_prefix(bits)).unwrap_or(rest);
    rest.starts_with(mode)
}
