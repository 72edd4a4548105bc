//! An answer on its way through: each piece goes on as it comes, and is read in passing.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::{Body, HttpBody},
    http::{self, HeaderMap, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::{
    call::{Ended, Held},
    headers,
};
use crate::gemini::{
    Outcome,
    stream::{ResponseReader, Summary},
};

/// The upstream's answer as the client gets it. The call ends with its body, or when the client goes.
pub(super) fn stream(response: http::Response<Body>, call: Held) -> Response {
    let (mut parts, body) = response.into_parts();
    let text = |name| header_text(&parts.headers, name);
    let reader = ResponseReader::new(text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
    let length = text(header::CONTENT_LENGTH).parse().ok();
    parts.headers = headers::to_client(&parts.headers);
    let mut answer = Answer {
        body,
        reader: Some(reader),
        started: call.started(),
        call,
        status: parts.status,
        first_chunk_ns: None,
        left: length,
    };
    if answer.body.is_end_stream() || length == Some(0) {
        answer.end(End::Whole);
    }
    Response::from_parts(parts, Body::new(answer))
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

struct Answer {
    body: Body,
    reader: Option<ResponseReader>,
    started: Option<Instant>,
    call: Held,
    status: StatusCode,
    first_chunk_ns: Option<u64>,
    /// Bytes that are to come, where the head said how many there are.
    left: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// The upstream broke off.
    Broken,
    /// The client went away.
    ClientGone,
}

impl Answer {
    fn piece(&mut self, bytes: &Bytes) {
        if self.first_chunk_ns.is_none()
            && let Some(started) = self.started
        {
            let elapsed = started.elapsed().as_nanos();
            self.first_chunk_ns = Some(u64::try_from(elapsed).unwrap_or(u64::MAX));
        }
        if let Some(reader) = &mut self.reader {
            reader.push(bytes);
        }
        // Who writes the answer does not ask whether more comes once its length is reached.
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes.len() as u64);
            if *left == 0 {
                self.end(End::Whole);
            }
        }
    }

    fn end(&mut self, end: End) {
        if self.call.is_over() {
            return;
        }
        match end {
            End::Whole => {}
            End::Broken => self.call.answer_failed(),
            End::ClientGone => self.call.client_gone(),
        }
        let summary = self.reader.take().map(ResponseReader::finish);
        let summary = summary.unwrap_or_default();
        self.call.end(Ended {
            outcome: outcome(self.status, &summary, end),
            response_id: summary.response_id,
            usage: summary.usage,
            first_chunk_ns: self.first_chunk_ns,
        });
    }
}

fn outcome(status: StatusCode, summary: &Summary, end: End) -> Outcome {
    let error = summary.error;
    if !status.is_success() {
        return Outcome::Error {
            status: status.as_u16(),
            code: error.and_then(|error| error.status),
        };
    }
    match error {
        Some(error) => Outcome::Error {
            status: error.code.unwrap_or(status.as_u16()),
            code: error.status,
        },
        None if end == End::Whole && summary.complete => Outcome::Ok,
        None => Outcome::Incomplete,
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => self.end(End::Whole),
            Poll::Ready(Some(Err(_))) => self.end(End::Broken),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    self.piece(bytes);
                }
            }
        }
        // The error's text has the address in it, with the key when that is in the query.
        polled.map(|frame| frame.map(|frame| frame.map_err(|_| axum::Error::new(Broken))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the upstream's answer broke off")]
struct Broken;

impl Drop for Answer {
    fn drop(&mut self) {
        self.end(End::ClientGone);
    }
}
