//! Answers to requests: a status, a type, the headers that all of them have, and what they say.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

pub(super) type Answer = Response;

/// With headers that tell nobody else of the address, and that nothing is to be kept.
pub(super) fn answer(status: u16, kind: &'static str, body: Body) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        ("content-type", kind),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ];
    (status, headers, body).into_response()
}

pub(super) fn html(page: String) -> Answer {
    answer(200, "text/html;charset=utf-8", page.into())
}

pub(super) fn words(status: u16, text: &str) -> Answer {
    answer(status, "text/plain;charset=utf-8", text.to_owned().into())
}

pub(super) fn json_answer(value: &serde_json::Value) -> Answer {
    answer(200, "application/json", value.to_string().into())
}
