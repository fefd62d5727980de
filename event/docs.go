package event

import (
	"fmt"
	"io"
	"strings"
)

// WriteDocs writes the page of all events as Markdown, made from Table.
func WriteDocs(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Events\n\n<!-- Made by `make docs`; do not edit. -->\n\n" +
		"What an administrator is told of. In the log, as text, as JSON or in systemd's journal (`log` in the settings file, or\n" +
		"`postern serve --log-format`), the attribute `event` is the number, which never changes its meaning. `Get-EventLog` shows the last\n" +
		"5000 of these, with every other warning and error; they outlive a restart in the folder `events` of the data folder. Logins, 1030 and 1031, are in the\n" +
		"log alone.\n\n" +
		"| Event | Type | What happened | What to do |\n| --- | --- | --- | --- |\n")
	for _, e := range Table {
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", e.ID, (&Entry{Level: e.Level}).Type(), e.Text, e.Help)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
