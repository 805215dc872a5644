//! PID 1 of the agent's initramfs.

use metal_agent::{Machine, agent};

fn main() {
    let machine = Machine::take_over("metal-agent");
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(agent::run(&machine)),
        Err(error) => machine.give_up(&format!("cannot start the runtime: {error}")),
    }
    // A kernel whose first process ends panics.
    loop {
        std::thread::park();
    }
}
