//! XDP programs that benchmarks put around what they measure.

use anyhow::Result;

use super::raw::{ADJUST_TAIL, Instruction, Map, Program, REDIRECT, XDP_DROP, XDP_PASS};

/// Drops each frame.
///
/// # Errors
/// The kernel refuses the program.
pub(crate) fn drop() -> Result<Program> {
    Program::load(&[Instruction::set(0, XDP_DROP), Instruction::exit()])
}

/// Passes each frame.
///
/// # Errors
/// The kernel refuses the program.
pub(crate) fn pass() -> Result<Program> {
    Program::load(&[Instruction::set(0, XDP_PASS), Instruction::exit()])
}

/// Counts each frame in `counter` and drops it.
///
/// # Errors
/// The kernel refuses the program.
pub(crate) fn drop_and_count(counter: &Map) -> Result<Program> {
    let mut code = Instruction::load_address(1, counter).to_vec();
    code.extend([
        Instruction::set(2, 1),
        // An atomic addition of 64 bits.
        Instruction(0xdb, 1, 2, 0, 0),
        Instruction::set(0, XDP_DROP),
        Instruction::exit(),
    ]);
    Program::load(&code)
}

/// Redirects each frame to the interface with index `interface`.
///
/// # Errors
/// The kernel refuses the program.
pub(crate) fn redirect(interface: u32) -> Result<Program> {
    Program::load(&redirection(interface))
}

/// Writes `start`, an even number of bytes, over the start of each frame and redirects it to the interface with index
/// `interface`. Shorter frames are dropped.
///
/// # Errors
/// The kernel refuses the program.
pub(crate) fn write_and_redirect(start: &[u8], interface: u32) -> Result<Program> {
    let redirection = redirection(interface);
    let mut code = vec![Instruction::set(0, XDP_DROP)];
    let stores = stores(DATA, start);
    code.extend(bounds(1, start.len(), stores.len() + redirection.len() - 1));
    code.extend(stores);
    code.extend(redirection);
    Program::load(&code)
}

/// A frame of a [`flows`] program: its headers, and its length in bytes.
pub(crate) struct Shape<'a> {
    pub(crate) headers: &'a [u8],
    pub(crate) length: usize,
}

