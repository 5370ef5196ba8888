//! How a log line looks. Owns its two forms, for people and for programs. Strangers choose much of what stands in
//! fields and messages, a library's too. None of it begins a line of its own, and none speaks to a terminal. The module
//! above knows which lines are written.

use std::fmt::{self, Write as _};

use crate::plain::{PlainWriter, json_line};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{self as lines, FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;

/// Writes lines of this form. Colours are for terminals, and only for people.
pub(crate) fn layer<S, W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = lines::layer().with_writer(writer);
    match format {
        LogFormat::Text => layer.with_ansi(colours).with_target(false).fmt_fields(PlainFields).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).map_event_format(PlainJson).boxed(),
    }
}

/// Fields as text, `name=value`, the message bare. What a value writes of itself is escaped; colours are ours and are
/// not.
struct PlainFields;

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = PlainVisitor { writer, separator: "", result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct PlainVisitor<'writer> {
    writer: Writer<'writer>,
    separator: &'static str,
    result: fmt::Result,
}

impl PlainVisitor<'_> {
    fn field(&mut self, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
        self.writer.write_str(std::mem::replace(&mut self.separator, " "))?;
        if name != "message" {
            let name = name.strip_prefix("r#").unwrap_or(name);
            // Italic and dim, as the library's own form has them.
            let [italic, dim, plain] =
                if self.writer.has_ansi_escapes() { ["\u{1b}[3m", "\u{1b}[2m", "\u{1b}[0m"] } else { [""; 3] };
            write!(self.writer, "{italic}{name}{plain}{dim}={plain}")?;
        }
        write!(PlainWriter(&mut self.writer), "{value:?}")
    }
}

impl Visit for PlainVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Where a line of the `log` crate comes from: the level and the target say it already.
        if self.result.is_ok() && !field.name().starts_with("log.") {
            self.result = self.field(field.name(), value);
        }
    }
}

/// The library's JSON, which escapes what JSON must escape, and the rest of it.
struct PlainJson(Format<Json>);

impl<S, N> FormatEvent<S, N> for PlainJson
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&json_line(&line))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use crate::plain::is_plain;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What a stranger may have written: a line of its own, a terminal's command in 7 and 8 bits, a turn of direction,
    /// other ends of lines, a bell, a backspace.
    const FOREIGN: &str =
        "a\nERROR forged\r\u{1b}[2J\u{9b}2J\u{202e}txt\u{2066}\u{2028}\u{2029}\u{85}\u{7}\u{8}\u{7f}\0z";

    /// Says [`FOREIGN`] by every way into a line but a mere message.
    struct Foreign;

    impl fmt::Debug for Foreign {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(FOREIGN)
        }
    }

    impl fmt::Display for Foreign {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(FOREIGN)
        }
    }

    impl std::error::Error for Foreign {}

    /// What is written while `work` runs.
    fn written(format: LogFormat, colours: bool, work: impl FnOnce()) -> String {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let writer = Sink(Arc::clone(&bytes));
        let subscriber = Registry::default().with(layer(format, colours, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = std::mem::take(&mut *bytes.lock().expect("no panic"));
        String::from_utf8(bytes).expect("text")
    }

    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Every way by which something gets into a line: 8 lines.
    fn say_it_in_every_way() {
        tracing::warn!(whose = FOREIGN, "a field of text");
        tracing::warn!(whose = %Foreign, "a field that is displayed");
        tracing::warn!(whose = ?Foreign, "a field that is debugged");
        let error: &(dyn std::error::Error + 'static) = &Foreign;
        tracing::warn!(error, "a field that is an error");
        tracing::warn!("a message: {FOREIGN}");
        tracing::warn!(message = FOREIGN);
        tracing::warn!(target: "h2::proto::streams", parent: None, reason = ?Foreign, "a library's: {}", Foreign);
        let span = tracing::info_span!("connection", peer = %Foreign, later = tracing::field::Empty);
        span.record("later", tracing::field::display(Foreign));
        let _inside = span.enter();
        tracing::warn!("inside a span");
    }

    /// Without the colours that are ours.
    fn uncoloured(text: &str) -> String {
        ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[3m", "\u{1b}[33m"]
            .iter()
            .fold(text.to_owned(), |text, colour| text.replace(colour, ""))
    }

    #[test]
    fn a_line_is_a_line_whatever_a_stranger_wrote() {
        for (format, colours) in [(LogFormat::Text, false), (LogFormat::Text, true), (LogFormat::Json, false)] {
            let text = written(format, colours, say_it_in_every_way);
            assert_eq!(text.lines().count(), 8, "{text}");
            assert_eq!(text.contains("\u{1b}[33m"), colours, "the level's colour: {text:?}");
            let bare = uncoloured(&text);
            for line in bare.split_terminator('\n') {
                assert!(line.chars().all(is_plain), "{format:?} {colours}: {line:?}");
                assert!(line.contains("a\\nERROR forged\\r"), "it is there, escaped: {line}");
            }
        }
    }

    #[test]
    fn a_line_says_its_fields_and_its_message() {
        let say = || tracing::warn!(listener = "http", count = 3, r#type = ?"x", reason = %"full", "no {}", "room");
        let text = written(LogFormat::Text, false, say);
        assert!(text.ends_with(" WARN no room listener=\"http\" count=3 type=\"x\" reason=full\n"), "{text}");
        let coloured = written(LogFormat::Text, true, say);
        assert!(coloured.contains("\u{1b}[3mlistener\u{1b}[0m\u{1b}[2m=\u{1b}[0m\"http\""), "{coloured:?}");
        assert!(uncoloured(&coloured).ends_with(text.split_once("Z ").expect("a time").1), "{coloured:?}");
    }

    /// Escaping changes what a terminal sees, not what a program reads.
    #[test]
    fn json_keeps_the_value() {
        let text = written(LogFormat::Json, false, || tracing::warn!(whose = FOREIGN, "said"));
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((line["whose"].as_str(), line["message"].as_str()), (Some(FOREIGN), Some("said")));
    }
}
