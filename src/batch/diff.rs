//! A unified diff of two texts, as `diff -u` prints it: by the shortest way from one to the other (Myers, An O(ND)
//! Difference Algorithm, 1986).

use std::collections::HashMap;
use std::fmt::Write;

/// Lines around a change.
const CONTEXT: usize = 3;
/// Two texts that have more than this to change are as good as unrelated: finding the shortest way would take too long.
const MOST_CHANGES: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Keep,
    Remove,
    Add,
}

/// The difference between two texts, under these names; empty where there is none.
pub fn unified(old: &str, new: &str, old_name: &str, new_name: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let changes = changes(&a, &b);
    let mut text = String::new();
    let (mut at, mut i, mut j) = (0, 0, 0);
    while let Some(first) = changes[at..].iter().position(|change| *change != Change::Keep) {
        // Everything up to the change is kept.
        let lead = first.min(CONTEXT);
        (i, j, at) = (i + first - lead, j + first - lead, at + first - lead);
        let length = hunk(&changes[at..]);
        let part = &changes[at..at + length];
        let (from_old, from_new) = (
            part.iter().filter(|change| **change != Change::Add).count(),
            part.iter().filter(|change| **change != Change::Remove).count(),
        );
        if text.is_empty() {
            let _ = writeln!(text, "--- {old_name}\n+++ {new_name}");
        }
        let _ = writeln!(text, "@@ -{} +{} @@", range(i, from_old), range(j, from_new));
        for change in part {
            let (sign, line) = match change {
                Change::Keep => (' ', a[i]),
                Change::Remove => ('-', a[i]),
                Change::Add => ('+', b[j]),
            };
            i += usize::from(*change != Change::Add);
            j += usize::from(*change != Change::Remove);
            text.push(sign);
            text.push_str(line);
            if !line.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
        at += length;
    }
    text
}

/// How long the hunk is that begins here: two changes with little between them are in one.
fn hunk(changes: &[Change]) -> usize {
    let (mut end, mut kept) = (0, 0);
    for (index, change) in changes.iter().enumerate() {
        if *change != Change::Keep {
            (end, kept) = (index + 1, 0);
            continue;
        }
        kept += 1;
        if end > 0 && kept > 2 * CONTEXT {
            break;
        }
    }
    (end + CONTEXT).min(changes.len())
}

/// Where a hunk is, as POSIX has it: a single line without its number, and an empty one at the line before.
fn range(start: usize, length: usize) -> String {
    match length {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{length}", start + 1),
    }
}

/// The shortest way from one list of lines to the other.
fn changes(a: &[&str], b: &[&str]) -> Vec<Change> {
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (rest_a, rest_b) = (&a[start..], &b[start..]);
    let end = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (middle_a, middle_b) = (&rest_a[..rest_a.len() - end], &rest_b[..rest_b.len() - end]);
    // Lines are compared often: as numbers that costs little.
    let mut numbers = HashMap::new();
    let (middle_a, middle_b) = (numbered(middle_a, &mut numbers), numbered(middle_b, &mut numbers));
    let mut changes = vec![Change::Keep; start];
    changes.extend(removals_first(shortest(&middle_a, &middle_b)));
    changes.resize(changes.len() + end, Change::Keep);
    changes
}

fn numbered<'t>(lines: &[&'t str], numbers: &mut HashMap<&'t str, usize>) -> Vec<usize> {
    let mut number = |line: &&'t str| {
        let next = numbers.len();
        *numbers.entry(line).or_insert(next)
    };
    lines.iter().map(&mut number).collect()
}

/// The shortest way, by the furthest reaching paths of 0, 1, 2 ... changes.
fn shortest(a: &[usize], b: &[usize]) -> Vec<Change> {
    let (n, m) = (a.len() as isize, b.len() as isize);
    // `furthest[k]`: how far along `a` the path on the diagonal x - y = k has come. One vector for each number of changes,
    // to find the way back.
    let mut history: Vec<Vec<isize>> = Vec::new();
    for changes in 0..=(n + m).min(MOST_CHANGES as isize) {
        let before = history.last();
        let reached = |k: isize| before.map_or(0, |before| before[(k + changes - 1) as usize]);
        let mut furthest = vec![-1; 2 * changes as usize + 1];
        for k in (-changes..=changes).step_by(2) {
            let mut x = match changes {
                0 => 0,
                _ if goes_down(k, changes, &reached) => reached(k + 1),
                _ => reached(k - 1) + 1,
            };
            // Beyond the edges there is nothing; such a path is never the best.
            while x < n && x - k < m && x >= 0 && x - k >= 0 && a[x as usize] == b[(x - k) as usize] {
                x += 1;
            }
            furthest[(k + changes) as usize] = x;
            if x >= n && x - k >= m {
                return way_back(&history, n, m);
            }
        }
        history.push(furthest);
    }
    [vec![Change::Remove; a.len()], vec![Change::Add; b.len()]].concat()
}

/// Whether the best path to a diagonal comes by adding a line, and not by removing one.
fn goes_down(k: isize, changes: isize, reached: &impl Fn(isize) -> isize) -> bool {
    k == -changes || (k != changes && reached(k - 1) < reached(k + 1))
}

fn way_back(history: &[Vec<isize>], n: isize, m: isize) -> Vec<Change> {
    let (mut x, mut y, mut way) = (n, m, Vec::new());
    for changes in (1..=history.len() as isize).rev() {
        let before = &history[changes as usize - 1];
        let reached = |k: isize| before[(k + changes - 1) as usize];
        let k = x - y;
        let down = goes_down(k, changes, &reached);
        let from = if down { k + 1 } else { k - 1 };
        let start = (reached(from), reached(from) - from);
        let kept = (x - start.0).min(y - start.1);
        way.extend(std::iter::repeat_n(Change::Keep, kept as usize));
        way.push(if down { Change::Add } else { Change::Remove });
        (x, y) = start;
    }
    way.extend(std::iter::repeat_n(Change::Keep, x as usize));
    way.reverse();
    way
}

/// Between two lines that are kept, first what goes and then what comes.
fn removals_first(changes: Vec<Change>) -> Vec<Change> {
    let parts = changes.split(|change| *change == Change::Keep).map(|part| {
        let removed = part.iter().filter(|change| **change == Change::Remove).count();
        [vec![Change::Remove; removed], vec![Change::Add; part.len() - removed]].concat()
    });
    parts.collect::<Vec<_>>().join(&Change::Keep)
}
