//! Deciding on tokens.