/// Numbers its frames in `counter`. Frame number n becomes `shapes[pattern[n % pattern.len()]]`: cut to its length, with its
/// headers, and with UDP source port `first_port + n % flows`; then it is redirected to the interface with index `interface`.
/// Frames must be given `longest` bytes.
///
/// # Errors
/// The kernel refuses the program.
pub(crate) fn flows(
    shapes: &[Shape<'_>],
    pattern: &[usize],
    longest: usize,
    (first_port, flows): (u16, u16),
    interface: u32,
    counter: &Map,
) -> Result<Program> {
    const CONTEXT: u8 = 6;
    const NUMBER: u8 = 8;
    const PLACE: u8 = 9;
    let blocks: Vec<Vec<Instruction>> = shapes
        .iter()
        .map(|shape| {
            let mut block = Vec::new();
            if shape.length != longest {
                block.extend([
                    Instruction(0xbf, 1, CONTEXT, 0, 0),
                    Instruction::set(2, -((longest - shape.length) as u32).cast_signed()),
                    Instruction::call(ADJUST_TAIL),
                ]);
            }
            block.push(Instruction::set(0, XDP_DROP));
            let mut body = stores(DATA, shape.headers);
            body.extend([
                Instruction(0xbf, 1, NUMBER, 0, 0),
                Instruction(0x97, 1, 0, 0, i32::from(flows)),
                Instruction(0x07, 1, 0, 0, i32::from(first_port)),
                // To network byte order.
                Instruction(0xdc, 1, 0, 0, 16),
                Instruction(0x6b, DATA, 1, SOURCE_PORT, 0),
            ]);
            body.extend(redirection(interface));
            block.extend(bounds(CONTEXT, shape.headers.len(), body.len() - 1));
            block.extend(body);
            block
        })
        .collect();
    let mut code = vec![Instruction(0xbf, CONTEXT, 1, 0, 0)];
    code.extend(Instruction::load_address(1, counter));
    code.extend([
        Instruction(0x79, NUMBER, 1, 0, 0),
        Instruction(0xbf, 2, NUMBER, 0, 0),
        Instruction(0x07, 2, 0, 0, 1),
        // One thread runs the program, so this needs no atomic instruction.
        Instruction(0x7b, 1, 2, 0, 0),
        Instruction(0xbf, PLACE, NUMBER, 0, 0),
        Instruction(0x97, PLACE, 0, 0, (pattern.len() as u32).cast_signed()),
    ]);
    // Each place of the pattern but the first shape's jumps to the block of its shape.
    let jumps: Vec<(usize, usize)> =
        pattern.iter().copied().enumerate().filter(|(_, shape)| *shape != 0).collect();
    for (index, (place, shape)) in jumps.iter().enumerate() {
        let before: usize = blocks[..*shape].iter().map(Vec::len).sum();
        let distance = (jumps.len() - index - 1 + before) as u16;
        code.push(Instruction(0x15, PLACE, 0, distance.cast_signed(), (*place as u32).cast_signed()));
    }
    code.extend(blocks.into_iter().flatten());
    Program::load(&code)
}

/// Counts UDP packets over IPv4 to the ports from `first_port` on, as many as `counters` has numbers, each port in its own
/// number, and drops them. Whatever else there is passes.
///
/// # Errors
/// The kernel refuses the program.
pub(crate) fn count_ports(first_port: u16, ports: u16, counters: &Map) -> Result<Program> {
    const FIELD: u8 = 5;
    let tail = {
        let mut tail = Instruction::load_address(1, counters).to_vec();
        tail.extend([
            Instruction(0x67, FIELD, 0, 0, 3),
            Instruction(0x0f, 1, FIELD, 0, 0),
            Instruction::set(2, 1),
            // An atomic addition of 64 bits.
            Instruction(0xdb, 1, 2, 0, 0),
            Instruction::set(0, XDP_DROP),
        ]);
        tail
    };
    // Every test of these leaves for the exit when it fails, with the verdict "pass".
    let mut tests = [
        // Type of the frame: IPv4.
        Instruction(0x69, FIELD, DATA, 12, 0),
        Instruction(0x55, FIELD, 0, 0, i32::from(0x0800_u16.to_be())),
        // Version and length of the header.
        Instruction(0x71, FIELD, DATA, 14, 0),
        Instruction(0x55, FIELD, 0, 0, 0x45),
        // Protocol: UDP.
        Instruction(0x71, FIELD, DATA, 23, 0),
        Instruction(0x55, FIELD, 0, 0, 17),
        // Destination port.
        Instruction(0x69, FIELD, DATA, SOURCE_PORT + 2, 0),
        Instruction(0xdc, FIELD, 0, 0, 16),
        Instruction(0x17, FIELD, 0, 0, i32::from(first_port)),
        Instruction(0x25, FIELD, 0, 0, i32::from(ports) - 1),
    ];
    let length = tests.len();
    for (index, Instruction(operation, _, _, offset, _)) in tests.iter_mut().enumerate() {
        if matches!(operation, 0x55 | 0x25) {
            *offset = ((length - index - 1 + tail.len()) as u16).cast_signed();
        }
    }
    let mut code = vec![Instruction::set(0, XDP_PASS)];
    code.extend(bounds(1, HEADERS, tests.len() + tail.len()));
    code.extend(tests);
    code.extend(tail);
    code.push(Instruction::exit());
    Program::load(&code)
}

/// Register that [`bounds`] leaves the frame's start in.
const DATA: u8 = 2;
/// Ethernet, IPv4 and UDP header.
const HEADERS: usize = 14 + 20 + 8;
/// Where the UDP source port lies in a frame.
const SOURCE_PORT: i16 = 34;

/// Puts the frame's start into [`DATA`]; if the frame is shorter than `needed` bytes, skips so many instructions behind this.
fn bounds(context: u8, needed: usize, skip: usize) -> [Instruction; 5] {
    const END: u8 = 3;
    const NEEDED: u8 = 4;
    [
        Instruction(0x61, DATA, context, 0, 0),
        Instruction(0x61, END, context, 4, 0),
        Instruction(0xbf, NEEDED, DATA, 0, 0),
        Instruction(0x07, NEEDED, 0, 0, (needed as u32).cast_signed()),
        Instruction(0x2d, NEEDED, END, (skip as u16).cast_signed(), 0),
    ]
}

/// Writes `bytes`, an even number, to the address in `register`.
fn stores(register: u8, bytes: &[u8]) -> Vec<Instruction> {
    let store = |(index, chunk): (usize, &[u8])| {
        let offset = ((index * 4) as u16).cast_signed();
        match *chunk {
            [a, b, c, d] => Instruction(0x62, register, 0, offset, i32::from_le_bytes([a, b, c, d])),
            [a, b] => Instruction(0x6a, register, 0, offset, i32::from(u16::from_le_bytes([a, b]))),
            _ => unreachable!("an even number of bytes"),
        }
    };
    bytes.chunks(4).enumerate().map(store).collect()
}

fn redirection(interface: u32) -> [Instruction; 4] {
    [
        Instruction::set(1, interface.cast_signed()),
        Instruction::set(2, 0),
        Instruction::call(REDIRECT),
        Instruction::exit(),
    ]
}
