//! The shell around the comparator: recorder, log, records to look at, verdict, drill.

mod desk;
mod drill;
mod evidence;
mod log;
mod recorder;
mod shelf;

pub use desk::{Desk, DeskSettings, SummaryView};
pub use drill::{DrillError, DrillReport, drill};
pub use recorder::{Recorder, RecorderLimits};
pub use shelf::{Filter, Page};
