package manage

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
)

//go:embed powershell/Postern.psm1
var powerShellHead string

// builtIn are cmdlets that PowerShell has itself. The module's get another noun.
var builtIn = []string{
	"Add-LocalGroupMember", "Get-LocalGroupMember", "Remove-LocalGroupMember", "Get-EventLog",
	"Get-Service", "Start-Service", "Stop-Service", "Restart-Service", "Set-Service",
}

// connecting are the functions of the module that are no cmdlets of the server.
var connecting = []string{"Connect-Postern", "Disconnect-Postern"}

// module gives the cmdlets of the PowerShell module. Get-Help and Get-Command are
// PowerShell's own: each function brings its help.
func module() []*Cmdlet {
	return slices.DeleteFunc(Cmdlets(), func(c *Cmdlet) bool { return c.Name == "Get-Help" || c.Name == "Get-Command" })
}

// function is the name that a cmdlet has in the PowerShell module.
func function(c *Cmdlet) string {
	if slices.Contains(builtIn, c.Name) {
		return strings.Replace(c.Name, "-", "-Postern", 1)
	}
	return c.Name
}

// bom tells Windows PowerShell that a file is UTF-8; without it, it would find
// quotes among the bytes of other characters.
const bom = "\ufeff"

// WriteModule writes a PowerShell module, made from Cmdlets, whose functions call
// the management API over HTTPS.
func WriteModule(w io.Writer) error {
	var b strings.Builder
	b.WriteString(bom + powerShellHead)
	names := slices.Clone(connecting)
	for _, c := range module() {
		writeFunction(&b, c)
		names = append(names, function(c))
	}
	fmt.Fprintf(&b, "\nExport-ModuleMember -Function @(%s)\n", quoteAllPS(names))
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteManifest writes the manifest of the module whose file is called root.
func WriteManifest(w io.Writer, root string) error {
	names := slices.Clone(connecting)
	for _, c := range module() {
		names = append(names, function(c))
	}
	_, err := fmt.Fprintf(w, bom+`@{
    RootModule        = %s
    ModuleVersion     = '1.0.0'
    GUID              = '4f0f4a53-27d9-4b3c-9a53-5b8d0d1f6a10'
    Author            = 'Postern'
    Description       = 'Manages a Postern server over its management API.'
    PowerShellVersion = '5.1'
    FunctionsToExport = @(
        %s
    )
    CmdletsToExport   = @()
    VariablesToExport = @()
    AliasesToExport   = @()
}
`, quotePS(root), strings.ReplaceAll(quoteAllPS(names), ", ", ",\n        "))
	return err
}

func writeFunction(b *strings.Builder, c *Cmdlet) {
	fmt.Fprintf(b, "\nfunction %s {\n    <#\n    .SYNOPSIS\n    %s\n", function(c), helpPS(c.Synopsis))
	fmt.Fprintf(b, "    .DESCRIPTION\n    %s\n", helpPS(strings.TrimSpace(c.Help+" Needs: "+roleText(c)+".")))
	var parameters []Parameter
	for _, p := range c.Parameters {
		if c.Changes && (p.Name == "WhatIf" || p.Name == "Confirm") {
			continue // of SupportsShouldProcess
		}
		if p.Name == FollowSwitch {
			continue // PowerShell reads an answer when it has ended
		}
		parameters = append(parameters, p)
		help := p.Help
		if p.Default != "" {
			help += " Default: " + p.Default + "."
		}
		fmt.Fprintf(b, "    .PARAMETER %s\n    %s\n", p.Name, helpPS(help))
	}
	for _, e := range c.Examples {
		fmt.Fprintf(b, "    .EXAMPLE\n    %s\n", helpPS(strings.ReplaceAll(e.Line, c.Name, function(c))))
		if e.Help != "" {
			fmt.Fprintf(b, "\n    %s\n", helpPS(e.Help))
		}
	}
	b.WriteString("    #>\n")
	switch {
	case c.Asks:
		b.WriteString("    [CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'High')]\n")
	case c.Changes:
		b.WriteString("    [CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'Medium')]\n")
	default:
		b.WriteString("    [CmdletBinding()]\n")
	}
	b.WriteString("    param(")
	var kinds []string
	for i, p := range parameters {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n")
		writeParameter(b, p, !slices.ContainsFunc(parameters[:i], func(q Parameter) bool { return q.Pipeline }))
		kinds = append(kinds, p.Name+" = "+quotePS(kindPS(p.Type)))
	}
	fmt.Fprintf(b, "\n    )\n    process {\n        $kinds = @{ %s }\n", strings.Join(kinds, "; "))
	whatIf := "$false"
	if c.Changes {
		whatIf = "([bool] $WhatIfPreference)"
	}
	fmt.Fprintf(b, "        Invoke-PosternCmdlet -Name %s -Bound $PSBoundParameters -Kinds $kinds -Caller $PSCmdlet -Changes $%t -Long $%t -WhatIf %s\n    }\n}\n", quotePS(c.Name), c.Changes, c.Long, whatIf)
}

// writeParameter writes one parameter. byText: a text in a pipe is for it.
func writeParameter(b *strings.Builder, p Parameter, byText bool) {
	var binding []string
	if p.Mandatory {
		binding = append(binding, "Mandatory = $true")
	}
	if p.Position > 0 {
		binding = append(binding, fmt.Sprintf("Position = %d", p.Position-1))
	}
	if p.Pipeline && byText {
		binding = append(binding, "ValueFromPipeline = $true")
	}
	if p.Pipeline {
		binding = append(binding, "ValueFromPipelineByPropertyName = $true")
	}
	if binding != nil {
		fmt.Fprintf(b, "        [Parameter(%s)]\n", strings.Join(binding, ", "))
	}
	if p.Aliases != nil {
		fmt.Fprintf(b, "        [Alias(%s)]\n", quoteAllPS(p.Aliases))
	}
	if p.Values != nil {
		fmt.Fprintf(b, "        [ArgumentCompleter({ param($command, $parameter, $word) @(%s) -like \"$word*\" })]\n", quoteAllPS(p.Values))
	}
	fmt.Fprintf(b, "        [%s] $%s", typePS(p.Type), p.Name)
}

// typePS is a parameter's type in PowerShell. What may be $null, an object or one of
// several types is not narrowed: the server checks it.
func typePS(t Type) string {
	switch t {
	case TypeBool:
		return "bool"
	case TypeSwitch:
		return "switch"
	case TypeSecret:
		return "securestring"
	case TypeText, TypeNumber, TypeSize, TypeFile, TypeSave:
		return "string"
	}
	return "object"
}

// kindPS is how ConvertTo-PosternValue of the module converts a value.
func kindPS(t Type) string {
	switch t {
	case TypeSecret, TypeSwitch, TypeFile, TypeSave:
		return string(t)
	case TypeList, TypeValues:
		return "list"
	}
	return "text"
}

// quotePS writes a text in single quotes, of which PowerShell knows five.
func quotePS(text string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range text {
		if strings.ContainsRune("'\u2018\u2019\u201a\u201b", r) {
			b.WriteRune(r)
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}

func quoteAllPS(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = quotePS(t)
	}
	return strings.Join(quoted, ", ")
}

// helpPS writes a text for a help comment: on one line, without its end, and not as
// one of its keywords.
func helpPS(text string) string {
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, "#>", "# >")), " ")
	if strings.HasPrefix(text, ".") {
		text = "(" + text + ")"
	}
	return text
}
