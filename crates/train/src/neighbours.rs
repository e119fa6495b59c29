//! Which class do the nearest embeddings say?

use crate::embed::{Embeddings, squared_distance};

/// Neighbours that vote.
pub const VOTES: usize = 5;
/// The most embeddings that others are compared with.
pub const LARGEST_GALLERY: usize = 10_000;

/// Share of embeddings whose nearest other one is of the same class: no classes need to be known beforehand.
pub fn recall_at_1(embeddings: &Embeddings) -> f64 {
    let right = (0..embeddings.len()).filter(|&query| {
        let mut nearest = (f64::INFINITY, None);
        for other in (0..embeddings.len()).filter(|&other| other != query) {
            let distance = embeddings.squared_distance(query, other);
            if distance < nearest.0 {
                nearest = (distance, Some(embeddings.classes[other]));
            }
        }
        nearest.1 == Some(embeddings.classes[query])
    });
    right.count() as f64 / embeddings.len().max(1) as f64
}

/// At most [`LARGEST_GALLERY`] of `embeddings`, evenly spaced.
pub fn gallery(embeddings: &Embeddings) -> Embeddings {
    let step = embeddings.len().div_ceil(LARGEST_GALLERY).max(1);
    let kept = || (0..embeddings.len()).step_by(step);
    Embeddings {
        width: embeddings.width,
        values: kept().flat_map(|index| embeddings.row(index).to_vec()).collect(),
        classes: kept().map(|index| embeddings.classes[index]).collect(),
        scores: Vec::new(),
    }
}

/// Share of `queries` whose class is that of most of the [`VOTES`] nearest of `gallery` (of several, the nearest one's).
pub fn by_votes(gallery: &Embeddings, queries: &Embeddings) -> f64 {
    let right = (0..queries.len())
        .filter(|&query| voted(gallery, queries.row(query)) == Some(queries.classes[query]));
    right.count() as f64 / queries.len().max(1) as f64
}

fn voted(gallery: &Embeddings, query: &[f32]) -> Option<u32> {
    // The nearest so far, by rising distance.
    let mut nearest: Vec<(f64, u32)> = Vec::with_capacity(VOTES + 1);
    for (index, &class) in gallery.classes.iter().enumerate() {
        let distance = squared_distance(gallery.row(index), query);
        if nearest.len() == VOTES && nearest.last().is_some_and(|last| distance >= last.0) {
            continue;
        }
        let place = nearest.partition_point(|known| known.0 <= distance);
        nearest.insert(place, (distance, class));
        nearest.truncate(VOTES);
    }
    let votes = |class: u32| nearest.iter().filter(|known| known.1 == class).count();
    let most = nearest.iter().map(|known| votes(known.1)).max()?;
    nearest.iter().find(|known| votes(known.1) == most).map(|known| known.1)
}

/// Share of `queries` whose class is that whose mean embedding in `gallery` is nearest.
pub fn by_centroids(gallery: &Embeddings, queries: &Embeddings) -> f64 {
    let classes = gallery.classes.iter().max().map_or(0, |&class| class as usize + 1);
    let mut sums = vec![vec![0.0_f64; gallery.width]; classes];
    let mut counts = vec![0.0_f64; classes];
    for (index, &class) in gallery.classes.iter().enumerate() {
        counts[class as usize] += 1.0;
        sums[class as usize].iter_mut().zip(gallery.row(index)).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    let mean =
        |class: usize| sums[class].iter().map(|sum| (sum / counts[class]) as f32).collect::<Vec<f32>>();
    let means: Vec<(u32, Vec<f32>)> =
        (0..classes).filter(|&class| counts[class] > 0.0).map(|class| (class as u32, mean(class))).collect();
    let right = (0..queries.len()).filter(|&query| {
        let row = queries.row(query);
        let nearest =
            means.iter().min_by(|a, b| squared_distance(&a.1, row).total_cmp(&squared_distance(&b.1, row)));
        nearest.is_some_and(|(class, _)| *class == queries.classes[query])
    });
    right.count() as f64 / queries.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f32], classes: &[u32]) -> Embeddings {
        Embeddings { width: 1, values: values.to_vec(), classes: classes.to_vec(), scores: Vec::new() }
    }

    #[test]
    fn the_nearest_say_the_class() {
        let known = line(&[0.0, 0.1, 0.2, 9.0, 9.1, 9.2], &[4, 4, 4, 7, 7, 7]);
        let asked = line(&[0.15, 8.0, 4.0], &[4, 7, 7]);
        assert_eq!(by_votes(&known, &asked), 2.0 / 3.0);
        assert_eq!(by_centroids(&known, &asked), 2.0 / 3.0);
        assert_eq!(recall_at_1(&known), 1.0);
        assert_eq!(recall_at_1(&line(&[0.0, 1.0, 1.1], &[1, 2, 1])), 0.0);
    }

    #[test]
    fn three_votes_beat_the_two_nearest() {
        let known = line(&[0.0, 0.1, 0.2, 0.3, 0.4], &[1, 1, 2, 2, 2]);
        assert_eq!(by_votes(&known, &line(&[0.0], &[2])), 1.0);
    }

    #[test]
    fn a_gallery_is_thinned_evenly() {
        let count = LARGEST_GALLERY * 2 + 1;
        let many = line(&vec![0.5; count], &vec![0; count]);
        assert_eq!(gallery(&many).len(), count.div_ceil(3));
    }
}
