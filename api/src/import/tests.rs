use std::collections::BTreeMap;
use std::io::Cursor;

use freehold_ports::LogName;
use serde_json::Value;

use super::demo::{Extent, import};
use super::*;
use crate::ingest::tests::{Trouble, World};
use crate::ingest::{ItemAnswer, Status};
use crate::placeholder::{PLACEHOLDER_PATH, photo_address};

const SOME: Extent = Extent { sales: 300, rentals: 120, impressions: 900 };

/// What a log says, without what differs from run to run: ids, order, moments of storing.
async fn content(world: &World) -> BTreeMap<String, u32> {
    let mut content = BTreeMap::new();
    for log in [LogName::DOMAIN, LogName::INTERACTIONS] {
        for event in world.events(log).await {
            let payload: Value = serde_json::from_slice(&event.payload).unwrap();
            let in_order = if event.stream.category() == "property" { event.version.0 } else { 0 };
            let line = format!(
                "{} {in_order} {} {} {:?} {payload}",
                event.stream, event.event_type, event.occurred_at, event.tags
            );
            *content.entry(line).or_default() += 1;
        }
    }
    content
}

async fn run(world: &World) -> Result<DemoReport, ImportError> {
    import(&world.platform, "acme".into(), &Silent, SOME).await
}

#[tokio::test]
async fn the_demo_holds_sales_flats_and_views() {
    let world = World::new().await;
    let report = run(&world).await.unwrap();
    let clicks = report.interactions - 900;
    assert_eq!(report.properties, 420);
    assert!(clicks > 0, "some rows are clicks");

    let events = world.events(LogName::DOMAIN).await;
    let of = |reference: &str| {
        let tag = format!("source:{reference}");
        let first = events.iter().find(|event| event.tags.iter().any(|t| t.as_str() == tag));
        let stream = first.unwrap().stream.clone();
        let of_stream = events.iter().filter(|event| event.stream == stream);
        of_stream.map(|e| (e.event_type.to_string(), e.occurred_at)).collect::<Vec<_>>()
    };
    let sale = of("lucas/lucas-00001");
    assert_eq!(sale[0].0, "PropertyRegistered");
    assert_eq!(sale[1].0, "ClosingRecorded");
    assert_eq!(sale[1].1.to_rfc3339(), "1996-04-23T12:00:00+00:00");
    let flat: Vec<_> = of("berlin/berlin-0001").into_iter().map(|(name, _)| name).collect();
    let published = ["PropertyRegistered", "MediaAttached", "ListingDrafted", "ListingPublished"];
    assert_eq!(flat, published);

    let seen = &world.events(LogName::INTERACTIONS).await[0];
    assert_eq!(seen.occurred_at.to_rfc3339(), "2019-11-24T00:00:17.004101+00:00");
    let payload: Value = serde_json::from_slice(&seen.payload).unwrap();
    assert!(payload["listing"].is_string() && payload["session"].is_string());
    assert_eq!(payload["page_position"], 2);
}

#[tokio::test]
async fn imported_twice_is_imported_once() {
    let world = World::new().await;
    run(&world).await.unwrap();
    let once = content(&world).await;
    assert_eq!(run(&world).await.unwrap(), DemoReport::default(), "complete: nothing is looked at");
    assert_eq!(content(&world).await, once);
}

#[tokio::test]
async fn two_tenants_have_a_demo_each() {
    let world = World::new().await;
    run(&world).await.unwrap();
    let report = import(&world.platform, "other".into(), &Silent, SOME).await.unwrap();
    assert_eq!(report.properties, 420);
}

#[tokio::test]
async fn a_log_that_is_full_or_does_not_answer_gets_the_same_in_the_end() {
    let calm = World::new().await;
    run(&calm).await.unwrap();
    let rough = World::new().await;
    rough.log.make(Trouble {
        overloaded_every: Some(3),
        no_answer_every: Some(7),
        ..Trouble::default()
    });
    run(&rough).await.unwrap();
    assert_eq!(content(&rough).await, content(&calm).await);
}

