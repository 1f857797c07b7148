package invoicebox

import (
	"bytes"
	"errors"
	"io"
	"slices"

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
	if object := jsontext.Value(bytes.TrimRight(text, " \t\r\n")); object.IsValid(lenient) {
		return object // nothing follows it: the usual case, and quicker
	}
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

// maxMembers is how many members of one object anybody asks for.
const maxMembers = 2

// members gives the named members of an object, by their exact names, in the order
// of the names; nil for one that is missing. They are parts of the object.
func members(object jsontext.Value, names ...string) (values [maxMembers]jsontext.Value, err error) {
	s := selection{object: object, names: names}
	if err := json.Unmarshal(object, &s, lenient); err != nil {
		return values, err
	}
	return s.values, nil
}

// A selection is the members of an object that somebody asks for.
type selection struct {
	object jsontext.Value
	names  []string
	values [maxMembers]jsontext.Value
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *selection) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if open, err := d.ReadToken(); err != nil || open.Kind() != jsontext.KindBeginObject {
		return io.ErrUnexpectedEOF
	}
	for d.PeekKind() != jsontext.KindEndObject {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		at := slices.Index(s.names, token.String())
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		if at < 0 {
			continue
		}
		if before := s.values[at]; before != nil && !bytes.Equal(before, value) {
			return errTwice
		}
		// The decoder's own bytes are good until its next read only.
		end := d.InputOffset()
		s.values[at] = s.object[end-int64(len(value)) : end]
	}
	_, err := d.ReadToken()
	return err
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
	if len(raw) == 0 {
		return true
	}
	compact := raw.Clone()
	if compact.Compact() != nil {
		return false
	}
	switch string(compact) {
	case "null", "{}", "[]", `""`, "false":
		return true
	}
	return false
}
