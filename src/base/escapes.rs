//! What a text may say to a terminal: letters, line ends, tabs, and colours (SGR). All else that terminals obey (ECMA-48, and
//! what xterm made of it: the cursor, titles, the clipboard, questions that are answered as if they were typed) is left out.

/// A control sequence that is longer is none.
const LONGEST_SEQUENCE: usize = 64;
/// Takes all colours away.
pub(crate) const PLAIN: &str = "\x1b[0m";

/// Leaves out of a text what a terminal must not hear. The text comes in pieces; a sequence may be split between two.
#[derive(Debug)]
pub struct Cleaner {
    colours: Colours,
    state: State,
    coloured: bool,
}

/// What becomes of the colours in a text.
#[derive(Debug, PartialEq)]
pub enum Colours {
    LeftIn,
    LeftOut,
}

/// How far the text has come.
#[derive(Debug, PartialEq)]
enum State {
    Letters,
    /// Behind a carriage return: a line's end may follow, or it is one.
    Return,
    /// Behind ESC.
    Escape,
    /// Behind ESC and intermediate characters: one more is its end.
    Designation,
    /// In a control sequence (CSI), behind these parameters.
    Sequence(String),
    /// In a command string (OSC, DCS, APC, PM, SOS): to its terminator, but to the line's end at most, so that a
    /// forgotten one does not swallow the text.
    CommandString,
}

impl Cleaner {
    pub fn new(colours: Colours) -> Cleaner {
        Cleaner { colours, state: State::Letters, coloured: false }
    }

    /// What is left of the next piece.
    pub fn piece(&mut self, text: &str) -> String {
        let mut left = String::with_capacity(text.len());
        text.chars().for_each(|letter| self.take(letter, &mut left));
        left
    }

    /// The end of the text: nothing of it colours what comes behind.
    pub fn end(&mut self) -> String {
        let mut left = String::new();
        if self.state == State::Return {
            left.push('\n');
        }
        self.state = State::Letters;
        if std::mem::take(&mut self.coloured) {
            left.push_str(PLAIN);
        }
        left
    }

    fn take(&mut self, letter: char, left: &mut String) {
        self.state = match (std::mem::replace(&mut self.state, State::Letters), letter) {
            // One that is alone would have what follows stand over what was there.
            (State::Return, letter) => {
                left.push('\n');
                if letter == '\n' { State::Letters } else { self.begin(letter, left) }
            }
            (State::Letters, letter) => self.begin(letter, left),
            (State::Escape, '[') => State::Sequence(String::new()),
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::CommandString,
            (State::Escape | State::Designation, ' '..='/') => State::Designation,
            (State::Escape | State::Designation, '0'..='~') => State::Letters,
            (State::Sequence(parameters), ' '..='?') if parameters.len() < LONGEST_SEQUENCE => {
                State::Sequence(parameters + letter.encode_utf8(&mut [0; 4]))
            }
            (State::Sequence(parameters), '@'..='~') => {
                if letter == 'm' {
                    self.colour(&parameters, left);
                }
                State::Letters
            }
            (State::CommandString, '\u{7}' | '\u{18}' | '\u{1a}' | '\u{9c}') => State::Letters,
            (State::CommandString, letter) if !matches!(letter, '\n' | '\r' | '\u{1b}') => {
                State::CommandString
            }
            // What was no sequence after all, or was broken off.
            (_, letter) => self.begin(letter, left),
        };
    }

    /// Takes a letter that is in no sequence.
    fn begin(&mut self, letter: char, left: &mut String) -> State {
        match letter {
            '\r' => State::Return,
            '\u{1b}' => State::Escape,
            // Eight-bit controls: the same as ESC with a letter.
            '\u{9b}' => State::Sequence(String::new()),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => State::CommandString,
            letter => {
                if matches!(letter, '\n' | '\t') || !letter.is_control() {
                    left.push(letter);
                }
                State::Letters
            }
        }
    }

