//! What every [`Intake`] does.

use std::sync::Arc;

use chrono::DateTime;
use freehold_ports::{
    Intake, IntakeStep, MessageId, RefusedFilter, RefusedItem, SourcePartition, Taken,
};
use futures_util::future::join_all;

/// Tests an adapter against every behaviour of the port; takes a
/// [`Fresh<dyn Intake>`](crate::Fresh).
#[macro_export]
macro_rules! intake_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            intake,
            [$($attribute),*],
            $fresh,
            [
                a_partition_stands_where_it_was_moved_to,
                a_reader_that_lost_its_partition_moves_and_lists_nothing,
                a_topic_that_was_made_anew_is_read_from_its_beginning,
                of_many_readers_one_moves_a_partition,
                refused_items_are_listed_in_their_order,
                what_was_settled_is_listed_no_more,
            ]
        );
    };
}

type Store = Arc<dyn Intake>;

/// Each partition of each topic of each cluster by itself.
pub async fn a_partition_stands_where_it_was_moved_to(store: Store) {
    let partitions =
        [partition("commands", 0), partition("commands", 1), partition("users", 0), elsewhere()];
    for (offset, partition) in (0..).zip(&partitions) {
        assert_eq!(store.taken(partition).await.unwrap(), None);
        assert!(store.advance(step(partition, None, at(offset))).await.unwrap());
    }
    for (offset, partition) in (0..).zip(&partitions) {
        assert_eq!(store.taken(partition).await.unwrap(), Some(at(offset)));
        let far = Taken { offset: u64::MAX >> 1, stamp: -1 };
        assert!(store.advance(step(partition, Some(at(offset)), far)).await.unwrap());
        assert_eq!(store.taken(partition).await.unwrap(), Some(far));
    }
}

/// A process that was paused while another one took its partition does no harm.
pub async fn a_reader_that_lost_its_partition_moves_and_lists_nothing(store: Store) {
    let partition = partition("commands", 3);
    assert!(!store.advance(step(&partition, Some(at(1)), at(2))).await.unwrap());
    assert_eq!(store.taken(&partition).await.unwrap(), None);
    assert!(store.advance(step(&partition, None, at(7))).await.unwrap());
    let other_stamp = Taken { stamp: 1, ..at(7) };

    for from in [None, Some(at(5)), Some(at(9)), Some(other_stamp)] {
        let mut late = step(&partition, from, at(8));
        late.refused = vec![refused(&partition, at(8), Some(0))];
        assert!(!store.advance(late).await.unwrap(), "{from:?}");
    }

    assert_eq!(store.taken(&partition).await.unwrap(), Some(at(7)));
    assert_eq!(all(&store).await, []);
}

/// Its first message has an offset that was passed long ago.
pub async fn a_topic_that_was_made_anew_is_read_from_its_beginning(store: Store) {
    let partition = partition("commands", 0);
    let new = Taken { offset: 0, stamp: 2_000 };
    let item = |at| refused(&partition, at, None);
    for (from, to) in [(None, at(0)), (Some(at(0)), at(500)), (Some(at(500)), new)] {
        let mut step = step(&partition, from, to);
        step.refused = vec![item(to)];
        assert!(store.advance(step).await.unwrap());
    }
    assert_eq!(store.taken(&partition).await.unwrap(), Some(new));
    assert_eq!(all(&store).await, [item(new), item(at(0)), item(at(500))]);
}

/// Whoever comes with the same step at the same moment.
pub async fn of_many_readers_one_moves_a_partition(store: Store) {
    let partition = partition("commands", 0);
    for from in [None, Some(at(1)), Some(at(2))] {
        let to = at(from.map_or(1, |from| from.offset + 1));
        let moved = (0..32).map(|_| {
            let (store, mut step) = (store.clone(), step(&partition, from, to));
            step.refused = vec![refused(&partition, to, Some(0))];
            tokio::spawn(async move { store.advance(step).await.unwrap() })
        });
        let moved = join_all(moved).await;
        assert_eq!(moved.into_iter().filter(|moved| *moved.as_ref().unwrap()).count(), 1);
        assert_eq!(store.taken(&partition).await.unwrap(), Some(to));
    }
    assert_eq!(all(&store).await.len(), 3);
}

