//! The in-kernel AEAD programs against published vectors and against independent implementations.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use gateway_common::limits::MAX_FRAME;
use gateway_common::{Aead, DropReason, Job, ProgramSlot};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::prog_test_run::{Outcome, Programs, SA, TUNNEL};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const ICV_LEN: usize = 16;
/// Bytes of the test frames before and behind the payload and its ICV: they must not change.
const HEAD: usize = 42;
const TAIL: usize = 29;
const AEADS: [Aead; 3] = [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm];

/// One packet and everything that protects it.
#[derive(Clone, Debug, PartialEq)]
struct Packet {
    aead: Aead,
    key: Vec<u8>,
    nonce: [u8; 12],
    aad: Vec<u8>,
    plaintext: Vec<u8>,
}

#[test]
fn published_vectors() {
    let mut programs = Programs::load();
    for (name, packet, sealed) in vectors() {
        assert_eq!(hex::encode(reference(&packet)), hex::encode(&sealed), "{name}: the reference disagrees");
        check_both_ways(&mut programs, &packet, &sealed, HEAD);
    }
}

/// Every length of an Ethernet payload, both lengths of AAD, both directions.
#[test]
fn every_length_agrees_with_ring() {
    let mut programs = Programs::load();
    let mut random = StdRng::seed_from_u64(1);
    for aead in AEADS {
        for length in 0..=1500 {
            for aad_len in [8, 12] {
                let packet = Packet::random(&mut random, aead, length, aad_len);
                let sealed = seal_with_ring(&packet);
                check_both_ways(&mut programs, &packet, &sealed, HEAD);
            }
        }
    }
}

/// The payload may start anywhere, and end where the largest frame ends.
#[test]
fn every_alignment_and_the_largest_frames() {
    let mut programs = Programs::load();
    let mut random = StdRng::seed_from_u64(2);
    for aead in AEADS {
        for head in (14..78).chain([1500, 1983]) {
            for length in [0, 1, 31, 47, 64, 1000, 1900] {
                if head + length + ICV_LEN <= MAX_FRAME {
                    let packet = Packet::random(&mut random, aead, length, 8);
                    let sealed = reference(&packet);
                    check_both_ways(&mut programs, &packet, &sealed, head);
                }
            }
        }
        for length in 1900..=MAX_FRAME - ICV_LEN - 14 {
            let packet = Packet::random(&mut random, aead, length, 12);
            let sealed = reference(&packet);
            let frame = frame_of(&sealed, 14, 0);
            let outcome = packet.open(&mut programs, &frame, 14);
            assert_eq!(outcome.verdict, XDP_PASS, "{aead:?} {length}");
            assert_eq!(&outcome.frame[14..14 + length], packet.plaintext, "{aead:?} {length}");
        }
    }
}

/// One flipped bit anywhere is refused and counted, and nothing of the payload is decrypted.
#[test]
fn tampering_is_refused() {
    let mut programs = Programs::load();
    let mut random = StdRng::seed_from_u64(3);
    for aead in AEADS {
        for length in [0, 1, 15, 16, 63, 64, 65, 200, 1400] {
            for aad_len in [8, 12] {
                let packet = Packet::random(&mut random, aead, length, aad_len);
                let sealed = reference(&packet);
                // Every bit of the ICV, and some in each part of the ciphertext.
                let icv_bits = (8 * length..8 * sealed.len()).step_by(5);
                let text_bits = [0, length / 2, length.saturating_sub(1)].into_iter().filter(|_| length > 0);
                let text_bits = text_bits.map(|byte| 8 * byte + byte % 8);
                for bit in icv_bits.chain(text_bits) {
                    let mut forged = sealed.clone();
                    forged[bit / 8] ^= 1 << (bit % 8);
                    refused(&mut programs, &packet, &forged);
                }
                for byte in 0..12 {
                    let mut other = packet.clone();
                    other.nonce[byte] ^= 0x10;
                    refused(&mut programs, &other, &sealed);
                    if byte < aad_len {
                        let mut other = packet.clone();
                        other.aad[byte] ^= 0x02;
                        refused(&mut programs, &other, &sealed);
                    }
                }
                // The same bytes under the other length of AAD.
                let mut other = packet.clone();
                other.aad.resize(20 - aad_len, 0);
                refused(&mut programs, &other, &sealed);
                // A payload one byte shorter or longer than what was sealed.
                if length > 0 {
                    let mut shorter = sealed.clone();
                    shorter.remove(length - 1);
                    refused(&mut programs, &packet, &shorter);
                }
                let mut longer = sealed.clone();
                longer.insert(length, 0);
                refused(&mut programs, &packet, &longer);
            }
        }
    }
}

