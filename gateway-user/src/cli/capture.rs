//! `vgw capture`: packets of a connection as a pcapng file.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::args::{CaptureArgs, CaptureSide, Global};
use super::target::Agent;
use crate::api::capture::CaptureRequest;
use crate::api::client::{ClientError, Stream};
use crate::capture::{Filter, pcapng};

/// The name of a file that stands for standard output.
const STDOUT: &str = "-";
/// Longest block that is believed; packets have less than 64 KiB.
const BLOCK_MAX: usize = 1 << 20;

/// Captures until a limit is reached, the agent ends, or a signal comes.
pub(super) async fn run(global: &Global, args: CaptureArgs) -> anyhow::Result<()> {
    let agent = Agent::find(global, Some(&args.vnet)).await?;
    let limits = Limits { packets: args.count, bytes: args.size.map(|size| size.0) };
    let request = CaptureRequest {
        site: args.connection.clone(),
        inner: matches!(args.side, CaptureSide::Inner | CaptureSide::Both),
        outer: matches!(args.side, CaptureSide::Outer | CaptureSide::Both),
        dropped: args.dropped,
        filter: Filter {
            hosts: args.host,
            nets: args.net,
            ports: args.port,
            protocols: args.proto.into_iter().map(|protocol| protocol.0).collect(),
        },
        snap_len: args.snaplen,
    };
    // Before anything else: a signal must end the capture in order from here on.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let stopped = async move {
        let timeout = async {
            match args.duration {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = timeout => {}
        }
    };
    let stream = agent.client.stream(&agent.path("capture"), &request).await;
    let mut stream = stream.map_err(|error| agent.explain(error))?;
    let mut writer = Writer::new(open(&args.write)?, limits);
    let which =
        args.connection.map_or_else(|| "all connections".to_owned(), |site| format!("connection {site}"));
    note(&format!("capturing packets of {which} to {}; Ctrl-C ends", args.write.display()));
    let outcome = copy(&mut stream, &mut writer, stopped).await;
    let ended = writer.end();
    note(&format!("{} packets captured, {} lost for want of room", writer.packets, writer.lost()));
    outcome.and(ended)
}

/// Copies blocks until something ends the capture.
async fn copy(
    stream: &mut Stream,
    writer: &mut Writer,
    stopped: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::pin!(stopped);
    loop {
        let piece = tokio::select! {
            () = &mut stopped => return Ok(()),
            piece = stream.next() => piece,
        };
        match piece {
            Some(Ok(piece)) => {
                if writer.take(&piece)? == Next::End {
                    return Ok(());
                }
            }
            Some(Err(error @ ClientError::Transport(..))) => bail!("the capture breaks off: {error}"),
            Some(Err(error)) => return Err(error.into()),
            None => return Ok(()),
        }
    }
}

/// The file; what packets hold is for its owner only.
fn open(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path == Path::new(STDOUT) {
        return Ok(Box::new(std::io::stdout().lock()));
    }
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    Ok(Box::new(file.with_context(|| format!("cannot write {}", path.display()))?))
}

/// Standard output may be the file.
fn note(text: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    packets: Option<u64>,
    bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    More,
    End,
}

/// Writes whole blocks, those of packets up to the limits. Of the statistics, which come again and again, the last are written at the
/// end.
struct Writer {
    file: Box<dyn Write>,
    limits: Limits,
    /// The beginning of a block whose end has not come yet.
    rest: Vec<u8>,
    /// By interface.
    statistics: [Vec<u8>; 2],
    packets: u64,
    bytes: u64,
    /// Nobody reads the file any more, which is no failure.
    is_closed: bool,
}

impl Writer {
    fn new(file: Box<dyn Write>, limits: Limits) -> Self {
        let statistics = [Vec::new(), Vec::new()];
        Self { file, limits, rest: Vec::new(), statistics, packets: 0, bytes: 0, is_closed: false }
    }

    /// Takes the next piece of the file.
    fn take(&mut self, piece: &[u8]) -> anyhow::Result<Next> {
        self.rest.extend_from_slice(piece);
        let rest = std::mem::take(&mut self.rest);
        let mut left = &*rest;
        let mut next = Next::More;
        while next == Next::More
            && let Some((kind, len)) = pcapng::block_header(left)
        {
            if !(12..=BLOCK_MAX).contains(&len) {
                bail!("the agent sends no pcapng (is it of another version?): a block of {len} bytes");
            }
            let Some((block, behind)) = left.split_at_checked(len) else { break };
            left = behind;
            next = self.block(kind, block)?;
        }
        self.rest = left.to_vec();
        self.write_out(|file| file.flush())?;
        Ok(if self.is_closed { Next::End } else { next })
    }

