use super::*;

fn value() -> Value {
    let text = r#"{
        "Id": "0af1", "Name": "web", "Internal": false, "Count": 2, "Nothing": null,
        "Large": 9007199254740992, "Largest": 9007199254740993, "Half": 0.5,
        "IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}, {"Subnet": "fd00::/64"}]},
        "Networks": {"b": {"IPAddress": "10.2.0.2"}, "a": {"IPAddress": "10.1.0.2"}},
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null},
        "Labels": {}
    }"#;
    serde_json::from_str(text).unwrap()
}

fn render(template: &str) -> Result<String, TemplateError> {
    Template::parse(template)?.render(&value())
}

#[test]
fn what_people_write() {
    for (template, expected) in [
        ("", ""),
        ("plain { } text", "plain { } text"),
        ("{{.Name}}", "web"),
        ("{{ .Name }}\\t{{.ID}}", "web\t0af1"),
        ("{{.Internal}} {{.Count}} {{.Nothing}}", "false 2 <no value>"),
        ("{{json .Networks}}", r#"{"b":{"IPAddress":"10.2.0.2"},"a":{"IPAddress":"10.1.0.2"}}"#),
        ("{{.Networks.a.IPAddress}}", "10.1.0.2"),
        ("{{.IPAM.Config}}", "[map[Subnet:10.1.0.0/24] map[Subnet:fd00::/64]]"),
        ("{{range .IPAM.Config}}{{.Subnet}} {{end}}", "10.1.0.0/24 fd00::/64 "),
        ("{{range .Networks}}{{.IPAddress}};{{end}}", "10.2.0.2;10.1.0.2;"),
        (
            "{{range $k, $v := .Networks}}{{$k}}={{$v.IPAddress}} {{$.Name}},{{end}}",
            "b=10.2.0.2 web,a=10.1.0.2 web,",
        ),
        ("{{range $i, $c := .IPAM.Config}}{{$i}}{{end}}", "01"),
        ("{{range .Labels}}x{{else}}none{{end}}", "none"),
        (r#"{{(index (index .Ports "80/tcp") 0).HostPort}}"#, "8080"),
        (
            r#"{{range $p, $b := .Ports}}{{$p}} -> {{if $b}}{{(index $b 0).HostPort}}{{else}}-{{end}};{{end}}"#,
            "80/tcp -> 8080;81/tcp -> -;",
        ),
        (r#"{{index .Labels "none"}}"#, "<no value>"),
        (r#"{{if eq .Name "db" "web"}}yes{{end}}"#, "yes"),
        (r#"{{if .Internal}}a{{else if .Nothing}}b{{else if .Count}}c{{else}}d{{end}}e"#, "ce"),
        ("{{with .Networks.a}}{{.IPAddress}}{{end}}{{with .Nothing}}x{{end}}", "10.1.0.2"),
        ("{{.Name | upper | println}}", "WEB\n"),
        ("{{len .Networks}}{{.Count | eq 2}}", "2true"),
        (r#"{{join (split "a,b" ",") "-"}}"#, "a-b"),
        (r#"{{title "my web-site_a"}} {{pad .Name 1 2}}|{{pad "" 1 2}}|"#, "My Web-Site_a  web  ||"),
        (r#"{{truncate .Name 2}} {{truncate .Name 9}}"#, "we web"),
        (
            r#"{{print .Name .Count}}{{if gt .Count 1}} many{{end}} {{lt .Name "x"}} {{le 1 1}} {{ge 1 2}}"#,
            "web2 many true true false",
        ),
        ("{{print .Count .Count .Internal .Name .Nothing .Count}}", "2 2 falseweb<no value> 2"),
        ("{{gt .Largest .Large}} {{le .Largest .Large}} {{lt .Large .Half}}", "true false false"),
        ("{{and .Name .Count}} {{or .Nothing .Name}} {{not .Name}}", "2 web false"),
        ("a {{- .Name -}} b", "awebb"),
        (r#"{{"}}"}}{{`\`}}{{/* unsaid */}}"#, r"}}\"),
        ("{{$x := .Name}}{{$x}}", "web"),
    ] {
        assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_cannot_be_is_named() {
    for (template, expected) in [
        ("{{.Name", "template parsing error: unclosed action: {{ without }} in \"{{.Name\""),
        ("{{if .Name}}", "template parsing error: {{if}} without {{end}}"),
        ("{{end}}", "template parsing error: unexpected \"end\" in {{end}}"),
        ("{{}}", "template parsing error: unexpected \"end of action\" in {{}}"),
        ("{{.Name .Id}}", "template parsing error: unexpected \"second operand\" in {{.Name .Id}}"),
        ("{{.Networks.c}}", "template: at <.c>: map has no entry for key \"c\": there are b, a"),
        ("{{.Name.First}}", "template: at <.First>: a text has no fields"),
        ("{{$x}}", "template parsing error: undefined variable \"$x\""),
        ("{{index .IPAM.Config 2}}", "template: error calling index: index out of range: 2 of 2"),
        ("{{len .Count}}", "template: error calling len: a number has no length"),
        ("{{gt .Name 1}}", "template: error calling gt: a text cannot be compared with a number"),
        ("{{json}}", "template: error calling json: it cannot be given nothing"),
        (
            "{{range .Name}}{{end}}",
            "template: error calling range: cannot go over a text: a list or a map is expected",
        ),
    ] {
        assert_eq!(render(template).unwrap_err().to_string(), expected, "{template}");
    }
    let error = render("{{frobnicate .Name}}").unwrap_err().to_string();
    assert!(
        error.starts_with("template parsing error: function \"frobnicate\" not defined: there are and, eq,"),
        "{error}"
    );
}

#[test]
fn odd_texts_do_no_harm() {
    for template in [
        "{{",
        "}}",
        "{{{{",
        "{{é}}",
        "{{.é}}",
        "{{\"",
        "{{`",
        "{{-}}",
        "{{- -}}",
        "{{1.5.2}}",
        "{{$",
        "{{(}}",
        "{{|}}",
    ] {
        let _ = render(template);
    }
}
