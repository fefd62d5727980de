package settings

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteDocs writes the page of all settings as Markdown, made from Table.
func WriteDocs(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Settings\n\n")
	b.WriteString("Made from `settings.Table` by `make docs`; do not edit. POP3 settings are read and changed with\n")
	b.WriteString("`Get-PopSettings` and `Set-PopSettings`, IMAP4 settings with `Get-ImapSettings` and `Set-ImapSettings`,\n")
	b.WriteString("start-up types with `Get-Service` and `Set-Service`. A change acts at once, a start-up type at the server's\n")
	b.WriteString("next start; where the meaning says \"kept\", the value acts in a later release.\n")
	for _, page := range Pages {
		fmt.Fprintf(&b, "\n## %s\n\n| Setting | Type | Service | Default | Values | Meaning |\n| --- | --- | --- | --- | --- | --- |\n", page)
		for _, r := range Table {
			if r.Page != page {
				continue
			}
			for _, group := range r.alike() {
				names := make([]string, len(group))
				for i, s := range group {
					names[i] = string(s)
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", r.Name, r.Type, strings.Join(names, ", "),
					cell(r.documented(group[0])), cell(r.Limits(group[0])), cell(r.Help))
			}
		}
		for _, r := range Table {
			if r.Page != page || r.Choices == nil {
				continue
			}
			fmt.Fprintf(&b, "\n`%s`:\n\n| Value | Number | Meaning |\n| --- | --- | --- |\n", r.Name)
			for _, c := range r.Choices {
				help := c.Help
				if c.Label != "" {
					help = fmt.Sprintf("“%s”. %s", c.Label, c.Help)
				}
				fmt.Fprintf(&b, "| `%s` | %d | %s |\n", c.Name, c.Number, cell(help))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// alike groups the services for which default and range are the same.
func (r *Row) alike() [][]Service {
	var groups [][]Service
next:
	for _, s := range r.Services {
		for i, g := range groups {
			if r.documented(g[0]) == r.documented(s) && r.Limits(g[0]) == r.Limits(s) {
				groups[i] = append(g, s)
				continue next
			}
		}
		groups = append(groups, []Service{s})
	}
	return groups
}

// documented gives the default in words.
func (r *Row) documented(s Service) string {
	if r == X509CertificateName.Row {
		return "the server's name"
	}
	switch v := r.Default(s, "").(type) {
	case []string:
		return strings.Join(v, ", ")
	case string:
		if v == "" {
			return "empty"
		}
		return v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(text)
	}
}

// cell keeps a text within one cell of a Markdown table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
