//! What the demonstration shows: plain lines, or in a terminal a panel that is drawn again as things change.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};

const STORY: usize = 14;
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

#[derive(Clone, Copy)]
pub enum Colour {
    Green,
    Red,
    Yellow,
    Bold,
}

pub struct Screen {
    live: bool,
    colours: bool,
    /// The last lines said, below the panel.
    story: VecDeque<String>,
    panel: Vec<String>,
}

impl Screen {
    /// Live when standard output is a terminal and `plain` is not asked for.
    pub fn new(plain: bool) -> io::Result<Screen> {
        let live = !plain && io::stdout().is_terminal();
        let colours = live && std::env::var_os("NO_COLOR").is_none();
        if live {
            write!(io::stdout(), "{HIDE_CURSOR}\x1b[2J")?;
        }
        Ok(Screen {
            live,
            colours,
            story: VecDeque::new(),
            panel: Vec::new(),
        })
    }

    pub fn is_live(&self) -> bool {
        self.live
    }

    pub fn paint(&self, text: &str, colour: Colour) -> String {
        if !self.colours {
            return text.into();
        }
        let code = match colour {
            Colour::Green => 32,
            Colour::Red => 31,
            Colour::Yellow => 33,
            Colour::Bold => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// One line of the story.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        if !self.live {
            return writeln!(io::stdout(), "{line}");
        }
        self.story.push_back(line.into());
        if self.story.len() > STORY {
            self.story.pop_front();
        }
        self.draw()
    }

    /// A headline of the story.
    pub fn chapter(&mut self, title: &str) -> io::Result<()> {
        self.say("")?;
        let title = self.paint(title, Colour::Bold);
        self.say(&title)
    }

    /// Shows the panel as it is now; plain lines show it only when `lasting`.
    pub fn show(&mut self, panel: Vec<String>, lasting: bool) -> io::Result<()> {
        if self.live {
            self.panel = panel;
            return self.draw();
        }
        if lasting {
            for line in panel {
                writeln!(io::stdout(), "  {line}")?;
            }
        }
        Ok(())
    }

    fn draw(&self) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for line in self.panel.iter().chain(&self.story) {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            let _ = write!(io::stdout(), "{SHOW_CURSOR}");
            let _ = io::stdout().flush();
        }
    }
}
