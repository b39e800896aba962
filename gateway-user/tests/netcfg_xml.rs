//! Files that are not a network configuration by their form: XML, limits, elements and attributes.

#[path = "netcfg/mod.rs"]
mod fixtures;

use gateway_user::netcfg::{self, ErrorKind, Limits};

use fixtures::{GOOD, assert_change, assert_errors, changed, report};

const NAMESPACE: &str = netcfg::NAMESPACES[0];
const VNET2_SITE: &str = r#"<LocalNetworkSite name="VNet2">"#;
const BRANCH: &str = r#"<LocalNetworkSite name="Branch.Office_7">"#;
const VNET1: &str = r#"<VirtualNetworkSite name="VNet1""#;

#[test]
fn not_well_formed() {
    for (text, display) in [
        ("", "bad.xml:1: not well-formed XML: no root element"),
        ("hello", "bad.xml:1: not well-formed XML: text outside the root element"),
        (
            "<a>\n<b>\n</a>",
            "bad.xml:3: not well-formed XML: ill-formed document: expected `</b>`, but `</a>` was found",
        ),
        ("<a>\n<b>\n", "bad.xml:2: not well-formed XML: element \"b\" is not closed"),
        ("<a/>\n<b/>", "bad.xml:2: not well-formed XML: a second root element"),
        ("<a/>\ntext", "bad.xml:2: not well-formed XML: text outside the root element"),
        ("<a\n x='1'\nx='2'/>", "bad.xml:3: not well-formed XML: an attribute appears twice"),
        ("<a\n\nx=1 />", "bad.xml:3: not well-formed XML: an attribute value is not in quotes"),
        ("<a\nx />", "bad.xml:2: not well-formed XML: an attribute has no value"),
        ("<a\nx= />", "bad.xml:2: not well-formed XML: an attribute has no value"),
        ("<a x='<'/>", "bad.xml:1: not well-formed XML: attribute \"x\" has an unescaped \"<\""),
        ("<n:a/>", "bad.xml:1: not well-formed XML: namespace prefix \"n\" is not declared"),
        ("<a>\n]]></a>", "bad.xml:2: not well-formed XML: \"]]>\" in text"),
        (
            "<a>\n&#0;</a>",
            "bad.xml:2: not well-formed XML: invalid character reference: 0x0 character is not permitted in XML",
        ),
        ("<a>\n&#1;</a>", "bad.xml:2: not well-formed XML: reference to character U+0001"),
        ("<a x='&#xFFFF;'/>", "bad.xml:1: not well-formed XML: reference to character U+FFFF"),
        ("<a>\n\u{1}</a>", "bad.xml:2: character U+0001 is not permitted in XML"),
        ("<?xml version='1.1'?><a/>", "bad.xml:1: not well-formed XML: XML version \"1.1\"; expected 1.0"),
        (
            "<?xml version='1.0' encoding='utf-16'?><a/>",
            "bad.xml:1: not well-formed XML: declared encoding \"utf-16\"; expected utf-8",
        ),
        (
            "<a>\n<?xml version='1.0'?></a>",
            "bad.xml:2: not well-formed XML: an XML declaration that is not at the start",
        ),
    ] {
        assert_errors(text, &[ErrorKind::Syntax], display);
    }
}

#[test]
fn not_utf8() {
    let report = report(b"<a>\n\xff</a>");
    assert_eq!(report.to_string(), "bad.xml:2: the file is not valid UTF-8");
}

#[test]
fn too_large() {
    let exactly = |bytes: usize| GOOD.to_owned() + &" ".repeat(bytes - GOOD.len());
    assert!(netcfg::parse("", exactly(netcfg::MAX_BYTES).as_bytes(), &Limits::default()).is_ok());
    assert_errors(
        &exactly(netcfg::MAX_BYTES + 1),
        &[ErrorKind::Limit],
        "bad.xml:1: the file has 33554433 bytes; at most 33554432 are permitted",
    );
}

#[test]
fn too_deep() {
    let nested = |depth| "<a>\n".repeat(depth) + &"</a>".repeat(depth);
    assert_eq!(report(nested(netcfg::MAX_DEPTH)).errors[0].kind, ErrorKind::Namespace);
    let display = "bad.xml:17: elements are nested more than 16 deep";
    assert_errors(&nested(netcfg::MAX_DEPTH + 1), &[ErrorKind::Limit], display);
    assert_errors(&"<a>\n".repeat(200_000), &[ErrorKind::Limit], display);
}

#[test]
fn too_many_errors() {
    let body = "<x/>\n".repeat(netcfg::MAX_ERRORS + 5);
    let report = report(format!("<NetworkConfiguration xmlns='{NAMESPACE}'>{body}</NetworkConfiguration>"));
    assert_eq!(report.errors.len(), netcfg::MAX_ERRORS + 1);
    let last = report.errors.last().unwrap();
    assert_eq!(last.kind, ErrorKind::Limit);
    assert_eq!(last.to_string(), "more than 1000 errors; the rest is not shown");
}

#[test]
fn document_types_and_entities() {
    let laughs = r#"<?xml version="1.0"?>
<!DOCTYPE lolz [
  <!ENTITY lol "lol">
  <!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">
]>
<lolz>&lol2;</lolz>"#;
    for (text, display) in [
        (laughs, "bad.xml:2: document type declarations are not permitted"),
        (
            "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>\n<a/>",
            "bad.xml:1: document type declarations are not permitted",
        ),
        ("<a>\n&lol;</a>", "bad.xml:2: entity \"lol\" is not permitted; only amp, lt, gt, quot and apos are"),
        (
            "<a\nb='&lol;'/>",
            "bad.xml:2: entity \"lol\" is not permitted; only amp, lt, gt, quot and apos are",
        ),
        ("<a>\n<?php evil()?></a>", "bad.xml:2: processing instructions are not permitted"),
    ] {
        assert_errors(text, &[ErrorKind::Forbidden], display);
    }
}

