//! Which images belong into one pair or triplet?
//!
//! ```text
//! pair p of an epoch:  its image, and by turns another image of its class, or one of another class
//! triplet:             its image, another image of its class, and one of another class
//! ```
//!
//! Every image leads one pair in each epoch, and half of all pairs are of one class. The other class is drawn first, each
//! one equally likely, then an image of it. What is drawn depends on (seed, epoch, pair) alone.

use crate::error::DataError;
use crate::rng::{Rng, Stream};
use crate::split::Split;

/// How many images go into the network together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// Each alone.
    #[default]
    Single,
    /// Two, half of the time of one class.
    Pairs,
    /// Three: an image, one of its class, one of another.
    Triplets,
}

impl Grouping {
    /// Images in a group.
    pub fn images(self) -> usize {
        match self {
            Grouping::Single => 1,
            Grouping::Pairs => 2,
            Grouping::Triplets => 3,
        }
    }
}

/// The images of a split by class, to draw companions from.
#[derive(Clone, Debug)]
pub struct Companions {
    /// Of each sample, its class.
    classes: Vec<u32>,
    /// The samples of each class.
    members: Vec<Vec<u32>>,
    /// The classes that have any.
    present: Vec<u32>,
}

impl Companions {
    /// Sorts the samples of `split`.
    ///
    /// # Errors
    /// All of them are of one class, or no class has two images.
    pub fn of(split: &Split) -> Result<Self, DataError> {
        let classes: Vec<u32> = split.samples().iter().map(|sample| sample.class).collect();
        let mut members = vec![Vec::new(); split.classes().len()];
        for (index, &class) in classes.iter().enumerate() {
            members[class as usize].push(index as u32);
        }
        let has = |class: &u32, least: usize| members[*class as usize].len() >= least;
        let all = || 0..members.len() as u32;
        let present: Vec<u32> = all().filter(|class| has(class, 1)).collect();
        if present.len() < 2 || !all().any(|class| has(&class, 2)) {
            return Err(DataError::Setting(format!(
                "pairs need images of at least two classes, and two images of one of them; the {} split has {} images \
                 of {} classes",
                split.name(),
                classes.len(),
                present.len()
            )));
        }
        Ok(Self { classes, members, present })
    }

    /// Another image of the class of `sample`; `None` if it is the only one.
    pub fn mate(&self, sample: u32, rng: &mut Rng) -> Option<u32> {
        let mates = &self.members[self.classes[sample as usize] as usize];
        let others = (mates.len() as u32).checked_sub(1).filter(|&others| others > 0)?;
        let own = mates.binary_search(&sample).ok()? as u32;
        let drawn = rng.below(others);
        Some(mates[(drawn + u32::from(drawn >= own)) as usize])
    }

    /// An image of another class.
    pub fn stranger(&self, sample: u32, rng: &mut Rng) -> u32 {
        let own = self.present.binary_search(&self.classes[sample as usize]).unwrap_or(0) as u32;
        let drawn = rng.below(self.present.len() as u32 - 1);
        let class = self.present[(drawn + u32::from(drawn >= own)) as usize];
        let members = &self.members[class as usize];
        members[rng.below(members.len() as u32) as usize]
    }

    /// The companions of `sample` in group number `place` of an epoch; none where it stays alone.
    ///
    /// An image without another of its class is paired with a stranger; in a triplet it is its own mate.
    pub fn draw(&self, grouping: Grouping, sample: u32, place: Place) -> Vec<u32> {
        let mut rng = Rng::new(place.seed, Stream::Companions, place.epoch, place.group);
        match grouping {
            Grouping::Single => Vec::new(),
            Grouping::Pairs if place.group.is_multiple_of(2) => {
                vec![self.mate(sample, &mut rng).unwrap_or_else(|| self.stranger(sample, &mut rng))]
            }
            Grouping::Pairs => vec![self.stranger(sample, &mut rng)],
            Grouping::Triplets => {
                let mate = self.mate(sample, &mut rng).unwrap_or(sample);
                vec![mate, self.stranger(sample, &mut rng)]
            }
        }
    }
}

/// Where a group is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u32,
    /// The group's number within it.
    pub group: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dataset;

    fn place(group: u32) -> Place {
        Place { seed: 3, epoch: 1, group }
    }

    #[test]
    fn half_of_all_pairs_are_of_one_class_and_none_is_an_image_with_itself() {
        let split = Dataset::digits(0).unwrap().train;
        let companions = Companions::of(&split).unwrap();
        let class = |sample: u32| split.samples()[sample as usize].class;
        let mut strangers = [0; 10];
        for sample in 0..split.len() as u32 {
            let other = companions.draw(Grouping::Pairs, sample, place(sample))[0];
            assert_eq!(class(sample) == class(other), sample % 2 == 0);
            assert_ne!(sample, other);
            strangers[class(other) as usize] += 1;
            let [mate, stranger] = companions.draw(Grouping::Triplets, sample, place(sample))[..] else {
                panic!()
            };
            assert!(class(mate) == class(sample) && class(stranger) != class(sample) && mate != sample);
        }
        assert!(strangers.iter().all(|&n| n > 90), "{strangers:?}");
    }

    #[test]
    fn what_is_drawn_depends_on_seed_epoch_and_group_alone() {
        let split = Dataset::digits(0).unwrap().train;
        let companions = Companions::of(&split).unwrap();
        let drawn = |place: Place| -> Vec<u32> {
            (0..50).flat_map(|g| companions.draw(Grouping::Pairs, 7, Place { group: g, ..place })).collect()
        };
        assert_eq!(drawn(place(0)), drawn(place(0)));
        assert_ne!(drawn(place(0)), drawn(Place { epoch: 2, ..place(0) }));
        assert_ne!(drawn(place(0)), drawn(Place { seed: 4, ..place(0) }));
    }

    #[test]
    fn one_class_alone_makes_no_pairs() {
        let mut split = Dataset::digits(0).unwrap().train;
        split.retain(|sample| sample.class == 4);
        let sentence = Companions::of(&split).unwrap_err().to_string();
        assert!(sentence.contains("two classes") && sentence.contains("of 1 classes"), "{sentence}");
    }
}
