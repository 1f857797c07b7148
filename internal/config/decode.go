package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"invoicebox-worker/schemas"
)

// maxValue bounds the text of one setting, in bytes.
const maxValue = 8 << 10

// A rule is what the tags of a field say about a setting.
type rule struct {
	name   string
	check  string // a name in validators
	oneof  string // the permitted words, separated by commas
	min    string
	max    string
	or     string // a value outside of the bounds that is permitted too
	secret bool   // errors do not show the value
	whole  bool   // commas do not separate elements
}

type tags interface{ Get(name string) string }

func newRule(name string, t tags) rule {
	return rule{
		name: name, check: t.Get("check"), oneof: t.Get("oneof"), min: t.Get("min"), max: t.Get("max"), or: t.Get("or"),
		secret: t.Get("secret") != "", whole: t.Get("sep") == "none",
	}
}

// Decode implements [kong.Mapper] for the command line and the defaults.
func (p Program) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	raw := "true"
	if target.Kind() != reflect.Bool || ctx.Scan.Peek().Type == kong.FlagValueToken {
		token := ctx.Scan.Peek()
		// A negative number is a value: no flag begins with a digit.
		if text := token.String(); !token.IsValue() && !negative(text) {
			_, err := ctx.Scan.PopValue("a")
			return err
		}
		raw = ctx.Scan.Pop().String()
	}
	return p.assign(newRule(ctx.Value.Tag.Name, ctx.Value.Tag), target, raw)
}

// placeholder finds what a shell, Kubernetes or a template would replace, and this
// program does not: ${NAME}, $(NAME) and {{ … }}.
func placeholder(raw string) string {
	return regexp.MustCompile(`\$\{[^}]*\}|\$\([^)]*\)|\{\{.*?\}\}`).FindString(raw)
}

// assign decodes one value into a field. Lists and pairs grow by what the value
// contains. The error is an [*Error] without its Source.
func (p Program) assign(r rule, target reflect.Value, raw string) error {
	wrong := func(want string) error {
		e := &Error{Setting: r.name, Value: raw, Want: want}
		if r.secret {
			e.Value = ""
		}
		return e
	}
	switch {
	case raw == "":
		return wrong("is empty; leave the setting out to use its default")
	case len(raw) > maxValue:
		return wrong(fmt.Sprintf("is longer than %d bytes", maxValue))
	case !utf8.ValidString(raw) || strings.ContainsFunc(raw, unicode.IsControl):
		return wrong("must be UTF-8 text without control characters")
	}
	if name := placeholder(raw); name != "" {
		return wrong(fmt.Sprintf("contains %s, which was not replaced: settings expand no variables; write the value itself", name))
	}
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	switch v := target.Addr().Interface().(type) {
	case *bool:
		b, ok := map[string]bool{"true": true, "false": false}[raw]
		if !ok {
			return wrong("must be true or false")
		}
		*v = b
	case *int:
		if r.oneof != "" {
			if want := p.validate(r, raw); want != "" {
				return wrong(want)
			}
			*v = mustInt(raw)
			break
		}
		low, high := mustInt(r.min), mustInt(r.max)
		n, err := strconv.Atoi(raw)
		if err != nil || n < low || n > high {
			return wrong("must be a whole number from " + r.min + " to " + r.max)
		}
		*v = n
	case *uint64:
		n, err := strconv.ParseUint(raw, 10, 64)
		if err != nil {
			return wrong("must be a whole number from 0 to 18446744073709551615")
		}
		*v = n
	case *time.Duration:
		low, high := mustDuration(r.min), mustDuration(r.max)
		d, err := time.ParseDuration(raw)
		if err != nil || (d < low || d > high) && (r.or == "" || d != mustDuration(r.or)) {
			return wrong("must be " + orWord(r.or) + "a time with its unit, such as 500ms, 30s, 2m or 1h30m, from " + r.min + " to " + r.max)
		}
		*v = d
	case *Size:
		n, ok := ParseSize(raw)
		if !ok {
			return wrong("must be a size such as 1048576, 512MiB or 20GiB, or 0")
		}
		if r.min != "" && (n < mustSize(r.min) || n > mustSize(r.max)) {
			return wrong("must be a size from " + r.min + " to " + r.max)
		}
		*v = n
	case *[]string:
		items := []string{raw}
		if !r.whole {
			items = strings.Split(raw, ",")
		}
		for _, item := range items {
			item = strings.TrimSpace(item)
			if want := p.validate(r, item); want != "" {
				return wrong(want)
			}
			*v = append(*v, item)
		}
	case *[]time.Duration:
		low, high := mustDuration(r.min), mustDuration(r.max)
		for item := range strings.SplitSeq(raw, ",") {
			d, err := time.ParseDuration(strings.TrimSpace(item))
			if err != nil || d < low || d > high || len(*v) > 0 && d <= (*v)[len(*v)-1] {
				return wrong("must be times with their units, such as 72h,168h, each longer than the one before, from " + r.min + " to " + r.max)
			}
			*v = append(*v, d)
		}
		if len(*v) > schemas.MaxReminders {
			return wrong(fmt.Sprintf("must be at most %d times", schemas.MaxReminders))
		}
	case *map[string]string:
		if *v == nil {
			*v = map[string]string{}
		}
		for item := range strings.SplitSeq(raw, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
			if want := checkTopic(name, value); want != "" {
				return wrong(want)
			}
			if before, ok := (*v)[name]; ok && before != value {
				return wrong(fmt.Sprintf("names %s twice with different topics", name))
			}
			(*v)[name] = value
		}
	default:
		if target.Kind() != reflect.String {
			panic(fmt.Sprintf("setting %s has a type that cannot be decoded: %T", r.name, v))
		}
		if want := p.validate(r, raw); want != "" {
			return wrong(want)
		}
		target.SetString(raw)
	}
	return nil
}

func orWord(or string) string {
	if or == "" {
		return ""
	}
	return or + ", or "
}

func negative(text string) bool {
	return len(text) > 1 && text[0] == '-' && text[1] >= '0' && text[1] <= '9'
}

// mustInt, mustDuration and mustSize read the bounds in the tags; a test reads them
// all.
func mustInt(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func mustDuration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

func mustSize(text string) Size {
	n, ok := ParseSize(text)
	if !ok {
		panic("no size: " + text)
	}
	return n
}
