//! What reading record batches may take, whatever they say of themselves. Owns the bounds and their defaults; `reader`
//! and `inflate` keep them.

/// What reading may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes that compressed records may have when they are not.
    pub inflated_bytes_max: usize,
    /// Bytes of memory kept for the next compressed batch, by its output and by its codec each.
    pub kept_bytes_max: usize,
}

/// [`ReadLimits::inflated_bytes_max`] where nobody says otherwise.
pub const INFLATED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// [`ReadLimits::kept_bytes_max`] where nobody says otherwise: what zstd takes at its usual level, and some more.
pub const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits { inflated_bytes_max: INFLATED_BYTES_MAX, kept_bytes_max: KEPT_BYTES_MAX }
    }
}
