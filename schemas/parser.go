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
}

func (d *dataMembers) slot(name []byte, idMember string) *jsontext.Value {
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
	}
	if idMember != "" && string(name) == idMember {
		return &d.id
	}
	return nil
}

// attributeNames are the members of a structured event that envelope.slot knows.
var attributeNames = [...]string{"specversion", "id", "source", "type", "subject", "time", "traceparent", "tracestate"}

type envelopeMembers struct {
	attributes                [len(attributeNames)]jsontext.Value
	data, base64, contentType jsontext.Value
}

func (e *envelopeMembers) slot(name []byte, _ string) *jsontext.Value {
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
	slot(name []byte, idMember string) *jsontext.Value
}

// A parser is reused: its decoder is the costliest thing to make.
type parser struct {
	decoder jsontext.Decoder
	buffer  bytes.Buffer
	scratch []byte
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

func takeParser() *parser { return parsers.Get().(*parser) }

func (p *parser) giveBack() {
	// Neither the record nor a name of it may live on in the pool.
	p.buffer = bytes.Buffer{}
	p.decoder.Reset(&p.buffer)
	clear(p.scratch)
	parsers.Put(p)
}

// object reads one JSON object, strictly and to its end, and fills the slots
// of the wanted members with pieces of value.
func (p *parser) object(value []byte, into members, idMember string) *Invalid {
	if tooDeep(value, MaxDepth) {
		return &Invalid{Reason: ReasonTooDeep}
	}
	p.buffer = *bytes.NewBuffer(slices.Clip(value))
	p.decoder.Reset(&p.buffer)
	switch p.decoder.PeekKind() {
	case '{', jsontext.KindInvalid:
	default:
		if _, err := p.decoder.ReadValue(); err != nil {
			return p.fault(err, value, into, idMember)
		}
		return &Invalid{Reason: ReasonWrongType}
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return p.fault(err, value, into, idMember)
	}
	for p.decoder.PeekKind() != '}' {
		quoted, err := p.decoder.ReadValue()
		if err != nil {
			return p.fault(err, value, into, idMember)
		}
		slot := into.slot(p.name(quoted), idMember)
		raw, err := p.decoder.ReadValue()
		if err != nil {
			return p.fault(err, value, into, idMember)
		}
		if slot != nil {
			// The decoder's slices end with its next call; value's do not.
			end := int(p.decoder.InputOffset())
			*slot = jsontext.Value(value[end-len(raw) : end : end])
		}
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return p.fault(err, value, into, idMember)
	}
	if _, err := p.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return &Invalid{Reason: ReasonNotJSON, Byte: p.decoder.InputOffset()}
	}
	return nil
}

func (p *parser) name(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	// ReadValue has checked the string, so it can be unquoted.
	p.scratch, _ = jsontext.AppendUnquote(p.scratch[:0], quoted)
	return p.scratch
}

// fault classifies a syntax error. Its text quotes the input and is dropped;
// its place is told as far as it has a name of the contract.
func (p *parser) fault(err error, value []byte, into members, idMember string) *Invalid {
	out := &Invalid{Reason: ReasonNotJSON}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		out.Byte = syntax.ByteOffset
		pointer := strings.TrimPrefix(string(syntax.JSONPointer), "/")
		if name, _, _ := strings.Cut(pointer, "/"); into.slot([]byte(name), idMember) != nil {
			out.Where = "/" + name
		}
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		out.Reason = ReasonDuplicateMember
	case !utf8.Valid(value):
		out.Reason = ReasonInvalidUTF8
	}
	return out
}

// tooDeep counts nesting outside strings, before anything recursive sees the
// text. Text that is not JSON may be judged either way; it is refused anyhow.
func tooDeep(value []byte, limit int) bool {
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

// unquoted is the text of a JSON string that was parsed before.
func unquoted(raw jsontext.Value) string { return string(unquotedBytes(raw)) }

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
func stringOrInteger(raw jsontext.Value) (string, Reason) {
	switch raw.Kind() {
	case '"':
		return unquoted(raw), ""
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
