//! XML to a tree of elements that know their lines. Nothing here knows the schema beyond its namespace.

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::escape::{EscapeError, resolve_predefined_entity};
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::error::{ErrorKind, NetcfgError};
use super::{MAX_BYTES, MAX_DEPTH, NAMESPACES};

/// An element with everything inside it.
#[derive(Debug)]
pub(super) struct Element {
    /// Local name when the element is in a namespace of [`NAMESPACES`], else the name as written.
    pub(super) name: String,
    /// Whether the element is in a namespace of [`NAMESPACES`].
    pub(super) in_namespace: bool,
    /// Line of the `<`, from 1.
    pub(super) line: usize,
    /// Attributes in file order, without namespace declarations.
    pub(super) attributes: Vec<Attribute>,
    /// Elements directly inside, in file order.
    pub(super) children: Vec<Element>,
    /// Text directly inside.
    pub(super) text: Text,
}

/// An attribute with references resolved and white space normalised (XML 1.0, section 3.3.3).
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Character data of an element: literal white space at both ends removed, character references and CDATA kept as
/// they are.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) value: String,
    /// Line where `value` starts; 0 when there is no text.
    pub(super) line: usize,
    /// Bytes of `value` that trimming at the end must not touch.
    kept: usize,
}

impl Element {
    /// The value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// Builds the tree of a whole file. The first violation of XML itself or of a limit ends it.
pub(super) fn parse(bytes: &[u8]) -> Result<Element, NetcfgError> {
    let source = decode(bytes)?;
    Builder {
        source,
        lines: Lines::of(source.as_bytes()),
        reader: NsReader::from_str(source),
        open: Vec::new(),
        root: None,
    }
    .run()
}

/// Whether XML 1.0 permits the character (section 2.2, production Char).
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn decode(bytes: &[u8]) -> Result<&str, NetcfgError> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are permitted", bytes.len());
        return Err(error(1, ErrorKind::Limit, message));
    }
    let line_at = |at| Lines::of(bytes).line(at);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        error(line_at(e.valid_up_to()), ErrorKind::Syntax, "the file is not valid UTF-8".to_owned())
    })?;
    if let Some((at, c)) = text.char_indices().find(|(_, c)| !is_xml_char(*c)) {
        let message = format!("character U+{:04X} is not permitted in XML", u32::from(c));
        return Err(error(line_at(at), ErrorKind::Syntax, message));
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn error(line: usize, kind: ErrorKind, message: String) -> NetcfgError {
    NetcfgError { line, path: String::new(), message, kind }
}

/// Where the lines of a file end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect())
    }

    /// Line of a byte offset, from 1.
    fn line(&self, at: usize) -> usize {
        1 + self.0.partition_point(|newline| *newline < at)
    }
}

struct Builder<'s> {
    source: &'s str,
    lines: Lines,
    reader: NsReader<&'s [u8]>,
    open: Vec<Element>,
    root: Option<Element>,
}

impl<'s> Builder<'s> {
    fn run(mut self) -> Result<Element, NetcfgError> {
        loop {
            let at = self.position();
            match self.reader.read_event() {
                Ok(Event::Start(start)) => self.start(&start, at)?,
                Ok(Event::Empty(start)) => {
                    self.start(&start, at)?;
                    self.end();
                }
                Ok(Event::End(_)) => self.end(),
                Ok(Event::Text(text)) => self.text(at, &text.xml10_content())?,
                Ok(Event::CData(data)) => self.kept_text(at, &data.xml10_content())?,
                Ok(Event::GeneralRef(reference)) => self.reference(at, &reference)?,
                Ok(Event::Comment(_)) => {}
                Ok(Event::Decl(decl)) => self.declaration(at, &decl)?,
                Ok(Event::DocType(_)) => {
                    return Err(self.forbidden(at, "document type declarations are not permitted"));
                }
                Ok(Event::PI(_)) => {
                    return Err(self.forbidden(at, "processing instructions are not permitted"));
                }
                Ok(Event::Eof) => break,
                Err(e) => {
                    let at = usize::try_from(self.reader.error_position()).unwrap_or(at);
                    return Err(self.syntax(at, &e));
                }
            }
        }
        if let Some(element) = self.open.last() {
            let message = format!("not well-formed XML: element {:?} is not closed", element.name);
            return Err(error(element.line, ErrorKind::Syntax, message));
        }
        self.root
            .ok_or_else(|| error(1, ErrorKind::Syntax, "not well-formed XML: no root element".to_owned()))
    }

