//! `vgw`: the agent of a gateway and the client that commands it.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_user::cli::main()
}
