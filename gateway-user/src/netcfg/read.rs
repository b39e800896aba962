//! The tree of elements to a [`Document`]: what may stand where, and the rules for single values.

use ipnet::IpNet;

use crate::model::{ConnectionKind, GatewayAddress, Placement, Profile};

use super::NAMESPACES;
use super::document::{ConnectionEntry, DnsServerEntry, Document, GatewayEntry, Located, NetworkEntry};
use super::document::{SiteEntry, Space, SubnetEntry};
use super::error::{ErrorKind, Errors};
use super::tree::{Attribute, Element};
use super::value::{self, Broken, quoted, shown};

/// Reads the tree of a file. `None` when it is not a network configuration at all.
pub(super) fn document(root: &Element, errors: &mut Errors) -> Option<Document> {
    if root.name != "NetworkConfiguration" || !root.in_namespace {
        let message = format!(
            "the root element is {}{}; expected NetworkConfiguration in the namespace {}",
            quoted(&root.name),
            if root.in_namespace { "" } else { " in another namespace or none" },
            NAMESPACES[0]
        );
        errors.add(ErrorKind::Namespace, root.line, "", message);
        return None;
    }
    let mut read = Reader { errors };
    let root = At { element: root, path: String::new() };
    read.shape(&root, &[], &["VirtualNetworkConfiguration"]);
    let mut document = Document::default();
    if let Some(all) = read.required(&root, "VirtualNetworkConfiguration") {
        // Every path below would begin with the same two names.
        read.configuration(&At { element: all.element, path: String::new() }, &mut document);
    }
    Some(document)
}

/// An element and the path to it.
struct At<'t> {
    element: &'t Element,
    path: String,
}

impl<'t> At<'t> {
    fn enter(&self, element: &'t Element) -> Self {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&element.name);
        if let Some(name) = element.attribute("name") {
            path.push('[');
            path.push_str(&shown(&name.value));
            path.push(']');
        }
        At { element, path }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = At<'t>> {
        self.element
            .children
            .iter()
            .filter(move |child| child.in_namespace && child.name == name)
            .map(|child| self.enter(child))
    }

    fn attribute_path(&self, attribute: &str) -> String {
        if self.path.is_empty() { format!("@{attribute}") } else { format!("{}/@{attribute}", self.path) }
    }
}

struct Reader<'r> {
    errors: &'r mut Errors,
}

