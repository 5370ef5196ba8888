//! Calls before their messages are decoded.
