//! Programs that do the gateway's work without being one. They justify the design and are the other half of every
//! ratio.

pub(crate) mod bare_ring;
mod kernel;
