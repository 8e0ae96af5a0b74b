//! What stands for a photo that a data set does not have.

/// Where the picture is served that stands for photos which the data set does not have.
pub(crate) const PLACEHOLDER_PATH: &str = "/assets/placeholder.svg";
/// What events say instead of an address: the server may listen anywhere. The name is one of those
/// that are reserved for never being found.
pub(crate) const PLACEHOLDER_URL: &str = "https://this-server.invalid/assets/placeholder.svg";
/// The picture itself.
pub(crate) const PLACEHOLDER_SVG: &str = concat!(
    r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 240" role="img">"##,
    r##"<title>No photo</title><rect width="320" height="240" fill="#e4e7eb"/>"##,
    r##"<path d="M96 168v-60l64-48 64 48v60z" fill="#9aa5b1"/>"##,
    r##"<text x="160" y="212" font-family="sans-serif" font-size="16" fill="#52606d" "##,
    r##"text-anchor="middle">The data set has no photo</text></svg>"##,
);

/// Where clients find a photo that an event names: the placeholder on the server they ask.
pub(crate) fn photo_address(url: &str) -> &str {
    if url == PLACEHOLDER_URL { PLACEHOLDER_PATH } else { url }
}
