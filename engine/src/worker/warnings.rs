//! Warnings of a node in a worker are told by the run, as those of a node in its own process are.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// Sends on every warning and error of this process, as text with its fields. `log` hears of them as well, and of all else that it wants.
pub(super) fn forward(log: Dispatch, tell: impl Fn(String) + Send + Sync + 'static) {
    // Whoever has set another one hears of them in his way.
    let _ = set_global_default(Forward { log, tell });
}

struct Forward<T> {
    log: Dispatch,
    tell: T,
}

fn is_told(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && *metadata.level() <= Level::WARN
}

impl<T: Fn(String) + Send + Sync + 'static> Subscriber for Forward<T> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_told(metadata) {
            true => Interest::always(),
            false => self.log.register_callsite(metadata),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_told(metadata) || self.log.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        if self.log.enabled(event.metadata()) {
            self.log.event(event);
        }
        if is_told(event.metadata()) {
            let mut text = Text::default();
            event.record(&mut text);
            (self.tell)(text.message + &text.fields);
        }
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.log.new_span(span)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        self.log.record(span, values);
    }
    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.log.record_follows_from(span, follows);
    }
    fn enter(&self, span: &Id) {
        self.log.enter(span);
    }
    fn exit(&self, span: &Id) {
        self.log.exit(span);
    }
    fn clone_span(&self, span: &Id) -> Id {
        self.log.clone_span(span)
    }
    fn try_close(&self, span: Id) -> bool {
        self.log.try_close(span)
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
