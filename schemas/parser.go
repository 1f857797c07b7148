package schemas

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The members of the data that are read.
const (
	memberShop     = "shopId"
	memberProvider = "provider"
	memberEmail    = "email"
	memberCode     = "activationCode"
	memberAccount  = "partnerAccount"
)

// A member's value is kept as raw JSON, nil when it is not there: most events
// are another provider's and need no more than one of them.
type dataMembers struct {
	shop, provider, email, code, account, id jsontext.Value

	specVersion jsontext.Value // of an event in structured mode
	wrapper     jsontext.Value // the last member that may hold an event, see wrapperName
	wrapperName string

	idMember string // the name of id by setting
}

func (d *dataMembers) reset() { *d = dataMembers{idMember: d.idMember} }

func (d *dataMembers) slot(name []byte) *jsontext.Value {
	switch string(name) {
	case memberShop:
		return &d.shop
	case memberProvider:
		return &d.provider
	case memberEmail:
		return &d.email
	case memberCode:
		return &d.code
	case memberAccount:
		return &d.account
	case "specversion":
		return &d.specVersion
	}
	if d.idMember != "" && string(name) == d.idMember {
		return &d.id
	}
	return nil
}

// other notes a member that may be the place where the event is.
func (d *dataMembers) other(name, raw []byte) {
	if wrapper := wrapperName(name); wrapper != "" && (raw[0] == '{' || raw[0] == '"') {
		d.wrapper, d.wrapperName = raw, wrapper
	}
}

// attributeNames are the members of a structured event that envelope.slot knows.
var attributeNames = [...]string{"specversion", "id", "source", "type", "subject", "time", "traceparent", "tracestate"}

type envelopeMembers struct {
	attributes                [len(attributeNames)]jsontext.Value
	data, base64, contentType jsontext.Value
}

func (e *envelopeMembers) reset() { *e = envelopeMembers{} }

func (e *envelopeMembers) other(_, _ []byte) {}

func (e *envelopeMembers) slot(name []byte) *jsontext.Value {
	switch string(name) {
	case "data":
		return &e.data
	case "data_base64":
		return &e.base64
	case "datacontenttype":
		return &e.contentType
	}
	for i, attribute := range attributeNames {
		if string(name) == attribute {
			return &e.attributes[i]
		}
	}
	return nil
}

// members is an object of which some members are wanted.
type members interface {
	slot(name []byte) *jsontext.Value
	// other is called with each member that has no slot.
	other(name, raw []byte)
	reset()
}

// A parser is reused: its decoder is the costliest thing to make.
type parser struct {
	decoder jsontext.Decoder
	buffer  bytes.Buffer
	scratch []byte
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

func acquireParser() *parser { return parsers.Get().(*parser) }

func (p *parser) release() {
	// Neither the record nor a name of it may live on in the pool.
	p.buffer = bytes.Buffer{}
	p.decoder.Reset(&p.buffer)
	clear(p.scratch)
	parsers.Put(p)
}

// object reads one JSON object to its end and fills the slots of the wanted
// members with pieces of the value. What stands in other members is only checked
// for syntax: a repeated member or half a surrogate pair in there costs nothing.
// Numbers that Python writes and JSON does not know (NaN, Infinity) are read as
// null.
func (p *parser) object(value []byte, into members) (read []byte, fault *InvalidError) {
	if exceedsDepth(value, MaxDepth) {
		return value, &InvalidError{Reason: ReasonTooDeep}
	}
	fault = p.members(value, into)
	if fault == nil || fault.Reason != ReasonNotJSON {
		return value, fault
	}
	plain, changed := withoutNaN(value)
	if !changed {
		return value, fault
	}
	into.reset()
	if again := p.members(plain, into); again == nil || again.Reason != ReasonNotJSON {
		return plain, again
	}
	return value, fault
}

func (p *parser) members(value []byte, into members) *InvalidError {
	p.buffer = *bytes.NewBuffer(slices.Clip(value))
	p.decoder.Reset(&p.buffer, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(utf8.Valid(value)))
	switch p.decoder.PeekKind() {
	case '{', jsontext.KindInvalid:
	default:
		if _, err := p.decoder.ReadValue(); err != nil {
			return p.fault(err, value, into)
		}
		return &InvalidError{Reason: ReasonWrongType}
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return p.fault(err, value, into)
	}
	for p.decoder.PeekKind() != '}' {
		quoted, err := p.decoder.ReadValue()
		if err != nil {
			return p.fault(err, value, into)
		}
		name := p.name(quoted)
		slot := into.slot(name)
		raw, err := p.decoder.ReadValue()
		if err != nil {
			return p.fault(err, value, into)
		}
		// The decoder's slices end with its next call; value's do not.
		end := int(p.decoder.InputOffset())
		kept := value[end-len(raw) : end : end]
		if slot == nil {
			into.other(name, kept)
			continue
		}
		if reason := memberFault(*slot, kept); reason != "" {
			return &InvalidError{Reason: reason, Where: "/" + pointerEscaper.Replace(string(name)), Byte: int64(end - len(raw))}
		}
		*slot = kept
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return p.fault(err, value, into)
	}
	if _, err := p.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return &InvalidError{Reason: ReasonNotJSON, Byte: p.decoder.InputOffset()}
	}
	return nil
}

