package console

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
	"github.com/postern-mail/postern/statistics"
)

// Form runs one cmdlet with what is put into its fields. Its way is: filled in;
// reviewed, which is the cmdlet with -WhatIf; done, told on the page that follows.
type Form struct {
	ID     string // one word, once on a page
	Title  string // English
	Done   string // English: what it has done; "" is Title
	Help   string // English
	Submit string // English; what the button says
	Cmdlet string
	Fixed  []shell.Argument // always given, before the fields
	Fields []*Field
	// Direct: it is done without a review, for what loses nothing. A form with a
	// secret is always direct, so that the secret stays out of a page.
	Direct bool
	Danger bool // the button warns
	// Shows: what the cmdlet gives is shown on the page, in Result, not told as an
	// outcome: for tests, and for secrets that are shown once.
	Shows bool
	// Next is where a form that was done leads; "" is the page itself. Then gives it
	// from what the cmdlet gave, when that decides.
	Next string
	Then func(*manage.Result) string
	// Once names the property of the cmdlet's object that is a secret, to be shown on
	// the page that follows and never again; "" is none.
	Once string
	// Download: the cmdlet gives a file, which is the answer.
	Download bool
	// Slow: it takes many seconds, and the page says that it is under way.
	Slow bool
	// Columns are those of the table in which Result is shown; nil as in the shell.
	Columns []Column
	// Verdict sums up Result: "good", "warn" or "bad", and a sentence in the visitor's
	// language.
	Verdict func(*manage.Result) (badge, text string)
	// Strength judges what is typed as -Password; nil: it is not told.
	Strength func(password string) *Strength

	Result  *manage.Result // what it showed
	Tried   *manage.Result // what the cmdlet said with -WhatIf to what is typed
	Error   string         // in the visitor's language
	Hint    string
	Refusal string // why the visitor may not, in the visitor's language; "" when they may
	Remedy  string // how to get what Refusal says, in the visitor's language
	Quiet   bool   // another form of the page tells of the refusal
	Live    bool   // the preview follows typing, and tells of errors itself

	V *Visit
}

// formID makes the ID of a form that is about one of many things: it follows from the
// thing, not from its place, which is another's when somebody has changed the list.
func formID(word string, about ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(about, "\x00")))
	return word + "-" + hex.EncodeToString(sum[:8])
}

// Kind is how a field is filled in.
type Kind string

// The kinds.
const (
	Text   Kind = "text"
	Number Kind = "number" // a whole number, or "unlimited"
	Size   Kind = "size"   // bytes, such as 10MB, or "unlimited"
	Span   Kind = "span"   // hours:minutes:seconds
	Bool   Kind = "bool"
	Choice Kind = "choice" // one of Choices
	List   Kind = "list"   // texts, each in its own input
	Set    Kind = "set"    // some of Choices
	Long   Kind = "long"   // text of several lines
	Secret Kind = "secret"
	Upload Kind = "upload" // a file, or its text; it is sent as a parameter of TypeFile
)

// Field is one parameter of a form's cmdlet.
type Field struct {
	Name     string // of the parameter
	Label    string // in the visitor's language; "" is Name
	Help     string // in the visitor's language
	Limits   string // in the visitor's language: what is accepted
	Kind     Kind
	Choices  []settings.Choice
	Value    any    // what is set now, as the Get cmdlet shows it; nil for a new thing
	Default  string // in the visitor's language; "" when there is none to tell
	Note     string // in the visitor's language; what is to be worried about
	Required bool
	// Generate: a Secret that is left empty is made up, and shown once.
	Generate bool
	// Repeats names a field that must be typed alike; this one is no parameter.
	Repeats string
	// Autocomplete is what a browser may fill in; "" is nothing, or a new password.
	Autocomplete string
	// Suggest are values to choose from; others may be typed.
	Suggest []string
	// Prefix stands before what is typed into a Text, in what the cmdlet is given.
	Prefix string
	// Extra is a template of parts.html that is shown below the field with its
	// data, "" for none.
	Extra     string
	ExtraData any

	Error string // in the visitor's language

	typed []string // what was typed, nil before a post
	made  bool     // typed was made up
	file  []byte   // what was sent for an Upload
	was   any      // what the field was made from
	F     *Form
}

