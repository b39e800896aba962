//! XDP programs that benchmarks put around what they measure.

use anyhow::Result;

use super::raw_bpf::{Instruction, Map, Program, REDIRECT, XDP_DROP};

/// Drops each frame.
///
/// # Errors
/// The kernel refuses the program.
pub(super) fn drop() -> Result<Program> {
    Program::load(&[Instruction::set(0, XDP_DROP), Instruction::exit()])
}

/// Counts each frame in `counter` and drops it.
///
/// # Errors
/// The kernel refuses the program.
pub(super) fn drop_and_count(counter: &Map) -> Result<Program> {
    let mut code = Instruction::load_first_value(1, counter).to_vec();
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
pub(super) fn redirect(interface: u32) -> Result<Program> {
    Program::load(&redirection(interface))
}

/// Writes `start`, an even number of bytes, over the start of each frame and redirects it to the interface with index
/// `interface`. Shorter frames are dropped.
///
/// # Errors
/// The kernel refuses the program.
pub(super) fn write_and_redirect(start: &[u8], interface: u32) -> Result<Program> {
    const DATA: u8 = 2;
    const END: u8 = 3;
    const NEEDED: u8 = 4;
    let store = |(index, chunk): (usize, &[u8])| {
        let offset = ((index * 4) as u16).cast_signed();
        match *chunk {
            [a, b, c, d] => Instruction(0x62, DATA, 0, offset, i32::from_le_bytes([a, b, c, d])),
            [a, b] => Instruction(0x6a, DATA, 0, offset, i32::from(u16::from_le_bytes([a, b]))),
            _ => unreachable!("an even number of bytes"),
        }
    };
    let stores: Vec<Instruction> = start.chunks(4).enumerate().map(store).collect();
    let redirection = redirection(interface);
    let mut code = vec![
        Instruction::set(0, XDP_DROP),
        Instruction(0x61, DATA, 1, 0, 0),
        Instruction(0x61, END, 1, 4, 0),
        Instruction(0xbf, NEEDED, DATA, 0, 0),
        Instruction(0x07, NEEDED, 0, 0, (start.len() as u32).cast_signed()),
        // If that lies behind the end: to the last instruction.
        Instruction(0x2d, NEEDED, END, ((stores.len() + redirection.len() - 1) as u16).cast_signed(), 0),
    ];
    code.extend(stores);
    code.extend(redirection);
    Program::load(&code)
}

fn redirection(interface: u32) -> [Instruction; 4] {
    [
        Instruction::set(1, interface.cast_signed()),
        Instruction::set(2, 0),
        Instruction::call(REDIRECT),
        Instruction::exit(),
    ]
}
