//! Why the datapath dropped a packet.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// Reasons for a drop, counted per tunnel in array map `DROPS` at index `tunnel * DropReason::COUNT + reason`, and for
        /// packets that belong to no tunnel in per-CPU array map `STRAY_DROPS` at index `reason`. CLI, REST and metrics use the same names.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl DropReason {
            /// Every reason, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
            /// Number of reasons.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// Name on every surface, in snake case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends before a header that it announces, or a length field lies.
    Malformed = 0, "malformed";
    /// ESP for this gateway with an SPI that no SA has.
    UnknownSpi = 1, "unknown_spi";
    /// The sequence number was seen before or lies left of the anti-replay window (RFC 4303 section 3.4.3).
    Replayed = 2, "replayed";
    /// The integrity check value is wrong (RFC 4303 section 3.4.4.2).
    AuthenticationFailed = 3, "authentication_failed";
    /// Padding or next header of an authenticated packet is wrong.
    BadTrailer = 4, "bad_trailer";
    /// The inner addresses of a decapsulated packet do not belong to its tunnel (RFC 4301 section 5.2).
    SelectorMismatch = 5, "selector_mismatch";
    /// The source of a packet for a tunnel lies outside the VNet.
    SourceOutsideVnet = 6, "source_outside_vnet";
    /// The tunnel has no outbound SA.
    NoOutboundSa = 7, "no_outbound_sa";
    /// The sequence number would wrap (RFC 4303 section 3.3.3).
    SequenceExhausted = 8, "sequence_exhausted";
    /// The SA's hard lifetime has passed.
    LifetimeExpired = 9, "lifetime_expired";
    /// The gateway's shared bandwidth budget is used up.
    BudgetExceeded = 10, "budget_exceeded";
    /// The packet is larger than the tunnel carries, although the kernel routed it there; or one from a peer, put together from
    /// fragments, is larger than the AEAD programs open.
    TooBig = 11, "too_big";
    /// No route to the outer or inner destination.
    NoRoute = 12, "no_route";
    /// Congestion was experienced by a packet that does not understand it (RFC 6040 section 4.2).
    EcnDrop = 13, "ecn_drop";
    /// A packet that only a tunnel may bring, or only a LAN interface, arrived elsewhere in the clear.
    Unprotected = 14, "unprotected";
    /// An ESP dummy packet (RFC 4303 section 2.6); expected, discarded by design.
    Dummy = 15, "dummy";
    /// The frame could not be resized, or a program of the chain is missing.
    Internal = 16, "internal";
    /// A frame with an 802.1Q priority tag (VLAN 0), which the kernel would take for an untagged one behind our back.
    PriorityTag = 17, "priority_tag";
    /// A frame that was handed to a worker and could not be sent on: its SA was gone, the anti-replay window had moved past it
    /// meanwhile, or the egress queue refused it.
    Worker = 18, "worker";
}
