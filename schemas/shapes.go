package schemas

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Producers wrap, frame and encode JSON in many ways. What is still the same
// JSON is read; what is not gets a reason that names it. TestShapes holds the
// decision about each.

var byteOrderMark = []byte("\xef\xbb\xbf")

// frames are what schema registries' serializers put before the JSON. No JSON
// begins with one of these bytes.
var frames = []struct {
	magic  string
	length int // with the magic
}{
	{"\x00", 5},      // Confluent, Apicurio: 4 bytes of schema id
	{"\x00", 9},      // Apicurio: 8 bytes of global id
	{"\x01", 17},     // Confluent: a UUID
	{"\x03\x00", 18}, // AWS Glue: a UUID, not compressed
}

// withoutFrame drops the frame of a schema registry, and a byte order mark.
func withoutFrame(value []byte) []byte {
	if value[0] > 3 {
		return bytes.TrimPrefix(value, byteOrderMark)
	}
	for _, f := range frames {
		if len(value) >= f.length && string(value[:len(f.magic)]) == f.magic && beginsObject(value[f.length:]) {
			return bytes.TrimPrefix(value[f.length:], byteOrderMark)
		}
	}
	if value[0] == 0 && len(value) >= 5 {
		return value[5:]
	}
	return value
}

func beginsObject(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, byteOrderMark), trimSet)
	return len(text) > 0 && text[0] == '{'
}

// diagnose names what a value is that could not be read as JSON, or not as an
// object; nil where nothing more is known than the fault says.
func diagnose(record, value []byte, fault *InvalidError) *InvalidError {
	switch {
	case fault.Where != "" && fault.Reason != ReasonInvalidUTF8:
	case fault.Reason == ReasonWrongType && isEncodedJSON(value):
		return &InvalidError{Reason: ReasonDoubleEncoded}
	case fault.Reason == ReasonWrongType && isListOfObjects(value):
		return &InvalidError{Reason: ReasonBatch}
	case fault.Reason != ReasonNotJSON && fault.Reason != ReasonInvalidUTF8:
	case isWide(record):
		return &InvalidError{Reason: ReasonUnsupportedEncoding}
	case isCompressed(record):
		return &InvalidError{Reason: ReasonCompressed}
	case isEncodedObject(record):
		return &InvalidError{Reason: ReasonDoubleEncoded}
	}
	if fault.Reason == ReasonNotJSON || fault.Reason == ReasonInvalidUTF8 {
		if reason := framed(record); reason != "" {
			return &InvalidError{Reason: reason}
		}
	}
	return nil
}

// framed tells what follows a frame, where it is no JSON object.
func framed(record []byte) InvalidReason {
	for _, f := range frames {
		if len(record) <= f.length || string(record[:len(f.magic)]) != f.magic {
			continue
		}
		if isCompressed(record[f.length:]) {
			return ReasonCompressed
		}
	}
	if len(record) > 18 && record[0] == 3 && record[1] == 5 { // AWS Glue, with zlib
		return ReasonCompressed
	}
	if rest := withoutFrame(record); record[0] <= 3 && len(record) > 5 && !beginsObject(rest) && isBinary(rest) {
		return ReasonUnsupportedFormat
	}
	return ""
}

// isBinary reports whether a value is no text.
func isBinary(value []byte) bool {
	return !utf8.Valid(value) || bytes.ContainsFunc(value, func(c rune) bool {
		return c < ' ' && c != '\t' && c != '\r' && c != '\n'
	})
}

// isWide recognises UTF-16 and UTF-32 by their marks, or by the zero bytes
// around the first brace.
func isWide(value []byte) bool {
	for _, begin := range []string{"\xff\xfe", "\xfe\xff", "\x00\x00\xfe\xff", "{\x00", "\x00{\x00", "\x00\x00\x00{\x00"} {
		if bytes.HasPrefix(value, []byte(begin)) {
			return true
		}
	}
	return false
}

