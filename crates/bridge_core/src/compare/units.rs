//! Units by number, in the order in which they opened.

use std::collections::VecDeque;

use super::lone::Lone;
use super::unit::Unit;

/// The units that are not over. Numbers go up, and are not given twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Units {
    /// Number of the first place.
    first: u64,
    /// The oldest first; a place whose unit is over is empty.
    places: VecDeque<Option<Place>>,
}

#[derive(Clone, Debug)]
enum Place {
    Unit(Box<Unit>),
    Lone(Box<Lone>),
}

impl Units {
    /// The number of the next unit.
    fn next(&self) -> u64 {
        self.first + u64::try_from(self.places.len()).unwrap_or(u64::MAX)
    }

    /// Takes a unit in; its number.
    pub(super) fn insert(&mut self, unit: Unit) -> u64 {
        self.put(Place::Unit(Box::new(unit)))
    }

    /// Takes one in that is alone; its number.
    pub(super) fn insert_lone(&mut self, lone: Lone) -> u64 {
        self.put(Place::Lone(Box::new(lone)))
    }

    fn put(&mut self, place: Place) -> u64 {
        let number = self.next();
        self.places.push_back(Some(place));
        number
    }

    /// Whether there is one of this number.
    pub(super) fn has(&self, number: u64) -> bool {
        self.place(number).is_some_and(|place| self.places[place].is_some())
    }

    /// The unit, if it is not alone.
    pub(super) fn get(&self, number: u64) -> Option<&Unit> {
        match self.places[self.place(number)?].as_ref()? {
            Place::Unit(unit) => Some(unit),
            Place::Lone(_) => None,
        }
    }

    /// The unit, if it is not alone.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Unit> {
        let place = self.place(number)?;
        match self.places[place].as_mut()? {
            Place::Unit(unit) => Some(unit),
            Place::Lone(_) => None,
        }
    }

    /// The unit, if it is alone.
    pub(super) fn lone(&self, number: u64) -> Option<&Lone> {
        match self.places[self.place(number)?].as_ref()? {
            Place::Lone(lone) => Some(lone),
            Place::Unit(_) => None,
        }
    }

    /// Lets a unit go that is alone.
    pub(super) fn remove_lone(&mut self, number: u64) -> Option<Box<Lone>> {
        let place = self.place(number)?;
        let place = &mut self.places[place];
        let lone = match place.take() {
            Some(Place::Lone(lone)) => Some(lone),
            other => {
                *place = other;
                None
            }
        };
        self.pass_over();
        lone
    }

    /// Takes one that is alone for a unit like any other; what it weighed.
    pub(super) fn whole(&mut self, number: u64) -> Option<usize> {
        let place = self.place(number)?;
        let place = &mut self.places[place];
        match place.take() {
            Some(Place::Lone(lone)) => {
                let weight = lone.weight();
                *place = Some(Place::Unit(Box::new(lone.unit())));
                Some(weight)
            }
            other => {
                *place = other;
                None
            }
        }
    }

    /// Lets a unit go that is not alone.
    pub(super) fn remove(&mut self, number: u64) -> Option<Box<Unit>> {
        let place = self.place(number)?;
        let unit = match self.places[place].take() {
            Some(Place::Unit(unit)) => Some(unit),
            Some(Place::Lone(_)) | None => None,
        };
        self.pass_over();
        unit
    }

    /// Forgets the places of the oldest units that are over.
    fn pass_over(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
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
        self.places.len() * size_of::<Option<Place>>()
    }

    /// Gives back what is only reserved, if that is much.
    pub(super) fn shrink(&mut self) {
        if self.places.capacity() > 4 * self.places.len() + 1_024 {
            self.places.shrink_to(2 * self.places.len());
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (place < self.places.len()).then_some(place)
    }
}
