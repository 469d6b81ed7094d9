//! A file's state while it is under way: which of its parts are stored, from which line another process can go on after
//! them, and when that is worth being written down.
//!
//! It cuts and sends no parts and holds none of their bytes. What the state looks like where it rests is
//! [`Upload::save`]'s.

use std::collections::{BTreeMap, BTreeSet};

use crate::staging::{Position, Saved, SourceMark, Sum, Upload};
use crate::transfer::check::LineMark;
use crate::transfer::engine::Halt;

/// After how many further parts the state is written, at least.
const SAVE_EVERY: u32 = 4;

/// How far one file is.
pub(super) struct State {
    /// What identifies the source's bytes, where they can be asked for from the middle.
    source: Option<SourceMark>,
    /// The parts of this pass that are stored, beyond `through`.
    stored: BTreeSet<u32>,
    /// All parts up to this one are stored.
    through: u32,
    /// From which line another process can go on when a part, and all before it, are stored, and where the part ends.
    marks: BTreeMap<u32, (LineMark, u64)>,
    /// What `through` was when the state was written last,
    saved: u32,
    /// and when that was tried last.
    tried: u32,
    /// How many bytes were counted by [`Self::uncounted`].
    counted: u64,
}

impl State {
    /// Nothing of the file is stored.
    pub(super) fn new(source: Option<SourceMark>) -> Self {
        Self {
            source,
            stored: BTreeSet::new(),
            through: 0,
            marks: BTreeMap::new(),
            saved: 0,
            tried: 0,
            counted: 0,
        }
    }

    /// The state that another process wrote, with the sum of what is stored; `None` where nobody can go on from there,
    /// or not all that it names is stored.
    pub(super) fn take_up(position: &Position, upload: &Upload) -> Option<(Self, Sum)> {
        let source = position.source.clone()?;
        if position.parts == 0 {
            return None;
        }
        let mut total = Sum::empty(upload.algorithm());
        for number in 1..=position.parts {
            let part = upload.confirmed(number)?;
            let sum = part.sum.filter(|sum| sum.algorithm == total.algorithm)?;
            if part.offset != total.length || part.size != sum.length {
                return None;
            }
            total = total.and(sum);
        }
        let mark = LineMark {
            source_offset: position.source_offset,
            staged_offset: position.staged_offset,
            line: position.line,
            resources: position.resources,
        };
        let mut state = Self::new(Some(source));
        state.through = position.parts;
        state.saved = position.parts;
        state.tried = position.parts;
        state.cut(position.parts, mark, total.length);
        Some((state, total))
    }

    /// Notes where a part ends, and the last line's beginning that is certainly before that.
    pub(super) fn cut(&mut self, number: u32, mark: LineMark, end: u64) {
        self.marks.insert(number, (mark, end));
    }

    /// Notes that a part is stored.
    pub(super) fn landed(&mut self, number: u32) {
        self.stored.insert(number);
        while self.stored.remove(&(self.through + 1)) {
            self.through += 1;
            // Only the last one that is all there is of use.
            self.marks.remove(&(self.through - 1));
        }
    }

    /// From which line another process can go on.
    pub(super) fn mark(&self) -> Option<&LineMark> {
        self.marks.get(&self.through).map(|(mark, _)| mark)
    }

    /// From where another process can go on, in full.
    pub(super) fn position(&self) -> Option<Position> {
        let mark = self.mark()?;
        Some(Position {
            source: self.source.clone(),
            parts: self.through,
            source_offset: mark.source_offset,
            staged_offset: mark.staged_offset,
            line: mark.line,
            resources: mark.resources,
        })
    }

    /// How many bytes are stored without a gap that this did not say before.
    pub(super) fn uncounted(&mut self) -> u64 {
        let before = self.counted;
        if let Some((_, end)) = self.marks.get(&self.through) {
            self.counted = *end;
        }
        self.counted - before
    }

    /// Whether more is stored than was written down.
    pub(super) fn came_further(&self) -> bool {
        self.through > self.saved
    }

    /// Whether so much more is stored that it is worth a request, since one was made last, whatever became of it.
    pub(super) fn is_due(&self) -> bool {
        self.through - self.tried >= SAVE_EVERY.max(self.through / 16)
    }

    /// Writes down what is stored, so that another process can go on from there.
    pub(super) async fn save(
        &mut self,
        upload: &Upload,
        part_limit: u64,
        key: &str,
    ) -> Result<(), Halt> {
        let Some(position) = self.position() else {
            return Ok(());
        };
        self.tried = self.through;
        match upload.save(&position, part_limit).await {
            Ok(Saved::Done(record)) => Err(Halt::Elsewhere(record)),
            Ok(Saved::Ours | Saved::Theirs) => {
                self.saved = position.parts;
                Ok(())
            }
            // What is not written down is fetched again after a crash; the transfer itself goes on, and this is tried again
            // when more has arrived or the file is parked.
            Err(error) => {
                let error = error.what();
                tracing::debug!(key, error, "the state of a file was not saved");
                Ok(())
            }
        }
    }
}
