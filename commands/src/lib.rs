//! Load, decide, append.
