package manage

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestModule: every cmdlet has its function, which hides none of PowerShell's, and
// no text can be anything but text. test/powershell has it read by a parser.
func TestModule(t *testing.T) {
	var b bytes.Buffer
	if err := WriteModule(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if !strings.HasPrefix(text, bom+"#") || strings.Count(text, bom) != 1 {
		t.Error("the module does not begin with one byte order mark")
	}
	identifier := regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	common := []string{"Verbose", "Debug", "ErrorAction", "WarningAction", "InformationAction", "ProgressAction", "ErrorVariable", "WarningVariable", "InformationVariable", "OutVariable", "OutBuffer", "PipelineVariable"}
	for _, c := range module() {
		if strings.Count(text, "\nfunction "+function(c)+" {\n") != 1 {
			t.Errorf("%s has no function", c.Name)
		}
		for _, p := range c.Parameters {
			if !identifier.MatchString(p.Name) || slices.Contains(common, p.Name) {
				t.Errorf("%s -%s cannot be a parameter of a function", c.Name, p.Name)
			}
		}
		if from, end := strings.Index(text, "\nfunction "+function(c)+" {\n"), 0; from >= 0 {
			end = from + strings.Index(text[from:], "\n}\n")
			if n := strings.Count(text[from:end], "ValueFromPipeline = $true"); n > 1 {
				t.Errorf("%s takes %d parameters from a text in the pipeline", c.Name, n)
			}
		}
	}
	hostile := "'; Remove-Item / #> \u2019; evil\n.PARAMETER x\n$(evil) `n"
	c := &Cmdlet{Name: "Get-Thing", Synopsis: "." + hostile, Help: hostile, Changes: true, Asks: true, Parameters: []Parameter{
		{Name: "A", Aliases: []string{hostile}, Values: []string{hostile}, Help: hostile, Default: hostile, Position: 1, Mandatory: true, Pipeline: true},
	}, Examples: []Example{{hostile, hostile}}}
	var f strings.Builder
	writeFunction(&f, c)
	got := f.String()
	if strings.Count(got, "#>") != 3 { // the end of the comment, and two in quotes
		t.Errorf("the comment ends early:\n%s", got)
	}
	if strings.Count(got, "\n    .PARAMETER") != 1 || strings.Contains(got, "\n    .'") {
		t.Errorf("a text is taken for a keyword of help:\n%s", got)
	}
	if want := "'''; Remove-Item / #> \u2019\u2019; evil\n.PARAMETER x\n$(evil) `n'"; strings.Count(got, want) != 2 {
		t.Errorf("a text leaves its quotes:\n%s", got)
	}
	if !strings.Contains(got, "ConfirmImpact = 'High'") {
		t.Error("it does not ask")
	}
}
