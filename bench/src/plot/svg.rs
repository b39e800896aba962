//! Writing SVG.

use std::fmt::Write as _;

use super::INK;

/// A drawing; lengths are in pixels, y grows downwards.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Which part of a text stands at its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// Height of the letters in pixels.
    pub(super) size: f64,
    pub(super) colour: &'static str,
    pub(super) is_bold: bool,
}

impl Style {
    /// Ordinary text.
    pub(super) const PLAIN: Self = Self { size: 12.0, colour: INK, is_bold: false };
    /// Titles.
    pub(super) const BOLD: Self = Self { is_bold: true, ..Self::PLAIN };
    /// What explains.
    pub(super) const FAINT: Self = Self { size: 11.0, colour: super::FAINT, ..Self::PLAIN };

    pub(super) const fn size(self, size: f64) -> Self {
        Self { size, ..self }
    }
}

impl Svg {
    /// An empty drawing with its title and what it was measured on.
    pub(super) fn new(width: f64, height: f64, title: &str, subtitle: &str) -> Self {
        let mut svg = Self { width, height, body: String::new() };
        svg.text((20.0, 28.0), Anchor::Start, Style::BOLD.size(17.0), title);
        svg.text((20.0, 47.0), Anchor::Start, Style::FAINT, subtitle);
        svg
    }

    pub(super) fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        self.element(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" rx="1.5" fill="{colour}"/>"#,
            width.max(0.5)
        ));
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), width: f64, colour: &str) {
        self.element(&format!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        ));
    }

    pub(super) fn dashed(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
        self.element(&format!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="1.2" stroke-dasharray="6 4"/>"#
        ));
    }

    pub(super) fn polyline(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.element(&format!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-linejoin="round"/>"#,
            points.join(" ")
        ));
    }

    /// A disc with a rim.
    pub(super) fn dot(&mut self, (x, y): (f64, f64), radius: f64, fill: &str, rim: &str) {
        self.element(&format!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{fill}" stroke="{rim}" stroke-width="1.6"/>"#
        ));
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, style: Style, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if style.is_bold { r#" font-weight="600""# } else { "" };
        self.element(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{}" fill="{}"{weight}>{}</text>"#,
            style.size,
            style.colour,
            escape(text)
        ));
    }

    /// A row of coloured squares with words, from `at` to the right.
    pub(super) fn legend(&mut self, (mut x, y): (f64, f64), entries: &[(&str, &str)]) {
        for (colour, words) in entries {
            self.rectangle((x, y - 9.0), (11.0, 11.0), colour);
            self.text((x + 17.0, y), Anchor::Start, Style::PLAIN, words);
            // Letters of this size are about 6.4 pixels wide.
            x += 17.0 + 6.4 * words.chars().count() as f64 + 22.0;
        }
    }

    /// The whole file.
    pub(super) fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="Inter, Helvetica, Arial, 'DejaVu Sans', sans-serif">
<rect width="100%" height="100%" fill="#ffffff"/>
{body}</svg>
"##
        )
    }

    fn element(&mut self, element: &str) {
        writeln!(self.body, "{element}").expect("a string takes everything");
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut svg = Svg::new(10.0, 10.0, "a < b", "R&D");
        svg.text((0.0, 0.0), Anchor::End, Style::PLAIN, "<script>");
        let text = svg.finish();
        assert!(
            text.contains("a &lt; b") && text.contains("R&amp;D") && !text.contains("<script>"),
            "{text}"
        );
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }
}
