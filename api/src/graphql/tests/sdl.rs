//! The schema that clients build on, as a reviewed file.

use crate::graphql::Limits;

use super::world::World;

#[tokio::test]
async fn the_schema_is_the_one_that_was_reviewed() {
    let sdl = World::unbuilt(Limits::default()).await.schema.sdl();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &sdl).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap_or_default();
    let changed = golden.lines().zip(sdl.lines()).find(|(golden, sdl)| golden != sdl);
    assert!(
        golden == sdl,
        "api/schema.graphql is not the schema; review the change with UPDATE_GOLDEN=1: {changed:?}"
    );
}

#[tokio::test]
async fn names_that_clients_rely_on_keep_their_shape() {
    let sdl = World::unbuilt(Limits::default()).await.schema.sdl();
    for field in [
        "node(id: ID!): Node",
        "nodes(ids: [ID!]!): [Node]!",
        "projections: [Projection!]!",
        "input PropertyBy @oneOf {",
        "input AreaFilter @oneOf {",
        "enum LogName {",
        "scalar Position",
        "interface Node {",
    ] {
        assert!(sdl.contains(field), "{field}");
    }
}
