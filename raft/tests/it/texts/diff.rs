//! Two texts, line by line.

use std::fmt::Write;

/// Returns the lines that only one of the texts has, with their numbers.
pub(super) fn diff(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let common = common_behind(&before, &after);
    let (mut i, mut j) = (0, 0);
    let mut shown = String::new();
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < before.len() && common[i + 1][j] >= common[i][j] {
            let _ = writeln!(shown, "{:>7} - {}", i + 1, before[i]);
            i += 1;
        } else {
            let _ = writeln!(shown, "{:>7} + {}", j + 1, after[j]);
            j += 1;
        }
    }
    shown
}

/// Number of lines that the texts have in common after each pair of positions, in order.
fn common_behind(before: &[&str], after: &[&str]) -> Vec<Vec<usize>> {
    let mut common = vec![vec![0; after.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            common[i][j] =
                if before[i] == after[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    common
}
