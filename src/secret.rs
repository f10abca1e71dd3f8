//! Shared secrets: their least length, and the HMAC-SHA256 under them. This module knows no keys, URLs or webhooks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of the shortest secret; shorter ones could be guessed.
const BYTES_MIN: usize = 16;

/// Refuses a secret that is too short or not printable. The message does not show it.
pub fn check(secret: &str) -> Result<(), String> {
    if secret.len() >= BYTES_MIN && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("the secret must be at least {BYTES_MIN} printable ASCII characters"))
}

/// The HMAC-SHA256 of a message (RFC 2104).
pub fn hmac(secret: &str, message: &str) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(message)
}
