//! The schema over stores in memory: what clients get, in how many queries, and what they get
//! instead of an answer.

mod dead_letters;
mod errors;
mod feeds;
mod lists;
mod loading;
mod nodes;
mod personal;
mod sdl;
mod world;
