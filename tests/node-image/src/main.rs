//! PID 1 of the lab node's initramfs.

use metal_agent::Machine;
use node_image::node;

fn main() {
    let machine = Machine::take_over("lab node");
    rustls::crypto::ring::default_provider().install_default().ok();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(node::run(&machine)),
        Err(error) => machine.give_up(&format!("cannot start the runtime: {error}")),
    }
    // A kernel whose first process ends panics.
    loop {
        std::thread::park();
    }
}