// Add adds a form to the page.
func (v *Visit) Add(f *Form) *Form {
	f.V = v
	if err := v.Manage.May(v.Caller, f.Cmdlet); err != nil {
		f.Refusal, f.Remedy = sentence(v.Error(err)), v.Text(manage.FaultOf(err).Hint)
	}
	for _, other := range v.Forms {
		f.Quiet = f.Quiet || other.Remedy == f.Remedy && other.Refusal != ""
	}
	for _, field := range f.Fields {
		field.F, field.was = f, field.Value
		f.Direct = f.Direct || field.Kind == Secret || field.Kind == Upload
	}
	v.Forms[f.ID] = f
	return f
}

// HTMLID is the id of the field's input.
func (f *Field) HTMLID() string { return f.F.ID + "-" + f.Name }

// Title is what the field is called.
func (f *Field) Title() string {
	if f.Label != "" {
		return f.Label
	}
	return f.Name
}

// Humps are the parts of the title between which a line may end.
func (f *Field) Humps() []string {
	title := f.Title()
	var parts []string
	from := 0
	for i := 1; i < len(title)-1; i++ {
		if isUpper(title[i]) && (!isUpper(title[i-1]) || !isUpper(title[i+1])) && title[i-1] != ' ' {
			parts = append(parts, title[from:i])
			from = i
		}
	}
	return append(parts, title[from:])
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// sentence ends a text with a full stop.
func sentence(text string) string {
	if text == "" || strings.ContainsRune(".!?", rune(text[len(text)-1])) {
		return text
	}
	return text + "."
}

// Was is what the field was made from, for the form to bring back.
func (f *Field) Was() string {
	text, err := json.Marshal(f.was)
	if err != nil {
		return "null"
	}
	return string(text)
}

// Now is what is set now, in the form of Was.
func (f *Field) Now() string {
	text, err := json.Marshal(f.Value)
	if err != nil {
		return "null"
	}
	return string(text)
}

// Known tells whether there is a value that the form may change.
func (f *Field) Known() bool { return f.Value != nil }

// Texts is what stands in the field.
func (f *Field) Texts() []string {
	if f.typed != nil {
		return f.typed
	}
	return f.texts(f.Value)
}

// texts writes a value as it is typed into the field.
func (f *Field) texts(value any) []string {
	list := texts(value)
	if f.Kind != Size || len(list) != 1 {
		return list
	}
	if n, err := strconv.ParseInt(list[0], 10, 64); err == nil {
		return []string{settings.FormatSize(n)}
	}
	return list
}

// Has tells whether the text is one of those that stand in the field.
func (f *Field) Has(text string) bool { return slices.Contains(f.Texts(), text) }

// Text is what stands in a field that has one text.
func (f *Field) Text() string { return strings.Join(f.Texts(), " ") }

// Is tells whether the text stands in the field.
func (f *Field) Is(text string) bool { return f.Text() == text }

// Cards tells whether the choices are few enough to be shown at once.
func (f *Field) Cards() bool { return len(f.Choices) <= 4 }

// texts writes a value as it is typed.
func texts(value any) []string {
	switch v := value.(type) {
	case nil:
		return []string{}
	case []string:
		return v
	case []any:
		list := []string{}
		for _, e := range v {
			list = append(list, texts(e)...)
		}
		return list
	case bool:
		return []string{strconv.FormatBool(v)}
	case int:
		return texts(int64(v))
	case int64:
		if v == settings.Unlimited {
			return []string{"unlimited"}
		}
		return []string{strconv.FormatInt(v, 10)}
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			return []string{v.String()}
		}
		return texts(n)
	case string:
		return []string{v}
	}
	return []string{}
}

// read takes what was sent for the field.
func (f *Field) read(form url.Values) error {
	sent, there := form["f."+f.Name]
	was, known := form["was."+f.Name]
	if !there && !known && f.Value != nil {
		return nil // not in the form: a box that is off, or an empty list, brings its "was"
	}
	for i := range sent {
		sent[i] = strings.ReplaceAll(sent[i], "\r\n", "\n")
		if f.Kind != Secret && f.Kind != Long {
			sent[i] = strings.TrimSpace(sent[i])
		}
	}
	switch f.Kind {
	case Bool:
		f.typed = []string{strconv.FormatBool(there && slices.Contains(sent, "true"))}
	case List, Set:
		f.typed = slices.DeleteFunc(slices.Clone(sent), func(s string) bool { return s == "" })
		if f.typed == nil {
			f.typed = []string{}
		}
	default:
		if len(sent) > 1 {
			return mail.Errorf(mail.KindBadArgument, "The field %q came twice.", f.Name)
		}
		if there {
			f.typed = []string{sent[0]}
		}
	}
	if f.Generate && there && sent[0] == "" {
		f.typed, f.made = []string{newPassword()}, true
	}
	if known {
		d := json.NewDecoder(strings.NewReader(was[0]))
		d.UseNumber()
		if err := d.Decode(&f.was); err != nil {
			return mail.Errorf(mail.KindBadArgument, "The form cannot be read.")
		}
	}
	return nil
}

