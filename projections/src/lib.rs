//! Events to read models.
