//! The page for people: files that are in the program. What they show comes from the JSON API, and takes its token.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::response;

/// Scripts and styles of its own alone; what agents sent could not load or run anything, were it ever taken for HTML.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
);

pub(crate) fn file(path: &str) -> Option<Response<String>> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const STYLE: &str = "text/css; charset=utf-8";
    let (content_type, text) = match path {
        "/" => (response::HTML, include_str!("page/index.html")),
        "/page/look.js" => (SCRIPT, include_str!("page/look.js")),
        "/page/texts.js" => (SCRIPT, include_str!("page/texts.js")),
        "/page/look.css" => (STYLE, include_str!("page/look.css")),
        // Shared with examples/web.
        "/page/dom.js" => (SCRIPT, include_str!("page/dom.js")),
        "/page/strip.js" => (SCRIPT, include_str!("page/strip.js")),
        "/page/texts/en.js" => (SCRIPT, include_str!("page/texts/en.js")),
        "/page/texts/zh.js" => (SCRIPT, include_str!("page/texts/zh.js")),
        "/page/texts/zh_codes.js" => (SCRIPT, include_str!("page/texts/zh_codes.js")),
        "/page/strip.css" => (STYLE, include_str!("page/strip.css")),
        "/page/style.css" => (STYLE, include_str!("page/style.css")),
        _ => return None,
    };
    let mut response = response::of_type(content_type, StatusCode::OK, text.to_owned());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}