    /// A colour. With any other character in it a sequence that ends so is something else.
    fn colour(&mut self, parameters: &str, left: &mut String) {
        let is_colour = parameters.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'));
        if self.colours == Colours::LeftIn && is_colour {
            left.push_str(&format!("\x1b[{parameters}m"));
            self.coloured = !matches!(parameters, "" | "0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// faults.md C7: every text as a whole, and cut between any two of its characters.
    #[test]
    fn nothing_but_letters_lines_and_colours_is_left() {
        for (text, left) in [
            ("plain é 日本 😀\n\tx", "plain é 日本 😀\n\tx"),
            ("a\x1b[1;31mred\x1b[0m b", "a\x1b[1;31mred\x1b[0m b"),
            ("\x1b[38:2::1:2:3mx\x1b[m", "\x1b[38:2::1:2:3mx\x1b[m"),
            ("a\x1b[31mb", "a\x1b[31mb\x1b[0m"),
            ("a\u{9b}32mb\u{9b}m", "a\x1b[32mb\x1b[m"),
            // The clipboard and the title.
            ("a\x1b]52;c;ZWNobyBo\x07b", "ab"),
            ("a\x1b]0;title\x1b\\b", "ab"),
            ("a\u{9d}0;title\u{9c}b", "ab"),
            ("a\x1bP$q\"p\x1b\\b\x1b_x\x1b\\c\x1b^y\x1b\\d\x1bXz\x1b\\e\u{90}1\u{9c}f", "abcdef"),
            // The screen, the cursor, and what terminals answer.
            ("a\x1b[2Jb\x1b[Hc\x1b[6nd\x1b[>cef\x1b[?1049hg\x1b[1;2rh", "abcdefgh"),
            ("a\x1b[>4;2mb\x1b[?1mc\x1b[0 md", "abcd"),
            ("a\x1bcb\x1b7c\x1b(0d\x1b#8e\x1b%Gf\x1b=g", "abcdefg"),
            ("a\u{84}b\u{85}c\u{7f}d\u{7}e\u{8}f\u{b}g\u{c}h\0i\u{e}j", "abcdefghij"),
            ("a\r\nb\rc\r\r\nd\r", "a\nb\nc\n\nd\n"),
            // Those that do not end, or are none.
            ("a\x1b]0;title\nb", "a\nb"),
            ("a\x1b]0;title\x1b[31mb\x1b[m", "a\x1b[31mb\x1b[m"),
            ("a\x1b[31\nb", "a\nb"),
            ("a\x1b[\x1b[32mb\x1b[m", "a\x1b[32mb\x1b[m"),
            ("a\x1b[é", "aé"),
            ("a\x1bé\x1b", "aé"),
            ("a\x1b[3", "a"),
        ] {
            let letters: Vec<String> = text.chars().map(String::from).collect();
            for at in 0..=letters.len() {
                let (before, behind) = letters.split_at(at);
                let mut cleaner = Cleaner::new(Colours::LeftIn);
                let cleaned = cleaner.piece(&before.concat()) + &cleaner.piece(&behind.concat());
                assert_eq!(cleaned + &cleaner.end(), left, "{text:?} cut at {at}");
            }
            let mut plain = Cleaner::new(Colours::LeftOut);
            let cleaned = plain.piece(text) + &plain.end();
            assert!(
                !cleaned.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter)),
                "{cleaned:?}"
            );
        }
    }

    #[test]
    fn a_sequence_without_end_takes_no_room() {
        let mut cleaner = Cleaner::new(Colours::LeftIn);
        assert_eq!(cleaner.piece(&format!("\x1b[{}x", "1".repeat(1000))).len(), 1000 - LONGEST_SEQUENCE + 1);
        let text = format!("\x1b]{}", "x".repeat(1 << 20));
        assert_eq!(cleaner.piece(&text) + &cleaner.piece("\nb"), "\nb");
    }
}