// given tells whether the field asks for something else than it was made from.
func (f *Field) given() bool {
	if len(f.file) > 0 {
		return true
	}
	if f.typed == nil || f.Repeats != "" {
		return false
	}
	if f.was == nil {
		return f.Kind == Bool && f.typed[0] == "true" || f.Kind != Bool && strings.Join(f.typed, "") != ""
	}
	return !slices.Equal(f.typed, f.texts(f.was))
}

// overtaken tells whether somebody else has changed what the field was made from.
func (f *Field) overtaken() bool {
	return f.Value != nil && !slices.Equal(f.texts(f.was), f.texts(f.Value))
}

// argument is the field's value for the cmdlet.
func (f *Field) argument() shell.Argument {
	switch f.Kind {
	case Bool:
		return shell.Argument{Name: f.Name, Value: f.typed[0] == "true"}
	case List, Set:
		return shell.Argument{Name: f.Name, Value: f.typed}
	case Upload:
		if len(f.file) > 0 {
			return shell.Argument{Name: f.Name, Value: upload{f.Text(), f.file}}
		}
		return shell.Argument{Name: f.Name, Value: upload{strings.ToLower(f.Name) + ".pem", []byte(f.Text())}}
	}
	return shell.Argument{Name: f.Name, Value: f.Prefix + f.Text()}
}

// Arguments are what the form asks its cmdlet for.
func (f *Form) Arguments() []shell.Argument {
	arguments := slices.Clone(f.Fixed)
	for _, field := range f.Fields {
		if field.given() {
			arguments = append(arguments, field.argument())
		}
	}
	return arguments
}

// Line does in the shell what the form does; "" when there is nothing to do.
func (f *Form) Line() string {
	cmdlet := f.V.Manage.Cmdlet(f.Cmdlet)
	arguments := f.Arguments()
	if cmdlet == nil || len(f.Fields) > 0 && len(arguments) == len(f.Fixed) && cmdlet.Changes {
		return ""
	}
	return shell.Line(cmdlet, arguments)
}

// Judged is how good the password is that is typed, nil when none is, or nobody judges.
func (f *Form) Judged() *Strength {
	if field := f.Field("Password"); f.Strength != nil && field != nil && field.Text() != "" {
		return f.Strength(field.Text())
	}
	return nil
}

// Impact is whom of late a change of who may log in would have refused.
type Impact struct {
	*Visit
	statistics.Impact
	More int // rows of Affected that are not shown
}

// maxAffected bounds how many are shown.
const maxAffected = 20

// Impact gives whom what is typed would have refused, nil when it is nothing of the
// kind.
func (f *Form) Impact() *Impact {
	if f.Tried == nil || f.Tried.Impact == nil {
		return nil
	}
	i := &Impact{Visit: f.V, Impact: f.Tried.Impact.Impact}
	if n := len(i.Affected); n > maxAffected {
		i.More, i.Affected = n-maxAffected, i.Affected[:maxAffected]
	}
	return i
}

// Field finds a field of the form, or nil.
func (f *Form) Field(name string) *Field {
	for _, field := range f.Fields {
		if strings.EqualFold(field.Name, name) {
			return field
		}
	}
	return nil
}

// Faults lists the fields with errors, for the summary.
func (f *Form) Faults() []*Field {
	var list []*Field
	for _, field := range f.Fields {
		if field.Error != "" {
			list = append(list, field)
		}
	}
	return list
}

// Review is a form that was sent, before it is done.
type Review struct {
	Form     *Form
	Result   *manage.Result
	Overtook []Overtaken // what somebody else changed meanwhile
	Who      string      // who changed it, in the visitor's language
}

