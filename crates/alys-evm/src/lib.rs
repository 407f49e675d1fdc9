//! Embedded execution of EVM payloads.
