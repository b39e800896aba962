//! Negotiation: our proposals on the wire, the choice among a peer's proposals, and the reason when there is none.

use std::fmt;

use crate::crypto::{DhGroup, EspAead, IkeAead, IkeCbc, Integrity, Prf, SkAlgorithms};
use crate::proposal::{EspProposal, IkeEncryption, IkeProposal};
use crate::proposal_names::{kind_name, transform_name};
use crate::wire::{Proposal, ProtocolId, Transform, TransformType};

const NONE: u16 = 0;
const ESN: u16 = 1;
/// Most transforms of one kind that a human is told of.
const MAX_NAMES: usize = 8;

/// The negotiated algorithms of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IkeSuite {
    pub(crate) algorithms: SkAlgorithms,
    pub(crate) prf: Prf,
    pub(crate) group: DhGroup,
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.algorithms, self.prf.name(), self.group.name())
    }
}

/// The negotiated algorithms of a Child SA. `group` is set when its exchange has a key exchange of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EspSuite {
    pub(crate) aead: EspAead,
    pub(crate) group: Option<DhGroup>,
    pub(crate) esn: bool,
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.aead.name())?;
        if let Some(group) = self.group {
            write!(f, "-{}", group.name())?;
        }
        f.write_str(if self.esn { "-esn" } else { "-noesn" })
    }
}

/// A choice among a peer's proposals, with the proposal that answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice<Suite> {
    pub(crate) suite: Suite,
    /// The chosen proposal with one transform of each kind, and the peer's SPI still in it.
    pub(crate) proposal: Proposal,
}

/// Why no proposal was acceptable: the first transform that differs in the pair of proposals that agree furthest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    agreed_kinds: usize,
    text: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no common proposal: first difference: {}", self.text)
    }
}

/// Whether a Child SA is negotiated with a key exchange of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildExchange {
    /// In IKE_AUTH: no key exchange, whatever the proposals say (RFC 7296 §1.2).
    Auth,
    /// In CREATE_CHILD_SA, where this group is preferred because a public value of it is at hand.
    Create(Option<DhGroup>),
}

/// Our IKE proposals as IKE_SA_INIT carries them.
pub(crate) fn ike_offer(proposals: &[IkeProposal]) -> Vec<Proposal> {
    let offer = |(number, proposal): (u8, &IkeProposal)| Proposal {
        number,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: ike_kinds(proposal, None).into_iter().flat_map(Kind::offer).collect(),
    };
    (1..=u8::MAX).zip(proposals).map(offer).collect()
}

/// Our ESP proposals, to receive with `spi`.
pub(crate) fn esp_offer(proposals: &[EspProposal], spi: u32, exchange: ChildExchange) -> Vec<Proposal> {
    let offer = |(number, proposal): (u8, &EspProposal)| Proposal {
        number,
        protocol: ProtocolId::ESP,
        spi: spi.to_be_bytes().to_vec(),
        transforms: esp_kinds(proposal, exchange).into_iter().flat_map(Kind::offer).collect(),
    };
    (1..=u8::MAX).zip(proposals).map(offer).collect()
}

/// Chooses for an IKE SA: the first of the peer's proposals that one of ours fits, in it our preference, but
/// `preferred` (the group of the KE payload) before other groups.
pub(crate) fn choose_ike(
    offered: &[Proposal],
    ours: &[IkeProposal],
    preferred: Option<DhGroup>,
) -> Result<Choice<IkeSuite>, Mismatch> {
    let ours: Vec<_> = ours.iter().map(|proposal| ike_kinds(proposal, preferred)).collect();
    let proposal = choose(offered, ProtocolId::IKE, 0, &ours)?;
    let suite = ike_suite(&proposal).ok_or_else(|| Mismatch::whole("incomplete proposal"))?;
    Ok(Choice { suite, proposal })
}

/// Chooses for a Child SA, as [`choose_ike`] does.
pub(crate) fn choose_esp(
    offered: &[Proposal],
    ours: &[EspProposal],
    exchange: ChildExchange,
) -> Result<Choice<EspSuite>, Mismatch> {
    let ours: Vec<_> = ours.iter().map(|proposal| esp_kinds(proposal, exchange)).collect();
    let proposal = choose(offered, ProtocolId::ESP, 4, &ours)?;
    let suite = esp_suite(&proposal).ok_or_else(|| Mismatch::whole("incomplete proposal"))?;
    Ok(Choice { suite, proposal })
}

