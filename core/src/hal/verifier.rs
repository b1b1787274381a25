/// Verifies the signature of a manifest. Only a verifier with at least one key is ever asked.
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
