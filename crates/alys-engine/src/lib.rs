//! The execution port.