/// Checks a responder's answer against what we offered: one proposal, one transform of each kind.
pub(crate) fn check_ike_answer(answer: &[Proposal], ours: &[IkeProposal]) -> Result<IkeSuite, Mismatch> {
    let (answer, ours) = answered(answer, ours)?;
    Ok(choose_ike(std::slice::from_ref(answer), std::slice::from_ref(ours), None)?.suite)
}

/// Checks a responder's answer, as [`check_ike_answer`] does.
pub(crate) fn check_esp_answer(
    answer: &[Proposal],
    ours: &[EspProposal],
    exchange: ChildExchange,
) -> Result<Choice<EspSuite>, Mismatch> {
    let (answer, ours) = answered(answer, ours)?;
    choose_esp(std::slice::from_ref(answer), std::slice::from_ref(ours), exchange)
}

fn answered<'a, T>(answer: &'a [Proposal], ours: &'a [T]) -> Result<(&'a Proposal, &'a T), Mismatch> {
    let [answer] = answer else {
        return Err(Mismatch::whole("the peer chose more than one proposal"));
    };
    let repeated = |transform: &Transform| {
        answer.transforms.iter().filter(|other| other.kind == transform.kind).count() > 1
    };
    if answer.transforms.iter().any(repeated) {
        return Err(Mismatch::whole("the peer chose more than one transform of a kind"));
    }
    let index = usize::from(answer.number).checked_sub(1);
    let ours = index.and_then(|index| ours.get(index));
    ours.map(|ours| (answer, ours))
        .ok_or_else(|| Mismatch::whole("the peer chose a proposal we did not offer"))
}

/// The transforms of one kind that we offer and accept.
struct Kind {
    of: TransformType,
    /// Most preferred first.
    transforms: Vec<Transform>,
    /// A proposal without this kind is acceptable.
    optional: bool,
    /// Accepted in a peer's proposals, but not offered.
    silent: bool,
    /// Whatever the peer offers of this kind does not matter and is not answered.
    ignored: bool,
}

impl Kind {
    fn new(of: TransformType, transforms: Vec<Transform>) -> Self {
        Self { of, transforms, optional: false, silent: false, ignored: false }
    }

    /// With AEAD ciphers integrity is absent or NONE (RFC 7296 §3.3).
    fn no_integrity() -> Self {
        let none = Transform::new(TransformType::INTEG, NONE, None);
        Self { optional: true, silent: true, ..Self::new(TransformType::INTEG, vec![none]) }
    }

    fn offer(self) -> Vec<Transform> {
        if self.silent { Vec::new() } else { self.transforms }
    }
}

fn ike_kinds(ours: &IkeProposal, preferred: Option<DhGroup>) -> Vec<Kind> {
    let prf = |prf: &Prf| Transform::new(TransformType::PRF, prf.id(), None);
    let (ciphers, integrity) = match &ours.encryption {
        IkeEncryption::Aead(ciphers) => {
            let cipher = |aead: &IkeAead| Transform::new(TransformType::ENCR, aead.id(), aead.key_bits());
            (ciphers.iter().map(cipher).collect(), Kind::no_integrity())
        }
        IkeEncryption::Cbc { ciphers, integrity } => {
            let cipher = |cbc: &IkeCbc| Transform::new(TransformType::ENCR, cbc.id(), cbc.key_bits());
            let transform = |of: &Integrity| Transform::new(TransformType::INTEG, of.id(), None);
            let integrity = integrity.iter().map(transform).collect();
            (ciphers.iter().map(cipher).collect(), Kind::new(TransformType::INTEG, integrity))
        }
    };
    vec![
        Kind::new(TransformType::ENCR, ciphers),
        Kind::new(TransformType::PRF, ours.prf.iter().map(prf).collect()),
        integrity,
        Kind::new(TransformType::DH, group_transforms(&ours.groups, preferred)),
    ]
}