// Overtaken is a setting that two administrators change at once.
type Overtaken struct {
	Name            string
	Was, Now, Typed any
}

// read takes what was sent for the form; a field that it does not have is refused.
func (f *Form) read(form url.Values) error {
	known := []string{"form", "step"}
	for _, field := range f.Fields {
		known = append(known, "f."+field.Name, "was."+field.Name)
		if field.Kind == Upload {
			known = append(known, filePrefix+field.Name) // console.js sends its name
		}
	}
	for name, values := range form {
		if !slices.Contains(known, name) {
			return mail.Errorf(mail.KindBadArgument, "The form has no field %q.", name)
		}
		if len(values) > 1 && !strings.HasPrefix(name, "f.") {
			return mail.Errorf(mail.KindBadArgument, "The field %q came twice.", name)
		}
	}
	for _, field := range f.Fields {
		if err := field.read(form); err != nil {
			return err
		}
	}
	return nil
}

// The steps of a form.
const (
	stepReview  = "review"
	stepApply   = "apply"
	stepEdit    = "edit"    // back from the review
	stepPreview = "preview" // console.js follows the typing
)

// post handles the form that was sent to the page.
func (v *Visit) post(w http.ResponseWriter) {
	sent, err := fields(v.Request)
	if err != nil {
		v.fail(w, err)
		return
	}
	f := v.Forms[sent.Get("form")]
	if f == nil {
		v.fail(w, mail.Errorf(mail.KindNotFound, "This page has no such form any more. What it was about may be gone."))
		return
	}
	err = f.read(sent)
	if err == nil {
		err = f.readFiles(v.Request)
	}
	if err != nil {
		v.fail(w, err)
		return
	}
	step := sent.Get("step")
	switch {
	case step == stepPreview:
		f.check()
		f.Live, v.status = true, http.StatusOK
		v.part(w, "preview", f)
	case step == stepEdit:
		v.render(w, v.Page.Template)
	case step == stepReview && !f.Direct && !f.Shows:
		f.review(w)
	case step == stepReview || step == stepApply:
		f.apply(w)
	default:
		v.fail(w, mail.Errorf(mail.KindBadArgument, "The form cannot be read."))
	}
}

// check tries what is typed and puts the errors at their fields.
func (f *Form) check() *manage.Result {
	cmdlet := f.V.Manage.Cmdlet(f.Cmdlet)
	if f.Line() == "" || cmdlet == nil || !cmdlet.Changes || f.Refusal != "" {
		return nil
	}
	result, err := f.V.try(f.Cmdlet, f.Arguments())
	if err != nil {
		f.fault(err)
		return nil
	}
	f.Tried = result
	return result
}

// fault shows an error at the field that it is about, or above the form, and the
// errors of other fields at theirs: a cmdlet tells of one at a time.
func (f *Form) fault(err error) {
	fault := manage.FaultOf(err)
	f.V.status = mail.KindOf(err).Answer().HTTP
	f.Hint = f.V.Text(fault.Hint)
	if len(f.Fields) == 0 {
		f.V.Failed = f
	}
	field := f.Field(fault.Parameter)
	if field == nil {
		f.Error = sentence(f.V.Error(err))
		return
	}
	field.Error = sentence(f.V.Error(err))
	cmdlet := f.V.Manage.Cmdlet(f.Cmdlet)
	for _, other := range f.Fields {
		if other == field || !other.given() || cmdlet == nil || !cmdlet.Changes {
			continue
		}
		_, err := f.V.try(f.Cmdlet, append(slices.Clone(f.Fixed), other.argument()))
		if err != nil && f.Field(manage.FaultOf(err).Parameter) == other {
			other.Error = sentence(f.V.Error(err))
		}
	}
}

func (f *Form) review(w http.ResponseWriter) {
	v := f.V
	if len(f.Fields) > 0 && len(f.Arguments()) == len(f.Fixed) {
		f.Error = v.T("Nothing is different from what was set already.")
		v.render(w, v.Page.Template)
		return
	}
	r := &Review{Form: f, Overtook: f.overtaken()}
	if len(r.Overtook) > 0 {
		_, err := v.try(f.Cmdlet, f.expecting())
		r.conflict(err)
	}
	if r.Result = f.check(); r.Result == nil {
		if f.Refusal != "" {
			f.Error, f.Hint, v.status = f.Refusal, f.Remedy, http.StatusForbidden
			if len(f.Fields) == 0 {
				v.Failed = f
			}
		}
		v.render(w, v.Page.Template)
		return
	}
	f.showReview(w, r)
}

