//! The check of an artifact's signature: ECDSA on P-256 over the SHA-256 of the manifest, as `mender-artifact` signs.

use thimble_core::hal::Verifier;

#[cfg(feature = "signature")]
pub use checked::Signatures;
#[cfg(not(feature = "signature"))]
pub use taken_for_good::Signatures;

#[cfg(feature = "signature")]
mod checked {
    use core::mem;

    use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
    use p256::ecdsa::{Signature, VerifyingKey};
    use sha2::{Digest as _, Sha256};

    use super::Verifier;

    /// The public half of the only key, a point of P-256 as SEC 1 writes it.
    const KEY: &[u8; 65] = include_bytes!("../update.key");

    /// Good signatures are those by the key of this board.
    pub struct Signatures {
        /// Read once, since that takes a stack of its own. Without it, no signature is good.
        key: Option<VerifyingKey>,
        manifest: Sha256,
    }

    impl Signatures {
        pub fn new() -> Self {
            Self { key: VerifyingKey::from_sec1_bytes(KEY).ok(), manifest: Sha256::new() }
        }
    }

    impl Verifier for Signatures {
        fn has_keys(&self) -> bool {
            true
        }

        fn reset(&mut self) {
            self.manifest = Sha256::new();
        }

        fn update(&mut self, manifest: &[u8]) -> bool {
            self.manifest.update(manifest);
            true
        }

        // Its large frame is for this call alone, and no part of that of its caller.
        #[inline(never)]
        fn verify(&mut self, signature: &[u8]) -> bool {
            let hash = mem::take(&mut self.manifest).finalize();
            match (&self.key, Signature::from_slice(signature)) {
                (Some(key), Ok(signature)) => key.verify_prehash(&hash, &signature).is_ok(),
                (Some(_), Err(_)) | (None, _) => false,
            }
        }
    }
}

/// The board is the same in all else: the difference is the size of the check.
#[cfg(not(feature = "signature"))]
mod taken_for_good {
    use core::hint::black_box;

    use super::Verifier;

    /// Whatever is there as a signature is good.
    pub struct Signatures(());

    impl Signatures {
        pub fn new() -> Self {
            Self(())
        }
    }

    impl Verifier for Signatures {
        fn has_keys(&self) -> bool {
            true
        }

        fn reset(&mut self) {}

        fn update(&mut self, manifest: &[u8]) -> bool {
            black_box(manifest);
            true
        }

        fn verify(&mut self, signature: &[u8]) -> bool {
            black_box(signature);
            true
        }
    }
}
