//! What drivers say of their XDP: generic netlink family `netdev` (Documentation/netlink/specs/netdev.yaml and
//! include/uapi/linux/netdev.h of the kernel, since Linux 6.3).

use std::io;

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// `GENL_ID_CTRL`, the family that knows the others.
const CONTROL_FAMILY: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`.
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID`.
const FAMILY_ID: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME`.
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET`.
const GET_DEVICE: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX`.
const IFINDEX: u16 = 1;
/// `NETDEV_A_DEV_XDP_FEATURES`.
const FEATURES: u16 = 3;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// Length of `struct nlmsghdr`, and of that with `struct genlmsghdr`.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// What a driver can do: bits of `enum netdev_xdp_act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpFeatures(u64);

impl XdpFeatures {
    /// `NETDEV_XDP_ACT_BASIC`: it runs programs.
    const BASIC: u64 = 1;
    /// `NETDEV_XDP_ACT_REDIRECT`: they may redirect frames.
    const REDIRECT: u64 = 1 << 1;
    /// `NETDEV_XDP_ACT_NDO_XMIT`: it sends frames that were redirected to it, as things are now.
    const XMIT: u64 = 1 << 2;

    /// What of what the gateway needs is missing, for a human; `None` if nothing is.
    pub(super) fn missing(self) -> Option<&'static str> {
        if self.0 & Self::BASIC == 0 {
            Some("its driver runs no XDP programs")
        } else if self.0 & Self::REDIRECT == 0 {
            Some("its driver cannot redirect frames")
        } else if self.0 & Self::XMIT == 0 {
            Some(
                "it does not take frames that are redirected to it (a veth does when its other end has XDP or `ethtool -K … gro on`)",
            )
        } else {
            None
        }
    }
}

/// What the driver of interface `index` says, in the network namespace of the calling thread.
///
/// # Errors
/// The kernel knows no such family (before 6.3) or no such interface.
pub(super) fn of(index: u32) -> io::Result<XdpFeatures> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let name = ask(&socket, &request(CONTROL_FAMILY, GET_FAMILY, FAMILY_NAME, b"netdev\0"))?;
    let family =
        attribute(&name, FAMILY_ID).and_then(|value| Some(u16::from_ne_bytes(value.try_into().ok()?)));
    let family = family.ok_or(io::ErrorKind::InvalidData)?;
    let device = ask(&socket, &request(family, GET_DEVICE, IFINDEX, &index.to_ne_bytes()))?;
    let features =
        attribute(&device, FEATURES).and_then(|value| Some(u64::from_ne_bytes(value.try_into().ok()?)));
    features.map(XdpFeatures).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A request with one attribute.
fn request(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADERS];
    message[4..6].copy_from_slice(&family.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    (message[HEADER], message[HEADER + 1]) = (command, 1);
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// The answer's attributes.
fn ask(socket: &Socket, request: &[u8]) -> io::Result<Vec<u8>> {
    socket.send(request, 0)?;
    let mut answer = Vec::with_capacity(8192);
    socket.recv(&mut answer, 0)?;
    payload(&answer).map(<[u8]>::to_vec)
}

/// The attributes of a message, or the error that it tells.
fn payload(message: &[u8]) -> io::Result<&[u8]> {
    let short = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = message.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    if kind == Some(ERROR) {
        let code = message.get(HEADER..HEADERS).and_then(|code| code.try_into().ok());
        let code = code.map(i32::from_ne_bytes).ok_or_else(short)?;
        return Err(io::Error::from_raw_os_error(-code));
    }
    message.get(HEADERS..).ok_or_else(short)
}

/// The value of the first attribute of this type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(XdpFeatures(0x7f).missing(), None);
        for (bits, told) in [(0, "no XDP programs"), (1, "redirect frames"), (3, "gro on")] {
            assert!(XdpFeatures(bits).missing().is_some_and(|missing| missing.contains(told)), "{bits}");
        }
    }

    #[test]
    fn attributes_are_found_behind_others_and_broken_ones_are_not_followed() {
        let mut message = request(0x1d, GET_DEVICE, 9, b"odd");
        message.extend([12, 0, 3, 0, 0x27, 0, 0, 0, 0, 0, 0, 0]);
        let attributes = payload(&message).unwrap();
        assert_eq!(attribute(attributes, FEATURES), Some(&[0x27, 0, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(attribute(attributes, 8), None);
        for broken in [&[0, 0, 3, 0][..], &[40, 0, 3, 0, 1], &[4]] {
            assert_eq!(attribute(broken, FEATURES), None);
        }
    }

    #[test]
    fn errors_are_told() {
        let mut message = vec![0; 36];
        message[4] = 2;
        message[16..20].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        assert_eq!(payload(&message).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(payload(&message[..18]).is_err() && payload(&[]).is_err());
    }
}
