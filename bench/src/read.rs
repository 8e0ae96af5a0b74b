//! Events read back a second, from the first to the last, in pages of 1,000.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use freehold_ports::{EventFilter, EventStore, GlobalPosition, LogName};
use serde_json::{Map, Value};

use crate::append::Caller;
use crate::output::{Fsync, Output, Row};
use crate::{Setting, Store, limit};

const PAGE: u32 = 1_000;

pub(crate) async fn run(setting: &Setting, output: &mut Output) -> anyhow::Result<()> {
    let events = if setting.quick { 300_000 } else { 1_000_000 };
    let folder = setting.fresh_folder()?;
    let before = limit::fsync_us(folder.path())?;
    let store = setting.open_store(folder.path())?;
    fill(&store, events).await?;
    for pages_in_flight in [1, 2] {
        read(&store, events, pages_in_flight).await?; // warms caches, so that all rows are alike
        let limit = match setting.store {
            Store::Sqlite => Some(limit::rows_read(folder.path(), PAGE)?),
            Store::Memory => None,
        };
        let started = Instant::now();
        read(&store, events, pages_in_flight).await?;
        let value = events as f64 / started.elapsed().as_secs_f64();
        let after = limit::fsync_us(folder.path())?;
        let parameters = Map::from_iter([
            ("events".to_owned(), Value::from(events)),
            ("pages_in_flight".to_owned(), Value::from(pages_in_flight)),
        ]);
        let row = Row {
            bench: "read",
            store: setting.store_name(),
            parameters,
            value,
            unit: "events/s",
            fsync_us: Fsync { before, after },
            ..Row::default()
        };
        output.print(row.beside(limit))?;
    }
    Ok(())
}

/// Appends events as many callers would: streams are interleaved in the log.
async fn fill(store: &Arc<dyn EventStore>, events: u64) -> anyhow::Result<()> {
    let callers = 1_000;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut caller = Caller::new();
                for _ in 0..events / callers {
                    store.append(caller.next()).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Reads the whole log; positions have no gaps, so the next page can be asked for before this one
/// is here.
async fn read(store: &Arc<dyn EventStore>, events: u64, in_flight: u64) -> anyhow::Result<()> {
    let page = |number: u64| {
        let store = store.clone();
        tokio::spawn(async move {
            let after = GlobalPosition(number * u64::from(PAGE));
            let limit = NonZeroU32::new(PAGE).expect("a page is not empty");
            store.read_all(&LogName::DOMAIN, &EventFilter::all(), after, limit).await
        })
    };
    let mut asked: std::collections::VecDeque<_> = (0..in_flight).map(page).collect();
    let mut next = GlobalPosition(1);
    for number in in_flight.. {
        let Some(oldest) = asked.pop_front() else { break };
        if number * u64::from(PAGE) < events {
            asked.push_back(page(number));
        }
        for event in oldest.await??.events {
            ensure!(event.position == next, "position {next} is missing");
            next.0 += 1;
        }
    }
    ensure!(next.0 == events + 1, "{events} events were stored, {} read", next.0 - 1);
    Ok(())
}
