/// Verifies the signature of a manifest. Only a verifier with at least one key is ever asked.
///
/// `()` has none: any artifact is accepted, and a line in the log says so.
pub trait Verifier {
    /// True when verify keys are configured.
    fn has_keys(&self) -> bool;

    /// A new manifest begins.
    fn reset(&mut self);

    /// More bytes of the manifest, exactly as stored. `false`: too long for this verifier.
    fn update(&mut self, manifest: &[u8]) -> bool;

    /// Whether `signature` (base64 already undone; any length) is good by any key for all bytes since `reset`.
    fn verify(&mut self, signature: &[u8]) -> bool;
}

impl Verifier for () {
    fn has_keys(&self) -> bool {
        false
    }

    fn reset(&mut self) {}

    fn update(&mut self, _: &[u8]) -> bool {
        true
    }

    fn verify(&mut self, _: &[u8]) -> bool {
        false
    }
}

impl<T: Verifier + ?Sized> Verifier for &mut T {
    fn has_keys(&self) -> bool {
        T::has_keys(self)
    }

    fn reset(&mut self) {
        T::reset(self);
    }

    fn update(&mut self, manifest: &[u8]) -> bool {
        T::update(self, manifest)
    }

    fn verify(&mut self, signature: &[u8]) -> bool {
        T::verify(self, signature)
    }
}
