//! Events read back a second, from the first to the last, in pages of 1,000.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use freehold_ports::{EventFilter, EventStore, GlobalPosition, LogName};
use serde_json::{Map, Value};

use crate::append::Caller;
use crate::output::{Fsync, Output, Row};
use crate::{Place, Setting, Store, limit, postgres};

const PAGE: u32 = 1_000;

pub(crate) async fn run(setting: &Setting, output: &mut Output) -> anyhow::Result<()> {
    let events = if setting.quick { 300_000 } else { 1_000_000 };
    let of_streams: &[u64] = match setting.store {
        Store::Postgres => &[20, 1],
        Store::Sqlite | Store::Memory => &[20],
    };
    for of_stream in of_streams {
        let folder = setting.fresh_folder()?;
        let before = limit::fsync_us(folder.path())?;
        let place = setting.fresh_place().await?;
        let behind = setting.stored.saturating_sub(events);
        let store = match &place {
            Place::Schema(_) => {
                place.fill(behind + events, *of_stream).await?;
                place.open().await?
            }
            Place::Folder(_) | Place::Memory => {
                let store = place.open().await?;
                fill(&store, events).await?;
                store
            }
        };
        for pages_in_flight in [1, 2] {
            read(&store, behind, events, pages_in_flight).await?; // warms caches: all rows are alike
            let limit = match &place {
                Place::Folder(folder) => Some(limit::rows_read(folder.path(), PAGE)?),
                Place::Memory => None,
                Place::Schema(schema) => {
                    Some(postgres::rows_read(schema, behind, events, PAGE).await?)
                }
            };
            let started = Instant::now();
            read(&store, behind, events, pages_in_flight).await?;
            let value = events as f64 / started.elapsed().as_secs_f64();
            let after = limit::fsync_us(folder.path())?;
            let mut parameters = Map::from_iter([
                ("events".to_owned(), Value::from(events)),
                ("of_a_stream".to_owned(), Value::from(*of_stream)),
                ("pages_in_flight".to_owned(), Value::from(pages_in_flight)),
            ]);
            if behind > 0 {
                parameters.insert("stored".to_owned(), Value::from(behind + events));
            }
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
    }
    Ok(())
}

/// Appends events as many callers would: streams are interleaved in the log.
pub(crate) async fn fill(store: &Arc<dyn EventStore>, events: u64) -> anyhow::Result<()> {
    let callers = 1_000;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut caller = Caller::plain();
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

/// Reads events behind a position; positions have no gaps, so the next page can be asked for before this one
/// is here.
async fn read(
    store: &Arc<dyn EventStore>,
    behind: u64,
    events: u64,
    in_flight: u64,
) -> anyhow::Result<()> {
    let page = |number: u64| {
        let store = store.clone();
        tokio::spawn(async move {
            let after = GlobalPosition(behind + number * u64::from(PAGE));
            let limit = NonZeroU32::new(PAGE).expect("a page is not empty");
            store.read_all(&LogName::DOMAIN, &EventFilter::all(), after, limit).await
        })
    };
    let mut asked: std::collections::VecDeque<_> = (0..in_flight).map(page).collect();
    let mut next = GlobalPosition(behind + 1);
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
    let read = next.0 - 1 - behind;
    ensure!(read == events, "{events} events were stored, {read} read");
    Ok(())
}
