package config

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// An Error is a setting with a wrong value.
type Error struct {
	Setting string // name of the flag, without dashes; or a place such as accounts[1].name; "" for the file as a whole
	Value   string // as it was set; "" for a secret or a missing value
	Want    string // what would be right
	Source  string // file and line, or the environment variable; "" for the command line or a default
}

// Error names the source, the setting as it is typed, and what would be right.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Source != "" {
		b.WriteString(e.Source + ": ")
	}
	if e.Setting != "" && !strings.ContainsAny(e.Setting, "[. ") {
		b.WriteString("--")
	}
	b.WriteString(e.Setting)
	if e.Value != "" {
		b.WriteString(" " + quote(withoutPassword(e.Value)))
	}
	if e.Setting != "" {
		b.WriteString(": ")
	}
	b.WriteString(e.Want)
	return b.String()
}

// quote shows a value on one line, in part if it is long.
func quote(value string) string {
	const most = 80
	if len(value) > most {
		return strconv.Quote(value[:most]) + "…"
	}
	return strconv.Quote(value)
}

// withoutPassword removes the password of a URL, also of one that cannot be parsed.
func withoutPassword(value string) string {
	start := strings.Index(value, "://")
	if u, err := url.Parse(value); start >= 0 && err == nil && u.Opaque == "" {
		value = u.Redacted()
	} else if at := strings.LastIndex(value, "@"); start >= 0 && at > start {
		value = value[:start+3] + "…" + value[at:]
	}
	// The name of a parameter may be in capitals, or escaped.
	name := regexp.MustCompile(`(?i)((?:p|%70|%50)(?:a|%61|%41)(?:s|%73|%53){2}(?:w|%77|%57)(?:o|%6f|%4f)(?:r|%72|%52)(?:d|%64|%44))(=|%3d)[^& ]*`)
	return name.ReplaceAllString(value, "${1}${2}…")
}
