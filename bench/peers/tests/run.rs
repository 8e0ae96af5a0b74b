//! The whole command, as short as it can be, on a private PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_row_is_printed_and_freehold_loses_and_doubles_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_freehold-peers"))
        .args(["--quick", "--anew", "--seconds", "0.3", "--format", "ndjson"])
        .args([
            "--peers",
            "freehold,postgres-es,raw",
            "--workloads",
            "fresh,batch-100,hot,read,tail",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let printed = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |row: &str| -> Vec<_> { rows.iter().filter(|one| one["row"] == row).collect() };
    // Two callers' numbers for each of four; nothing is followed or contended by hand.
    for (row, count) in [("fresh", 8), ("batch-100", 4), ("hot", 3), ("catch-up", 4), ("tail", 3)] {
        assert_eq!(of(row).len(), count, "{row}: {said}");
        assert!(of(row).iter().all(|one| one["value"].as_f64().unwrap() > 0.0), "{printed}");
    }
    for row in of("tail").into_iter().chain(of("catch-up")) {
        assert_eq!((&row["lost"], &row["doubled"]), (&Value::from(0), &Value::from(0)), "{row}");
    }
}
