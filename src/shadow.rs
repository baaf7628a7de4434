//! The shell around the comparator: recorder, log, records to look at, verdict, drill.

mod archive;
mod desk;
mod drill;
mod evidence;
mod fault;
mod filter;
mod log;
mod recorder;
mod reveal;
mod sampling;
mod series;
mod shelf;
mod timeline;
mod view;
mod writer;

pub use archive::Archive;
pub use desk::{Desk, DeskSettings};
pub use drill::{DrillError, drill};
pub use fault::DrillReport;
pub use filter::{Filter, Unfit, moment, since_or_ago};
pub use recorder::{Recorder, RecorderLimits};
pub use reveal::{Note, Reveal};
pub use shelf::{Order, Page};
pub use timeline::{BUCKETS, TimelineView};
pub use view::SummaryView;