#[test]
fn a_job_outside_the_frame_is_malformed() {
    let mut programs = Programs::load();
    let mut random = StdRng::seed_from_u64(4);
    for aead in AEADS {
        let packet = Packet::random(&mut random, aead, 100, 8);
        let sealed = reference(&packet);
        let frame = frame_of(&sealed, HEAD, 0);
        let fits = packet.job(HEAD as u32, 100);
        let bad_jobs = [
            Job { length: 101, ..fits },
            Job { offset: HEAD as u32 + 1, ..fits },
            Job { offset: 0, length: frame.len() as u32 - 15, ..fits },
            Job { offset: frame.len() as u32, length: 0, ..fits },
            Job { offset: 0x800 + HEAD as u32, ..fits },
            Job { offset: u32::MAX, ..fits },
            Job { offset: u32::MAX - 99, ..fits },
            Job { length: u32::MAX, ..fits },
            Job { length: u32::MAX - 15, offset: HEAD as u32, ..fits },
            Job { length: 0x800 + 100, ..fits },
            Job { aad_len: 0, ..fits },
            Job { aad_len: 9, ..fits },
            Job { aad_len: 16, ..fits },
            Job { aad_len: u32::MAX, ..fits },
        ];
        programs.set_key(aead, &packet.key);
        for job in bad_jobs {
            for program in [seal_program(aead), open_program(aead)] {
                let before = programs.drops(DropReason::Malformed);
                programs.set_job(job);
                let outcome = programs.run(program, &frame);
                assert_eq!(outcome.verdict, XDP_DROP, "{program} {job:?}");
                assert_eq!(outcome.frame, frame, "{program} changed the frame for {job:?}");
                assert_eq!(programs.drops(DropReason::Malformed), before + 1, "{program} {job:?}");
            }
        }
        // The same job inside the frame is fine, so it was the changes that were refused.
        programs.set_job(fits);
        assert_eq!(programs.run(open_program(aead), &frame).verdict, XDP_PASS);
    }
}

#[test]
fn a_job_without_sa_is_dropped() {
    let mut programs = Programs::load();
    let packet = Packet::random(&mut StdRng::seed_from_u64(5), Aead::Aes128Gcm, 64, 8);
    for aead in AEADS {
        for program in [seal_program(aead), open_program(aead)] {
            let before = programs.drops(DropReason::Internal);
            programs.set_job(Job { sa: u32::MAX, ..packet.job(HEAD as u32, 64) });
            let frame = frame_of(&packet.plaintext, HEAD, ICV_LEN);
            assert_eq!(programs.run(program, &frame).verdict, XDP_DROP);
            assert_eq!(programs.drops(DropReason::Internal), before + 1);
        }
    }
}

