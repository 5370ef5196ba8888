//! The shape of the source: which part may use which, where `unsafe` may stand, how long a file, a line and a function
//! may be, which words do not belong in finished work, and that the documents are true. ARCHITECTURE.md says the rules;
//! this holds them. Every rule is tried on a sample that breaks it, so that none passes by looking at nothing.

mod arrows;
mod circles;
mod documents;
mod shape;
mod source;
mod words;
