//! Rows of text in aligned columns.

/// Lines of equal columns, two spaces apart; the first row is the heading. Missing cells are empty.
pub fn lines(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| length(cell))
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - length(cell))));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// Characters that take room: colour sequences do not.
fn length(cell: &str) -> usize {
    let mut escape = false;
    let visible = |character: char| {
        let hidden = escape || character == '\x1b';
        escape = hidden && !character.is_ascii_alphabetic();
        !hidden
    };
    cell.chars().map(visible).filter(|visible| *visible).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_the_colours() {
        let rows = [
            vec!["a".to_string(), "b".into()],
            vec!["\x1b[32mlong\x1b[0m".into(), "x".into()],
        ];
        assert_eq!(lines(&rows), ["a     b", "\x1b[32mlong\x1b[0m  x"]);
    }
}
