//! What the server says about itself: a schema of its own until the domain's is served.

use std::time::Duration;

use async_graphql::{EmptyMutation, Object, Schema, Subscription};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};

pub(crate) struct Query;
pub(crate) struct Live;

/// The schema's type.
pub(crate) type About = Schema<Query, EmptyMutation, Live>;

#[Object]
impl Query {
    /// The version of this server.
    async fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

#[Subscription(name = "Subscription")]
impl Live {
    /// The seconds since the subscription began, once a second.
    async fn seconds(&self) -> impl Stream<Item = u64> {
        let began = Instant::now();
        unfold(0, move |seconds| async move {
            sleep_until(began + Duration::from_secs(seconds)).await;
            Some((seconds, seconds + 1))
        })
    }
}