// memberFault checks a member that is read: it may stand there twice only with
// the same value, and its text must be Unicode.
func memberFault(before, raw jsontext.Value) InvalidReason {
	if before != nil && !bytes.Equal(before, raw) {
		return ReasonDuplicateMember
	}
	if raw[0] == '"' && bytes.Contains(raw, []byte(`\u`)) {
		if _, err := jsontext.AppendUnquote(nil, raw); err != nil {
			return ReasonInvalidUTF8
		}
	}
	return ""
}

func (p *parser) name(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	// ReadValue has checked the string, so it can be unquoted; half a surrogate
	// pair becomes U+FFFD, which is in no name that is wanted.
	p.scratch, _ = jsontext.AppendUnquote(p.scratch[:0], quoted)
	return p.scratch
}

// fault classifies a syntax error. Its text quotes the input and is dropped;
// its place is told as far as it has a name of the contract.
func (p *parser) fault(err error, value []byte, into members) *InvalidError {
	out := &InvalidError{Reason: ReasonNotJSON}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		out.Byte = syntax.ByteOffset
		pointer := strings.TrimPrefix(string(syntax.JSONPointer), "/")
		if name, _, _ := strings.Cut(pointer, "/"); into.slot([]byte(name)) != nil {
			out.Where = "/" + name
		}
	}
	if !utf8.Valid(value) {
		out.Reason = ReasonInvalidUTF8
	}
	return out
}

// withoutNaN writes null for NaN, Infinity and -Infinity where they stand
// outside of strings, as far as there are any.
func withoutNaN(value []byte) ([]byte, bool) {
	if !bytes.Contains(value, []byte("NaN")) && !bytes.Contains(value, []byte("Infinity")) {
		return value, false
	}
	out := make([]byte, 0, len(value)+16)
	changed, quoted := false, false
	for i := 0; i < len(value); {
		c := value[i]
		if !quoted {
			if n := lenNaN(value[i:]); n > 0 {
				out, changed = append(out, "null"...), true
				i += n
				continue
			}
		}
		switch {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\' && i+1 < len(value):
			out = append(out, c)
			i++
			c = value[i]
		}
		out = append(out, c)
		i++
	}
	return out, changed
}

// lenNaN is the length of such a number at the text's begin, else 0.
func lenNaN(text []byte) int {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(text, []byte(word)) {
			return len(word)
		}
	}
	return 0
}

// exceedsDepth counts nesting outside strings, before anything recursive sees the
// text. Text that is not JSON may be judged either way; it is refused anyhow.
func exceedsDepth(value []byte, limit int) bool {
	if bytes.Count(value, []byte{'{'})+bytes.Count(value, []byte{'['}) <= limit {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// unquote is the text of a JSON string that was parsed before.
func unquote(raw jsontext.Value) string { return string(unquotedBytes(raw)) }

// unquotedBytes is the same and may be a piece of raw.
func unquotedBytes(raw jsontext.Value) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, raw)
	return text
}

// stringOrInteger is the text of a string, or the digits of an integer exactly
// as they stand.
func stringOrInteger(raw jsontext.Value) (string, InvalidReason) {
	switch raw.Kind() {
	case '"':
		return unquote(raw), ""
	case '0':
		// A fraction, an exponent and a negative zero have other spellings of the
		// same number: which text would be the id?
		if bytes.ContainsAny(raw, ".eE") || string(raw) == "-0" {
			return "", ReasonMalformed
		}
		return string(raw), ""
	}
	return "", ReasonWrongType
}

func trimmed(s string) string { return strings.Trim(s, trimSet) }

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")