/// Seals and opens with the kernel's programs and compares with `sealed`.
fn check_both_ways(programs: &mut Programs, packet: &Packet, sealed: &[u8], head: usize) {
    let length = packet.plaintext.len();
    let tail = TAIL.min(MAX_FRAME - head - sealed.len());
    programs.set_key(packet.aead, &packet.key);
    let plain_frame = frame_of(&[&packet.plaintext[..], &[0xee; ICV_LEN]].concat(), head, tail);
    let sealed_frame = frame_of(sealed, head, tail);

    programs.set_job(packet.job(head as u32, length as u32));
    let outcome = programs.run(seal_program(packet.aead), &plain_frame);
    assert_eq!(outcome.verdict, XDP_PASS, "seal: {packet:?}");
    assert_eq!(hex::encode(&outcome.frame), hex::encode(&sealed_frame), "seal: {packet:?}");

    let outcome = programs.run(open_program(packet.aead), &sealed_frame);
    assert_eq!(outcome.verdict, XDP_PASS, "open: {packet:?}");
    let opened = [&packet.plaintext[..], &sealed[length..]].concat();
    let opened_frame = frame_of(&opened, head, tail);
    assert_eq!(hex::encode(&outcome.frame), hex::encode(&opened_frame), "open: {packet:?}");
}

fn refused(programs: &mut Programs, packet: &Packet, sealed: &[u8]) {
    programs.set_key(packet.aead, &packet.key);
    let before = programs.drops(DropReason::AuthenticationFailed);
    let frame = frame_of(sealed, HEAD, TAIL);
    programs.set_job(packet.job(HEAD as u32, (sealed.len() - ICV_LEN) as u32));
    let outcome = programs.run(open_program(packet.aead), &frame);
    assert_eq!(outcome.verdict, XDP_DROP, "accepted a forgery of {packet:?}");
    assert_eq!(hex::encode(&outcome.frame), hex::encode(&frame), "decrypted a forgery of {packet:?}");
    assert_eq!(programs.drops(DropReason::AuthenticationFailed), before + 1);
}

impl Packet {
    fn random(random: &mut StdRng, aead: Aead, length: usize, aad_len: usize) -> Self {
        let mut bytes = |count: usize| {
            let mut bytes = vec![0; count];
            random.fill_bytes(&mut bytes);
            bytes
        };
        Self {
            aead,
            key: bytes(aead.key_len()),
            nonce: bytes(12).try_into().unwrap(),
            aad: bytes(aad_len),
            plaintext: bytes(length),
        }
    }

    fn job(&self, offset: u32, length: u32) -> Job {
        let mut aad = [0xa5; 12];
        aad[..self.aad.len()].copy_from_slice(&self.aad);
        Job {
            sa: SA,
            offset,
            length,
            aad_len: self.aad.len() as u32,
            aad,
            nonce: self.nonce,
            next: ProgramSlot::Empty as u32,
            tunnel: TUNNEL,
            ..Job::default()
        }
    }

    fn open(&self, programs: &mut Programs, frame: &[u8], head: usize) -> Outcome {
        programs.set_key(self.aead, &self.key);
        programs.set_job(self.job(head as u32, self.plaintext.len() as u32));
        programs.run(open_program(self.aead), frame)
    }
}

/// `head` bytes, `payload`, `tail` bytes.
fn frame_of(payload: &[u8], head: usize, tail: usize) -> Vec<u8> {
    [&vec![0x11; head], payload, &vec![0x77; tail]].concat()
}

fn seal_program(aead: Aead) -> &'static str {
    match aead {
        Aead::ChaCha20Poly1305 => "seal_chacha20_poly1305",
        Aead::Aes128Gcm => "seal_aes128_gcm",
        Aead::Aes256Gcm => "seal_aes256_gcm",
    }
}

fn open_program(aead: Aead) -> &'static str {
    match aead {
        Aead::ChaCha20Poly1305 => "open_chacha20_poly1305",
        Aead::Aes128Gcm => "open_aes128_gcm",
        Aead::Aes256Gcm => "open_aes256_gcm",
    }
}