// isCompressed recognises the formats in which applications compress values.
func isCompressed(value []byte) bool {
	for _, magic := range []string{"\x1f\x8b", "\x28\xb5\x2f\xfd", "\x04\x22\x4d\x18", "BZh", "\xfd7zXZ\x00", "\xff\x06\x00\x00sNaPpY", "\x82SNAPPY", "LZ4Block"} {
		if bytes.HasPrefix(value, []byte(magic)) {
			return true
		}
	}
	return len(value) > 2 && value[0] == 0x78 && (int(value[0])<<8|int(value[1]))%31 == 0 && bytes.IndexByte([]byte{0x01, 0x5e, 0x9c, 0xda}, value[1]) >= 0
}

// isEncodedJSON recognises a JSON text that holds an object, as it is or in
// base64.
func isEncodedJSON(raw jsontext.Value) bool {
	raw = bytes.TrimSpace(raw)
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return false
	}
	text := bytes.TrimSpace(unquotedBytes(raw))
	return len(text) > 0 && (text[0] == '{' || isEncodedObject(text))
}

// isEncodedObject recognises base64 of text that begins with {" or with { and a
// line break or blank.
func isEncodedObject(text []byte) bool {
	for _, begin := range []string{"eyJ", "ewog", "ewoJ", "ewoi", "ewoK", "eyAi", "ew0K"} {
		if bytes.HasPrefix(text, []byte(begin)) {
			return true
		}
	}
	return false
}

func isListOfObjects(value []byte) bool {
	value = bytes.TrimSpace(value)
	return len(value) > 1 && value[0] == '[' && beginsObject(value[1:])
}

// wrapperName is the name of a member in which systems put the event that they
// carry, else empty.
func wrapperName(name []byte) string {
	switch string(name) {
	case "data":
		return "data"
	case "data_base64":
		return "data_base64"
	case "payload":
		return "payload"
	case "after":
		return "after"
	case "detail":
		return "detail"
	case "message":
		return "message"
	case "Message":
		return "Message"
	case "body":
		return "body"
	case "value":
		return "value"
	case "event":
		return "event"
	}
	return ""
}

// wrapped names the member that holds the event where the object itself has
// none of its members.
func (r *decodeState) wrapped() *InvalidError {
	if r.data.wrapper == nil || r.data.shop != nil || r.data.provider != nil || r.data.email != nil || r.data.code != nil {
		return nil
	}
	if r.data.wrapper[0] == '"' && !isEncodedJSON(r.data.wrapper) {
		return nil
	}
	return &InvalidError{Reason: ReasonEnveloped, Where: r.pointer(r.data.wrapperName)}
}

// isNearMiss reports whether another provider's name may be a typing error of
// ours: ours with something added, parted by other signs, or at most two
// letters away. It runs for nearly every event, so it allocates nothing.
func isNearMiss(name []byte) bool {
	const slack = 2
	if len(name) < len(Provider)-slack || len(name) > maxNearMissBytes || !utf8.Valid(name) {
		return false
	}
	var buffer [maxNearMissBytes]byte
	letters, foreign := buffer[:0], 0
	for i := 0; i < len(name); {
		c, size := utf8.DecodeRune(name[i:])
		i += size
		if !unicode.IsLetter(c) {
			continue
		}
		if c = unicode.ToLower(c); c >= utf8.RuneSelf {
			c = '?'
		}
		letter := byte(c) // #nosec G115 -- ASCII
		if strings.IndexByte(Provider, letter) < 0 {
			foreign++ // each has to be added, removed or replaced
		}
		letters = append(letters, letter)
	}
	if bytes.Contains(letters, []byte(Provider)) {
		return true
	}
	if foreign > slack || len(letters) < len(Provider)-slack || len(letters) > len(Provider)+slack {
		return false
	}
	return distance(letters) <= slack
}

const maxNearMissBytes = 2 * len(Provider)

// distance counts the letters to add, remove, replace or swap with the next to
// get from a text to our provider's name.
func distance(text []byte) int {
	const b = Provider
	var before, last, row [len(b) + 1]int
	for j := range last {
		last[j] = j
	}
	for i := range text {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if text[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && text[i] == b[j-1] && text[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1) // #nosec G602 -- j is above 0
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
