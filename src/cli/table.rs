//! Tables for people: aligned columns under a header, two blanks between.

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of equal length under a header.
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a title that starts with `>` stands right.
    pub fn new(titles: &[&str]) -> Table {
        let align = |t: &&str| if t.starts_with('>') { Align::Right } else { Align::Left };
        Table {
            aligns: titles.iter().map(align).collect(),
            rows: vec![titles.iter().map(|t| t.trim_start_matches('>').to_owned()).collect()],
        }
    }

    /// Adds a row; what lacks is blank.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// True without a row.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table, or `nothing` when it has no row; ends in a newline.
    pub fn render(&self, nothing: &str) -> String {
        if self.is_empty() {
            return format!("{nothing}\n");
        }
        let width = |c: usize| {
            self.rows.iter().map(|r| r.get(c).map_or(0, |s| s.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), align) in row.iter().zip(&widths).zip(&self.aligns) {
                match align {
                    Align::Left => line += &format!("{cell:<width$}  "),
                    Align::Right => line += &format!("{cell:>width$}  "),
                }
            }
            out += line.trim_end();
            out.push('\n');
        }
        out
    }
}

/// A value or `-`.
pub fn dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(&["NAME", ">PACKETS", "WHY"]);
        table.row(["en0".into(), "5".into(), "a".into()]);
        table.row(["control".into(), "12345678".into(), String::new()]);
        assert_eq!(
            table.render("none"),
            "NAME      PACKETS  WHY\nen0             5  a\ncontrol  12345678\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(&["NAME"]).render("no tunnels"), "no tunnels\n");
    }
}
