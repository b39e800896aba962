//! A running capture: copied frames in, a pcapng file out, piece by piece.

use std::time::Duration;

use super::filter::Filter;
use super::packet::{Context, Side};
use super::pcapng::{self, Statistics};
use crate::datapath::{CaptureStream, unix_now_ns};

/// Frames that are made into one piece, at most.
const BATCH: usize = 256;
/// Time between two pieces with statistics.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// A capture on its way to a client. Dropping it ends the capture.
#[derive(Debug)]
pub struct CaptureFeed {
    vnet: String,
    stream: CaptureStream,
    context: Context,
    filter: Filter,
    snap_len: u32,
    start_ns: u64,
    received: [u64; 2],
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Beginning,
    Running,
    Ended,
}

impl CaptureFeed {
    /// What `stream` brings, told apart by `context`, as far as `filter` wants it, each frame cut off at `snap_len` bytes.
    pub fn new(vnet: String, stream: CaptureStream, context: Context, filter: Filter, snap_len: u32) -> Self {
        let (start_ns, state) = (unix_now_ns(), State::Beginning);
        Self { vnet, stream, context, filter, snap_len, start_ns, received: [0; 2], state }
    }

    /// The next whole blocks of the file: its beginning at once, then packets as they come, and statistics every second and at the
    /// end; `None` behind that.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        match self.state {
            State::Ended => return None,
            State::Beginning => {
                self.state = State::Running;
                return Some(pcapng::beginning(&self.vnet, self.snap_len));
            }
            State::Running => {}
        }
        let mut frames = Vec::new();
        match tokio::time::timeout(STATISTICS_INTERVAL, self.stream.frames.recv_many(&mut frames, BATCH))
            .await
        {
            Err(_) => return Some(self.statistics()),
            Ok(0) => {
                self.state = State::Ended;
                return Some(self.statistics());
            }
            Ok(_) => {}
        }
        let mut piece = Vec::new();
        for packet in frames.into_iter().filter_map(|frame| self.context.packet(frame)) {
            if self.filter.matches(&packet.frame) {
                self.received[usize::from(packet.side == Side::Outer)] += 1;
                piece.extend(pcapng::packet(&packet, self.snap_len));
            }
        }
        piece.extend(self.statistics());
        Some(piece)
    }

    /// What was lost is not known by side, and is told of the inner one.
    fn statistics(&self) -> Vec<u8> {
        let of =
            |received, lost| Statistics { start_ns: self.start_ns, now_ns: unix_now_ns(), received, lost };
        let [inner, outer] = self.received;
        let mut blocks = pcapng::statistics(Side::Inner, &of(inner, self.stream.lost()));
        blocks.extend(pcapng::statistics(Side::Outer, &of(outer, 0)));
        blocks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gateway_common::{CapturePoint, CaptureRecord};

    use super::super::headers::tests::{frame, udp};
    use super::*;
    use crate::datapath::CapturedFrame;

    fn copied(point: CapturePoint) -> CapturedFrame {
        let frame = frame(&[], &udp(0));
        let len = frame.len() as u32;
        let record = CaptureRecord { point: point as u32, len, captured: len, ..CaptureRecord::default() };
        CapturedFrame { unix_ns: 5, record, frame }
    }

    /// Types of the blocks of a piece.
    fn kinds(mut piece: &[u8]) -> Vec<u32> {
        let mut kinds = Vec::new();
        while let Some((kind, len)) = pcapng::block_header(piece) {
            kinds.push(kind);
            piece = &piece[len..];
        }
        assert!(piece.is_empty());
        kinds
    }

    #[tokio::test]
    async fn a_file_has_a_beginning_packets_and_statistics() {
        let (sender, stream) = CaptureStream::channel(4);
        let context = Context {
            wan_addresses: std::net::IpAddr::from([192, 0, 2, 1]).into(),
            local_prefixes: Vec::new(),
            names: BTreeMap::new(),
        };
        let filter = Filter { ports: vec![53], ..Filter::default() };
        let mut feed = CaptureFeed::new("VNet1".to_owned(), stream, context, filter, 100);
        assert_eq!(kinds(&feed.next().await.unwrap()), [0x0a0d_0d0a, 1, 1]);
        // Nothing comes for a while.
        assert_eq!(kinds(&feed.next().await.unwrap()), [pcapng::STATISTICS; 2]);
        for point in [CapturePoint::InnerOutbound, CapturePoint::OuterOutbound] {
            sender.send(copied(point));
        }
        let mut unwanted = copied(CapturePoint::InnerInbound);
        unwanted.frame[37] = 54;
        sender.send(unwanted);
        let expected = [pcapng::PACKET, pcapng::PACKET, pcapng::STATISTICS, pcapng::STATISTICS];
        assert_eq!(kinds(&feed.next().await.unwrap()), expected);
        for _ in 0..5 {
            sender.send(copied(CapturePoint::InnerOutbound));
        }
        sender.lose(2);
        drop(sender);
        let piece = feed.next().await.unwrap();
        assert_eq!(kinds(&piece).len(), 6, "four have room");
        let end = feed.next().await.unwrap();
        assert_eq!(pcapng::lost(&end), Some((0, 3)), "one had no room, two were lost before");
        assert_eq!(feed.next().await, None);
    }
}
