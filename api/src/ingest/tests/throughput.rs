//! How much one process takes; run with `--release -- --ignored --nocapture throughput`.

use std::time::Instant;

use futures_util::future::join_all;

use super::*;
use crate::ingest::Status;

/// Sends requests from so many callers at once and prints the items a second.
async fn measure(name: &str, world: &Arc<World>, callers: usize, bodies: Vec<(bool, String)>) {
    let items: usize = bodies.iter().map(|(_, body)| body.matches("event_type").count()).sum();
    let bodies = Arc::new(bodies);
    let started = Instant::now();
    let sending = (0..callers).map(|caller| {
        let (world, bodies) = (world.clone(), bodies.clone());
        tokio::spawn(async move {
            for (user, body) in bodies.iter().skip(caller).step_by(callers) {
                let body = split(body.as_bytes(), false).unwrap();
                let sender = world.sender();
                let answer = if *user {
                    world.ingest.user(&sender, &body.items).await
                } else {
                    world.ingest.property(&sender, &body.items).await
                };
                assert!(answer.items.iter().all(|item| item.status == Status::Accepted));
            }
        })
    });
    join_all(sending).await.into_iter().for_each(|sent| sent.unwrap());
    let rate = items as f64 / started.elapsed().as_secs_f64();
    println!("{name:24} {callers:3} callers {items:7} items {rate:9.0} items/s");
}

fn view(n: usize) -> Value {
    json!({"user_id": format!("user-{}", n % 5_000), "event_type": "property_viewed",
        "data": {"property_id": format!("p-{}", n % 2_000), "position": n % 30}})
}

fn update(n: usize) -> Value {
    json!({"property_id": format!("p-{}", n % 2_000), "event_type": "property_updated",
        "data": {"price": 500 + n / 2_000, "currency": "GBP", "bedrooms": 2, "title": "A flat"}})
}

fn in_batches(
    item: fn(usize) -> Value,
    items: usize,
    of: usize,
    user: bool,
) -> Vec<(bool, String)> {
    let batch = |first: usize| {
        let items: Vec<Value> = (first..first + of).map(item).collect();
        if of == 1 { items[0].to_string() } else { Value::Array(items).to_string() }
    };
    (0..items).step_by(of).map(|first| (user, batch(first))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, which mean something in release only"]
async fn throughput() {
    let folder = tempfile::tempdir().unwrap();
    println!("in memory");
    measure_all(Arc::new(World::new())).await;
    println!("in a file");
    measure_all(Arc::new(World::in_folder(folder.path()))).await;
}

async fn measure_all(world: Arc<World>) {
    measure("properties, new", &world, 4, in_batches(update, 2_000, 50, false)).await;
    measure("updates, batches of 50", &world, 4, in_batches(update, 100_000, 50, false)).await;
    measure("updates, single", &world, 64, in_batches(update, 50_000, 1, false)).await;
    measure("views, batches of 50", &world, 4, in_batches(view, 200_000, 50, true)).await;
    measure("views, single", &world, 64, in_batches(view, 100_000, 1, true)).await;
}