    /// The statistics.
    fn end(&mut self) -> anyhow::Result<()> {
        for block in self.statistics.clone() {
            self.write_out(|file| file.write_all(&block))?;
        }
        self.write_out(|file| file.flush())
    }

    /// Packets that were lost, as far as is known.
    fn lost(&self) -> u64 {
        self.statistics.iter().filter_map(|block| pcapng::lost(block)).map(|(_, lost)| lost).sum()
    }

    fn block(&mut self, kind: u32, block: &[u8]) -> anyhow::Result<Next> {
        if let Some((interface, _)) = pcapng::lost(block) {
            if let Some(statistics) = self.statistics.get_mut(interface as usize) {
                block.clone_into(statistics);
            }
            return Ok(Next::More);
        }
        let is_packet = kind == pcapng::PACKET;
        // The statistics must have room, too.
        let reserved: usize = self.statistics.iter().map(Vec::len).sum();
        let wanted = self.bytes + (block.len() + reserved) as u64;
        if is_packet && self.limits.bytes.is_some_and(|most| wanted > most) {
            return Ok(Next::End);
        }
        self.write_out(|file| file.write_all(block))?;
        self.bytes += block.len() as u64;
        self.packets += u64::from(is_packet);
        let is_full = self.limits.packets.is_some_and(|most| self.packets >= most);
        Ok(if is_full { Next::End } else { Next::More })
    }

    fn write_out(&mut self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> anyhow::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        match write(&mut *self.file) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            outcome => outcome.context("cannot write the capture"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::capture::pcapng::Statistics;
    use crate::capture::{Direction, Packet, Side};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn packet() -> Vec<u8> {
        let packet = Packet {
            time_ns: 1,
            side: Side::Inner,
            direction: Direction::Inbound,
            frame: vec![7; 60],
            len: 60,
            comment: None,
        };
        pcapng::packet(&packet, 100)
    }

    fn statistics(lost: u64) -> Vec<u8> {
        pcapng::statistics(Side::Inner, &Statistics { start_ns: 1, now_ns: 2, received: 3, lost })
    }

    /// What is written of `pieces`, and what the writer said to the last one.
    fn written(limits: Limits, pieces: &[Vec<u8>]) -> (Vec<u8>, Next, Writer) {
        let memory = Memory::default();
        let mut writer = Writer::new(Box::new(memory.clone()), limits);
        let mut next = Next::More;
        for piece in pieces {
            next = writer.take(piece).unwrap();
        }
        writer.end().unwrap();
        let bytes = memory.0.lock().unwrap().clone();
        (bytes, next, writer)
    }

    #[test]
    fn blocks_may_come_in_any_pieces_and_statistics_are_written_once() {
        let beginning = pcapng::beginning("VNet1", 100);
        let all = [beginning.clone(), packet(), statistics(1), packet(), statistics(4)].concat();
        let expected = [beginning, packet(), packet(), statistics(4)].concat();
        for size in [1, 7, all.len()] {
            let pieces: Vec<_> = all.chunks(size).map(<[u8]>::to_vec).collect();
            let (bytes, next, writer) = written(Limits::default(), &pieces);
            assert_eq!((bytes, next), (expected.clone(), Next::More), "pieces of {size}");
            assert_eq!((writer.packets, writer.lost()), (2, 4));
        }
    }

    #[test]
    fn limits_end_a_capture_at_whole_blocks() {
        let pieces =
            [pcapng::beginning("VNet1", 100), statistics(0), [packet(), packet(), packet()].concat()];
        let limits = Limits { packets: Some(2), ..Limits::default() };
        let (bytes, next, writer) = written(limits, &pieces);
        let two = [pieces[0].clone(), packet(), packet(), statistics(0)].concat();
        assert_eq!((bytes, next, writer.packets), (two.clone(), Next::End, 2));
        for (most, packets) in [(two.len(), 2), (two.len() - 1, 1), (two.len() + packet().len(), 3)] {
            let limits = Limits { bytes: Some(most as u64), ..Limits::default() };
            let (bytes, _, writer) = written(limits, &pieces);
            assert_eq!(writer.packets, packets, "at most {most} bytes");
            assert!(bytes.len() <= most);
        }
    }

    #[test]
    fn what_is_no_pcapng_is_refused() {
        let mut writer = Writer::new(Box::new(Memory::default()), Limits::default());
        let error = writer.take(b"<html><body>no").unwrap_err().to_string();
        assert!(error.contains("sends no pcapng"), "{error}");
    }
}
