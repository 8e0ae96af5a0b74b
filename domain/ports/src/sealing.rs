//! Bytes sealed under a key: a 24-byte nonce and the XChaCha20-Poly1305 ciphertext.

use chacha20poly1305::aead::{Aead, Generate, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// Seals bytes; `place` is authenticated with them.
pub(crate) fn seal(cipher: &XChaCha20Poly1305, place: &[u8], clear: &[u8]) -> Vec<u8> {
    let nonce = XNonce::generate();
    let sealed = cipher
        .encrypt(&nonce, Payload { msg: clear, aad: place })
        .expect("keys and payloads are far smaller than the cipher's limit");
    [nonce.as_slice(), &sealed].concat()
}

/// What was sealed, if it was under that key and for that place.
pub(crate) fn open(cipher: &XChaCha20Poly1305, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<24>()?;
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place }).ok()
}
