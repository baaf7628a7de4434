//! Units by number, in the order in which they opened.

use std::collections::VecDeque;

use super::unit::Unit;

/// The units that are not over. Numbers go up, and are not given twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Units {
    /// Number of the first place.
    first: u64,
    /// The oldest first; a place whose unit is over is empty.
    places: VecDeque<Option<Box<Unit>>>,
}

impl Units {
    /// The number of the next unit.
    pub(super) fn next(&self) -> u64 {
        self.first + u64::try_from(self.places.len()).unwrap_or(u64::MAX)
    }

    /// Takes a unit in; its number.
    pub(super) fn insert(&mut self, unit: Unit) -> u64 {
        let number = self.next();
        self.places.push_back(Some(Box::new(unit)));
        number
    }

    pub(super) fn get(&self, number: u64) -> Option<&Unit> {
        self.places.get(self.place(number)?)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Unit> {
        let place = self.place(number)?;
        self.places.get_mut(place)?.as_deref_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Box<Unit>> {
        let place = self.place(number)?;
        let unit = self.places.get_mut(place)?.take();
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        unit
    }

    /// The number of the oldest unit that is not older than the one of that number.
    pub(super) fn oldest(&self, from: u64) -> Option<u64> {
        let from = from.max(self.first);
        let place = self.place(from)?;
        let skipped = self.places.iter().skip(place).position(Option::is_some)?;
        Some(from + u64::try_from(skipped).unwrap_or(u64::MAX))
    }

    /// Bytes of the places, beside the units in them.
    pub(super) fn bytes(&self) -> usize {
        self.places.len() * size_of::<Option<Box<Unit>>>()
    }

    /// Gives back what is only reserved, if that is much.
    pub(super) fn shrink(&mut self) {
        if self.places.capacity() > 4 * self.places.len() + 1_024 {
            self.places.shrink_to(2 * self.places.len());
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}
