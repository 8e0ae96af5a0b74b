//! The suites that every adapter passes.
//!
//! One module a port: each behaviour is one async function that gets a fresh, empty store. An
//! adapter joins with one line, `freehold_contract::event_store_suite!(fresh_store());`, and gets
//! one test for each behaviour. Attributes behind the store are those of each test:
//! `#[ignore = "set TEST_POSTGRES_URL"]`. What only one adapter has (files, servers) is tested
//! there.
//!
//! [`interposed`] is for tests of what stands before a port: stores that fail on demand.

#![allow(clippy::unwrap_used, reason = "the suites are tests, compiled for other crates")]

use std::any::Any;
use std::sync::Arc;

pub mod dead_letters;
pub mod event_store;
pub mod feed;
pub mod intake;
pub mod interposed;
pub mod key_vault;
pub mod publisher;
pub mod read_models;
pub mod restore_keys;
pub mod restore_log;
pub mod snapshots;

/// An empty store, and whatever must outlive it: a temporary folder, a server.
pub struct Fresh<S: ?Sized> {
    /// The store.
    pub store: Arc<S>,
    _keep: Option<Box<dyn Any + Send>>,
}

impl<S: ?Sized> Fresh<S> {
    /// A store that needs nothing else.
    pub fn new(store: Arc<S>) -> Self {
        Self { store, _keep: None }
    }

    /// A store that `keep` must outlive.
    pub fn keeping(store: Arc<S>, keep: impl Any + Send) -> Self {
        Self { store, _keep: Some(Box::new(keep)) }
    }
}

/// One test for each named behaviour of a module of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! suite {
    ($module:ident, $attributes:tt, $fresh:expr, [$($behaviour:ident),+ $(,)?]) => {$(
        $crate::test!($module, $attributes, $fresh, $behaviour);
    )+};
}

/// One test for one behaviour, with the attributes that its adapter gives it.
#[doc(hidden)]
#[macro_export]
macro_rules! test {
    ($module:ident, [$($attribute:meta),*], $fresh:expr, $behaviour:ident) => {
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $behaviour() {
            let fresh = $fresh;
            $crate::$module::$behaviour(fresh.store.clone()).await;
        }
    };
}

#[cfg(test)]
mod tests {
    /// A behaviour that is missing from its suite's list would be tested by nobody.
    #[test]
    fn every_behaviour_is_in_its_suite() {
        for source in [
            include_str!("dead_letters.rs"),
            include_str!("event_store.rs"),
            include_str!("feed.rs"),
            include_str!("intake.rs"),
            include_str!("key_vault.rs"),
            include_str!("publisher.rs"),
            include_str!("read_models.rs"),
            include_str!("restore_keys.rs"),
            include_str!("restore_log.rs"),
            include_str!("snapshots.rs"),
        ] {
            let (_, suite) = source.split_once("_suite {").unwrap();
            let (suite, _) = suite.split_once("\n}\n").unwrap();
            for behaviour in source.split("\npub async fn ").skip(1) {
                let (name, _) = behaviour.split_once('(').unwrap();
                assert!(suite.contains(&format!(" {name},")), "{name} is in no suite");
            }
        }
    }
}
