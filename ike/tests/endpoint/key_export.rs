//! Keys for decrypting captures: given out only when that is wanted, and then they open every message.

use std::time::Duration;

use ike::crypto::{IkeAead, SkAlgorithms, SkCipher};
use ike::wire::SealedMessage;
use ike::{ConnectionMode, EndpointConfig, ExportedIkeKeys, IkeProposal, PeerConfig};

use crate::sim::{Pair, cheap_config};

/// Two ends with this IKE proposal connect, and end 0 rekeys the IKE SA.
fn rekeyed(export_keys: bool, proposal: &str) -> Pair {
    let ike_proposals: Vec<IkeProposal> = vec![proposal.parse().unwrap()];
    let config = |index| PeerConfig { ike_proposals: ike_proposals.clone(), ..cheap_config(index) };
    let mut pair = Pair::with(3, &EndpointConfig { export_keys, ..EndpointConfig::default() });
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..config(1) });
    pair.set_peer(0, config(0));
    pair.run_for(Duration::from_secs(1));
    pair.rekey_ike(0);
    pair.run_for(Duration::from_secs(30));
    pair.assert_converged();
    pair
}

/// Whether a message of the trace opens with these keys, in the direction that its header says.
fn opens(keys: &ExportedIkeKeys, datagram: &[u8]) -> bool {
    let Ok(sealed) = SealedMessage::parse(datagram) else { return false };
    if (sealed.header.spi_i, sealed.header.spi_r) != (keys.spi_i, keys.spi_r) {
        return false;
    }
    let (sk_e, sk_a) =
        if sealed.header.from_initiator { (&keys.sk_ei, &keys.sk_ai) } else { (&keys.sk_er, &keys.sk_ar) };
    sealed.open(&SkCipher::new(keys.algorithms, sk_e, sk_a).unwrap()).is_ok()
}

#[test]
fn exported_keys_open_every_protected_message_of_first_and_rekeyed_sas() {
    for (proposal, encryption, integrity) in [
        ("aes256gcm16-prfsha256-x25519", Some("AES-GCM-256 with 16 octet ICV [RFC5282]"), "NONE [RFC4306]"),
        ("aes128-sha384-x25519", Some("AES-CBC-128 [RFC3602]"), "HMAC_SHA2_384_192 [RFC4868]"),
        ("chacha20poly1305-prfsha256-x25519", None, "NONE [RFC4306]"),
    ] {
        let pair = rekeyed(true, proposal);
        let keys = &pair.nodes[0].keys;
        assert_eq!(keys.len(), 2, "{proposal}");
        assert_eq!(keys, &pair.nodes[1].keys, "{proposal}");
        for key in keys {
            assert_eq!((key.wireshark_encryption(), key.wireshark_integrity()), (encryption, integrity));
        }
        let sealed = |datagram: &&Vec<u8>| SealedMessage::parse(datagram).is_ok();
        let messages: Vec<_> = pair.trace.iter().map(|(_, datagram)| datagram).filter(sealed).collect();
        assert!(messages.len() >= 6, "{proposal}");
        for message in messages {
            assert_eq!(keys.iter().filter(|keys| opens(keys, message)).count(), 1, "{proposal}");
        }
    }
}

#[test]
fn no_key_is_exported_unless_that_is_wanted() {
    assert!(!EndpointConfig::default().export_keys);
    let pair = rekeyed(false, "aes256gcm16-prfsha256-x25519");
    assert!(pair.nodes.iter().all(|node| node.keys.is_empty()));
}

#[test]
fn printed_for_debugging_they_show_no_secret() {
    let pair = rekeyed(true, "aes128gcm16-prfsha256-x25519");
    let keys = ExportedIkeKeys { spi_i: 1, spi_r: 0xab, ..pair.nodes[0].keys[0].clone() };
    assert_eq!(keys.algorithms, SkAlgorithms::Aead(IkeAead::Aes128Gcm16));
    assert_eq!(
        format!("{keys:?}"),
        "ExportedIkeKeys { spi_i: 0000000000000001, spi_r: 00000000000000ab, algorithms: Aead(Aes128Gcm16), .. }"
    );
}