/// Ciphertext and ICV by the RustCrypto implementations.
fn reference(packet: &Packet) -> Vec<u8> {
    fn seal<A: AeadInOut + KeyInit>(packet: &Packet) -> Vec<u8> {
        let cipher = A::new_from_slice(&packet.key).unwrap();
        let nonce = packet.nonce[..].try_into().unwrap();
        let mut buffer = packet.plaintext.clone();
        let tag = cipher.encrypt_inout_detached(nonce, &packet.aad, buffer.as_mut_slice().into()).unwrap();
        buffer.extend_from_slice(&tag);
        buffer
    }
    match packet.aead {
        Aead::ChaCha20Poly1305 => seal::<ChaCha20Poly1305>(packet),
        Aead::Aes128Gcm => seal::<Aes128Gcm>(packet),
        Aead::Aes256Gcm => seal::<Aes256Gcm>(packet),
    }
}

/// Ciphertext and ICV by ring.
fn seal_with_ring(packet: &Packet) -> Vec<u8> {
    use ring::aead::{self, LessSafeKey, Nonce, UnboundKey};
    let algorithm = match packet.aead {
        Aead::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        Aead::Aes128Gcm => &aead::AES_128_GCM,
        Aead::Aes256Gcm => &aead::AES_256_GCM,
    };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &packet.key).unwrap());
    let mut buffer = packet.plaintext.clone();
    let nonce = Nonce::assume_unique_for_key(packet.nonce);
    key.seal_in_place_append_tag(nonce, aead::Aad::from(&packet.aad), &mut buffer).unwrap();
    buffer
}

/// Vectors whose AAD has a length that ESP uses.
fn vectors() -> Vec<(&'static str, Packet, Vec<u8>)> {
    let vector = |name, aead, key: &str, nonce: &str, aad: &str, plaintext: &str, sealed: &str| {
        let bytes = |text: &str| hex::decode(text.replace(char::is_whitespace, "")).expect("hexadecimal");
        let nonce = bytes(nonce).try_into().expect("a nonce has 12 bytes");
        let packet = Packet { aead, key: bytes(key), nonce, aad: bytes(aad), plaintext: bytes(plaintext) };
        (name, packet, bytes(sealed))
    };
    vec![
        vector(
            "RFC 8439 section 2.8.2",
            Aead::ChaCha20Poly1305,
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            "070000004041424344454647",
            "50515253c0c1c2c3c4c5c6c7",
            "4c616469657320616e642047656e746c656d656e206f662074686520636c6173
             73206f66202739393a204966204920636f756c64206f6666657220796f75206f
             6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73
             637265656e20776f756c642062652069742e",
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
             3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd060
             0691",
        ),
        vector(
            "RFC 7634 appendix A",
            Aead::ChaCha20Poly1305,
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            "a0a1a2a31011121314151617",
            "0102030400000005",
            "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
             0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
             2425262728292a2b2c2d2e2f303132333435363701020204",
            "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
             14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
             cbec163fac469b502773f6fb94e664da9165b82829f641e076aaa8266b7fb0f7
             b11b369907e1ad43",
        ),
        vector(
            "draft-mcgrew-gcm-test, first packet",
            Aead::Aes128Gcm,
            "4c80cdefbb5d10da906ac73c3613a634",
            "2e443b684956ed7e3b244cfe",
            "000043218765432100000000",
            "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000
             00000000045f736970045f756470037369700963796265726369747902646b00
             0021000101020201",
            "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34
             cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce
             61bc17d768fd9732459018148f6cbe722fd04796562dfdb4",
        ),
        vector(
            "draft-mcgrew-gcm-test, second packet",
            Aead::Aes128Gcm,
            "feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "0000a5f80000000a",
            "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100
             0001000000000000037369700963796265726369747902646b00000100010001",
            "deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c
             3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1
             83b70d3aa8bc6ee4c309e9d85a41ad4a",
        ),
        vector(
            "draft-mcgrew-gcm-test, third packet",
            Aead::Aes256Gcm,
            "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
            "112233440102030405060708",
            "4a2cbfe300000002",
            "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000
             7002400020bf0000020405b40101040201020201",
            "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763
             748a637985771d347f0545659f14e99def842d8eb335f4eecfdbf831824b4c49
             15956c96",
        ),
    ]
}