func (f *Form) showReview(w http.ResponseWriter, r *Review) {
	v := f.V
	if r.Result != nil && r.Result.Impact != nil { // Form.Impact tells them
		r.Result.Notes = slices.DeleteFunc(r.Result.Notes, func(note string) bool { return slices.Contains(r.Result.Impact.Notes, note) })
	}
	v.Review = r
	v.Title = v.T(v.Page.Title) + ": " + v.T("review the change")
	if len(r.Overtook) > 0 {
		v.status = http.StatusConflict
		v.Title = v.T(v.Page.Title) + ": " + v.T("somebody else was faster")
	}
	v.render(w, "review")
}

// overtaken lists what the form wants to change and somebody else has changed.
func (f *Form) overtaken() []Overtaken {
	var list []Overtaken
	for _, field := range f.Fields {
		if field.given() && field.overtaken() {
			list = append(list, Overtaken{field.Name, field.was, field.Value, field.argument().Value})
		}
	}
	return list
}

// conflict takes who was faster from the cmdlet's error.
func (r *Review) conflict(err error) {
	if err != nil && mail.KindOf(err) == mail.KindConflict {
		r.Who = r.Form.V.Error(err)
	}
}

func (f *Form) apply(w http.ResponseWriter) {
	v := f.V
	if err := f.repeated(); err != nil {
		v.status = mail.KindOf(err).Answer().HTTP
		v.render(w, v.Page.Template)
		return
	}
	line, arguments := f.Line(), f.expecting()
	if v.Own() {
		line = "" // nobody there has the shell
	}
	if cmdlet := v.Manage.Cmdlet(f.Cmdlet); cmdlet != nil && cmdlet.Changes {
		arguments = append(arguments, shell.Argument{Name: "Confirm", Value: false})
	}
	result, err := v.run(f.Cmdlet, arguments)
	if list := f.overtaken(); err != nil && mail.KindOf(err) == mail.KindConflict && len(list) > 0 {
		r := &Review{Form: f, Result: f.check(), Overtook: list}
		r.conflict(err)
		f.showReview(w, r)
		return
	}
	if err != nil {
		f.fault(err)
		v.render(w, v.Page.Template)
		return
	}
	if f.Download && result.File != nil {
		f.answerFile(w, result.File)
		return
	}
	if f.Shows {
		f.Result = result
		v.render(w, v.Page.Template)
		return
	}
	done := &Outcome{Title: cmp.Or(f.Done, f.Title), Line: line, Changes: result.Changes, Units: result.Units, Warnings: result.Warnings, Notes: result.Notes}
	for _, field := range f.Fields {
		if field.made {
			done.Secret, done.SecretName = field.Text(), field.Title()
		}
	}
	if f.Once != "" && len(result.Objects) > 0 {
		done.Secret, done.SecretName = textOf(result.Objects[0], f.Once), v.T(f.Once)
	}
	if f.Then != nil {
		f.Next = f.Then(result)
	}
	if to, moved := v.moved(result); moved {
		v.Done, v.Data = done, to
		v.render(w, "moved")
		return
	}
	id := v.outcomes.add(done, v.Area.visitor(v.Caller))
	next, err := url.Parse(f.Next)
	if f.Next == "" || err != nil {
		next, _ = url.Parse(v.Here())
	}
	query := next.Query()
	query.Set("done", id)
	next.RawQuery = query.Encode()
	http.Redirect(w, v.Request, next.String(), http.StatusSeeOther)
}

// expecting are the form's arguments with what it was made from, for the cmdlet to
// compare with what is set when it runs.
func (f *Form) expecting() []shell.Argument {
	arguments := f.Arguments()
	cmdlet := f.V.Manage.Cmdlet(f.Cmdlet)
	if cmdlet == nil || !slices.ContainsFunc(cmdlet.Parameters, func(p manage.Parameter) bool { return p.Name == "Expected" }) {
		return arguments
	}
	expected := map[string]any{}
	for _, field := range f.Fields {
		if field.given() && field.was != nil {
			expected[field.Name] = field.was
		}
	}
	if len(expected) == 0 {
		return arguments
	}
	return append(arguments, shell.Argument{Name: "Expected", Value: expected})
}
