//! The rules of reading, each by its name.