impl Reader<'_> {
    fn configuration(&mut self, at: &At<'_>, document: &mut Document) {
        self.shape(at, &[], &["Dns", "LocalNetworkSites", "VirtualNetworkSites"]);
        if let Some(dns) = self.optional(at, "Dns") {
            self.shape(&dns, &[], &["DnsServers"]);
            document.dns_servers = self.list(&dns, "DnsServers", "DnsServer", Self::dns_server);
        }
        document.sites = self.list(at, "LocalNetworkSites", "LocalNetworkSite", Self::site);
        document.networks = self.list(at, "VirtualNetworkSites", "VirtualNetworkSite", Self::network);
    }

    fn dns_server(&mut self, at: &At<'_>) -> Option<DnsServerEntry> {
        self.shape(at, &["name", "IPAddress"], &[]);
        let address = self.attribute(at, "IPAddress").and_then(|attribute| {
            self.judge(
                value::server_address(&attribute.value),
                attribute.line,
                &at.attribute_path("IPAddress"),
            )
        });
        Some(DnsServerEntry { name: self.name(at)?, address })
    }

    fn site(&mut self, at: &At<'_>) -> Option<SiteEntry> {
        self.shape(at, &["name"], &["AddressSpace", "VPNGatewayAddress"]);
        let space = self.space(at, "AddressSpace", true);
        let gateway_address = self.optional(at, "VPNGatewayAddress").and_then(|at| self.gateway_address(&at));
        Some(SiteEntry { name: self.name(at)?, space, gateway_address })
    }

    /// An empty element is a missing address, as tools that write the element always leave it.
    fn gateway_address(&mut self, at: &At<'_>) -> Option<Located<GatewayAddress>> {
        self.shape_of_text(at, &[]);
        let text = &at.element.text;
        if text.value.is_empty() {
            return None;
        }
        let value = self.judge(value::gateway_address(&text.value), text.line, &at.path)?;
        Some(Located { value, line: text.line, path: at.path.clone() })
    }

    fn network(&mut self, at: &At<'_>) -> Option<NetworkEntry> {
        self.shape(
            at,
            &["name", "Location", "AffinityGroup"],
            &["Label", "AddressSpace", "Subnets", "DnsServersRef", "Gateway"],
        );
        let placement = self.placement(at);
        let label = self.optional(at, "Label").and_then(|at| self.label(&at));
        let space = self.space(at, "AddressSpace", true);
        let subnets = self.list(at, "Subnets", "Subnet", Self::subnet);
        let dns_servers = self.list(at, "DnsServersRef", "DnsServerRef", |read, at| {
            read.shape(at, &["name"], &[]);
            read.name(at)
        });
        let gateway = self.optional(at, "Gateway").map(|at| self.gateway(at));
        Some(NetworkEntry { name: self.name(at)?, placement, label, space, subnets, dns_servers, gateway })
    }

    fn placement(&mut self, at: &At<'_>) -> Placement {
        for name in ["Location", "AffinityGroup"] {
            if let Some(place) = at.element.attribute(name) {
                self.judge(value::check_place(&place.value), place.line, &at.attribute_path(name));
            }
        }
        let value = |name| at.element.attribute(name).map(|attribute| attribute.value.clone());
        let problem = match (value("Location"), value("AffinityGroup")) {
            (Some(location), None) => return Placement::Location(location),
            (None, Some(group)) => return Placement::AffinityGroup(group),
            (None, None) => "attribute Location or AffinityGroup is missing; exactly one is required",
            (Some(_), Some(_)) => "has both attributes Location and AffinityGroup; exactly one is required",
        };
        self.errors.add(ErrorKind::Placement, at.element.line, &at.path, problem.to_owned());
        // Reported, so this value reaches nobody.
        Placement::Location(String::new())
    }

    fn label(&mut self, at: &At<'_>) -> Option<String> {
        self.shape_of_text(at, &[]);
        let text = &at.element.text;
        self.judge(value::check_label(&text.value), text.line, &at.path);
        (!text.value.is_empty()).then(|| text.value.clone())
    }

    fn subnet(&mut self, at: &At<'_>) -> Option<SubnetEntry> {
        self.shape(at, &["name"], &["AddressPrefix"]);
        let prefix = self.required(at, "AddressPrefix").and_then(|at| self.prefix(&at));
        Some(SubnetEntry { name: self.name(at)?, prefix })
    }

    fn gateway(&mut self, at: At<'_>) -> Located<GatewayEntry> {
        self.shape(&at, &["profile"], &["VPNClientAddressPool", "ConnectionsToLocalNetwork"]);
        let profile = at.element.attribute("profile").and_then(|attribute| {
            let profile = attribute.value.parse::<Profile>().map_err(|_| {
                let value = quoted(&attribute.value);
                (ErrorKind::Profile, format!("{value} is not a profile; expected default or azure"))
            });
            self.judge(profile, attribute.line, &at.attribute_path("profile"))
        });
        let gateway = GatewayEntry {
            profile: profile.unwrap_or_default(),
            pool: self.space(&at, "VPNClientAddressPool", false),
            connections: self.list(&at, "ConnectionsToLocalNetwork", "LocalNetworkSiteRef", Self::connection),
        };
        Located { value: gateway, line: at.element.line, path: at.path }
    }

    fn connection(&mut self, at: &At<'_>) -> Option<ConnectionEntry> {
        self.shape(at, &["name"], &["Connection"]);
        if let Some(connection) = self.optional(at, "Connection") {
            self.shape(&connection, &["type"], &[]);
            if let Some(kind) = connection.element.attribute("type") {
                let path = connection.attribute_path("type");
                self.judge(connection_type(&kind.value), kind.line, &path);
            }
        }
        Some(ConnectionEntry { site: self.name(at)?, kind: ConnectionKind::Ipsec })
    }

    /// The prefixes inside the element `name` of `at`.
    fn space(&mut self, at: &At<'_>, name: &str, required: bool) -> Space {
        let found = if required { self.required(at, name) } else { self.optional(at, name) };
        let Some(at) = found else {
            return Space { prefixes: Vec::new(), complete: !required };
        };
        self.shape(&at, &[], &["AddressPrefix"]);
        let mut space = Space { prefixes: Vec::new(), complete: true };
        for prefix in at.all("AddressPrefix") {
            match self.prefix(&prefix) {
                Some(prefix) => space.prefixes.push(prefix),
                None => space.complete = false,
            }
        }
        if required && space.complete && space.prefixes.is_empty() {
            space.complete = false;
            self.missing_element(&at, "AddressPrefix");
        }
        space
    }

    fn prefix(&mut self, at: &At<'_>) -> Option<Located<IpNet>> {
        self.shape_of_text(at, &[]);
        let text = &at.element.text;
        let line = if text.line == 0 { at.element.line } else { text.line };
        let (prefix, broken) = value::prefix(&text.value);
        self.judge(broken.map_or(Ok(()), Err), line, &at.path);
        prefix.map(|value| Located { value, line, path: at.path.clone() })
    }

    /// The name attribute. One that breaks the rule is reported and returned, so that references to it still resolve.
    fn name(&mut self, at: &At<'_>) -> Option<Located<String>> {
        let name = self.attribute(at, "name")?;
        let path = at.attribute_path("name");
        self.judge(value::check_name(&name.value), name.line, &path);
        Some(Located { value: name.value.clone(), line: name.line, path })
    }

    /// The `item`s inside the optional element `list` of `at`.
    fn list<'t, T>(
        &mut self,
        at: &At<'t>,
        list: &str,
        item: &str,
        read: impl Fn(&mut Self, &At<'t>) -> Option<T>,
    ) -> Vec<T> {
        let Some(at) = self.optional(at, list) else { return Vec::new() };
        self.shape(&at, &[], &[item]);
        at.all(item).filter_map(|at| read(self, &at)).collect()
    }

    fn required<'t>(&mut self, at: &At<'t>, name: &str) -> Option<At<'t>> {
        let found = self.optional(at, name);
        if found.is_none() {
            self.missing_element(at, name);
        }
        found
    }

    fn optional<'t>(&mut self, at: &At<'t>, name: &str) -> Option<At<'t>> {
        let mut all = at.all(name);
        let first = all.next()?;
        for again in all {
            let message =
                format!("a second {name}; at most one is permitted (first on line {})", first.element.line);
            self.errors.add(ErrorKind::RepeatedElement, again.element.line, &again.path, message);
        }
        Some(first)
    }

    fn attribute<'t>(&mut self, at: &At<'t>, name: &str) -> Option<&'t Attribute> {
        let found = at.element.attribute(name);
        if found.is_none() {
            let message = format!("attribute {name} is missing");
            self.errors.add(ErrorKind::MissingAttribute, at.element.line, &at.path, message);
        }
        found
    }

    fn missing_element(&mut self, at: &At<'_>, name: &str) {
        let message = format!("element {name} is missing");
        self.errors.add(ErrorKind::MissingElement, at.element.line, &at.path, message);
    }

    /// Reports everything in `at` that an element with these attributes and children may not have.
    fn shape(&mut self, at: &At<'_>, attributes: &[&str], children: &[&str]) {
        self.known(at, attributes, children);
        let text = &at.element.text;
        if !text.value.is_empty() {
            let message = format!("text {} where none is expected", quoted(&text.value));
            self.errors.add(ErrorKind::UnexpectedText, text.line, &at.path, message);
        }
    }

    /// As [`Self::shape`] for an element that has only text.
    fn shape_of_text(&mut self, at: &At<'_>, attributes: &[&str]) {
        self.known(at, attributes, &[]);
    }

    fn known(&mut self, at: &At<'_>, attributes: &[&str], children: &[&str]) {
        for attribute in &at.element.attributes {
            if !attributes.contains(&attribute.name.as_str()) {
                let message =
                    format!("unknown attribute {}; expected {}", quoted(&attribute.name), listed(attributes));
                self.errors.add(ErrorKind::UnknownAttribute, attribute.line, &at.path, message);
            }
        }
        for child in &at.element.children {
            if !child.in_namespace || !children.contains(&child.name.as_str()) {
                let namespace = if child.in_namespace { "" } else { " of another namespace" };
                let message = format!(
                    "unknown element {}{namespace}; expected {}",
                    quoted(&child.name),
                    listed(children)
                );
                self.errors.add(ErrorKind::UnknownElement, child.line, &at.path, message);
            }
        }
    }

    fn judge<T>(&mut self, result: Result<T, Broken>, line: usize, path: &str) -> Option<T> {
        result.map_err(|(kind, message)| self.errors.add(kind, line, path, message)).ok()
    }
}

fn connection_type(name: &str) -> Result<(), Broken> {
    let problem = match name {
        "IPsec" => return Ok(()),
        "Dedicated" => "is not supported",
        _ => "is not a connection type",
    };
    Err((ErrorKind::ConnectionType, format!("{} {problem}; expected IPsec", quoted(name))))
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