#[tokio::test]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    let calm = World::new().await;
    run(&calm).await.unwrap();
    let killed = World::new().await;
    // Dropped in the middle, again and again, each time a little later.
    for polls in [1, 5, 20, 50, 100, 200, 400, 800, 1_600] {
        let mut importing = Box::pin(run(&killed));
        for _ in 0..polls {
            if futures_util::poll!(&mut importing).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    run(&killed).await.unwrap();
    assert_eq!(content(&killed).await, content(&calm).await);
}

#[tokio::test]
async fn a_reference_that_somebody_else_uses_is_left_alone() {
    let world = World::new().await;
    let item = br#"{"property_id": "berlin-0002", "source": "berlin", "data": {"title": "Mine"}}"#;
    world.ingest.property(&world.sender(), &[item.as_slice()]).await;
    let report = run(&world).await.unwrap();
    assert_eq!((report.taken, report.properties), (1, 419));
}

#[tokio::test]
async fn the_tables_are_as_long_as_the_markers_say() {
    let world = World::new().await;
    let report = import(&world.platform, "acme".into(), &Silent, Extent::ALL).await.unwrap();
    assert_eq!(report.properties, 25_357 + 2_203);
    assert_eq!(report.interactions, 30_000 + 157);
    let again = std::time::Instant::now();
    assert_eq!(
        import_demo(&world.platform, "acme".into(), &Silent).await.unwrap(),
        DemoReport::default()
    );
    assert!(again.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn a_table_of_a_feed_is_imported_and_again_changes_nothing() {
    let world = World::new().await;
    let table = "reference,rent,currency,beds,status\na,900,GBP,2,\nb,,,3,\nc,oops,GBP,1,\n";
    let file = || (Cursor::new(table), table.len() as u64);
    let sender = world.sender_of("crm");
    let mut refused = Vec::new();
    let mut show = |line, answer: &ItemAnswer| {
        refused.extend(answer.errors.iter().map(|error| (line, error.code)));
    };
    let csv = FileFormat::Csv;
    let first = import_file(&world.ingest, &sender, csv, file(), &Silent, &mut show).await.unwrap();
    assert_eq!((first.created, first.refused), (2, 1));
    assert_eq!(refused, [(4, "WRONG_TYPE")]);
    let nobody = &mut |_, _: &ItemAnswer| {};
    let again = import_file(&world.ingest, &sender, csv, file(), &Silent, nobody).await.unwrap();
    assert_eq!((again.created, again.updated, again.unchanged), (0, 0, 2));
    let events = world.events(LogName::DOMAIN).await;
    let tags = events.iter().flat_map(|event| &event.tags).map(|tag| tag.as_str());
    let mut tags: Vec<&str> = tags.filter(|tag| tag.starts_with("source:")).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["source:crm/a", "source:crm/b"]);
}

#[tokio::test]
async fn lines_of_a_feed_are_imported_through_a_full_queue() {
    let world = World::new().await;
    world.log.make(Trouble { overloaded_every: Some(2), ..Trouble::default() });
    let lines: String = (0..2_500)
        .map(|n| {
            format!("{{\"property_id\": \"p-{}\", \"data\": {{\"beds\": {}}}}}\n", n % 50, n % 7)
        })
        .collect();
    let file = (Cursor::new(&lines), lines.len() as u64);
    let nobody = &mut |_, _: &ItemAnswer| {};
    let sender = world.sender();
    let report =
        import_file(&world.ingest, &sender, FileFormat::Ndjson, file, &Silent, nobody).await;
    let report = report.unwrap();
    assert_eq!(report.created, 50);
    assert_eq!(report.created + report.updated + report.unchanged, 2_500);
}

#[tokio::test]
async fn rows_with_other_cells_than_the_header_are_not_taken_without_a_word() {
    let world = World::new().await;
    let table = "reference,summary,beds\na,\"two\nlines\",1\nb,short\nc,Oak, quiet,2\nd,t,1,,\n";
    let mut said = Vec::new();
    let mut show = |line, answer: &ItemAnswer| {
        let notices = answer.errors.iter().chain(&answer.warnings);
        let codes = notices.map(|notice| notice.code).filter(|code| code.starts_with("CELLS"));
        said.extend(codes.map(|code| (line, code, answer.status)));
    };
    let file = (Cursor::new(table), table.len() as u64);
    let sender = world.sender();
    let report =
        import_file(&world.ingest, &sender, FileFormat::Csv, file, &Silent, &mut show).await;
    let report = report.unwrap();
    assert_eq!((report.created, report.refused), (3, 1));
    said.sort_unstable_by_key(|(line, ..)| *line);
    assert_eq!(
        said,
        [(4, "CELLS_MISSING", Status::Accepted), (5, "CELLS_TOO_MANY", Status::Refused)]
    );
    assert_eq!(report.warnings["CELLS_MISSING"], 1);
    assert_eq!(report.errors["CELLS_TOO_MANY"], 1);
}

/// Imports a file and tells what was said of which line.
async fn imported(
    world: &World,
    format: FileFormat,
    file: impl AsRef<[u8]>,
) -> (Result<FileReport, ImportError>, Vec<(u64, &'static str, String)>) {
    let mut said = Vec::new();
    let mut show = |line, answer: &ItemAnswer| {
        let notices = answer.errors.iter().chain(&answer.warnings);
        said.extend(notices.map(|one| (line, one.code, one.field.clone().unwrap_or_default())));
    };
    let sender = world.sender_of("crm");
    let bytes = file.as_ref().len() as u64;
    let file = (Cursor::new(file), bytes);
    let report = import_file(&world.ingest, &sender, format, file, &Silent, &mut show).await;
    (report, said)
}

#[tokio::test]
async fn a_quote_that_is_never_closed_costs_no_row_without_a_word() {
    let world = World::new().await;
    let table = "\u{feff}\"reference\",beds,summary\r\nd1,1,\"a \"\"quoted\"\"\r\nline\" \r\n\
                 d2,2,\"never closed\r\nd3,3,x\r\nd4,4,y\r\n";
    let (report, said) = imported(&world, FileFormat::Csv, table).await;
    let report = report.unwrap();
    assert_eq!((report.created, report.refused), (1, 1));
    assert_eq!(said, [(4, "UNCLOSED_QUOTE", String::new())]);

    // The next quote ends it, in the middle of a row.
    let table = "reference,summary\ne1,\"never closed\ne2,\"x\"\ne3,5\" pipe\n";
    let (report, said) = imported(&world, FileFormat::Csv, table).await;
    let report = report.unwrap();
    assert_eq!((report.created, report.refused), (1, 1));
    assert_eq!(said, [(2, "MISPLACED_QUOTE", String::new())]);
    let (report, _) = imported(&world, FileFormat::Csv, "reference,\"beds\na,1\n").await;
    assert!(matches!(report, Err(ImportError::NotATable(what)) if what.contains("never closed")));
    let names = world.events(LogName::DOMAIN).await;
    assert_eq!(names.len(), 2, "nothing is made of what was swallowed");
}

#[tokio::test]
async fn of_rows_with_one_reference_the_last_counts() {
    let world = World::new().await;
    let table = "reference,beds,source\na,1,\nb,1,\na,2,crm\na,3,\na,4,other\n";
    let (first, said) = imported(&world, FileFormat::Csv, table).await;
    let first = first.unwrap();
    assert_eq!((first.created, first.left_out), (3, 2));
    let twice = "DUPLICATE_REFERENCE";
    assert_eq!(said, [(2, twice, String::new()), (4, twice, String::new())]);
    let stored = content(&world).await;
    let (again, _) = imported(&world, FileFormat::Csv, table).await;
    let again = again.unwrap();
    assert_eq!((again.created, again.updated, again.unchanged, again.left_out), (0, 0, 3, 2));
    assert_eq!(content(&world).await, stored);

    let table = "reference,event_type,beds\ne,property_updated,1\ne,property_updated,2\n";
    let (events, said) = imported(&world, FileFormat::Csv, table).await;
    let events = events.unwrap();
    assert_eq!((events.created, events.updated, said), (1, 1, vec![]));
}

#[tokio::test]
async fn what_is_said_names_the_columns_of_the_file_each_unknown_one_once() {
    let world = World::new().await;
    let table = "Ref Nr,id,Asking Price,bedz\nx,a,900,1\nx,b,oops,2\nx,,1,3\n";
    let (report, mut said) = imported(&world, FileFormat::Csv, table).await;
    assert_eq!(report.unwrap().refused, 2);
    said.retain(|(_, code, _)| *code != "FREQUENCY_ASSUMED");
    said.sort_unstable();
    let said: Vec<_> = said.iter().map(|(line, code, field)| (*line, *code, &**field)).collect();
    let wanted = [
        (2, "CURRENCY_ASSUMED", "Asking Price"),
        (2, "UNKNOWN_FIELD", "Ref Nr"),
        (2, "UNKNOWN_FIELD", "bedz"),
        (3, "WRONG_TYPE", "Asking Price"),
        (4, "REFERENCE_MISSING", "id"),
    ];
    assert_eq!(said, wanted);
}

#[tokio::test]
async fn a_file_of_another_shape_is_read_or_says_why_not() {
    let world = World::new().await;
    let csv = FileFormat::Csv;
    for table in ["reference;beds\ns;1\n", "reference\tbeds\nt\t1\n", "reference\nu\n"] {
        let (report, said) = imported(&world, csv, table).await;
        assert_eq!((report.unwrap().created, said), (1, vec![]), "{table}");
    }
    for nothing in ["", "\n\n", "reference,beds\n"] {
        let (report, said) = imported(&world, csv, nothing).await;
        assert_eq!((report.unwrap().rows(), said), (0, vec![]), "{nothing:?}");
    }
    let (report, _) = imported(&world, csv, "name,beds\na,1\n").await;
    let error = report.unwrap_err().to_string();
    assert!(error.contains("property_id") && error.contains("name, beds"), "{error}");
    let (report, _) = imported(&world, csv, b"reference,stra\xdfe\na,1\n").await;
    let error = report.unwrap_err().to_string();
    assert!(error.contains("line 1, is not UTF-8 text"), "{error}");

    let not_utf8 = vec![(3, "NOT_UTF8", String::new())];
    let (report, said) = imported(&world, csv, b"reference,city\nv,x\nw,K\xf6ln\n").await;
    assert_eq!((report.unwrap().refused, said), (1, not_utf8.clone()));
    let lines = b"{\"id\": \"x\"}\n\n{\"id\": \"K\xf6ln\"}\n";
    let (report, said) = imported(&world, FileFormat::Ndjson, lines).await;
    assert_eq!((report.unwrap().refused, said), (1, not_utf8));
}

/// Counts what a bar would show: of each part its total and how much of it was done.
#[derive(Default)]
struct Counts(std::sync::Mutex<Vec<(String, u64, u64)>>);

impl Progress for Counts {
    fn begin(&self, part: &str, total: u64, _counted: Counted) {
        self.0.lock().unwrap().push((part.to_owned(), total, 0));
    }

    fn advance(&self, more: u64) {
        self.0.lock().unwrap().last_mut().unwrap().2 += more;
    }

    fn finish(&self) {}
}

#[tokio::test]
async fn every_part_ends_with_as_much_done_as_there_is() {
    let world = World::new().await;
    let counts = Counts::default();
    import(&world.platform, "acme".into(), &counts, SOME).await.unwrap();
    let table = "reference,beds\na,1\nb,2\n";
    let file = (Cursor::new(table), table.len() as u64);
    let nobody = &mut |_, _: &ItemAnswer| {};
    let sender = world.sender();
    import_file(&world.ingest, &sender, FileFormat::Csv, file, &counts, nobody).await.unwrap();
    let counts = counts.0.into_inner().unwrap();
    assert_eq!(counts.len(), 5);
    for (part, total, done) in counts {
        assert_eq!(done, total, "{part}");
    }
}

#[tokio::test]
async fn the_photo_of_the_demo_is_on_whatever_server_is_asked() {
    let world = World::new().await;
    run(&world).await.unwrap();
    let events = world.events(LogName::DOMAIN).await;
    let attached = events.iter().find(|event| &*event.event_type == "MediaAttached").unwrap();
    let payload: Value = serde_json::from_slice(&attached.payload).unwrap();
    let stored = payload["media"]["url"].as_str().unwrap();
    assert!(stored.contains(".invalid/"), "{stored} is somebody's address");
    assert_eq!(photo_address(stored), PLACEHOLDER_PATH);
    assert_eq!(photo_address("https://a.example/1.jpg"), "https://a.example/1.jpg");
}
