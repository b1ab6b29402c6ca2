//! Segments as they are written: fields joined by the signs of the message, those at the end that say nothing left out.

use super::escape::{escaped, escaped_line};
use super::separators::Separators;

/// Writes in the signs of one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writer {
    separators: Separators,
}

impl Writer {
    pub const fn new(separators: Separators) -> Self {
        Self { separators }
    }

    /// A segment of its name and its fields, ended by CR. Of MSH the second is MSH-2.
    pub fn segment<T: AsRef<str>>(&self, fields: &[T]) -> String {
        joined(fields, self.separators.field) + "\r"
    }

    /// The components of a field.
    pub fn components<T: AsRef<str>>(&self, parts: &[T]) -> String {
        joined(parts, self.separators.component)
    }

    /// The subcomponents of a component.
    pub fn subcomponents<T: AsRef<str>>(&self, parts: &[T]) -> String {
        joined(parts, self.separators.subcomponent)
    }

    /// The repetitions of a field, empty ones too.
    pub fn repetitions<T: AsRef<str>>(&self, parts: &[T]) -> String {
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        parts.join(char::from(self.separators.repetition).encode_utf8(&mut [0; 4]))
    }

    /// What is written with the usual signs `|` and `^`, with those of the message. Texts in it are escaped already.
    pub fn own(&self, text: &str) -> String {
        let sign = |sign| match sign {
            '|' => char::from(self.separators.field),
            '^' => char::from(self.separators.component),
            other => other,
        };
        text.chars().map(sign).collect()
    }

    /// A text of one line, safe in a field.
    pub fn line(&self, text: &str) -> String {
        escaped_line(text, &self.separators)
    }

    /// A text of any number of lines, safe in a field.
    pub fn text(&self, text: &str) -> String {
        escaped(text.trim(), &self.separators)
    }

    /// MSH-2.
    pub fn encoding(&self) -> String {
        let Separators { component, repetition, escape, subcomponent, truncation, .. } = self.separators;
        let signs = [component, repetition, escape, subcomponent].into_iter().chain(truncation);
        signs.map(char::from).collect()
    }
}

fn joined<T: AsRef<str>>(parts: &[T], sign: u8) -> String {
    let filled = parts.iter().rposition(|part| !part.as_ref().is_empty()).map_or(0, |last| last + 1);
    let parts: Vec<&str> = parts.iter().take(filled).map(AsRef::as_ref).collect();
    parts.join(char::from(sign).encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_at_the_end_is_left_out() {
        let writer = Writer::default();
        assert_eq!(writer.segment(&["PID", "1", "", "7", "", ""]), "PID|1||7\r");
        assert_eq!(writer.components(&["A", "", "B", ""]), "A^^B");
        assert_eq!(writer.subcomponents(&["", "1.2", "ISO"]), "&1.2&ISO");
        assert_eq!(writer.repetitions(&["a", ""]), "a~");
        assert_eq!(writer.segment::<&str>(&[]), "\r");
    }

    #[test]
    fn the_signs_are_those_of_the_message() {
        let separators = Separators {
            field: b'$',
            component: b'*',
            repetition: b'%',
            escape: b'!',
            subcomponent: b'?',
            truncation: Some(b'#'),
        };
        let writer = Writer::new(separators);
        assert_eq!(writer.encoding(), "*%!?#");
        assert_eq!(writer.own("QAK|SR^1|OK"), "QAK$SR*1$OK");
        assert_eq!(writer.line(" 5$ *\nb "), "5!F! !S! b");
        assert_eq!(writer.text("a\nb"), "a!.br!b");
        assert_eq!(Writer::default().encoding(), "^~\\&");
    }
}