/// By topic, partition, offset and item, in pages of any size.
pub async fn refused_items_are_listed_in_their_order(store: Store) {
    let (one, other, user) =
        (partition("commands", 2), partition("commands", 10), partition("users", 0));
    let mut expected = Vec::new();
    for partition in [&one, &other, &user] {
        let mut first = step(partition, None, at(9));
        first.refused = vec![refused(partition, at(9), None)];
        let mut second = step(partition, Some(at(9)), at(10));
        second.refused = (0..3).map(|item| refused(partition, at(10), Some(item))).collect();
        expected.extend(first.refused.iter().chain(&second.refused).cloned());
        second.refused.reverse();
        assert!(store.advance(first).await.unwrap() && store.advance(second).await.unwrap());
    }
    for limit in [1, 2, 5, 100] {
        let mut listed: Vec<RefusedItem> = Vec::new();
        loop {
            let after = listed.last().cloned();
            let page = store.refused(RefusedFilter::default(), after, limit).await.unwrap();
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert_eq!(listed, expected);
    }
    let filters = [
        (Some("commands"), None, None, &expected[..8]),
        (Some("commands"), Some(10), None, &expected[4..8]),
        (Some("users"), Some(0), Some(9), &expected[8..9]),
        (Some("nothing"), None, None, &[]),
    ];
    for (topic, partition, offset, fit) in filters {
        let filter = RefusedFilter { topic: topic.map(Arc::from), partition, offset };
        assert_eq!(store.refused(filter, None, 100).await.unwrap(), fit);
    }
}

/// A message that is tried again may still be refused in part, or for another reason.
pub async fn what_was_settled_is_listed_no_more(store: Store) {
    let partition = partition("commands", 0);
    let mut step = step(&partition, None, at(4));
    step.refused = [3, 4]
        .into_iter()
        .flat_map(|offset| [0, 1, 2].map(|item| refused(&partition, at(offset), Some(item))))
        .collect();
    let mut expected = step.refused.clone();
    assert!(store.advance(step).await.unwrap());
    let message = |offset| MessageId { partition: partition.clone(), at: at(offset) };
    let another =
        RefusedItem { code: "ANOTHER".into(), field: None, ..refused(&partition, at(3), Some(1)) };

    assert_eq!(store.settle(&message(3), vec![another.clone()]).await.unwrap(), 2);

    expected.splice(0..3, [another]);
    assert_eq!(all(&store).await, expected);
    assert_eq!(store.settle(&message(3), Vec::new()).await.unwrap(), 1);
    assert_eq!(store.settle(&message(3), Vec::new()).await.unwrap(), 0);
    let of_another_topic = MessageId { at: Taken { stamp: 9, ..at(4) }, ..message(4) };
    assert_eq!(store.settle(&of_another_topic, Vec::new()).await.unwrap(), 0);
    assert_eq!(all(&store).await, expected[1..]);
    // Only readers move partitions.
    assert_eq!(store.taken(&partition).await.unwrap(), Some(at(4)));
}

async fn all(store: &Store) -> Vec<RefusedItem> {
    store.refused(RefusedFilter::default(), None, 1_000).await.unwrap()
}

fn partition(topic: &str, partition: u32) -> SourcePartition {
    SourcePartition { cluster: "a-cluster".into(), topic: topic.into(), partition }
}

fn elsewhere() -> SourcePartition {
    SourcePartition { cluster: "another".into(), ..partition("commands", 0) }
}

fn at(offset: u64) -> Taken {
    Taken { offset, stamp: 1_700_000_000_000 + offset as i64 }
}

fn step(partition: &SourcePartition, from: Option<Taken>, to: Taken) -> IntakeStep {
    IntakeStep { partition: partition.clone(), from, to, refused: Vec::new() }
}

fn refused(partition: &SourcePartition, at: Taken, item: Option<u32>) -> RefusedItem {
    RefusedItem {
        message: MessageId { partition: partition.clone(), at },
        item,
        code: "PRICE_INVALID".into(),
        field: item.map(|item| format!("data.price{item}").into()),
        what: "must be above 0: ü".into(),
        refused_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
    }
}