fn esp_kinds(ours: &EspProposal, exchange: ChildExchange) -> Vec<Kind> {
    let cipher = |aead: &EspAead| Transform::new(TransformType::ENCR, aead.id(), aead.key_bits());
    let groups = match exchange {
        ChildExchange::Auth => {
            let none = Kind::new(TransformType::DH, Vec::new());
            Kind { optional: true, silent: true, ignored: true, ..none }
        }
        ChildExchange::Create(_) if ours.groups.is_empty() => {
            let none = Transform::new(TransformType::DH, NONE, None);
            Kind { optional: true, silent: true, ..Kind::new(TransformType::DH, vec![none]) }
        }
        ChildExchange::Create(preferred) => {
            Kind::new(TransformType::DH, group_transforms(&ours.groups, preferred))
        }
    };
    let esn = |esn: &bool| Transform::new(TransformType::ESN, u16::from(*esn), None);
    let sequence_numbers = Kind::new(TransformType::ESN, ours.esn.iter().map(esn).collect());
    vec![
        Kind::new(TransformType::ENCR, ours.encryption.iter().map(cipher).collect()),
        Kind::no_integrity(),
        groups,
        // A peer that says nothing about ESN means none.
        Kind { optional: ours.esn.contains(&false), ..sequence_numbers },
    ]
}

fn group_transforms(groups: &[DhGroup], preferred: Option<DhGroup>) -> Vec<Transform> {
    let mut groups = groups.to_vec();
    groups.sort_by_key(|group| Some(*group) != preferred);
    groups.iter().map(|group| Transform::new(TransformType::DH, group.id(), None)).collect()
}

fn choose(
    offered: &[Proposal],
    protocol: ProtocolId,
    spi_len: usize,
    ours: &[Vec<Kind>],
) -> Result<Proposal, Mismatch> {
    let mut nearest = Mismatch::whole("no proposal for this protocol");
    for proposal in offered {
        if proposal.protocol != protocol || proposal.spi.len() != spi_len {
            continue;
        }
        for kinds in ours {
            match choose_transforms(proposal, kinds) {
                Ok(transforms) => return Ok(Proposal { transforms, ..proposal.clone() }),
                Err(mismatch) if mismatch.agreed_kinds >= nearest.agreed_kinds => nearest = mismatch,
                Err(_) => {}
            }
        }
    }
    Err(nearest)
}

fn choose_transforms(offered: &Proposal, kinds: &[Kind]) -> Result<Vec<Transform>, Mismatch> {
    let mut chosen = Vec::new();
    for (agreed_kinds, ours) in kinds.iter().enumerate() {
        let mut theirs = offered.transforms.iter().filter(|transform| transform.kind == ours.of).peekable();
        if ours.ignored || (ours.optional && theirs.peek().is_none()) {
            continue;
        }
        let theirs: Vec<_> = theirs.collect();
        let Some(transform) = ours.transforms.iter().find(|transform| theirs.contains(transform)) else {
            return Err(Mismatch::of_kind(agreed_kinds, ours, &theirs));
        };
        chosen.push(transform.clone());
    }
    let known = |transform: &Transform| kinds.iter().any(|ours| ours.of == transform.kind);
    match offered.transforms.iter().find(|transform| !known(transform)) {
        Some(unknown) => {
            let text = format!("{} (offered {})", kind_name(unknown.kind), unknown.id);
            Err(Mismatch { agreed_kinds: kinds.len(), text })
        }
        None => Ok(chosen),
    }
}

impl Mismatch {
    fn whole(text: &str) -> Self {
        Self { agreed_kinds: 0, text: text.to_owned() }
    }

    fn of_kind(agreed_kinds: usize, ours: &Kind, theirs: &[&Transform]) -> Self {
        let offered = list_of(theirs.iter().copied());
        let accepted = list_of(ours.transforms.iter());
        let text = format!("{} (offered {offered}, we accept {accepted})", kind_name(ours.of));
        Self { agreed_kinds, text }
    }
}

/// The names of transforms. A message has room for hundreds, so not all of them.
fn list_of<'a>(transforms: impl ExactSizeIterator<Item = &'a Transform>) -> String {
    let more = transforms.len().saturating_sub(MAX_NAMES);
    let mut names: Vec<_> = transforms.take(MAX_NAMES).map(transform_name).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    if names.is_empty() { "none".to_owned() } else { names.join("/") }
}

