package main

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

	"invoicebox-worker/internal/app"
)

// maxValue bounds the text of one setting.
const maxValue = 8 << 10

// A rule is what a setting's tags say about it.
type rule struct {
	name  string
	check string
	oneof string
	min   string
	max   string
}

func flagRule(tag *kong.Tag) rule {
	return rule{name: tag.Name, check: tag.Get("check"), oneof: tag.Get("oneof"), min: tag.Get("min"), max: tag.Get("max")}
}

func fieldRule(tag reflect.StructTag) rule {
	return rule{name: tag.Get("name"), check: tag.Get("check"), oneof: tag.Get("oneof"), min: tag.Get("min"), max: tag.Get("max")}
}

// settingMapper reads settings for kong: from the command line and from the
// defaults in the tags.
type settingMapper struct{}

// Decode implements kong.Mapper.
func (settingMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	raw := "true"
	if target.Kind() != reflect.Bool || ctx.Scan.Peek().Type == kong.FlagValueToken {
		token := ctx.Scan.Peek()
		// A negative number is a value, and a wrong one: no flag begins with a digit.
		if text := token.String(); !token.IsValue() && !negative(text) {
			_, err := ctx.Scan.PopValue("a")
			return err
		}
		raw = ctx.Scan.Pop().String()
	}
	return assign(flagRule(ctx.Value.Tag), target, raw)
}

// placeholder finds what a shell, Kubernetes or a template would replace, and this
// program does not: ${NAME}, $(NAME) and {{ … }}.
func placeholder(raw string) string {
	return regexp.MustCompile(`\$\{[^}]*\}|\$\([^)]*\)|\{\{.*?\}\}`).FindString(raw)
}

// assign parses one value into a field. Lists and pairs grow by what the value
// holds. The error is a *app.SettingError without its From.
func assign(r rule, target reflect.Value, raw string) error {
	wrong := func(right string) error {
		return &app.SettingError{Setting: r.name, Value: raw, Right: right}
	}
	switch {
	case raw == "":
		return wrong("has an empty value; leave the setting out for its default")
	case len(raw) > maxValue:
		return wrong(fmt.Sprintf("is longer than %d bytes", maxValue))
	case !utf8.ValidString(raw) || strings.ContainsFunc(raw, unicode.IsControl):
		return wrong("must be UTF-8 text without control characters")
	}
	if name := placeholder(raw); name != "" {
		return wrong(fmt.Sprintf("holds %s, which nobody has replaced: settings are taken as they stand; write the value itself", name))
	}
	switch v := target.Addr().Interface().(type) {
	case *string:
		if right := checkText(r, raw); right != "" {
			return wrong(right)
		}
		*v = raw
	case *bool:
		b, ok := map[string]bool{"true": true, "false": false}[raw]
		if !ok {
			return wrong("must be true or false")
		}
		*v = b
	case *int:
		low, high := mustInt(r.min), mustInt(r.max)
		n, err := strconv.Atoi(raw)
		if err != nil || n < low || n > high {
			return wrong(fmt.Sprintf("must be a whole number from %d to %d", low, high))
		}
		*v = n
	case *time.Duration:
		low, high := mustDuration(r.min), mustDuration(r.max)
		d, err := time.ParseDuration(raw)
		if err != nil || d < low || d > high {
			return wrong(fmt.Sprintf("must be a time with its unit, such as 500ms, 30s, 2m or 1h30m, from %s to %s", r.min, r.max))
		}
		*v = d
	case *[]string:
		for item := range strings.SplitSeq(raw, ",") {
			item = strings.TrimSpace(item)
			if right := checkText(r, item); right != "" {
				return wrong(right)
			}
			*v = append(*v, item)
		}
	case *map[string]string:
		if *v == nil {
			*v = map[string]string{}
		}
		for item := range strings.SplitSeq(raw, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
			if right := checkPair(name, value); right != "" {
				return wrong(right)
			}
			if before, ok := (*v)[name]; ok && before != value {
				return wrong(fmt.Sprintf("names %s twice with different topics", name))
			}
			(*v)[name] = value
		}
	default:
		panic(fmt.Sprintf("setting %s has a type that nobody parses: %T", r.name, v))
	}
	return nil
}

func negative(text string) bool {
	return len(text) > 1 && text[0] == '-' && text[1] >= '0' && text[1] <= '9'
}

// mustInt and mustDuration read the bounds in the tags; a test reads them all.
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
