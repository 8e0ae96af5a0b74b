//! Programs that developer commands need.

pub(crate) use freehold_servers::{Tool, require};

pub(crate) const NODE: Tool = Tool { names: &["node"], package: "nodejs" };
pub(crate) const NPM: Tool = Tool { names: &["npm"], package: "npm" };
pub(crate) const PYTHON: Tool = Tool { names: &["python3"], package: "python3-venv" };
pub(crate) const PROTOC: Tool = Tool { names: &["protoc"], package: "protobuf-compiler" };
pub(crate) const CHROMIUM: Tool =
    Tool { names: &["chromium", "chromium-browser", "google-chrome"], package: "chromium" };
