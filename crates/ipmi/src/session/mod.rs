//! RMCP+ sessions without sockets, clocks and random sources: those come in as arguments.

pub mod bmc;
pub mod console;
pub(crate) mod loopback;
#[cfg(test)]
mod tests;
mod window;

/// Fills a buffer with random bytes. Session ids, nonces and initialisation vectors come from it, so outside
/// tests it must be a cryptographic source.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// `N` random bytes.
fn random_bytes<const N: usize>(random: Random<'_>) -> [u8; N] {
    let mut out = [0; N];
    random(&mut out);
    out
}

/// A random session id; 0 is reserved.
fn random_id(random: Random<'_>) -> u32 {
    u32::from_le_bytes(random_bytes(random)).max(1)
}