    fn start(&mut self, start: &BytesStart<'s>, at: usize) -> Result<(), NetcfgError> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("elements are nested more than {MAX_DEPTH} deep");
            return Err(error(self.line(at), ErrorKind::Limit, message));
        }
        if self.open.is_empty() && self.root.is_some() {
            return Err(self.syntax(at, &"a second root element"));
        }
        let in_namespace = match self.reader.resolver().resolve_element(start.name()).0 {
            ResolveResult::Bound(namespace) => NAMESPACES.contains(&namespace.into_inner()),
            ResolveResult::Unbound => false,
            ResolveResult::Unknown(prefix) => {
                return Err(self.syntax(at, &format!("namespace prefix {prefix:?} is not declared")));
            }
        };
        let name = if in_namespace { start.local_name().into_inner() } else { start.name().into_inner() };
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| self.bad_attribute(at, &e))?;
            let key = attribute.key.into_inner();
            // Borrowed from the same tag, so the distance is where the attribute stands in it, after the `<`.
            let at = at + 1 + key.as_ptr().addr().saturating_sub(start.as_ptr().addr());
            if attribute.value.contains('<') {
                return Err(self.syntax(at, &format!("attribute {key:?} has an unescaped \"<\"")));
            }
            if key == "xmlns" || key.starts_with("xmlns:") {
                continue;
            }
            // Attribute values may name only predefined entities and characters.
            let value = attribute
                .normalized_value_with(XmlVersion::Implicit1_0, 1, resolve_predefined_entity)
                .map_err(|e| self.unresolved(at, &e))?;
            self.check_characters(at, &value)?;
            attributes.push(Attribute {
                name: key.to_owned(),
                value: value.into_owned(),
                line: self.line(at),
            });
        }
        self.open.push(Element {
            name: name.to_owned(),
            in_namespace,
            line: self.line(at),
            attributes,
            children: Vec::new(),
            text: Text::default(),
        });
        Ok(())
    }

    fn end(&mut self) {
        // quick-xml has matched the end tag to the start tag, so there is an open element.
        let Some(mut element) = self.open.pop() else { return };
        let text = &mut element.text;
        let trimmed = text.value.trim_end_matches(WHITE_SPACE).len().max(text.kept);
        text.value.truncate(trimmed);
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
    }

    fn text(&mut self, at: usize, literal: &str) -> Result<(), NetcfgError> {
        // Offsets count in the source, as line ends in `literal` are normalised.
        let source = &self.source[at..];
        if literal.contains("]]>") {
            return Err(self.syntax(at + source.find("]]>").unwrap_or(0), &"\"]]>\" in text"));
        }
        let first = self.open.last().is_none_or(|element| element.text.value.is_empty());
        if !first {
            return self.append(at, literal).map(|_| ());
        }
        let text = literal.trim_start_matches(WHITE_SPACE);
        if text.is_empty() {
            return Ok(());
        }
        let skipped = source.len() - source.trim_start_matches(WHITE_SPACE).len();
        self.append(at + skipped, text).map(|_| ())
    }

    fn kept_text(&mut self, at: usize, text: &str) -> Result<(), NetcfgError> {
        let element = self.append(at, text)?;
        element.kept = element.value.len();
        Ok(())
    }

    fn reference(&mut self, at: usize, reference: &BytesRef<'_>) -> Result<(), NetcfgError> {
        let character = reference.resolve_char_ref().map_err(|e| self.syntax(at, &e))?;
        if let Some(c) = character {
            let mut buffer = [0; 4];
            let text = &*c.encode_utf8(&mut buffer);
            self.check_characters(at, text)?;
            return self.kept_text(at, text);
        }
        match resolve_predefined_entity(reference) {
            Some(text) => self.kept_text(at, text),
            None => Err(self.unknown_entity(at, reference)),
        }
    }

    fn declaration(&self, at: usize, declaration: &BytesDecl<'_>) -> Result<(), NetcfgError> {
        if at != 0 {
            return Err(self.syntax(at, &"an XML declaration that is not at the start"));
        }
        let version = declaration.version().map_err(|e| self.syntax(at, &e))?;
        if version != "1.0" {
            return Err(self.syntax(at, &format!("XML version {version:?}; expected 1.0")));
        }
        match declaration.encoding().transpose().map_err(|e| self.syntax(at, &e))? {
            Some(name) if !name.eq_ignore_ascii_case("utf-8") && !name.eq_ignore_ascii_case("us-ascii") => {
                Err(self.syntax(at, &format!("declared encoding {name:?}; expected utf-8")))
            }
            _ => Ok(()),
        }
    }

    fn append(&mut self, at: usize, text: &str) -> Result<&mut Text, NetcfgError> {
        let line = self.line(at);
        let outside = self.syntax(at, &"text outside the root element");
        let element = &mut self.open.last_mut().ok_or(outside)?.text;
        if element.line == 0 {
            element.line = line;
        }
        element.value.push_str(text);
        Ok(element)
    }

    fn check_characters(&self, at: usize, value: &str) -> Result<(), NetcfgError> {
        match value.chars().find(|c| !is_xml_char(*c)) {
            None => Ok(()),
            Some(c) => Err(self.syntax(at, &format!("reference to character U+{:04X}", u32::from(c)))),
        }
    }

    /// `at` is where the tag starts; positions in the error count from after its `<`.
    fn bad_attribute(&self, at: usize, e: &AttrError) -> NetcfgError {
        let (offset, message) = match *e {
            AttrError::ExpectedEq(offset) | AttrError::ExpectedValue(offset) => {
                (offset, "an attribute has no value")
            }
            AttrError::UnquotedValue(offset) | AttrError::ExpectedQuote(offset, _) => {
                (offset, "an attribute value is not in quotes")
            }
            AttrError::Duplicated(offset, _) => (offset, "an attribute appears twice"),
        };
        self.syntax(at + 1 + offset, &message)
    }

    fn unresolved(&self, at: usize, e: &quick_xml::Error) -> NetcfgError {
        match e {
            quick_xml::Error::Escape(EscapeError::UnrecognizedEntity(_, name)) => {
                self.unknown_entity(at, name)
            }
            _ => self.syntax(at, e),
        }
    }

    fn unknown_entity(&self, at: usize, name: &str) -> NetcfgError {
        let name = super::quoted(name);
        self.forbidden(at, &format!("entity {name} is not permitted; only amp, lt, gt, quot and apos are"))
    }

    fn forbidden(&self, at: usize, message: &str) -> NetcfgError {
        error(self.line(at), ErrorKind::Forbidden, message.to_owned())
    }

    fn syntax(&self, at: usize, message: &dyn std::fmt::Display) -> NetcfgError {
        error(self.line(at), ErrorKind::Syntax, format!("not well-formed XML: {message}"))
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).expect("positions are inside a slice in memory")
    }

    fn line(&self, at: usize) -> usize {
        self.lines.line(at)
    }
}