fn ike_suite(chosen: &Proposal) -> Option<IkeSuite> {
    let encryption = of_kind(chosen, TransformType::ENCR)?;
    let (id, key_bits) = (encryption.id, encryption.key_bits().ok()?);
    let algorithms = match IkeAead::from_transform(id, key_bits) {
        Some(aead) => SkAlgorithms::Aead(aead),
        None => SkAlgorithms::Cbc(
            IkeCbc::from_transform(id, key_bits)?,
            Integrity::from_id(of_kind(chosen, TransformType::INTEG)?.id)?,
        ),
    };
    Some(IkeSuite {
        algorithms,
        prf: Prf::from_id(of_kind(chosen, TransformType::PRF)?.id)?,
        group: DhGroup::from_id(of_kind(chosen, TransformType::DH)?.id)?,
    })
}

fn esp_suite(chosen: &Proposal) -> Option<EspSuite> {
    let encryption = of_kind(chosen, TransformType::ENCR)?;
    Some(EspSuite {
        aead: EspAead::from_transform(encryption.id, encryption.key_bits().ok()?)?,
        group: of_kind(chosen, TransformType::DH).and_then(|group| DhGroup::from_id(group.id)),
        esn: of_kind(chosen, TransformType::ESN).is_some_and(|transform| transform.id == ESN),
    })
}

fn of_kind(chosen: &Proposal, kind: TransformType) -> Option<&Transform> {
    chosen.transforms.iter().find(|transform| transform.kind == kind)
}

