//! The parsers of requests, for fuzz targets.

use hyper::Method;

use super::call::Call;
use super::route::Route;
use super::stop;

/// Parses any bytes as method, path, query and body of a request; for fuzz targets.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let _ = Method::from_bytes(method.as_bytes()).map(|method| Route::of(&method, path));
    let call = Call::new(query, "{}".into());
    let _ = call.filters();
    let _ = call.number::<i64>("limit");
    let _ = stop::stop_parameters(&call);
}
