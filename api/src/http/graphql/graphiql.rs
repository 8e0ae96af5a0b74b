//! GraphiQL from our own files: nothing on its page leaves for another host.

use std::io::Read as _;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use uuid::Uuid;

use super::Problem;

/// `{nonce}` stands for a number that no page has twice.
const PAGE: &str = include_str!("../../../assets/graphiql/index.html");

/// What the page may do: load from here, talk to here, nothing else. Its dialogs write one style
/// into the page, which the nonce lets pass.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; \
                      font-src data:; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the bundle, packed as it lies in the repository.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    packed: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset {
        path: "/graphiql/graphiql.js",
        content_type: "text/javascript; charset=utf-8",
        packed: include_bytes!("../../../assets/graphiql/graphiql.js.gz"),
    },
    Asset {
        path: "/graphiql/graphiql.css",
        content_type: "text/css; charset=utf-8",
        packed: include_bytes!("../../../assets/graphiql/graphiql.css.gz"),
    },
    Asset {
        path: "/graphiql/LICENSES.txt",
        content_type: "text/plain; charset=utf-8",
        packed: include_bytes!("../../../assets/graphiql/LICENSES.txt.gz"),
    },
];

pub(super) fn routes() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router
            .route(asset.path, get(move |headers: HeaderMap| async move { serve(asset, &headers) }))
    })
}

pub(super) fn page() -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.replace("{nonce}", &nonce)),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::VARY, "Accept".to_owned()),
    ];
    (headers, Html(PAGE.replace("{nonce}", &nonce))).into_response()
}

fn serve(asset: &'static Asset, headers: &HeaderMap) -> Response {
    // The files change only with the binary, so their bytes are their version.
    let tag = format!("\"{}\"", &blake3::hash(asset.packed).to_hex()[..16]);
    let tag = HeaderValue::from_str(&tag).expect("hexadecimal digits are visible ASCII");
    let mut response = if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        axum::http::StatusCode::NOT_MODIFIED.into_response()
    } else if accepts_gzip(headers) {
        ([(header::CONTENT_ENCODING, "gzip")], asset.packed).into_response()
    } else {
        let mut unpacked = Vec::new();
        match flate2::read::GzDecoder::new(asset.packed).read_to_end(&mut unpacked) {
            Ok(_) => unpacked.into_response(),
            Err(error) => {
                tracing::error!(%error, path = asset.path, "a bundled file does not unpack");
                return Problem::internal().into_response();
            }
        }
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    out.insert(header::ETAG, tag);
    response
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT_ENCODING).iter();
    accepts.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |encoding| {
            let mut parts = encoding.split(';').map(str::trim);
            parts.next() == Some("gzip")
                && !parts.any(|q| matches!(q, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        },
    )
}