/// What we offered, for a human.
pub(crate) fn describe<T: fmt::Display>(proposals: &[T]) -> String {
    proposals.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Attribute, AttributeValue};

    fn esp(spi: u32, ours: &EspProposal, exchange: ChildExchange) -> Vec<Proposal> {
        esp_offer(std::slice::from_ref(ours), spi, exchange)
    }

    #[test]
    fn a_mismatch_names_no_more_than_a_human_reads() {
        let ours = [IkeProposal::default_profile()];
        let mut offered = ike_offer(&ours);
        offered[0].transforms =
            (0..255).map(|count| Transform::new(TransformType::ENCR, 60000 + count, None)).collect();
        let text = choose_ike(&offered, &ours, None).unwrap_err().to_string();
        assert!(text.contains("/247 more, we accept"), "{text}");
        assert!(text.len() < 300, "{text}");
    }

    #[test]
    fn the_default_profiles_agree_on_their_first_choices() {
        let ours = [IkeProposal::default_profile()];
        let choice = choose_ike(&ike_offer(&ours), &ours, None).unwrap();
        assert_eq!(choice.suite.to_string(), "aes256gcm16-prfsha384-x25519");
        assert_eq!(check_ike_answer(&[choice.proposal], &ours), Ok(choice.suite));

        let ours = [EspProposal::default_profile()];
        let choice = choose_esp(&esp(7, &ours[0], ChildExchange::Auth), &ours, ChildExchange::Auth).unwrap();
        assert_eq!(choice.suite.to_string(), "chacha20poly1305-esn");
        assert_eq!(choice.proposal.spi, [0, 0, 0, 7]);
    }

    #[test]
    fn the_group_of_the_public_value_at_hand_comes_first() {
        let ours = [IkeProposal::default_profile()];
        let choice = choose_ike(&ike_offer(&ours), &ours, Some(DhGroup::Ecp256)).unwrap();
        assert_eq!(choice.suite.group, DhGroup::Ecp256);
    }

    #[test]
    fn the_first_difference_is_named() {
        let theirs = IkeProposal::single(IkeAead::Aes256Gcm16, Prf::HmacSha384, DhGroup::Ecp384);
        let ours = IkeProposal::single(IkeAead::Aes256Gcm16, Prf::HmacSha384, DhGroup::X25519);
        let mismatch = choose_ike(&ike_offer(&[theirs]), &[ours], None).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "no common proposal: first difference: DH group (offered ecp384, we accept x25519)"
        );
    }

    #[test]
    fn of_several_proposals_the_nearest_one_is_explained() {
        let far = IkeProposal::single(IkeAead::Aes128Gcm16, Prf::HmacSha384, DhGroup::X25519);
        let near = IkeProposal::single(IkeAead::Aes256Gcm16, Prf::HmacSha512, DhGroup::X25519);
        let ours = IkeProposal::single(IkeAead::Aes256Gcm16, Prf::HmacSha384, DhGroup::X25519);
        let mismatch = choose_ike(&ike_offer(&[near, far]), &[ours], None).unwrap_err();
        assert!(mismatch.to_string().ends_with("PRF (offered prfsha512, we accept prfsha384)"), "{mismatch}");
    }

    #[test]
    fn rekeying_needs_a_group_when_we_want_secrecy() {
        let with = EspProposal::single(EspAead::Aes256Gcm16, Some(DhGroup::X25519), false);
        let without = EspProposal::single(EspAead::Aes256Gcm16, None, false);
        let create = ChildExchange::Create(None);
        let mismatch =
            choose_esp(&esp(7, &without, create), std::slice::from_ref(&with), create).unwrap_err();
        assert!(mismatch.to_string().ends_with("DH group (offered none, we accept x25519)"), "{mismatch}");
        let auth = ChildExchange::Auth;
        assert!(choose_esp(&esp(7, &without, auth), std::slice::from_ref(&with), auth).is_ok());
        // A peer that offers a group in IKE_AUTH is accepted, the group is not answered.
        let choice = choose_esp(&esp(7, &with, create), std::slice::from_ref(&with), auth).unwrap();
        assert_eq!(choice.suite.group, None);
    }

    #[test]
    fn an_answer_must_be_one_of_our_proposals_and_single() {
        let ours = [IkeProposal::default_profile()];
        let whole_offer = ike_offer(&ours);
        assert!(check_ike_answer(&whole_offer, &ours).is_err());
        let mut answer = choose_ike(&whole_offer, &ours, None).unwrap().proposal;
        answer.number = 2;
        assert!(check_ike_answer(&[answer.clone()], &ours).is_err());
        answer.number = 0;
        assert!(check_ike_answer(&[answer], &ours).is_err());
    }

    #[test]
    fn ciphers_with_separate_integrity_are_refused_by_name() {
        let mut offer = ike_offer(&[IkeProposal::default_profile()]);
        offer[0].transforms.retain(|transform| transform.kind != TransformType::ENCR);
        offer[0].transforms.push(Transform::new(TransformType::ENCR, 12, Some(256)));
        offer[0].transforms.push(Transform::new(TransformType::INTEG, 12, None));
        let mismatch = choose_ike(&offer, &[IkeProposal::default_profile()], None).unwrap_err();
        assert!(
            mismatch.to_string().contains("encryption (offered aes256, we accept aes256gcm16"),
            "{mismatch}"
        );
    }

    /// An offer of one proposal with these transforms.
    fn offer(transforms: &[(TransformType, u16, Option<u16>)]) -> Vec<Proposal> {
        let transform = |&(kind, id, key_bits): &_| Transform::new(kind, id, key_bits);
        let transforms = transforms.iter().map(transform).collect();
        vec![Proposal { number: 1, protocol: ProtocolId::IKE, spi: Vec::new(), transforms }]
    }

    const GCM_256: (TransformType, u16, Option<u16>) = (TransformType::ENCR, 20, Some(256));
    const CBC_256: (TransformType, u16, Option<u16>) = (TransformType::ENCR, 12, Some(256));
    const PRF_SHA256: (TransformType, u16, Option<u16>) = (TransformType::PRF, 5, None);
    const SHA256: (TransformType, u16, Option<u16>) = (TransformType::INTEG, 12, None);
    const NO_INTEGRITY: (TransformType, u16, Option<u16>) = (TransformType::INTEG, 0, None);
    const ECP256: (TransformType, u16, Option<u16>) = (TransformType::DH, 19, None);

    fn both_kinds() -> [IkeProposal; 2] {
        ["aes256gcm16-prfsha256-ecp256", "aes256-sha256-ecp256"].map(|text| text.parse().unwrap())
    }

    fn chosen(offered: &[Proposal]) -> Result<String, String> {
        let choice = choose_ike(offered, &both_kinds(), None).map_err(|mismatch| mismatch.to_string())?;
        Ok(choice.suite.to_string())
    }

    #[test]
    fn our_offer_has_a_proposal_for_each_kind_of_cipher() {
        let offered = ike_offer(&both_kinds());
        let integrity = |proposal: &Proposal| of_kind(proposal, TransformType::INTEG).map(|found| found.id);
        assert_eq!(offered.iter().map(integrity).collect::<Vec<_>>(), [None, Some(12)]);
        assert_eq!(offered.iter().map(|proposal| proposal.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(chosen(&offered), Ok("aes256gcm16-prfsha256-ecp256".to_owned()));
        assert_eq!(chosen(&offered[1..]), Ok("aes256-sha256-prfsha256-ecp256".to_owned()));
    }

    #[test]
    fn of_a_proposal_that_mixes_both_kinds_of_cipher_a_consistent_part_is_chosen() {
        let with_none = [CBC_256, GCM_256, PRF_SHA256, SHA256, NO_INTEGRITY, ECP256];
        assert_eq!(chosen(&offer(&with_none)), Ok("aes256gcm16-prfsha256-ecp256".to_owned()));
        // Here the AEAD cipher would come with an integrity algorithm.
        let without_none = [CBC_256, GCM_256, PRF_SHA256, SHA256, ECP256];
        assert_eq!(chosen(&offer(&without_none)), Ok("aes256-sha256-prfsha256-ecp256".to_owned()));
    }

    #[test]
    fn aes_cbc_without_integrity_is_refused() {
        for integrity in [&[][..], &[NO_INTEGRITY], &[(TransformType::INTEG, 2, None)]] {
            let transforms = [&[CBC_256, PRF_SHA256, ECP256], integrity].concat();
            let reason = chosen(&offer(&transforms)).unwrap_err();
            assert!(reason.contains("integrity (offered"), "{reason}");
            assert!(reason.ends_with("we accept sha256)"), "{reason}");
        }
    }

    #[test]
    fn an_aead_cipher_with_an_integrity_algorithm_is_refused() {
        let reason = chosen(&offer(&[GCM_256, PRF_SHA256, SHA256, ECP256])).unwrap_err();
        assert!(reason.contains("integrity (offered sha256, we accept none)"), "{reason}");
    }

    #[test]
    fn a_cipher_without_its_key_length_or_with_another_is_refused_by_name() {
        for (id, key_bits, name) in
            [(20, None, "aesgcm16"), (12, None, "aes"), (20, Some(192), "aes192gcm16")]
        {
            let transforms = [(TransformType::ENCR, id, key_bits), PRF_SHA256, ECP256];
            let reason = chosen(&offer(&transforms)).unwrap_err();
            assert!(reason.contains(&format!("encryption (offered {name}, we accept")), "{reason}");
        }
        // ChaCha20-Poly1305 has no such attribute (RFC 7634 §4).
        let ours: IkeProposal = "chacha20poly1305-prfsha256-ecp256".parse().unwrap();
        let offered = |key_bits| offer(&[(TransformType::ENCR, 28, key_bits), PRF_SHA256, ECP256]);
        assert!(choose_ike(&offered(None), std::slice::from_ref(&ours), None).is_ok());
        assert!(choose_ike(&offered(Some(256)), std::slice::from_ref(&ours), None).is_err());
    }

    #[test]
    fn a_transform_with_an_unknown_attribute_is_passed_over() {
        let mut offered = offer(&[GCM_256, PRF_SHA256, ECP256]);
        let unknown = Attribute { kind: 99, value: AttributeValue::Short(1) };
        offered[0].transforms[0].attributes.push(unknown);
        let reason = chosen(&offered).unwrap_err();
        assert!(reason.contains("with an unknown attribute, we accept"), "{reason}");
        // The same cipher without it, further down in the same proposal, is another transform.
        offered[0].transforms.push(Transform::new(TransformType::ENCR, 20, Some(256)));
        assert_eq!(chosen(&offered), Ok("aes256gcm16-prfsha256-ecp256".to_owned()));
    }

    #[test]
    fn a_proposal_with_an_unknown_kind_of_transform_is_refused_and_the_next_one_counts() {
        let mut offered = offer(&[GCM_256, PRF_SHA256, ECP256]);
        let further_exchange = Transform::new(TransformType(6), 36, None);
        offered[0].transforms.push(further_exchange);
        let reason = chosen(&offered).unwrap_err();
        assert!(reason.ends_with("transform type 6 (offered 36)"), "{reason}");
        offered.extend(offer(&[CBC_256, PRF_SHA256, SHA256, ECP256]));
        assert_eq!(chosen(&offered), Ok("aes256-sha256-prfsha256-ecp256".to_owned()));
    }

    #[test]
    fn with_both_kinds_of_ours_the_first_difference_is_that_of_the_nearer_one() {
        let modp1024 = (TransformType::DH, 2, None);
        let reason = chosen(&offer(&[CBC_256, PRF_SHA256, SHA256, modp1024])).unwrap_err();
        assert!(reason.ends_with("DH group (offered modp1024, we accept ecp256)"), "{reason}");
    }
}
