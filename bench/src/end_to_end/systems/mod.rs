//! Everything that can be measured.

mod direct;
mod plain;
mod vgw;

use super::system::System;

/// All systems, in the order of the report.
pub(crate) fn all() -> Vec<Box<dyn System>> {
    let mut systems: Vec<Box<dyn System>> = vec![
        Box::new(direct::Direct),
        Box::new(plain::Plain),
        Box::new(vgw::Vgw::xsk()),
        Box::new(vgw::Vgw::kernel()),
    ];
    systems.extend(crate::peers::all());
    systems
}
