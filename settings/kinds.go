package settings

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// The kinds of setting: each function completes a row for one type of value.

var both = []Service{POP3, IMAP4}

const bindingsType = "IP:port list"

type bindingList = []netip.AddrPort

// Unlimited is the number that means "no limit", as in later Exchange releases.
const Unlimited = math.MaxInt32

// maxBindings bounds the addresses of one list.
const maxBindings = 64

// scalar reads a JSON string, number or bool as text.
func scalar(raw json.RawMessage) (string, bool) {
	var v any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// choice completes a row whose values are the row's choices.
func choice[T interface {
	~int
	fmt.Stringer
}](r Row, standard T) Setting[T] {
	names := make([]string, len(r.Choices))
	words := make([]string, len(r.Choices))
	for i, c := range r.Choices {
		names[i] = c.Name
		words[i] = fmt.Sprintf("%s (%d)", c.Name, c.Number)
	}
	list := words[0]
	if n := len(words); n > 1 {
		list = strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	row := &r
	row.standard = func(Service, string) any { return standard }
	row.show = func(v any) any { return v.(T).String() }
	row.limits = func(Service) string { return list }
	row.schema = func(Service) map[string]any {
		return map[string]any{"type": "string", "enum": names, "default": standard.String()}
	}
	row.read = func(_ Service, _ any, raw json.RawMessage) (any, error) {
		text, ok := scalar(raw)
		for _, c := range r.Choices {
			if ok && (strings.EqualFold(text, c.Name) || text == strconv.Itoa(c.Number)) {
				return T(c.Number), nil
			}
		}
		return nil, row.refuse("is %s, not %s", list, quoted(raw))
	}
	return Setting[T]{row}
}

// some completes a row whose values are several of the row's choices, at least one,
// in the order of the choices; all but those that are off unless an administrator says
// otherwise.
func some(r Row, off func(name string) bool) Setting[[]string] {
	row := &r
	var all []string
	for _, c := range r.Choices {
		all = append(all, c.Name)
	}
	find := func(s Service) func(string) (string, error) {
		return func(text string) (string, error) {
			for _, c := range row.ChoicesOf(s) {
				if strings.EqualFold(strings.TrimSpace(text), c.Name) {
					return c.Name, nil
				}
			}
			return "", mail.Errorf(mail.KindBadArgument, "is a list such as %s, and %q is none of its values", strings.Join(all[:2], ", "), text)
		}
	}
	row.standard = func(s Service, _ string) any {
		var names []string
		for _, c := range row.ChoicesOf(s) {
			if !off(c.Name) {
				names = append(names, c.Name)
			}
		}
		return names
	}
	row.show = func(v any) any { return slices.Clone(v.([]string)) }
	row.limits = func(s Service) string { return strings.Join(row.Completions(s), ", ") }
	row.schema = func(s Service) map[string]any {
		names := row.Completions(s)
		return listSchema(map[string]any{"type": "string", "enum": names}, len(names))
	}
	row.read = func(s Service, current any, raw json.RawMessage) (any, error) {
		now, _ := current.([]string)
		edit, err := ReadListEdit(raw)
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		list, err := ApplyListEdit(edit, now, find(s))
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		if len(list) == 0 {
			return nil, row.refuse("has at least one entry")
		}
		slices.SortFunc(list, func(a, b string) int { return slices.Index(all, a) - slices.Index(all, b) })
		return list, nil
	}
	return Setting[[]string]{row}
}

// listSchema is the JSON Schema of a list, and of an edit of it.
func listSchema(item map[string]any, most int) map[string]any {
	list := map[string]any{"type": "array", "items": item, "maxItems": most}
	edit := map[string]any{"type": "object", "additionalProperties": false,
		"properties": map[string]any{"Add": list, "Remove": list}}
	return map[string]any{"oneOf": []any{list, edit}}
}

// quoted gives a refused value for an error text, shortened.
func quoted(raw json.RawMessage) string {
	text, ok := scalar(raw)
	if !ok {
		text = string(raw)
	}
	if r := []rune(text); len(r) > 60 {
		text = string(r[:60]) + "…"
	}
	return strconv.Quote(text)
}

// bounds are a service's default and range of a number or a time span.
type bounds[T int | int64 | time.Duration] struct{ Default, Min, Max T }

// count completes a row whose values are whole numbers.
func count(r Row, in map[Service]bounds[int]) Setting[int] {
	row := &r
	row.Type = "int"
	row.standard = func(s Service, _ string) any { return in[s].Default }
	row.show = func(v any) any { return v }
	row.limits = func(s Service) string { return fmt.Sprintf("%d to %d", in[s].Min, in[s].Max) }
	row.schema = func(s Service) map[string]any {
		b := in[s]
		return map[string]any{"type": "integer", "minimum": b.Min, "maximum": b.Max, "default": b.Default}
	}
	row.read = func(s Service, _ any, raw json.RawMessage) (any, error) {
		text, ok := scalar(raw)
		b := in[s]
		n := int64(0)
		if ok {
			n, ok = ParseNumber(text)
		}
		if ok && strings.EqualFold(text, "unlimited") {
			n, ok = Unlimited, b.Max == Unlimited
		}
		if !ok || n < int64(b.Min) || n > int64(b.Max) {
			return nil, row.refuse("is a whole number from %d to %d, not %s", b.Min, b.Max, quoted(raw))
		}
		return int(n), nil
	}
	return Setting[int]{row}
}

// size completes a row whose values are bytes.
func size(r Row, in bounds[int64]) Setting[int64] {
	row := &r
	row.Type = "size"
	row.standard = func(Service, string) any { return in.Default }
	row.show = func(v any) any { return int(v.(int64)) }
	row.limits = func(Service) string { return FormatSize(in.Min) + " to " + FormatSize(in.Max) }
	row.schema = func(Service) map[string]any {
		return map[string]any{"type": "integer", "minimum": in.Min, "maximum": in.Max, "default": in.Default}
	}
	row.read = func(_ Service, _ any, raw json.RawMessage) (any, error) {
		text, ok := scalar(raw)
		n := int64(0)
		if ok {
			n, ok = ParseNumber(text)
		}
		if !ok || n < in.Min || n > in.Max {
			return nil, row.refuse("is a size from %s to %s, not %s", FormatSize(in.Min), FormatSize(in.Max), quoted(raw))
		}
		return n, nil
	}
	return Setting[int64]{row}
}

// FormatSize gives bytes in the largest unit that leaves them whole: 64KB.
func FormatSize(n int64) string {
	unit := ""
	for _, u := range []string{"KB", "MB", "GB", "TB"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}

// ParseNumber reads a whole number with an optional KB, MB, GB or TB (powers of
// 1024, any case), or the word "unlimited", which is the largest number.
func ParseNumber(text string) (int64, bool) {
	if strings.EqualFold(text, "unlimited") {
		return math.MaxInt64, true
	}
	factor := int64(1)
	for i, suffix := range []string{"KB", "MB", "GB", "TB"} {
		if n := len(text) - 2; n > 0 && strings.EqualFold(text[n:], suffix) {
			factor, text = 1<<(10*(i+1)), text[:n]
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > math.MaxInt64/factor || n < math.MinInt64/factor {
		return 0, false
	}
	return n * factor, true
}

// span completes a row whose values are time spans.
func span(r Row, in bounds[time.Duration]) Setting[time.Duration] {
	row := &r
	row.Type = "time span"
	low, high := FormatSpan(in.Min), FormatSpan(in.Max)
	row.standard = func(Service, string) any { return in.Default }
	row.show = func(v any) any { return FormatSpan(v.(time.Duration)) }
	row.limits = func(Service) string { return low + " to " + high }
	row.schema = func(Service) map[string]any {
		return map[string]any{"type": "string", "pattern": `^(\d+\.)?\d{1,2}:\d{1,2}(:\d{1,2})?$`, "default": FormatSpan(in.Default)}
	}
	row.read = func(_ Service, _ any, raw json.RawMessage) (any, error) {
		text, ok := scalar(raw)
		d, err := ParseSpan(text)
		if !ok || err != nil || d < in.Min || d > in.Max {
			return nil, row.refuse("is a time span from %s to %s (hours:minutes:seconds, days before a dot), not %s", low, high, quoted(raw))
		}
		return d, nil
	}
	return Setting[time.Duration]{row}
}

// yesNo completes a row whose values are true and false.
func yesNo(r Row, standard bool) Setting[bool] {
	row := &r
	row.Type = "bool"
	row.standard = func(Service, string) any { return standard }
	row.show = func(v any) any { return v }
	row.schema = func(Service) map[string]any {
		return map[string]any{"type": "boolean", "default": standard}
	}
	row.read = func(_ Service, _ any, raw json.RawMessage) (any, error) {
		text, _ := scalar(raw)
		b, ok := ParseBool(text)
		if !ok {
			return nil, row.refuse("is $true or $false, not %s", quoted(raw))
		}
		return b, nil
	}
	return Setting[bool]{row}
}

// ParseBool reads true, false, $true, $false, 1 or 0, in any case.
func ParseBool(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "$true", "1":
		return true, true
	case "false", "$false", "0":
		return false, true
	}
	return false, false
}

// text completes a row whose values are text; check may also put it into its
// usual form.
func text(r Row, limits string, standard func(Service, string) string, check func(Service, string) (string, error)) Setting[string] {
	row := &r
	row.standard = func(s Service, server string) any { return standard(s, server) }
	row.show = func(v any) any { return v }
	row.limits = func(Service) string { return limits }
	row.schema = func(Service) map[string]any { return map[string]any{"type": "string"} }
	row.read = func(s Service, _ any, raw json.RawMessage) (any, error) {
		value, ok := scalar(raw)
		if !ok {
			return nil, row.refuse("is text, not %s", quoted(raw))
		}
		value, err := check(s, value)
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		return value, nil
	}
	return Setting[string]{row}
}

// paths completes a row whose values are lists of absolute paths, at most so many; none
// unless an administrator says otherwise.
func paths(r Row, most int) Setting[[]string] {
	row := &r
	row.standard = func(Service, string) any { return []string{} }
	row.show = func(v any) any { return slices.Clone(v.([]string)) }
	row.limits = func(Service) string { return fmt.Sprintf("absolute paths, at most %d", most) }
	row.schema = func(Service) map[string]any { return listSchema(map[string]any{"type": "string"}, most) }
	row.read = func(s Service, current any, raw json.RawMessage) (any, error) {
		now, _ := current.([]string)
		edit, err := ReadListEdit(raw)
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		list, err := ApplyListEdit(edit, now, func(text string) (string, error) {
			if text == "" {
				return "", mail.Errorf(mail.KindBadArgument, "has an empty path")
			}
			return absolutePath(s, text)
		})
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		if len(list) > most {
			return nil, row.refuse("has at most %d entries", most)
		}
		return append([]string{}, list...), nil
	}
	return Setting[[]string]{row}
}

// bindings completes a row whose values are lists of IP:port.
func bindings(r Row, ports map[Service]uint16) Setting[[]netip.AddrPort] {
	row := &r
	row.Type = bindingsType
	row.standard = func(s Service, _ string) any {
		if s == Console { // only whoever is on this host, until an administrator says otherwise
			return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ports[s])}
		}
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv6Unspecified(), ports[s]),
			netip.AddrPortFrom(netip.IPv4Unspecified(), ports[s]),
		}
	}
	row.show = func(v any) any {
		list := v.([]netip.AddrPort)
		out := make([]string, len(list))
		for i, a := range list {
			out[i] = a.String()
		}
		return out
	}
	row.limits = func(Service) string { return fmt.Sprintf("ports 1 to 65535, at most %d entries", maxBindings) }
	row.schema = func(Service) map[string]any {
		return listSchema(map[string]any{"type": "string"}, maxBindings)
	}
	row.read = func(_ Service, current any, raw json.RawMessage) (any, error) {
		now, _ := current.([]netip.AddrPort)
		edit, err := ReadListEdit(raw)
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		list, err := ApplyListEdit(edit, now, parseBinding)
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		if len(list) > maxBindings {
			return nil, row.refuse("has at most %d entries", maxBindings)
		}
		return list, nil
	}
	return Setting[[]netip.AddrPort]{row}
}