#[test]
fn another_root() {
    for (text, display) in [
        (
            "<NetworkConfiguration/>".to_owned(),
            format!(
                "bad.xml:1: the root element is \"NetworkConfiguration\" in another namespace or none; \
                 expected NetworkConfiguration in the namespace {NAMESPACE}"
            ),
        ),
        (
            format!("\n<ServiceConfiguration xmlns='{NAMESPACE}'/>"),
            format!(
                "bad.xml:2: the root element is \"ServiceConfiguration\"; \
                 expected NetworkConfiguration in the namespace {NAMESPACE}"
            ),
        ),
    ] {
        assert_errors(&text, &[ErrorKind::Namespace], &display);
    }
}

#[test]
fn unknown_elements() {
    assert_change(
        VNET1,
        "<DnsServersRef>",
        "<Peering /><DnsServersRef>",
        ErrorKind::UnknownElement,
        "bad.xml:45: VirtualNetworkSites/VirtualNetworkSite[VNet1]: unknown element \"Peering\"; \
         expected Label, AddressSpace, Subnets, DnsServersRef, Gateway",
    );
    assert_change(
        VNET1,
        "<DnsServersRef>",
        "<Label xmlns=\"urn:other\" /><DnsServersRef>",
        ErrorKind::UnknownElement,
        "bad.xml:45: VirtualNetworkSites/VirtualNetworkSite[VNet1]: unknown element \"Label\" of another namespace; \
         expected Label, AddressSpace, Subnets, DnsServersRef, Gateway",
    );
    assert_change(
        BRANCH,
        "192.168.0.0/24",
        "192.168.0.0/24<b />",
        ErrorKind::UnknownElement,
        "bad.xml:25: LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/AddressSpace/AddressPrefix: \
         unknown element \"b\"; expected none",
    );
}

#[test]
fn unknown_attributes() {
    assert_change(
        VNET1,
        " Location",
        "\n colour=\"red\" Location",
        ErrorKind::UnknownAttribute,
        "bad.xml:33: VirtualNetworkSites/VirtualNetworkSite[VNet1]: unknown attribute \"colour\"; \
         expected name, Location, AffinityGroup",
    );
    assert_change(
        VNET1,
        "<Label>",
        "<Label xsi:type=\"text\">",
        ErrorKind::UnknownAttribute,
        "bad.xml:33: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Label: unknown attribute \"xsi:type\"; expected none",
    );
}

#[test]
fn text_between_elements() {
    assert_change(
        VNET1,
        "<Subnets>",
        "<Subnets>\n stray",
        ErrorKind::UnexpectedText,
        "bad.xml:38: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Subnets: text \"stray\" where none is expected",
    );
}

#[test]
fn missing_elements() {
    assert_errors(
        &format!("<NetworkConfiguration xmlns='{NAMESPACE}'/>"),
        &[ErrorKind::MissingElement],
        "bad.xml:1: element VirtualNetworkConfiguration is missing",
    );
    assert_change(
        VNET1,
        "            <AddressPrefix>10.1.0.0/24</AddressPrefix>",
        "",
        ErrorKind::MissingElement,
        "bad.xml:38: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Subnets/Subnet[Frontend]: \
         element AddressPrefix is missing",
    );
    assert_change(
        VNET2_SITE,
        "<AddressPrefix>10.2.0.0/16</AddressPrefix>",
        "",
        ErrorKind::MissingElement,
        "bad.xml:18: LocalNetworkSites/LocalNetworkSite[VNet2]/AddressSpace: element AddressPrefix is missing",
    );
    assert_errors(
        &changed(
            "<VirtualNetworkSites>",
            "<VirtualNetworkSites>",
            "<VirtualNetworkSites><VirtualNetworkSite name='V' Location='L'/>",
        ),
        &[ErrorKind::MissingElement],
        "bad.xml:31: VirtualNetworkSites/VirtualNetworkSite[V]: element AddressSpace is missing",
    );
}

#[test]
fn missing_attributes() {
    assert_errors(
        &changed("<Dns>", r#"IPAddress="10.1.0.4" "#, ""),
        &[ErrorKind::MissingAttribute],
        "bad.xml:6: Dns/DnsServers/DnsServer[dns1]: attribute IPAddress is missing",
    );
    assert_change(
        VNET1,
        "<Subnet name=\"Frontend\">",
        "<Subnet>",
        ErrorKind::MissingAttribute,
        "bad.xml:38: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Subnets/Subnet: attribute name is missing",
    );
}

#[test]
fn repeated_elements() {
    assert_change(
        VNET1,
        "</Label>",
        "</Label><Label>again</Label>",
        ErrorKind::RepeatedElement,
        "bad.xml:33: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Label: \
         a second Label; at most one is permitted (first on line 33)",
    );
    assert_change(
        VNET1,
        r#"<Connection type="IPsec" />"#,
        r#"<Connection type="IPsec" /><Connection />"#,
        ErrorKind::RepeatedElement,
        "bad.xml:55: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/ConnectionsToLocalNetwork/\
         LocalNetworkSiteRef[VNet2]/Connection: a second Connection; at most one is permitted (first on line 55)",
    );
}
