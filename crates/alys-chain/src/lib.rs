//! The pure state machine of an Alys chain.
