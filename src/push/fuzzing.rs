//! The way from a push server's bytes to their meaning, for the fuzz targets (`fuzz/README.md`). Built with
//! `--cfg fuzzing` only.

use std::time::SystemTime;

use futures_lite::{AsyncRead, AsyncWrite};
use http_body_util::Full;
use hyper::Request;

use super::{Outcome, PushKind, judge};
use crate::net::http;
use crate::timings::Limits;

/// Posts a wake-up on `stream` and reads the answer as a push at `now` would: its status and what it means.
///
/// # Errors
/// Says why there is no answer.
pub async fn answer<S>(stream: S, now: SystemTime) -> Result<(u16, Outcome), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let body = Full::new(PushKind::Wake.body().into());
    let request = Request::post("/x").header("host", "h").body(body).map_err(|error| error.to_string())?;
    let head = http::post(stream, request, Limits::default().push_head).await.map_err(|error| error.to_string())?;
    let outcome = judge("https://h", &http::answer(&head), None, now).outcome;
    Ok((head.status.as_u16(), outcome))
}
