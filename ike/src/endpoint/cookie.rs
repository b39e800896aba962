//! Cookies: a responder under load keeps no state for a request before its sender has shown that it receives at the
//! address it claims (RFC 7296 §2.6).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{Prf, SecureRng};

/// How long a secret makes new cookies; it recognises them for as long again.
const SECRET_LIFETIME: Duration = Duration::from_mins(1);
const MAC_LEN: usize = 16;
/// Octets of a cookie: the version of its secret and a keyed hash.
pub(super) const COOKIE_LEN: usize = 1 + MAC_LEN;

/// What a cookie is bound to.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) nonce: &'a [u8],
    pub(super) spi_i: u64,
    pub(super) remote: SocketAddr,
}

/// The secrets behind the cookies.
#[derive(Default)]
pub(super) struct Cookies {
    current: Option<Secret>,
    previous: Option<Secret>,
    renewed: u8,
}

struct Secret {
    version: u8,
    made: Instant,
    key: Zeroizing<[u8; 32]>,
}

impl Cookies {
    /// The cookie for a claim.
    pub(super) fn bake(
        &mut self,
        now: Instant,
        rng: &mut dyn SecureRng,
        claim: Claim<'_>,
    ) -> [u8; COOKIE_LEN] {
        if self.current.as_ref().is_none_or(|secret| secret.made + SECRET_LIFETIME <= now) {
            self.renewed = self.renewed.wrapping_add(1);
            let mut key = Zeroizing::new([0; 32]);
            rng.fill(&mut *key);
            self.previous = self.current.replace(Secret { version: self.renewed, made: now, key });
        }
        self.current.as_ref().expect("it was made if there was none").bake(claim)
    }

    /// Whether `cookie` is one for this claim, and not too old.
    pub(super) fn accept(&self, now: Instant, claim: Claim<'_>, cookie: &[u8]) -> bool {
        let valid = |secret: &&Secret| now < secret.made + 2 * SECRET_LIFETIME;
        let named = |secret: &&Secret| cookie.first() == Some(&secret.version);
        let secret = self.current.iter().chain(&self.previous).filter(valid).find(named);
        secret.is_some_and(|secret| secret.bake(claim)[..].ct_eq(cookie).into())
    }
}

impl Secret {
    fn bake(&self, claim: Claim<'_>) -> [u8; COOKIE_LEN] {
        let address = match claim.remote.ip().to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let (spi_i, port) = (claim.spi_i.to_be_bytes(), claim.remote.port().to_be_bytes());
        let mac = Prf::HmacSha256.prf(&*self.key, &[&spi_i, &address.octets(), &port, claim.nonce]);
        let mut cookie = [self.version; COOKIE_LEN];
        cookie[1..].copy_from_slice(&mac[..MAC_LEN]);
        cookie
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn claim(nonce: &[u8]) -> Claim<'_> {
        Claim { nonce, spi_i: 7, remote: "192.0.2.1:500".parse().unwrap() }
    }

    #[test]
    fn a_cookie_is_good_for_its_claim_only() {
        let (mut cookies, mut rng, now) = (Cookies::default(), StdRng::seed_from_u64(1), Instant::now());
        assert!(!cookies.accept(now, claim(&[1; 32]), &[0; COOKIE_LEN]));
        let cookie = cookies.bake(now, &mut rng, claim(&[1; 32]));
        assert_eq!(cookies.bake(now, &mut rng, claim(&[1; 32])), cookie);
        assert!(cookies.accept(now, claim(&[1; 32]), &cookie));
        assert!(!cookies.accept(now, claim(&[2; 32]), &cookie));
        assert!(!cookies.accept(now, Claim { spi_i: 8, ..claim(&[1; 32]) }, &cookie));
        let elsewhere = ["192.0.2.2:500", "192.0.2.1:501"];
        for remote in elsewhere.map(|remote| remote.parse().unwrap()) {
            assert!(!cookies.accept(now, Claim { remote, ..claim(&[1; 32]) }, &cookie));
        }
        let mut damaged = cookie;
        damaged[COOKIE_LEN - 1] ^= 1;
        assert!(!cookies.accept(now, claim(&[1; 32]), &damaged));
        assert!(!cookies.accept(now, claim(&[1; 32]), &cookie[..COOKIE_LEN - 1]));
        assert!(!cookies.accept(now, claim(&[1; 32]), &[]));
        let mut others = Cookies::default();
        others.bake(now, &mut rng, claim(&[1; 32]));
        assert!(!others.accept(now, claim(&[1; 32]), &cookie), "another endpoint has another secret");
    }

    #[test]
    fn the_secret_is_renewed_and_the_one_before_recognises_its_cookies_for_a_while() {
        let (mut cookies, mut rng, start) = (Cookies::default(), StdRng::seed_from_u64(1), Instant::now());
        let first = cookies.bake(start, &mut rng, claim(&[1; 32]));
        let later = start + SECRET_LIFETIME;
        let second = cookies.bake(later, &mut rng, claim(&[1; 32]));
        assert_ne!(first, second);
        assert!(cookies.accept(later, claim(&[1; 32]), &first));
        assert!(cookies.accept(later, claim(&[1; 32]), &second));
        let too_late = start + 2 * SECRET_LIFETIME;
        assert!(!cookies.accept(too_late, claim(&[1; 32]), &first));
        assert!(cookies.accept(too_late, claim(&[1; 32]), &second));
        assert!(!cookies.accept(start + 3 * SECRET_LIFETIME, claim(&[1; 32]), &second));
    }
}