// parseBinding reads IP:port; an IPv6 address stands in brackets.
func parseBinding(text string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(strings.TrimSpace(text))
	if err != nil || a.Port() == 0 {
		return a, mail.Errorf(mail.KindBadArgument, "is a list of IP:port such as 0.0.0.0:143 or [::]:143, and %q is none", text)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// maxNetworks bounds a list of networks.
const maxNetworks = 100

// networks completes a row whose values are lists of networks, empty until they are set.
func networks(r Row) Setting[[]netip.Prefix] {
	row := &r
	row.Type = "network list"
	row.standard = func(Service, string) any { return []netip.Prefix(nil) }
	row.show = func(v any) any {
		out := []string{}
		for _, n := range v.([]netip.Prefix) {
			out = append(out, n.String())
		}
		return out
	}
	row.limits = func(Service) string { return fmt.Sprintf("at most %d entries", maxNetworks) }
	row.schema = func(Service) map[string]any {
		return listSchema(map[string]any{"type": "string"}, maxNetworks)
	}
	row.read = func(_ Service, current any, raw json.RawMessage) (any, error) {
		now, _ := current.([]netip.Prefix)
		edit, err := ReadListEdit(raw)
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		list, err := ApplyListEdit(edit, now, ParseNetwork)
		if err != nil {
			return nil, row.refuse("%s", mail.TextOf(err))
		}
		if len(list) > maxNetworks {
			return nil, row.refuse("has at most %d entries", maxNetworks)
		}
		return list, nil
	}
	return Setting[[]netip.Prefix]{row}
}

// ParseNetwork reads a network such as 192.0.2.0/24, or an address, which is one of its
// own. An IPv4 network is never in its IPv6 form. KindBadArgument.
func ParseNetwork(text string) (netip.Prefix, error) {
	n, err := netip.ParsePrefix(text)
	if a, addrErr := netip.ParseAddr(text); err != nil && addrErr == nil && a.Zone() == "" {
		n, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil {
		return n, mail.Errorf(mail.KindBadArgument, "contains %q, which is neither an address nor a network such as 192.0.2.0/24", text)
	}
	if n.Addr().Is4In6() && n.Bits() >= 96 {
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	return n.Masked(), nil
}

// Within tells whether an address is in one of the networks. One that is not valid is in
// none.
func Within(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// ListEdit is a new list, or entries to add and to remove.
type ListEdit struct {
	Whole       bool // Set is the whole new list
	Set         []string
	Add, Remove []string
}

// ReadListEdit reads the JSON forms of Edit for a list.
func ReadListEdit(raw json.RawMessage) (ListEdit, error) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ListEdit{}, mail.Errorf(mail.KindBadArgument, "is not valid JSON")
	}
	object, ok := v.(map[string]any)
	if !ok {
		set, err := stringList(v)
		return ListEdit{Whole: true, Set: set}, err
	}
	var e ListEdit
	for key, value := range object {
		into := &e.Add
		switch {
		case strings.EqualFold(key, "Remove"):
			into = &e.Remove
		case !strings.EqualFold(key, "Add"):
			return e, mail.Errorf(mail.KindBadArgument, "takes a list or @{Add=…; Remove=…}, and %q is neither Add nor Remove", key)
		}
		list, err := stringList(value)
		if err != nil {
			return e, err
		}
		*into = append(*into, list...)
	}
	return e, nil
}

func stringList(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, mail.Errorf(mail.KindBadArgument, "is a list of texts")
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, mail.Errorf(mail.KindBadArgument, "is a list of texts or @{Add=…; Remove=…}")
}

// ApplyListEdit gives the list that an edit makes of now. Entries are read with
// parse, doubles are dropped. Removing what is not there, or adding what is, is
// an error: it is nearly always a misspelling.
func ApplyListEdit[T comparable](e ListEdit, now []T, parse func(string) (T, error)) ([]T, error) {
	list := []T{}
	if !e.Whole {
		list = append(list, now...)
	}
	for _, text := range e.Remove {
		t, err := parse(text)
		if err != nil {
			return nil, err
		}
		i := slices.Index(list, t)
		if i < 0 {
			return nil, mail.Errorf(mail.KindBadArgument, "does not contain %q, so it cannot be removed", text)
		}
		list = slices.Delete(list, i, i+1)
	}
	for _, text := range e.Add {
		t, err := parse(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(list, t) {
			return nil, mail.Errorf(mail.KindBadArgument, "contains %q already", text)
		}
		list = append(list, t)
	}
	for _, text := range e.Set {
		t, err := parse(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list, nil
}
