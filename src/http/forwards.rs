//! Room for messages on their way: every byte of a body is counted before it is kept, for its user and in all.

use std::collections::HashMap;
use std::sync::Arc;

use bridge_core::UserId;
use metrics::counter;
use parking_lot::Mutex;

use crate::memory::{Budget, Of};

/// A message counts as at least so many bytes: 4,096 at once.
const LEAST: usize = 16 * 1024;
/// Bytes of all messages.
const ALL: usize = 64 * 1024 * 1024;

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// This user's messages have all that is theirs.
    User,
    /// All messages together.
    All,
}

/// The room.
pub struct Forwards {
    held: Mutex<Held>,
    /// Bytes of one user's messages.
    share: usize,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    users: HashMap<UserId, usize>,
}

/// The place of one message, from before its body is read until Chat3 has answered.
pub struct Place {
    forwards: Arc<Forwards>,
    user: Option<UserId>,
    counted: usize,
}

impl Forwards {
    /// Room for `for_user` messages of one user, which may be as large as `largest`, in bytes.
    #[must_use]
    pub fn new(for_user: u32, largest: u64, budget: Arc<Budget>) -> Arc<Self> {
        let [for_user, largest] =
            [u64::from(for_user), largest].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let share = for_user.saturating_mul(LEAST).max(largest).clamp(LEAST, ALL);
        Arc::new(Self { held: Mutex::default(), share, budget })
    }

    /// A place for a message of `user`; `None` when its body will say who that is.
    ///
    /// # Errors
    /// [`Full`], counted.
    pub fn place(self: &Arc<Self>, user: Option<&UserId>) -> Result<Place, Full> {
        let mut place = Place { forwards: Arc::clone(self), user: user.cloned(), counted: 0 };
        place.grow(LEAST)?;
        Ok(place)
    }

    fn take(&self, user: Option<&UserId>, bytes: usize) -> Result<(), Full> {
        let mut held = self.held.lock();
        let own = user.map_or(0, |user| held.users.get(user).copied().unwrap_or(0));
        let refused = if own + bytes > self.share {
            Some((Full::User, "user"))
        } else if held.all + bytes > ALL || self.budget.is_over() {
            Some((Full::All, "all"))
        } else {
            None
        };
        if let Some((full, whose)) = refused {
            counter!("bridge_forwards_refused_total", "share" => whose).increment(1);
            return Err(full);
        }
        held.all += bytes;
        self.budget.add(Of::Bodies, bytes as u64);
        if let Some(user) = user {
            *held.users.entry(user.clone()).or_default() += bytes;
        }
        Ok(())
    }

    fn give_back(&self, user: Option<&UserId>, bytes: usize) {
        let mut held = self.held.lock();
        held.all -= bytes;
        self.budget.sub(Of::Bodies, bytes as u64);
        let Some(user) = user else { return };
        if let Some(own) = held.users.get_mut(user) {
            *own -= bytes;
            if *own == 0 {
                held.users.remove(user);
            }
        }
    }
}

impl Place {
    /// Counts a body of `bytes` in all.
    ///
    /// # Errors
    /// [`Full`]; what was counted before stays.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.counted);
        if more > 0 {
            self.forwards.take(self.user.as_ref(), more)?;
            self.counted += more;
        }
        Ok(())
    }

    /// The message turned out to be `user`'s.
    ///
    /// # Errors
    /// [`Full`] when they have no room for it.
    pub fn belongs_to(self, user: &UserId) -> Result<Self, Full> {
        if self.user.is_some() {
            return Ok(self);
        }
        let bytes = self.counted;
        let forwards = Arc::clone(&self.forwards);
        drop(self);
        forwards.take(Some(user), bytes)?;
        Ok(Self { forwards, user: Some(user.clone()), counted: bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.forwards.give_back(self.user.as_ref(), self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn nobody_takes_all_the_room_and_every_byte_comes_back() {
        let forwards = Forwards::new(3, 1, Budget::endless());
        let (a, b) = (user("a"), user("b"));
        let places: Vec<_> = (0..3).map(|_| forwards.place(Some(&a)).unwrap()).collect();
        assert_eq!(forwards.place(Some(&a)).err().unwrap(), Full::User);
        let mut other = forwards.place(Some(&b)).unwrap();
        assert_eq!(other.grow(LEAST * 4).err().unwrap(), Full::User);
        other.grow(LEAST * 3).unwrap();
        other.grow(10).unwrap();
        assert_eq!(forwards.place(None).unwrap().belongs_to(&a).err().unwrap(), Full::User);
        drop(places);
        let unknown = forwards.place(None).unwrap().belongs_to(&a).unwrap();
        drop((other, unknown));
        let held = forwards.held.lock();
        assert_eq!((held.all, held.users.len()), (0, 0));
    }

    #[test]
    fn all_together_have_an_end() {
        let forwards = Forwards::new(1, 1024 * 1024, Budget::endless());
        let mut places: Vec<_> = (0..64).map(|n| forwards.place(Some(&user(&n.to_string()))).unwrap()).collect();
        for place in &mut places {
            place.grow(1024 * 1024).unwrap();
        }
        assert_eq!(forwards.place(Some(&user("late"))).err().unwrap(), Full::All);
        places.pop();
        assert_eq!((0..64).filter_map(|_| forwards.place(None).ok()).map(std::mem::forget).count(), 64);
        assert_eq!(forwards.place(None).err().unwrap(), Full::All);
    }
}
