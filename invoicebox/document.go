package invoicebox

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// lenient lets bytes that are not UTF-8, and members that stand twice, be where
// nothing is read from. What is read is checked where it is read.
var lenient = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// maxStarts bounds the places at which an object is looked for behind text.
const maxStarts = 16

var byteOrderMark = []byte("\xef\xbb\xbf")

// errTwice is for a member that stands twice with different values: there is no
// saying which one is meant.
var errTwice = errors.New("invoicebox: a member stands twice with different values")

// readObject gives the JSON object that is the body; nil where it has none. A
// byte order mark is skipped, and so is text around the object, such as a PHP
// warning, where the object begins a line. The object must be whole. A page of
// HTML is none, whatever scripts are in it.
func readObject(body []byte) jsontext.Value {
	for {
		trimmed := bytes.TrimLeft(body, " \t\r\n")
		if body = bytes.TrimPrefix(trimmed, byteOrderMark); len(body) == len(trimmed) {
			break
		}
	}
	if len(body) == 0 || body[0] == '[' || body[0] == '"' {
		return nil
	}
	if body[0] == '{' {
		return wholeObject(body)
	}
	for start, tries := 0, 0; tries < maxStarts; tries++ {
		at := bytes.IndexByte(body[start:], '{')
		if at < 0 {
			return nil
		}
		start += at
		if before := bytes.TrimSuffix(body[:start], byteOrderMark); len(before) > 0 && !isPage(before) &&
			(before[len(before)-1] == '\n' || before[len(before)-1] == '>') {
			object := wholeObject(body[start:])
			if object != nil || firstByte(body[start+1:]) == '"' {
				// A broken object hides what is inside it.
				return object
			}
		}
		start++
	}
	return nil
}

// wholeObject reads the object with which text begins. What follows must not be
// more JSON or a page.
func wholeObject(text []byte) jsontext.Value {
	d := jsontext.NewDecoder(bytes.NewReader(text), lenient)
	object, err := d.ReadValue()
	if err != nil {
		return nil
	}
	rest := bytes.TrimSpace(text[d.InputOffset():])
	if len(rest) > 0 && (rest[0] == '{' || rest[0] == '[') || isPage(rest) {
		return nil
	}
	return object
}

func isPage(text []byte) bool {
	lower := bytes.ToLower(text)
	return bytes.Contains(lower, []byte("<html")) || bytes.Contains(lower, []byte("<!doctype"))
}

// members gives the named members of an object, by their exact names.
func members(object jsontext.Value, names ...string) (map[string]jsontext.Value, error) {
	d := jsontext.NewDecoder(bytes.NewReader(object), lenient)
	if open, err := d.ReadToken(); err != nil || open.Kind() != jsontext.KindBeginObject {
		return nil, io.ErrUnexpectedEOF
	}
	out := make(map[string]jsontext.Value, len(names))
	for d.PeekKind() != jsontext.KindEndObject {
		token, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		for _, wanted := range names {
			if wanted != name {
				continue
			}
			if before, ok := out[name]; ok && !bytes.Equal(before, value) {
				return nil, errTwice
			}
			out[name] = value.Clone()
		}
	}
	return out, nil
}

// plainText gives the text of a string, without white space around it, or the
// digits of an integer; empty for anything else.
func plainText(raw jsontext.Value) string {
	switch raw.Kind() {
	case jsontext.KindString:
		return string(bytes.Trim([]byte(text(raw)), " \t\r\n"))
	case jsontext.KindNumber:
		if len(bytes.Trim(raw, "0123456789")) == 0 {
			return string(raw)
		}
	}
	return ""
}

// emptyError reports whether an error member says that there is none. PHP writes
// an empty map as an empty list.
func emptyError(raw jsontext.Value) bool {
	compact := raw.Clone()
	if compact.Compact() != nil {
		return len(raw) == 0
	}
	switch string(compact) {
	case "", "null", "{}", "[]", `""`, "false":
		return true
	}
	return false
}
