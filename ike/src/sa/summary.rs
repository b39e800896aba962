//! What is known of an IKE SA while another thread steps it.

use std::net::{IpAddr, SocketAddr};

use crate::sa::context::Path;
use crate::sa::{IkeSa, Phase};
use crate::status::{ChildStatus, IkeSaStatus};

/// An IKE SA as far as decisions between SAs, limits and questions of the user need it.
pub(crate) struct Summary {
    /// We are the original initiator.
    pub(crate) initiator: bool,
    /// Order among all SAs of the endpoint in which it came into being.
    pub(crate) created: u64,
    /// A responder SA that a stranger can bring about.
    pub(crate) half_open: bool,
    /// We have not sent AUTH yet, so the peer cannot hold this SA as established.
    pub(crate) unauthenticated_attempt: bool,
    /// SPIi and source of the IKE_SA_INIT request that made this SA, when the peer sent it.
    pub(crate) asked_by: Option<(u64, SocketAddr)>,
    /// Where the peer is.
    pub(crate) remote: SocketAddr,
    /// Set while it can carry Child SAs.
    pub(crate) standing: Option<Standing>,
}

/// An established IKE SA.
pub(crate) struct Standing {
    /// The peer has shown that it holds the SA as established too.
    pub(crate) confirmed: bool,
    /// When it was established, in the order of [`Summary::created`].
    pub(crate) order: u64,
    /// The lower one of the nonces of IKE_SA_INIT.
    pub(crate) lowest_nonce: Vec<u8>,
    /// There has been a Child SA.
    pub(crate) had_child: bool,
    pub(crate) ike: IkeSaStatus,
    pub(crate) child: Option<ChildStatus>,
    pub(crate) resource_children: Vec<ChildStatus>,
}

impl Summary {
    /// An SA whose IKE_SA_INIT request is being made.
    pub(crate) fn initiating(path: Path) -> Self {
        Self {
            initiator: true,
            created: 0,
            half_open: false,
            unauthenticated_attempt: true,
            asked_by: None,
            remote: path.remote,
            standing: None,
        }
    }

    /// An SA whose IKE_SA_INIT request is being answered.
    pub(crate) fn answering(spi_i: u64, path: Path) -> Self {
        Self {
            initiator: false,
            half_open: true,
            unauthenticated_attempt: false,
            asked_by: Some((spi_i, path.remote)),
            ..Self::initiating(path)
        }
    }

    /// The source whose limits a half-open SA counts against.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.asked_by.map(|(_, remote)| remote.ip())
    }
}

impl IkeSa {
    pub(crate) fn summary(&self) -> Summary {
        let status = self.status().zip(self.established());
        let standing = status.map(|((ike, child, resource_children), established)| Standing {
            confirmed: established.confirmed,
            order: established.order,
            lowest_nonce: established.lowest_nonce.clone(),
            had_child: established.had_child,
            ike,
            child,
            resource_children,
        });
        Summary {
            initiator: self.initiator,
            created: self.created,
            half_open: !self.initiator && matches!(self.phase, Phase::HalfOpen(_) | Phase::Closed { .. }),
            unauthenticated_attempt: matches!(self.phase, Phase::InitSent(_)),
            asked_by: self.first_remote.filter(|_| !self.initiator).map(|remote| (self.spi_i, remote)),
            remote: self.path.remote,
            standing,
        }
    }
}
