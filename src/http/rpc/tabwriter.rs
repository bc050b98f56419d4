//! Columns of text as Go's `text/tabwriter` aligns them, with spaces on the right.
//!
//! Pure. A tab ends a cell; what follows the last tab of a line is in no column. A column is as
//! wide as its widest cell and one more, over the lines one below the other that have that cell.

/// Aligns `text`, whose lines all end in a newline; no column is narrower than `width_min`.
pub(super) fn align(text: &str, width_min: usize) -> String {
    align_wide(text, width_min, 1)
}

/// The same with `padding` spaces between columns.
pub(super) fn align_wide(text: &str, width_min: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> =
        text.split_inclusive('\n').map(|line| line.split('\t').collect()).collect();
    let widths = widths(&lines, width_min, padding);
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for (line, widths) in lines.iter().zip(&widths) {
        for (cell, width) in line.iter().zip(widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        out.push_str(line.last().copied().unwrap_or_default());
    }
    out
}

/// The widths of the columns of each line.
fn widths(lines: &[Vec<&str>], width_min: usize, padding: usize) -> Vec<Vec<usize>> {
    let columns = |line: &[&str]| line.len() - 1;
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; columns(line)]).collect();
    let most = lines.iter().map(|line| columns(line)).max().unwrap_or(0);
    for column in 0..most {
        let mut from = 0;
        for run in lines.chunk_by(|a, b| (columns(a) > column) == (columns(b) > column)) {
            let cells = run.iter().filter_map(|line| line.get(column));
            let widest = cells.map(|cell| cell.chars().count() + padding).max().unwrap_or(0);
            let width = widest.max(width_min);
            for widths in widths.iter_mut().skip(from).take(run.len()) {
                if let Some(own) = widths.get_mut(column) {
                    *own = width;
                }
            }
            from += run.len();
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let cases = [
            ("", 1, ""),
            ("a\tb\n", 1, "a b\n"),
            ("a\tb\n", 10, "a         b\n"),
            ("a\tbb\tc\naaa\tb\tc\n", 1, "a   bb c\naaa b  c\n"),
            ("été\tx\na\ty\n", 1, "été x\na   y\n"),
            // A line without tabs ends the columns.
            ("aaaa\tx\nhead:\na\ty\n", 1, "aaaa x\nhead:\na y\n"),
            // A column goes on only where the lines have it.
            ("a\tb\tc\naa\tx\na\tbbb\tc\n", 1, "a  b c\naa x\na  bbb c\n"),
            ("\tx\n", 1, " x\n"),
        ];
        for (text, width_min, aligned) in cases {
            assert_eq!(align(text, width_min), aligned, "{text:?}");
        }
    }
}
