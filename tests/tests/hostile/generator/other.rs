//! What is not for the tunnels: IKE, keep-alives, other protocols, noise.

use rand::RngExt as _;
use xdp_harness::frames::{Ip, udp};

use super::{Generator, ethernet};
use crate::hostile::network::{INNER, Interface, OUTER};

impl Generator {
    /// A packet to the gateway itself.
    pub(super) fn for_gateway(&mut self) -> (Interface, Vec<u8>) {
        self.trail.push("for the gateway");
        let len = self.random.random_range(0..300);
        let payload = self.bytes(len);
        let mut ip = Ip::new([198, 51, 100, 1].into(), OUTER.into());
        let packet = match self.random.random_range(0..9) {
            0 => ip.packet(&udp(500, 500, &payload)),
            1 | 2 => ip.packet(&udp(4500, 4500, &[&[0; 4][..], &payload].concat())),
            3 => ip.packet(&udp(4500, 4500, &[0xff])),
            4 => ip.packet(&udp(4500, 4500, &payload[..payload.len().min(5)])),
            5 => ip.packet(&udp(500, 4500, &payload)),
            6 => {
                ip.protocol = self.one_of(&[1, 6, 47, 51, 108]);
                ip.packet(&payload)
            }
            7 => {
                ip.protocol = 50;
                ip.packet(&payload)
            }
            _ => {
                ip.destination = self.one_of(&[INNER, [255; 4], [192, 0, 2, 255], [224, 0, 0, 1]]).into();
                ip.packet(&udp(4500, 4500, &payload))
            }
        };
        let interface = self.one_of(&[Interface::Wan, Interface::Wan, Interface::Arm, Interface::Lan]);
        (interface, ethernet(interface, 0x0800, &packet))
    }

    /// A frame that is not IPv4: IPv6, ARP, or whatever.
    pub(super) fn of_another_protocol(&mut self) -> (Interface, Vec<u8>) {
        self.trail.push("of another protocol");
        let interface = self.one_of(&[
            Interface::Lan,
            Interface::Wan,
            Interface::Arm,
            Interface::VgwPeer,
            Interface::Vgw0,
        ]);
        let (ethertype, payload) = match self.random.random_range(0..5) {
            0 | 1 => {
                let next_header = self.one_of(&[6, 17, 50, 58, 44]);
                let len: u8 = self.random.random_range(8..200);
                let head = [0x60, 0, 0, 0, 0, len, next_header, 64];
                (0x86dd, [&head[..], &self.bytes(32 + usize::from(len))].concat())
            }
            2 => (0x0806, [&[0, 1, 8, 0, 6, 4, 0, 1][..], &self.bytes(20)].concat()),
            3 => (self.one_of(&[0x8863, 0x8864, 0x88cc, 0x88f7, 0x88b5]), self.bytes(100)),
            _ => (self.random.random(), self.bytes(60)),
        };
        (interface, ethernet(interface, ethertype, &payload))
    }

    /// Random bytes behind an Ethernet header.
    pub(super) fn noise(&mut self) -> (Interface, Vec<u8>) {
        self.trail.push("noise");
        let interface = self.one_of(&[Interface::Lan, Interface::Wan, Interface::Arm, Interface::VgwPeer]);
        let len = self.random.random_range(0..200);
        let mut payload = self.bytes(len);
        if let Some(first) = payload.first_mut() {
            *first = self.one_of(&[0x45, 0x45, 0x46, 0x4f, 0x44, 0x55, 0x65]);
        }
        (interface, ethernet(interface, 0x0800, &payload))
    }
}
