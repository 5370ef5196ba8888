//! The metrics of the log. Owns their names.

use halley_service::log;

use crate::control::metrics::{Collect, Exposition, Kind};

/// How many lines were left out.
pub struct LogMetrics;

impl Collect for LogMetrics {
    fn collect(&self, out: &mut Exposition) {
        let help = "Log lines left out because too many of their kind were written.";
        out.family("halley_log_lines_left_out_total", Kind::Counter, help).sample(&[], log::left_out());
    }
}
